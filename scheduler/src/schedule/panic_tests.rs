//! Plugins that panic: their pod fails, or is left alone, and scheduling goes on.

use std::sync::Arc;

use super::tests::{asks, at, failed, placed, scheduler_with, small};
use super::*;
use crate::cache::{NodeInfo, Objects, Snapshot};
use crate::framework::{CycleState, Plugin, PostBindPlugin, ReservePlugin, ScorePlugin, Status};
use crate::object::{Name, PodInfo};

struct Misbehaves(i64);

impl Plugin for Misbehaves {
    fn name(&self) -> &'static str {
        "Misbehaves"
    }

    fn score(self: Arc<Self>) -> Option<Arc<dyn ScorePlugin>> {
        Some(self)
    }
}

impl ScorePlugin for Misbehaves {
    fn score(&self, _: &CycleState, _: &PodInfo, _: &NodeInfo, _: &Snapshot) -> Result<i64, Status> {
        assert!(self.0 >= 0, "a bug");
        Ok(self.0)
    }
}

#[test]
fn a_broken_plugin_fails_the_pod_and_nothing_else() {
    for (score, why) in [(-1, "a plugin panicked: a bug"), (101, "returns an invalid score 101")] {
        let mut s = scheduler_with(vec![Arc::new(Misbehaves(score))]);
        s.put_node(small("a").build(), at(0));
        s.put_node(small("b").build(), at(0));
        s.put_pod(asks("p", "1").build(), at(0));
        let failure = failed(&mut s, at(0));
        assert_eq!(failure.reason, Failure::SCHEDULER_ERROR);
        assert!(failure.message.contains(why), "{}", failure.message);
        s.remove_node("b", at(0));
        s.put_pod(asks("q", "1").build(), at(0));
        placed(&mut s, at(0));
    }
}

/// Panics when a pod is given up, and when one was bound.
struct NoWayBack;

impl Plugin for NoWayBack {
    fn name(&self) -> &'static str {
        "NoWayBack"
    }

    fn reserve(self: Arc<Self>) -> Option<Arc<dyn ReservePlugin>> {
        Some(self)
    }

    fn post_bind(self: Arc<Self>) -> Option<Arc<dyn PostBindPlugin>> {
        Some(self)
    }
}

impl ReservePlugin for NoWayBack {
    fn reserve(&self, _: &mut CycleState, pod: &PodInfo, _: &Name) -> Result<(), Status> {
        assert!(pod.name != "p", "no place");
        Ok(())
    }

    fn unreserve(&self, _: &mut CycleState, _: &PodInfo, _: &Name) {
        panic!("no way back");
    }

    fn strike(&self, _: &mut CycleState, _: &PodInfo, _: &Name, _: &mut Objects) {
        panic!("no way back");
    }
}

impl PostBindPlugin for NoWayBack {
    fn post_bind(&self, _: &PodInfo, _: &Name) {
        panic!("no wish to know");
    }
}

#[test]
fn what_panics_while_a_pod_is_given_up_or_after_it_was_bound_harms_nobody() {
    let mut s = scheduler_with(vec![Arc::new(NoWayBack)]);
    s.put_node(small("n").build(), at(0));
    s.put_pod(asks("p", "2").build(), at(0));
    let failure = failed(&mut s, at(0));
    assert_eq!(failure.reason, Failure::SCHEDULER_ERROR);
    assert!(failure.message.contains("a plugin panicked: no place"), "{}", failure.message);
    assert_eq!(s.snapshot().node("n").unwrap().pods.len(), 0, "nothing is left of it");
    s.put_pod(asks("q", "2").build(), at(0));
    let placement = placed(&mut s, at(0));
    let failure = s.binding_failed(*placement, Status::error("no answer"), at(0));
    assert_eq!(failure.message, "no answer");
    s.remove_pod("q", at(1));
    s.put_pod(asks("r", "2").build(), at(1));
    let placement = placed(&mut s, at(1));
    s.bound(&placement, at(1));
    assert!(s.cache().is_assumed("r"));
}
