//! What the scheduler is told of the cluster.

use std::sync::Arc;

use super::{Failure, Scheduler};
use crate::cache::extended_uid;
use crate::framework::{ActionType, ClusterEvent, EventResource, Object, Seen, Status, node_changes, pod_changes};
use crate::object::{Budget, Name, Namespace, Node, PodGroup, PodInfo, Time, Workload, WorkloadKind};
use crate::queue::Stage;

impl Scheduler {
    /// A node came or changed.
    pub fn put_node(&mut self, node: impl Into<Arc<Node>>, now: Time) {
        let (since, node) = (self.watch.start(), node.into());
        let Some(old) = self.cache.put_node(node.clone()) else {
            self.hear(ClusterEvent::NODE_ADD, &Object::Node(None, Some(node)), since, now);
            return;
        };
        let changes = node_changes(&old, &node);
        let object = Object::Node(Some(old), Some(node));
        for event in changes {
            self.hear(event, &object, since, now);
        }
    }

    /// Lets the queue hear of an event, the last thing that is done about it.
    pub(super) fn hear(&mut self, event: ClusterEvent, object: &Object, since: Option<Time>, now: Time) {
        self.queue.on_event(event, object, now);
        self.watch.took(since, |seconds| Seen::Handled { event, seconds });
    }

    /// A node went.
    pub fn remove_node(&mut self, name: &str, now: Time) {
        let since = self.watch.start();
        if let Some(node) = self.cache.remove_node(name) {
            self.hear(ClusterEvent::NODE_DELETE, &Object::Node(Some(node), None), since, now);
        }
    }

    /// A pod came or changed. Pods of other schedulers count once they have a node.
    pub fn put_pod(&mut self, pod: impl Into<Arc<PodInfo>>, now: Time) {
        let mut pod = pod.into();
        self.specs.share(&mut pod);
        if pod.is_terminal() {
            self.remove_pod(&pod.uid, now);
        } else if pod.is_assigned() {
            self.put_assigned(pod, now);
        } else if self.profiles.contains_key(&pod.spec.scheduler_name) {
            self.put_unassigned(pod, now);
        }
    }

    fn put_assigned(&mut self, pod: Arc<PodInfo>, now: Time) {
        let since = self.watch.start();
        if self.pending.remove(&pod.uid).is_some() {
            self.queue.remove(&pod.uid);
        }
        self.queue.gangs.put(&pod, Stage::Bound);
        let was_assumed = self.cache.is_assumed(&pod.uid);
        let old = self.cache.put_pod(pod.clone()).filter(|_| !was_assumed);
        let Some(old) = old else {
            self.hear(ClusterEvent::ASSIGNED_POD_ADD, &Object::Pod(None, Some(pod)), since, now);
            return;
        };
        let changes = pod_changes(&old, &pod);
        let object = Object::Pod(Some(old), Some(pod));
        for event in changes {
            self.hear(event, &object, since, now);
        }
    }

    fn put_unassigned(&mut self, pod: Arc<PodInfo>, now: Time) {
        let since = self.watch.start();
        let old = self.pending.insert(pod.uid.clone(), pod.clone());
        if self.cache.is_assumed(&pod.uid) {
            if pod.deletion_timestamp.is_some() {
                self.drop_assumed(&pod.uid, now);
            }
            return;
        }
        self.queue.gangs.put(&pod, Stage::Waiting);
        let Some(old) = old else {
            self.queue.add(pod.clone(), now);
            let object = Object::Pod(None, Some(pod));
            self.hear(ClusterEvent::UNSCHEDULED_POD_ADD, &object, since, now);
            return;
        };
        if !old.resource_version.is_empty() && old.resource_version == pod.resource_version {
            return;
        }
        self.queue.update(&old, pod.clone(), now);
        if !old.nominated_node_name.is_empty() && old.nominated_node_name != pod.nominated_node_name {
            self.released(&old, now);
        }
        let event = ClusterEvent::new(EventResource::UnscheduledPod, ActionType::UPDATE);
        self.watch.took(since, |seconds| Seen::Handled { event, seconds });
    }

    /// A pod went.
    pub fn remove_pod(&mut self, uid: &str, now: Time) {
        let since = self.watch.start();
        if let Some(pod) = self.pending.remove(uid) {
            if !pod.spec.device_asks.is_empty() {
                self.cache.snapshot_mut().objects_mut().devices.unpend(&extended_uid(&pod.uid));
            }
            self.queue.remove(uid);
            self.queue.gangs.remove(&pod);
            if self.cache.is_assumed(uid) {
                self.drop_assumed(uid, now);
            } else if !pod.nominated_node_name.is_empty() {
                self.released(&pod, now);
            }
            let event = ClusterEvent::new(EventResource::UnscheduledPod, ActionType::DELETE);
            self.watch.took(since, |seconds| Seen::Handled { event, seconds });
            return;
        }
        if let Some(pod) = self.cache.remove_pod(uid) {
            self.queue.gangs.remove(&pod);
            self.hear(ClusterEvent::ASSIGNED_POD_DELETE, &Object::Pod(Some(pod), None), since, now);
        }
    }

