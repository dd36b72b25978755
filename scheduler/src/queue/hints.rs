//! Whether an event is news for a pod.

use std::sync::Arc;

use super::QueuedPod;
use crate::framework::{ClusterEvent, Hint, Interest, Object, PreEnqueuePlugin, Seen, Watch, caught};
use crate::object::Name;

/// How a pod goes back to be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strategy {
    /// Not now.
    Skip,
    /// When its back-off is over.
    AfterBackoff,
    /// At once.
    Immediately,
}

/// What the queue needs to know of one profile.
#[derive(Clone, Default)]
pub(crate) struct QueueProfile {
    pub(crate) name: Name,
    pub(crate) pre_enqueue: Vec<(Name, Arc<dyn PreEnqueuePlugin>)>,
    pub(crate) interests: Vec<(Name, Vec<Interest>)>,
    /// Whether pods of groups are tried together.
    pub(crate) places_gangs: bool,
    pub(crate) watch: Watch,
}

impl QueueProfile {
    pub(super) fn cares_for(&self, event: ClusterEvent) -> bool {
        self.interests.iter().flat_map(|(_, interests)| interests).any(|interest| interest.event.covers(event))
    }

    pub(super) fn interests_of(&self, plugin: &Name) -> &[Interest] {
        self.interests.iter().find(|(own, _)| own == plugin).map_or(&[], |(_, interests)| interests)
    }

    pub(super) fn strategy(&self, queued: &QueuedPod, event: ClusterEvent, object: &Object) -> Strategy {
        if queued.has_no_rejector() {
            return Strategy::AfterBackoff;
        }
        if event.is_wildcard() {
            let other = matches!(object, Object::Pod(_, Some(pod)) if pod.uid != queued.pod.uid);
            return if other { Strategy::Skip } else { Strategy::AfterBackoff };
        }
        let mut strategy = Strategy::Skip;
        for (plugin, interests) in &self.interests {
            if !queued.rejected_by(plugin) {
                continue;
            }
            let news = |interest: &Interest| {
                interest.event.covers(event)
                    && interest.hint.as_ref().is_none_or(|hint| {
                        let since = self.watch.start();
                        // Where it gives no answer the event may be news.
                        let hint = caught("QueueingHint", plugin, || hint(&queued.pod, object)).unwrap_or(Hint::Queue);
                        self.watch.took(since, |seconds| Seen::Hint { plugin, event, hint, seconds });
                        hint == Hint::Queue
                    })
            };
            if !interests.iter().any(news) {
                continue;
            }
            if queued.pending_plugins.contains(plugin) {
                return Strategy::Immediately;
            }
            strategy = Strategy::AfterBackoff;
        }
        strategy
    }
}
