//! Plugins that panic while the queue asks them: pods wait on, and nothing is lost.

use super::tests::{at, fail, made, queue_of, whereabouts};
use super::*;
use crate::framework::{ActionType, EventResource, Hint, Interest, PreEnqueuePlugin, Status};
use crate::testing::pod;

struct Broken;

impl PreEnqueuePlugin for Broken {
    fn pre_enqueue(&self, pod: &PodInfo, _: &Gangs) -> Result<(), Status> {
        assert!(pod.name != "p", "no idea");
        Ok(())
    }
}

impl QueueSortPlugin for Broken {
    fn less(&self, _: &QueuedPod, _: &QueuedPod) -> bool {
        panic!("no order")
    }
}

#[test]
fn a_door_that_panics_stays_shut() {
    let profile =
        QueueProfile { pre_enqueue: vec![(Name::from("Broken"), Arc::new(Broken))], ..QueueProfile::default() };
    let mut queue = queue_of(QueueConfig::default(), profile);
    queue.add(made(pod("p")), at(0));
    queue.add(made(pod("q")), at(0));
    assert_eq!((whereabouts(&queue, "p"), whereabouts(&queue, "q")), ("unschedulable", "active"));
    assert_eq!(queue.get("p").unwrap().gating_plugin.as_deref(), Some("Broken"));
}

#[test]
fn a_hint_that_panics_counts_as_news() {
    let changed = ActionType::UPDATE_NODE_LABEL;
    let panics = |_: &PodInfo, _: &Object| -> Hint { panic!("no hint") };
    let interests = vec![Interest::hinted(EventResource::Node, changed, panics)];
    let profile = QueueProfile { interests: vec![(Name::from("Broken"), interests)], ..QueueProfile::default() };
    let mut queue = queue_of(QueueConfig::default(), profile);
    queue.add(made(pod("p")), at(0));
    fail(&mut queue, "p", &["Broken"], at(0));
    assert_eq!(whereabouts(&queue, "p"), "unschedulable");
    queue.on_event(ClusterEvent::new(EventResource::Node, changed), &Object::Other, at(5000));
    assert_eq!(whereabouts(&queue, "p"), "active");
}

#[test]
fn without_an_order_pods_go_in_any() {
    let profile = QueueProfile::default();
    let mut queue = queue_of(QueueConfig::default(), profile);
    queue.sort = Arc::new(Broken);
    for name in ["a", "b", "c", "d"] {
        queue.add(made(pod(name)), at(0));
    }
    assert!(queue.remove("b").is_some());
    let mut popped: Vec<String> = std::iter::from_fn(|| queue.pop(at(1))).map(|own| own.pod.name.to_string()).collect();
    popped.sort();
    assert_eq!(popped, ["a", "c", "d"], "nothing is lost");
}
