//! Stories of small clusters, told in text files: commands at the margin, and indented below each what it must answer.
//! `README.txt` beside them explains the commands.

mod gangs;
mod upstream;

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use kubewright_scheduler::framework::{Action, Preemption};
use kubewright_scheduler::object::{PodInfo, Time};
use kubewright_scheduler::plugins::default_profile;
use kubewright_scheduler::schedule::{Outcome, Scheduler, SchedulerConfig};
use kubewright_scheduler::testing::{NodeMaker, PodMaker, node, pod};
use serde_json::json;

struct Story {
    scheduler: Scheduler,
    now: Time,
    preemptions: Vec<Preemption>,
}

impl Story {
    fn new() -> Self {
        let profile = default_profile("default-scheduler").build().unwrap();
        let scheduler = Scheduler::new(SchedulerConfig::default(), vec![profile]).unwrap();
        Self { scheduler, now: Time::UNIX_EPOCH, preemptions: Vec::new() }
    }

    fn command(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (scheduler, now) = (&mut self.scheduler, self.now);
        match &words[..] {
            ["at", second] => {
                self.now = Time::from_second(second.parse().expect("a second")).unwrap();
                scheduler.tick(self.now);
            }
            ["node", name, settings @ ..] => scheduler.put_node(make_node(name, settings).build(), now),
            ["pod", name, settings @ ..] => scheduler.put_pod(make_pod(name, settings).build(), now),
            ["delete", "node", name] => scheduler.remove_node(name, now),
            ["delete", "pod", name] => scheduler.remove_pod(name, now),
            ["schedule"] => return self.schedule(),
            ["finish", "preemptions"] => return self.finish_preemptions(),
            ["queue"] => {
                let (active, backoff, unschedulable) = scheduler.queue().lengths();
                return format!("active {active}, back-off {backoff}, unschedulable {unschedulable}\n");
            }
            other => panic!("no such command: {other:?}"),
        }
        String::new()
    }

    fn schedule(&mut self) -> String {
        let mut told = String::new();
        while let Some(outcome) = self.scheduler.schedule_one(self.now) {
            match outcome {
                Outcome::Placed(placement) => {
                    let _ = writeln!(told, "{} -> {}", placement.pod.name, placement.node());
                    self.scheduler.bound(&placement, self.now);
                    self.scheduler.put_pod(PodInfo::clone(&placement.pod), self.now);
                }
                Outcome::Failed(failure) => {
                    let _ = writeln!(told, "{}: {}", failure.pod.name, failure.message);
                    for action in failure.actions {
                        if let Action::Preempt(preemption) = action {
                            let victims: Vec<&str> = preemption.victims.iter().map(|v| v.name.as_str()).collect();
                            let _ = writeln!(
                                told,
                                "{} preempts {} on {}",
                                failure.pod.name,
                                victims.join(", "),
                                preemption.node
                            );
                            self.preemptions.push(preemption);
                        }
                    }
                }
                Outcome::Skipped { pod, message } => {
                    let _ = writeln!(told, "{}: {}", pod.name, message.unwrap_or_default());
                }
                other => panic!("the default plugins never do this: {other:?}"),
            }
        }
        if told.is_empty() { "nothing\n".to_owned() } else { told }
    }

    fn finish_preemptions(&mut self) -> String {
        let mut told = String::new();
        for preemption in self.preemptions.drain(..) {
            for victim in &preemption.victims {
                let _ = writeln!(told, "{} is gone", victim.name);
                self.scheduler.remove_pod(&victim.uid, self.now);
            }
            self.scheduler.preempted(&preemption.preemptor, &preemption.victims, Ok(()), self.now);
        }
        told
    }
}

fn make_node(name: &str, settings: &[&str]) -> NodeMaker {
    let mut capacity = vec![("pods", "110")];
    let mut made = node(name);
    for setting in settings {
        let (key, value) = setting.split_once('=').unwrap_or((setting, ""));
        made = match key {
            "cpu" | "memory" | "pods" => {
                capacity.retain(|(own, _)| *own != key);
                capacity.push((key, value));
                made
            }
            "zone" => made.labels(&[("topology.kubernetes.io/zone", value)]),
            "label" => made.labels(&[value.split_once(':').expect("key:value")]),
            "taint" => {
                let (key, effect) = value.split_once(':').expect("key:effect");
                made.taints(&[(key, "", effect)])
            }
            "cordoned" => made.cordoned(true),
            other => panic!("a node has no {other}"),
        };
    }
    made.capacity(&capacity)
}

fn make_pod(name: &str, settings: &[&str]) -> PodMaker {
    let mut requests = Vec::new();
    let mut made = pod(name);
    for setting in settings {
        let (key, value) = setting.split_once('=').unwrap_or((setting, ""));
        let term = |value: &str| {
            let (app, topology) = value.split_once('@').expect("app@topology");
            json!([{"topologyKey": topology, "labelSelector": {"matchLabels": {"app": app}}}])
        };
        let required = "requiredDuringSchedulingIgnoredDuringExecution";
        made = match key {
            "cpu" | "memory" => {
                requests.push((key, value));
                made
            }
            "app" => made.labels(&[("app", value)]),
            "on" => made.on(value),
            "priority" => made.priority(value.parse().expect("a number")),
            "selects" => made.node_selector(&[value.split_once(':').expect("key:value")]),
            "tolerates" => made.tolerates(value, "", None),
            "port" => made.host_ports(&[value]),
            "gate" => made.gates(&[value]),
            "near" => made.affinity(json!({"podAffinity": {required: term(value)}})),
            "far" => made.affinity(json!({"podAntiAffinity": {required: term(value)}})),
            "spread" => {
                let (app, topology) = value.split_once('@').expect("app@topology");
                made.spread(&[json!({"maxSkew": 1, "topologyKey": topology, "whenUnsatisfiable": "DoNotSchedule",
                    "labelSelector": {"matchLabels": {"app": app}}})])
            }
            "never-preempts" => made.never_preempts(),
            other => panic!("a pod has no {other}"),
        };
    }
    made.requests(&requests)
}

/// The story as it went: every command with its answers below.
fn tell(text: &str) -> String {
    let mut story = Story::new();
    let mut told = String::new();
    for line in text.lines().filter(|line| !line.starts_with("  ")) {
        told.push_str(line);
        told.push('\n');
        if !line.trim().is_empty() && !line.starts_with('#') {
            for answer in story.command(line).lines() {
                let _ = writeln!(told, "  {answer}");
            }
        }
    }
    told
}

#[test]
fn every_story_goes_as_it_is_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut stories = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = Arc::new(entry.unwrap().path());
        if path.extension().is_none_or(|extension| extension != "story") {
            continue;
        }
        let written = std::fs::read_to_string(&*path).unwrap();
        let told = tell(&written);
        assert!(told == written, "{} goes otherwise:\n{told}", path.display());
        stories += 1;
    }
    assert!(stories >= 4, "only {stories} stories were found");
}
