use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::cache::{NodeInfo, Snapshot};
use crate::framework::{
    Action, CycleState, FilterPlugin, PermitOutcome, PermitPlugin, Plugin, PreFilterOutcome, PreFilterPlugin,
    ReservePlugin, Status,
};
use crate::object::{Name, PodInfo, Time};
use crate::plugins::default_profile;
use crate::queue::Gangs;
use crate::testing::{NodeMaker, PodMaker, node, pod};

pub(super) fn at(second: i64) -> Time {
    Time::from_second(second).unwrap()
}

pub(super) fn scheduler_with(plugins: Vec<Arc<dyn Plugin>>) -> Scheduler {
    let builder = plugins.into_iter().fold(default_profile("default-scheduler"), |b, plugin| b.with(plugin, 1));
    Scheduler::new(SchedulerConfig::default(), vec![builder.build().unwrap()]).unwrap()
}

fn scheduler() -> Scheduler {
    scheduler_with(Vec::new())
}

pub(super) fn small(name: &str) -> NodeMaker {
    node(name).capacity(&[("cpu", "2"), ("memory", "4Gi"), ("pods", "10")])
}

pub(super) fn asks(name: &str, cpu: &str) -> PodMaker {
    pod(name).requests(&[("cpu", cpu)])
}

#[track_caller]
pub(super) fn placed(scheduler: &mut Scheduler, now: Time) -> Box<Placement> {
    match scheduler.schedule_one(now) {
        Some(Outcome::Placed(placement)) => placement,
        other => panic!("not placed: {other:?}"),
    }
}

#[track_caller]
pub(super) fn failed(scheduler: &mut Scheduler, now: Time) -> Box<Failure> {
    match scheduler.schedule_one(now) {
        Some(Outcome::Failed(failure)) => failure,
        other => panic!("not failed: {other:?}"),
    }
}

#[test]
fn priorities_go_first_and_bindings_are_posted() {
    let mut s = scheduler();
    s.put_node(small("n").build(), at(0));
    s.put_pod(asks("later", "1").build(), at(0));
    s.put_pod(asks("first", "1").priority(10).build(), at(1));
    let placement = placed(&mut s, at(2));
    assert_eq!(placement.pod.name, "first");
    let actions = s.binding(&placement).unwrap();
    assert!(matches!(&actions[..], [Action::Bind { node, .. }] if *node == "n"));
    s.bound(&placement, at(2));
    s.put_pod(asks("first", "1").priority(10).on("n").build(), at(2));
    assert!(!s.cache().is_assumed("first"));
    assert_eq!(placed(&mut s, at(2)).pod.name, "later");
    assert!(s.schedule_one(at(2)).is_none());
}

#[test]
fn a_pod_that_fits_nowhere_says_why_and_waits_for_news() {
    let mut s = scheduler();
    s.put_pod(asks("p", "2").build(), at(0));
    assert_eq!(failed(&mut s, at(0)).message, "no nodes available to schedule pods");
    let nodes = [small("a").taints(&[("k", "v", "NoSchedule")]), small("b"), small("c").cordoned(true)];
    for (n, on) in nodes.into_iter().zip(["a", "b", "c"]) {
        s.put_node(n.build(), at(1));
        s.put_pod(asks(&format!("on-{on}"), "1").on(on).build(), at(1));
    }
    let failure = failed(&mut s, at(10));
    let why = "0/3 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable.";
    let preemption = "no new claims to deallocate, preemption: 0/3 nodes are available: 1 No preemption victims found for incoming pod, 2 Preemption is not helpful for scheduling.";
    assert_eq!(failure.message, format!("{why} {preemption}"));
    assert_eq!(failure.reason, Failure::UNSCHEDULABLE);
    assert!(s.schedule_one(at(100)).is_none(), "nothing happened");
    s.put_pod(pod("unrelated").on("b").build(), at(100));
    assert!(s.schedule_one(at(100)).is_none(), "nothing that matters happened");
    s.remove_pod("on-b", at(101));
    assert_eq!(placed(&mut s, at(101)).node(), "b");
}

#[test]
fn being_told_why_is_no_news() {
    let mut s = scheduler();
    s.put_node(small("n").build(), at(0));
    s.put_pod(asks("p", "3").build(), at(0));
    failed(&mut s, at(0));
    let mut told = asks("p", "3").build();
    told.resource_version = "2".into();
    s.put_pod(told, at(1));
    assert!(s.schedule_one(at(1)).is_none());
}

