//! Placed pods that wait until plugins permit their binding.

use std::sync::Arc;
use std::time::Duration;

use super::outcome::Held;
use super::{Failure, Outcome, Placement, Scheduler};
use crate::framework::{Permission, Seen, Status};
use crate::object::{Name, PodInfo, Time};

impl Scheduler {
    /// Lets a placed pod go on, at once or when it is permitted to.
    pub(super) fn hold(&mut self, placement: Box<Placement>, permission: Permission, now: Time) -> Outcome {
        for (uid, plugin) in permission.allowed {
            self.permit(&uid, &plugin);
        }
        for uid in permission.wanted {
            self.queue.activate(&uid, now);
        }
        let pod = placement.pod.clone();
        if permission.waits.is_empty() {
            self.queue.done(&pod.uid);
            return Outcome::Placed(placement);
        }
        let deadline = |wait: Duration| now.checked_add(wait).unwrap_or(Time::MAX);
        let by = permission.waits.into_iter().map(|(plugin, wait)| (plugin, deadline(wait))).collect();
        self.held.insert(pod.uid.clone(), Held { placement, by, since: now });
        Outcome::Waiting(pod)
    }

    /// A plugin permits a waiting pod.
    pub fn permit(&mut self, uid: &str, plugin: &str) {
        if let Some(held) = self.held.get_mut(uid) {
            held.by.remove(plugin);
        }
    }

    /// A plugin rejects a waiting pod.
    pub fn reject(&mut self, uid: &str, plugin: &Name, message: &str, now: Time) -> Option<Failure> {
        let Held { placement, since, .. } = self.held.remove(uid)?;
        let status = Status::unschedulable(message.to_owned()).by(plugin);
        self.waited(since, now, status.code().word());
        Some(self.binding_failed(*placement, status, now))
    }

    /// A waiting pod makes room for another: it goes back to the queue.
    pub fn preempt_waiting(&mut self, uid: &str, now: Time) -> Option<Failure> {
        let Held { placement, since, .. } = self.held.remove(uid)?;
        let status = Status::error("preempted");
        self.waited(since, now, status.code().word());
        Some(self.binding_failed(*placement, status, now))
    }

    /// Tells how long a pod waited, and how that ended.
    fn waited(&self, since: Time, now: Time, status: &'static str) {
        let seconds = now.duration_since(since).as_secs_f64().max(0.0);
        self.watch.tell(Seen::PermitWait { status, seconds });
    }

    /// The waiting pods.
    pub fn waiting(&self) -> impl Iterator<Item = &Arc<PodInfo>> {
        self.held.values().map(|held| &held.placement.pod)
    }

    /// Waiting pods that were permitted, or have waited too long.
    pub fn take_permitted(&mut self, now: Time) -> Vec<Outcome> {
        let late = |held: &Held| held.by.values().any(|deadline| *deadline <= now);
        let ready: Vec<Name> =
            self.held.iter().filter(|(_, held)| held.by.is_empty() || late(held)).map(|(uid, _)| uid.clone()).collect();
        let mut outcomes = Vec::new();
        for uid in ready {
            let Some(Held { placement, by, since }) = self.held.remove(&uid) else { continue };
            let Some(plugin) = by.iter().find(|(_, deadline)| **deadline <= now).map(|(plugin, _)| plugin) else {
                self.waited(since, now, "Success");
                self.queue.done(&uid);
                outcomes.push(Outcome::Placed(placement));
                continue;
            };
            let message = format!("rejected due to timeout after waiting at plugin {plugin}");
            let status = Status::unschedulable(message).by(plugin);
            self.waited(since, now, status.code().word());
            outcomes.push(Outcome::Failed(Box::new(self.binding_failed(*placement, status, now))));
        }
        outcomes
    }
}
