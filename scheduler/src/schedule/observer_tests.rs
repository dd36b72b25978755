//! What an observer sees, and that it changes nothing.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::framework::{
    ActionType, EventResource, Hint, Interest, Observer, PermitOutcome, PermitPlugin, Plugin, Seen, Status,
};
use crate::object::{Name, PodInfo, Time};
use crate::plugins::default_profile;
use crate::testing::{PodMaker, node, pod};

fn at(second: i64) -> Time {
    Time::from_second(second).unwrap()
}

/// A clock that goes on by a millisecond with every look, and a list of what was seen.
#[derive(Default)]
struct Log {
    looks: AtomicI64,
    seen: Mutex<Vec<String>>,
}

impl Observer for Log {
    fn now(&self) -> Time {
        Time::from_millisecond(self.looks.fetch_add(1, Ordering::Relaxed)).unwrap()
    }

    fn observe(&self, seen: Seen<'_>) {
        let line = match seen {
            Seen::ExtensionPoint { point, status, profile, seconds } => {
                assert!(profile == "default-scheduler" && seconds > 0.0);
                format!("point {point} {status}")
            }
            Seen::Plugin { plugin, point, status, seconds } => {
                assert!(seconds > 0.0);
                format!("plugin {plugin} {point} {status}")
            }
            Seen::Hint { plugin, event, hint, .. } => format!("hint {plugin} {event} {hint:?}"),
            Seen::Handled { event, .. } => format!("handled {event}"),
            Seen::Queued { queue, cause } => format!("{queue} {cause}"),
            Seen::PermitWait { status, seconds } => format!("waited {seconds} s: {status}"),
            Seen::NodeHint { hinted, .. } => format!("hinted {hinted}"),
            Seen::Kept { .. } => "kept".to_owned(),
            Seen::Flushed { reason, .. } => format!("flushed {reason}"),
        };
        self.seen.lock().unwrap().push(line);
    }
}

impl Log {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    #[track_caller]
    fn saw(&self, expected: &[&str]) {
        let seen = self.take();
        for one in expected {
            assert!(seen.iter().any(|line| line == one), "{one} is not among {seen:#?}");
        }
    }
}

/// Lets pods with a label wait for somebody, and hears of nodes that come.
struct Usher;

impl Plugin for Usher {
    fn name(&self) -> &'static str {
        "Usher"
    }

    fn events(&self) -> Vec<Interest> {
        vec![Interest::hinted(EventResource::Node, ActionType::ADD, |_, _| Hint::Queue)]
    }

    fn permit(self: Arc<Self>) -> Option<Arc<dyn PermitPlugin>> {
        Some(self)
    }
}

impl PermitPlugin for Usher {
    fn permit(
        &self,
        _: &mut crate::framework::CycleState,
        pod: &PodInfo,
        _: &Name,
        _: &crate::queue::Gangs,
    ) -> Result<PermitOutcome, Status> {
        match pod.labels.get("waits").map(Name::as_str) {
            Some("no") => Err(Status::unschedulable("not now")),
            Some(_) => Ok(PermitOutcome::Wait(Duration::from_secs(10))),
            None => Ok(PermitOutcome::Allow),
        }
    }
}

fn scheduler(observer: Option<&Arc<Log>>) -> Scheduler {
    let profile = default_profile("default-scheduler").with(Arc::new(Usher), 0).build().unwrap();
    let mut s = Scheduler::new(SchedulerConfig::default(), vec![profile]).unwrap();
    if let Some(log) = observer {
        s.observe_with(log.clone());
    }
    for name in ["a", "b"] {
        s.put_node(node(name).capacity(&[("cpu", "100"), ("pods", "1000")]).build(), at(0));
    }
    s
}

fn asks(name: &str) -> PodMaker {
    pod(name).requests(&[("cpu", "100m")])
}