#[test]
fn waiting_too_long_is_news_enough() {
    let mut s = scheduler();
    s.put_node(small("n").build(), at(0));
    s.put_pod(asks("p", "3").build(), at(0));
    failed(&mut s, at(0));
    s.tick(at(299));
    assert!(s.schedule_one(at(299)).is_none());
    s.tick(at(301));
    failed(&mut s, at(301));
}

#[test]
fn backoff_grows_but_is_cut_short_when_idle() {
    let mut config = SchedulerConfig::default();
    config.queue.pop_from_backoff = false;
    let mut s = Scheduler::new(config, vec![default_profile("default-scheduler").build().unwrap()]).unwrap();
    s.put_node(small("n").build(), at(0));
    s.put_pod(asks("p", "3").build(), at(0));
    let mut now = 0;
    for wait in [1, 2, 4, 8, 10, 10] {
        failed(&mut s, at(now));
        s.put_node(node(&format!("n{now}")).taints(&[("k", "v", "NoSchedule")]).build(), at(now));
        assert!(s.schedule_one(at(now + wait)).is_none(), "still held back after {wait} s");
        now += wait + 1;
    }
    let mut s = scheduler();
    s.put_node(small("n").build(), at(0));
    s.put_pod(asks("p", "3").build(), at(0));
    failed(&mut s, at(0));
    s.put_node(node("m").build(), at(0));
    assert_eq!(placed(&mut s, at(0)).node(), "m");
}

#[test]
fn gates_keep_pods_out_until_lifted() {
    let mut s = scheduler();
    s.put_node(small("n").build(), at(0));
    s.put_pod(asks("p", "1").gates(&["g"]).build(), at(0));
    assert!(s.schedule_one(at(0)).is_none());
    assert_eq!(s.queue().gated(), 1);
    s.put_node(small("m").build(), at(1));
    assert!(s.schedule_one(at(1)).is_none());
    s.put_pod(asks("p", "1").build(), at(2));
    assert_eq!(placed(&mut s, at(2)).pod.name, "p");
}

#[test]
fn a_failed_binding_gives_the_room_back() {
    let mut s = scheduler();
    s.put_node(small("n").build(), at(0));
    s.put_pod(asks("p", "2").build(), at(0));
    let placement = placed(&mut s, at(0));
    assert_eq!(s.snapshot().node("n").unwrap().requested.cpu, 2000);
    let failure = s.binding_failed(*placement, Status::error("connection refused"), at(0));
    assert_eq!((failure.reason, failure.message.as_str()), (Failure::SCHEDULER_ERROR, "connection refused"));
    assert_eq!(s.snapshot().node("n").unwrap().requested.cpu, 0);
    assert!(s.schedule_one(at(1)).is_none(), "errors are backed off, even when idle");
    placed(&mut s, at(3));
}

#[test]
fn deleted_pods_and_other_schedulers_pods_are_left_alone() {
    let mut s = scheduler();
    s.put_node(small("n").build(), at(0));
    s.put_pod(asks("other", "1").scheduler("other").build(), at(0));
    assert!(s.schedule_one(at(0)).is_none());
    s.put_pod(asks("p", "1").deleted().build(), at(0));
    assert!(matches!(s.schedule_one(at(0)), Some(Outcome::Skipped { message: Some(m), .. })
        if m == "skip schedule deleting pod: default/p"));
    s.put_pod(asks("q", "2").build(), at(0));
    let _bound = placed(&mut s, at(0));
    s.remove_pod("q", at(1));
    assert_eq!(s.snapshot().node("n").unwrap().pods.len(), 0, "its room is free again");
}

#[test]
fn preemption_makes_room_and_the_preemptor_gets_it() {
    let mut s = scheduler();
    s.put_node(small("n").build(), at(0));
    s.put_pod(asks("low", "2").on("n").build(), at(0));
    s.put_pod(asks("high", "2").priority(100).build(), at(0));
    let failure = failed(&mut s, at(0));
    assert_eq!(failure.message, "0/1 nodes are available: 1 Insufficient cpu.");
    assert_eq!(failure.nominated_node_name.as_deref(), Some("n"));
    let preemption = failure.actions.iter().find_map(|action| match action {
        Action::Preempt(preemption) => Some(preemption.clone()),
        _ => None,
    });
    let preemption = preemption.expect("victims");
    assert_eq!(preemption.victims[0].name, "low");
    s.put_pod(asks("late", "2").priority(50).build(), at(1));
    assert_eq!(failed(&mut s, at(1)).pod.name, "late");
    s.remove_pod("low", at(2));
    s.preempted(&preemption.preemptor, &preemption.victims, Ok(()), at(2));
    let placement = placed(&mut s, at(2));
    assert_eq!(placement.pod.name, "high");
}

