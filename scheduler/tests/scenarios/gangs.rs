//! What kube-scheduler 1.36 did with pod groups drawn at random, held against what this scheduler does.
//!
//! Each line of `tests/upstream/gangs.jsonl` is a cluster, pods (some on nodes already), and a group that came last; then
//! which pods were bound, what the others and the group were told, and who went for them, two seconds later. Left out are
//! those where kube-scheduler did what this scheduler never does: it sent pods away for a group that did not fit all the
//! same (7 of 66), put a member beside another that repels it (2), or took back that a group was placed, as it had not
//! heard of its own word yet (2).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use kubewright_scheduler::framework::{Action, Preemption};
use kubewright_scheduler::object::{Node, PodGroup, PodInfo, Time};
use kubewright_scheduler::plugins::{GangScheduling, default_profile};
use kubewright_scheduler::schedule::{Outcome, Scheduler, SchedulerConfig};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Case {
    name: String,
    objects: Vec<Value>,
    pods: Vec<Value>,
    group: Value,
    answer: Answer,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Answer {
    pods: BTreeMap<String, Told>,
    group: Option<Condition>,
    gone: BTreeSet<String>,
}

/// Where a pod went, or what it was told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Told {
    node: String,
    reason: String,
    message: String,
    promised: String,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Condition {
    status: String,
    reason: String,
    message: String,
}

fn object<T: DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{error}: {value}"))
}

struct Replay {
    scheduler: Scheduler,
    pods: BTreeMap<String, Value>,
    group: Value,
    now: Time,
    found: Answer,
}

impl Replay {
    fn of(case: &Case, seed: u64) -> Answer {
        let profile = default_profile("default-scheduler").with(Arc::new(GangScheduling::new()), 0).build().unwrap();
        let config = SchedulerConfig { seed, ..SchedulerConfig::default() };
        let mut scheduler = Scheduler::new(config, vec![profile]).unwrap();
        let now = Time::UNIX_EPOCH;
        case.objects.iter().for_each(|value| scheduler.put_node(object::<Node>(value), now));
        case.pods.iter().for_each(|value| scheduler.put_pod(object::<PodInfo>(value), now));
        let name = |pod: &Value| pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let pods: BTreeMap<String, Value> = case.pods.iter().map(|pod| (name(pod), pod.clone())).collect();
        let waiting = pods.iter().filter(|(_, pod)| pod["spec"]["nodeName"].is_null());
        let told = waiting.map(|(name, _)| (name.clone(), Told::default())).collect();
        scheduler.put_pod_group(object::<PodGroup>(&case.group), now);
        let (group, found) = (case.group.clone(), Answer { pods: told, ..Answer::default() });
        let mut replay = Self { scheduler, pods, group, now, found };
        for second in 0..=2 {
            replay.now = Time::from_second(second).unwrap();
            replay.scheduler.tick(replay.now);
            while let Some(outcome) = replay.scheduler.schedule_one(replay.now) {
                replay.note(outcome);
            }
        }
        replay.found
    }

    /// Puts a pod's newer version, as the API server would have it.
    fn change(&mut self, name: &str, change: impl FnOnce(&mut Value)) {
        let pod = self.pods.get_mut(name).expect("it is known");
        change(pod);
        self.scheduler.put_pod(object::<PodInfo>(pod), self.now);
    }

    fn note(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Placed(placement) => {
                self.scheduler.bound(&placement, self.now);
                let (name, node) = (placement.pod.name.to_string(), placement.node().to_string());
                self.change(&name, |pod| pod["spec"]["nodeName"] = json!(node));
                self.found.pods.insert(name, Told { node, ..Told::default() });
            }
            Outcome::Failed(failure) => {
                let told = self.found.pods.entry(failure.pod.name.to_string()).or_default();
                told.reason = failure.reason.to_owned();
                told.message.clone_from(&failure.message);
                if let Some(node) = failure.nominated_node_name {
                    told.promised = node.to_string();
                }
                failure.actions.into_iter().for_each(|action| self.act(action));
            }
            Outcome::Group(tried) => tried.actions.into_iter().for_each(|action| self.act(action)),
            other => panic!("{other:?}"),
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Preempt(Preemption { preemptor, victims, .. }) => {
                for victim in &victims {
                    self.found.gone.insert(victim.name.to_string());
                    let condition =
                        json!([{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]);
                    self.change(&victim.name, |pod| {
                        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
                        pod["status"] = json!({"conditions": condition});
                    });
                }
                self.scheduler.preempted(&preemptor, &victims, Ok(()), self.now);
            }
            Action::UpdatePodGroupStatus { condition, .. } => {
                let status = if condition.status { "True" } else { "False" }.to_owned();
                let (reason, message) = (condition.reason.to_owned(), condition.message);
                let mut group = self.group.clone();
                let told = json!({"type": "PodGroupScheduled", "status": status, "reason": reason, "message": message});
                group["status"] = json!({"conditions": [told]});
                self.scheduler.put_pod_group(object::<PodGroup>(&group), self.now);
                self.found.group = Some(Condition { status, reason, message });
            }
            _ => {}
        }
    }
}

#[test]
fn kube_scheduler_does_the_same_with_groups() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/upstream/gangs.jsonl");
    let (mut tried, mut wrong) = (0, Vec::new());
    for line in std::fs::read_to_string(file).unwrap().lines() {
        let case: Case = serde_json::from_str(line).unwrap();
        tried += 1;
        // Where nodes are equally good, either scheduler draws one.
        let found: Vec<Answer> = (0..16).map(|seed| Replay::of(&case, seed)).collect();
        if !found.contains(&case.answer) {
            wrong.push(format!("{}: {:#?}\n  instead of {:#?}", case.name, found[0], case.answer));
        }
    }
    assert!(tried > 0 && wrong.is_empty(), "{} of {tried} groups fare otherwise:\n{}", wrong.len(), wrong.join("\n"));
}