#[test]
fn points_are_seen_always_and_plugins_in_one_cycle_of_ten() {
    let log = Arc::new(Log::default());
    let mut s = scheduler(Some(&log));
    log.saw(&["handled NodeAdd"]);
    for number in 1..=20 {
        // Each of another kind, so that nothing kept decides.
        s.put_pod(asks(&format!("p{number}")).priority(number).build(), at(0));
        assert!(matches!(s.schedule_one(at(0)), Some(Outcome::Placed(_))));
        let seen = log.take();
        let has = |line: &str| seen.iter().any(|own| own == line);
        for point in ["PreEnqueue", "PreFilter", "Filter", "PreScore", "Score", "Reserve", "Permit"] {
            assert!(has(&format!("point {point} Success")), "{number}: {seen:#?}");
        }
        assert!(has("active UnschedulablePodAdd") && has("handled UnschedulablePodAdd") && has("hinted false"));
        assert_eq!(has("plugin NodeResourcesFit Filter Success"), number % 10 == 0, "{number}: {seen:#?}");
        assert_eq!(has("plugin NodeResourcesFit Score Success"), number % 10 == 0);
        assert_eq!(has("plugin NodeAffinity PreFilter Skip"), number % 10 == 0);
    }
    let profile = s.profiles().next().unwrap();
    let filtered: Vec<u64> = profile
        .evaluations()
        .filter(|(point, plugin, _)| *point == "Filter" && **plugin == *"NodeResourcesFit")
        .map(|(.., count)| count)
        .collect();
    assert_eq!(filtered, [40], "twenty pods, two nodes");
}

#[test]
fn what_is_kept_and_what_it_decides_is_seen() {
    let log = Arc::new(Log::default());
    let mut s = scheduler(Some(&log));
    for number in 0..3 {
        s.put_pod(asks(&format!("p{number}")).build(), at(0));
        s.schedule_one(at(0));
    }
    let seen = log.take();
    let hints: Vec<&str> =
        seen.iter().map(String::as_str).filter(|l| l.starts_with("hinted") || *l == "kept").collect();
    assert_eq!(hints, ["hinted false", "kept", "hinted true", "hinted true"]);
    s.put_node(node("c").build(), at(0));
    s.put_pod(asks("p3").build(), at(0));
    s.schedule_one(at(0));
    log.saw(&["flushed node_missing"]);
}

#[test]
fn the_ways_of_pods_are_seen() {
    let log = Arc::new(Log::default());
    let mut s = scheduler(Some(&log));
    s.put_pod(asks("waits").labels(&[("waits", "yes")]).build(), at(0));
    assert!(matches!(s.schedule_one(at(0)), Some(Outcome::Waiting(_))));
    log.saw(&["point Permit Wait"]);
    s.permit("waits", "Usher");
    assert_eq!(s.take_permitted(at(4)).len(), 1);
    log.saw(&["waited 4 s: Success"]);
    s.put_pod(asks("late").labels(&[("waits", "yes")]).build(), at(10));
    s.schedule_one(at(10));
    assert!(matches!(&s.take_permitted(at(20))[..], [Outcome::Failed(_)]));
    log.saw(&["waited 10 s: Unschedulable", "unschedulable ScheduleAttemptFailure", "point Unreserve Success"]);
    s.put_node(node("c").build(), at(21));
    log.saw(&["hint Usher NodeAdd Queue", "backoff NodeAdd", "handled NodeAdd"]);
    s.remove_pod("late", at(21));
    log.saw(&["handled UnschedulablePodDelete"]);
    s.put_pod(asks("refused").labels(&[("waits", "no")]).build(), at(21));
    assert!(matches!(s.schedule_one(at(21)), Some(Outcome::Failed(_))));
    s.tick(at(1000));
    log.saw(&["point Permit Unschedulable", "active UnschedulableTimeout"]);
    assert!(s.activate("refused", at(1000)) || s.queue().lengths().0 == 1);
}

#[test]
fn being_observed_changes_nothing() {
    let run = |observer: Option<&Arc<Log>>| {
        let mut s = scheduler(observer);
        let mut told = Vec::new();
        for number in 0..50 {
            let kind = if number % 3 == 0 { asks(&format!("p{number}")) } else { pod(&format!("p{number}")) };
            s.put_pod(kind.build(), at(0));
            if let Some(Outcome::Placed(placement)) = s.schedule_one(at(0)) {
                told.push(placement.node().to_string());
            }
        }
        told
    };
    let (with, without) = (run(Some(&Arc::default())), run(None));
    assert_eq!((with.len(), with), (50, without));
}