struct HoldsBack;

impl Plugin for HoldsBack {
    fn name(&self) -> &'static str {
        "HoldsBack"
    }

    fn permit(self: Arc<Self>) -> Option<Arc<dyn PermitPlugin>> {
        Some(self)
    }
}

impl PermitPlugin for HoldsBack {
    fn permit(&self, _: &mut CycleState, _: &PodInfo, _: &Name, _: &Gangs) -> Result<PermitOutcome, Status> {
        Ok(PermitOutcome::Wait(Duration::from_secs(10)))
    }
}

#[test]
fn permission_can_be_waited_for() {
    let mut s = scheduler_with(vec![Arc::new(HoldsBack)]);
    s.put_node(small("n").build(), at(0));
    s.put_pod(asks("a", "1").build(), at(0));
    s.put_pod(asks("b", "1").build(), at(0));
    for _ in 0..2 {
        assert!(matches!(s.schedule_one(at(0)), Some(Outcome::Waiting(_))));
    }
    assert!(s.take_permitted(at(1)).is_empty());
    s.permit("a", "HoldsBack");
    assert!(matches!(&s.take_permitted(at(1))[..], [Outcome::Placed(p)] if p.pod.name == "a"));
    let late = s.take_permitted(at(10));
    let [Outcome::Failed(failure)] = &late[..] else { panic!("{late:?}") };
    let why = "rejected due to timeout after waiting at plugin HoldsBack";
    assert_eq!(failure.message, format!("0/1 nodes are available: 1 {why}."));
}

#[test]
fn room_that_a_waiting_pod_gives_up_is_told_to_others() {
    let mut s = scheduler_with(vec![Arc::new(HoldsBack)]);
    s.put_node(small("n").build(), at(0));
    s.put_pod(asks("a", "2").build(), at(0));
    s.put_pod(asks("b", "2").build(), at(0));
    assert!(matches!(s.schedule_one(at(0)), Some(Outcome::Waiting(_))));
    failed(&mut s, at(0));
    let failure = s.reject("a", &"HoldsBack".into(), "no", at(2)).unwrap();
    assert_eq!(failure.message, "0/1 nodes are available: 1 no.");
    assert!(matches!(s.schedule_one(at(2)), Some(Outcome::Waiting(pod)) if pod.name == "b"));
    let failure = s.preempt_waiting("b", at(3)).unwrap();
    assert_eq!((failure.reason, &*failure.message), (Failure::SCHEDULER_ERROR, "preempted"));
    assert!(s.preempt_waiting("b", at(3)).is_none());
}

#[test]
fn what_if_changes_nothing_and_explains() {
    let mut s = scheduler();
    s.put_node(small("a").build(), at(0));
    s.put_node(small("b").taints(&[("k", "v", "NoSchedule")]).build(), at(0));
    let mut what_if = s.what_if();
    let two = Arc::new(asks("p", "2").build());
    assert!(matches!(what_if.place(&two), Trial::Fits(decision) if decision.node == "a"));
    assert!(matches!(what_if.try_pod(&two), Trial::DoesNotFit(_)));
    let answers = what_if.explain(&two).unwrap();
    assert_eq!(answers["a"].as_ref().unwrap_err().message(), "Insufficient cpu");
    assert_eq!(answers["b"].as_ref().unwrap_err().message(), "node(s) had untolerated taint(s)");
    assert_eq!(s.snapshot().node("a").unwrap().pods.len(), 0);
    let parts = s.what_if().explain(&two).unwrap();
    assert!(parts["a"].as_ref().unwrap().iter().any(|part| part.plugin == "NodeResourcesFit"));
}

