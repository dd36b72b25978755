//! Plugins that keep pods out, case by case as upstream has it.

use super::tests::{at, fail, made, queue_of, whereabouts};
use super::*;
use crate::framework::{PreEnqueuePlugin, Status};
use crate::testing::pod;

/// Keeps out all pods without one of its labels.
struct Door(&'static [&'static str]);

impl PreEnqueuePlugin for Door {
    fn pre_enqueue(&self, pod: &PodInfo, _: &Gangs) -> Result<(), Status> {
        match self.0.iter().any(|label| pod.labels.get(label).is_some()) {
            true => Ok(()),
            false => Err(Status::unresolvable("not let in")),
        }
    }
}

fn doors(doors: Vec<Door>) -> QueueProfile {
    let named = |(number, door): (usize, Door)| {
        let door: Arc<dyn PreEnqueuePlugin> = Arc::new(door);
        (Name::from(format!("door-{number}")), door)
    };
    QueueProfile { pre_enqueue: doors.into_iter().enumerate().map(named).collect(), ..QueueProfile::default() }
}

#[test]
fn doors_are_asked_on_the_way_in() {
    let open = || vec![Door(&["x", "y"]), Door(&["y"])];
    for (all, label, gate) in [
        (vec![], "x", None),
        (vec![Door(&[]), Door(&[])], "x", Some("door-0")),
        (open(), "x", Some("door-1")),
        (open(), "y", None),
    ] {
        let mut queue = queue_of(QueueConfig::default(), doors(all));
        queue.add(made(pod("p").labels(&[(label, "")]).nominated("n")), at(0));
        let expected = if gate.is_some() { "unschedulable" } else { "active" };
        assert_eq!(whereabouts(&queue, "p"), expected, "{label}");
        assert_eq!(queue.get("p").unwrap().gating_plugin.as_deref(), gate);
        assert_eq!(queue.gated(), usize::from(gate.is_some()));
        assert_eq!(queue.nominator.node_of("p").is_some(), gate.is_none(), "a promise counts for who may be tried");
        assert!(!queue.activate("p", at(0)), "neither who is active already nor who is kept out");
        assert_eq!(whereabouts(&queue, "p"), expected, "{label}");
        // An update that no door looks at leaves it where it is.
        queue.update(&made(pod("p")), made(pod("p").labels(&[(label, ""), ("more", "")])), at(0));
        assert_eq!(whereabouts(&queue, "p"), expected, "{label}");
    }
}

#[test]
fn who_may_leave_backoff_early_is_asked_before_it_goes_there() {
    for (early, on_the_way, after) in [(true, "unschedulable", "unschedulable"), (false, "backoff", "unschedulable")] {
        let config = QueueConfig { pop_from_backoff: early, ..QueueConfig::default() };
        let mut queue = queue_of(config, doors(vec![Door(&["open"])]));
        queue.add(made(pod("p").labels(&[("open", "")])), at(0));
        let mut popped = queue.pop(at(0)).unwrap();
        // The door closed meanwhile.
        popped.pod = made(pod("p"));
        queue.add_unschedulable(popped, at(0));
        assert_eq!(whereabouts(&queue, "p"), on_the_way, "early: {early}");
        queue.flush(at(5000));
        assert_eq!(whereabouts(&queue, "p"), after, "early: {early}");
    }
    // Whoever is in back-off by then is not asked again.
    for (early, expected) in [(true, "active"), (false, "unschedulable")] {
        let config = QueueConfig { pop_from_backoff: early, ..QueueConfig::default() };
        let mut queue = queue_of(config, doors(vec![Door(&["open"])]));
        queue.add(made(pod("p").labels(&[("open", "")])), at(0));
        fail(&mut queue, "p", &[], at(0));
        assert_eq!(whereabouts(&queue, "p"), "backoff");
        queue.update(&made(pod("p")), made(pod("p")), at(0));
        assert_eq!(queue.activate("p", at(0)), early);
        assert_eq!(whereabouts(&queue, "p"), expected, "early: {early}");
    }
}