    /// A placed pod is to go before it is bound: what it took is free again.
    fn drop_assumed(&mut self, uid: &str, now: Time) {
        let waiting = self.held.get(uid).and_then(|held| held.by.keys().next().cloned());
        let assumed = self.cache.pod(uid).cloned();
        if let Some(plugin) = waiting {
            let _: Option<Failure> = self.reject(uid, &plugin, "removed", now);
        } else {
            // It may have been confirmed meanwhile; then its removal will be told.
            let _ = self.cache.forget(&Name::from(uid));
        }
        self.queue.on_event(ClusterEvent::ASSIGNED_POD_DELETE, &Object::Pod(assumed, None), now);
    }

    /// A node is promised to nobody any more, which is news for pods of no higher priority.
    fn released(&mut self, pod: &Arc<PodInfo>, now: Time) {
        let object = Object::Pod(Some(pod.clone()), None);
        let event = ClusterEvent::ASSIGNED_POD_DELETE;
        self.queue.on_event_where(event, &object, now, |other| other.spec.priority <= pod.spec.priority);
    }

    /// A namespace came or changed.
    pub fn put_namespace(&mut self, namespace: Namespace, now: Time) {
        self.cache.snapshot_mut().objects_mut().put_namespace(namespace);
        let event = ClusterEvent::new(EventResource::Namespace, ActionType::ADD | ActionType::UPDATE);
        self.queue.on_event(event, &Object::Other, now);
    }

    /// A namespace went.
    pub fn remove_namespace(&mut self, name: &str) {
        self.cache.snapshot_mut().objects_mut().remove_namespace(name);
    }

    /// A pod group came or changed.
    pub fn put_pod_group(&mut self, group: PodGroup, now: Time) {
        // What decisions depend on never changes in a group; its status does, and is no news.
        if !self.queue.gangs.put_group(group.clone()) {
            return;
        }
        let event = ClusterEvent::new(EventResource::PodGroup, ActionType::ADD);
        self.queue.on_event(event, &Object::PodGroup(group), now);
    }

    /// A pod group went.
    pub fn remove_pod_group(&mut self, namespace: &Name, name: &Name) {
        self.queue.gangs.remove_group(namespace, name);
    }

    /// A workload came or changed.
    pub fn put_workload(&mut self, kind: WorkloadKind, workload: Workload) {
        self.cache.snapshot_mut().objects_mut().put_workload(kind, workload);
    }

    /// A workload went.
    pub fn remove_workload(&mut self, kind: WorkloadKind, namespace: &Name, name: &Name) {
        self.cache.snapshot_mut().objects_mut().remove_workload(kind, namespace, name);
    }

    /// A disruption budget came or changed.
    pub fn put_budget(&mut self, budget: Budget) {
        self.cache.snapshot_mut().objects_mut().put_budget(budget);
    }

    /// A disruption budget went.
    pub fn remove_budget(&mut self, namespace: &Name, name: &Name) {
        self.cache.snapshot_mut().objects_mut().remove_budget(namespace, name);
    }

    /// Tries a waiting pod again whatever it waits for.
    pub fn activate(&mut self, uid: &str, now: Time) -> bool {
        self.queue.activate(uid, now)
    }

    /// Does what is due: releases pods from back-off, retries those that waited too long, and stops believing in pods
    /// that nobody confirmed.
    pub fn tick(&mut self, now: Time) {
        self.queue.flush(now);
        for pod in self.cache.expire(now) {
            self.queue.on_event(ClusterEvent::ASSIGNED_POD_DELETE, &Object::Pod(Some(pod), None), now);
        }
    }

    /// The API calls of a preemption are over: its preemptor waits for its victims to go, or is tried again if they
    /// went already or the calls failed.
    pub fn preempted(&mut self, preemptor: &PodInfo, victims: &[Arc<PodInfo>], result: Result<(), Status>, now: Time) {
        let some_gone = victims.iter().any(|victim| self.cache.pod(&victim.uid).is_none());
        let mut preemptors = vec![preemptor.uid.clone()];
        if self.profiles.get(&preemptor.spec.scheduler_name).is_some_and(|profile| profile.makes_room_for_gangs) {
            let gang = self.queue.gangs.of(preemptor).map(|gang| gang.waiting().iter().cloned());
            preemptors.extend(gang.into_iter().flatten().filter(|uid| *uid != preemptor.uid));
        }
        for uid in preemptors {
            self.queue.preempting.remove(&uid);
            if result.is_err() || some_gone {
                self.queue.activate(&uid, now);
            }
        }
    }
}