#[test]
fn what_if_makes_room_and_takes_it_back() {
    let profile = default_profile("default-scheduler").build().unwrap();
    let mut s = Scheduler::new(SchedulerConfig::default(), vec![profile]).unwrap();
    s.put_node(node("n").capacity(&[("cpu", "1"), ("pods", "10")]).build(), at(0));
    s.put_node(node("t").taints(&[("k", "v", "NoSchedule")]).capacity(&[("pods", "0")]).build(), at(0));
    s.put_pod(pod("low").requests(&[("cpu", "1")]).on("n").build(), at(0));
    let mut fork = s.what_if();
    let high = Arc::new(pod("high").requests(&[("cpu", "1")]).priority(10).build());
    fork.mark();
    let Ok(Room::Made(preemption)) = fork.preempt(&high) else { panic!("low can go") };
    assert_eq!((preemption.node.as_str(), preemption.victims[0].name.as_str()), ("n", "low"));
    assert_eq!(fork.snapshot().node("n").unwrap().pods[0].name, "high");
    assert!(matches!(fork.preempt(&Arc::new(pod("l").requests(&[("cpu", "1")]).build())), Ok(Room::None(_))));
    assert!(fork.roll_back());
    assert_eq!(fork.snapshot().node("n").unwrap().pods[0].name, "low");
    assert!(!fork.roll_back(), "there was one mark");
    let reasons = fork.every_reason(&high).unwrap();
    let told = |node: &str| reasons[node].iter().map(Status::message).collect::<Vec<_>>();
    assert_eq!(told("n"), ["Insufficient cpu"]);
    assert_eq!(told("t"), ["node(s) had untolerated taint(s)", "Too many pods, Insufficient cpu"]);
    assert_eq!(s.snapshot().node("n").unwrap().pods[0].name, "low", "nothing reaches the scheduler");
}

/// Goes wrong at one extension point.
struct Faulty(&'static str);

impl Plugin for Faulty {
    fn name(&self) -> &str {
        "Faulty"
    }

    fn pre_filter(self: Arc<Self>) -> Option<Arc<dyn PreFilterPlugin>> {
        (self.0 == "PreFilter").then_some(self)
    }

    fn filter(self: Arc<Self>) -> Option<Arc<dyn FilterPlugin>> {
        (self.0 == "Filter").then_some(self)
    }

    fn reserve(self: Arc<Self>) -> Option<Arc<dyn ReservePlugin>> {
        (self.0 == "Reserve").then_some(self)
    }

    fn permit(self: Arc<Self>) -> Option<Arc<dyn PermitPlugin>> {
        (self.0 == "Permit").then_some(self)
    }
}

impl PreFilterPlugin for Faulty {
    fn pre_filter(&self, _: &mut CycleState, pod: &PodInfo, _: &Snapshot) -> Result<PreFilterOutcome, Status> {
        assert!(pod.name != "bad", "PreFilter broke");
        Ok(PreFilterOutcome::Skip)
    }
}

impl FilterPlugin for Faulty {
    fn filter(&self, _: &CycleState, pod: &PodInfo, _: &NodeInfo) -> Result<(), Status> {
        assert!(pod.name != "bad", "Filter broke");
        Ok(())
    }
}

impl ReservePlugin for Faulty {
    fn reserve(&self, _: &mut CycleState, pod: &PodInfo, _: &Name) -> Result<(), Status> {
        assert!(pod.name != "bad", "Reserve broke");
        Ok(())
    }

    fn unreserve(&self, _: &mut CycleState, _: &PodInfo, _: &Name) {}
}

impl PermitPlugin for Faulty {
    fn permit(&self, _: &mut CycleState, pod: &PodInfo, _: &Name, _: &Gangs) -> Result<PermitOutcome, Status> {
        assert!(pod.name != "bad", "Permit broke");
        Ok(PermitOutcome::Allow)
    }
}

#[test]
fn a_plugin_that_panics_fails_its_pod_and_no_other() {
    for point in ["PreFilter", "Filter", "Reserve", "Permit"] {
        let profile = default_profile("default-scheduler").with(Arc::new(Faulty(point)), 1).build().unwrap();
        let mut s = Scheduler::new(SchedulerConfig::default(), vec![profile]).unwrap();
        s.put_node(node("n").build(), at(0));
        s.put_pod(pod("bad").build(), at(0));
        s.put_pod(pod("good").build(), at(0));
        let Some(Outcome::Failed(failure)) = s.schedule_one(at(0)) else { panic!("{point} panics") };
        assert_eq!(failure.reason, Failure::SCHEDULER_ERROR);
        assert_eq!(failure.message, format!("a plugin panicked: {point} broke"));
        assert!(matches!(s.schedule_one(at(0)), Some(Outcome::Placed(_))), "others go on after {point}");
        assert_eq!(s.cache().pod_count(), 1, "nothing is left of the failed one after {point}");
    }
}
