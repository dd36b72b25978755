//! Clusters that grow and shrink.

use std::sync::Arc;
use std::time::Duration;

use crate::cache::Snapshot;
use crate::object::{Name, Node, PodInfo};

/// What an autoscaler sees.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Sight<'a> {
    /// How much time has passed.
    pub now: Duration,
    /// The nodes and what runs on them.
    pub snapshot: &'a Snapshot,
    /// The pods that wait, and since when.
    pub waiting: &'a [(Arc<PodInfo>, Duration)],
    /// How many nodes are on their way.
    pub coming: usize,
}

/// What an autoscaler wants.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Resize {
    /// A node that is there after some time.
    Add {
        /// The node.
        node: Arc<Node>,
        /// How long it takes to come up.
        after: Duration,
    },
    /// A node that goes. Pods on it are lost, and arrive anew.
    Remove(Name),
}

/// Decides each time the cluster is looked at.
pub trait Autoscaler: Send {
    /// What is to change.
    fn decide(&mut self, sight: &Sight<'_>) -> Vec<Resize>;
}

/// Adds a node when a pod has waited for some time, and removes nodes that have been empty for some time.
#[derive(Clone, Debug)]
pub struct GrowAndShrink {
    /// What added nodes are like; they are called after it.
    pub template: Node,
    /// How many of them there may be.
    pub nodes_max: usize,
    /// How long a pod must have waited.
    pub patience: Duration,
    /// How long a node takes to come up.
    pub start_up: Duration,
    /// How long a node must have been empty.
    pub idle: Duration,
    added: Vec<(Name, Option<Duration>)>,
    made: usize,
}

impl GrowAndShrink {
    /// One that waits a minute for pods and ten for empty nodes; nodes take two minutes to come up.
    #[must_use]
    pub fn new(template: Node, nodes_max: usize) -> Self {
        let minutes = |n: u64| Duration::from_secs(60 * n);
        let (patience, start_up, idle) = (minutes(1), minutes(2), minutes(10));
        Self { template, nodes_max, patience, start_up, idle, added: Vec::new(), made: 0 }
    }
}

impl Autoscaler for GrowAndShrink {
    fn decide(&mut self, sight: &Sight<'_>) -> Vec<Resize> {
        let mut wanted = Vec::new();
        let late = sight.waiting.iter().filter(|(_, since)| sight.now.saturating_sub(*since) >= self.patience).count();
        // One node at a time for each ten pods that have waited too long, less those that are coming already.
        for _ in sight.coming..late.div_ceil(10).min(self.nodes_max) {
            if self.added.len() >= self.nodes_max {
                break;
            }
            let name = Name::from(format!("{}-{}", self.template.name, self.made));
            self.made += 1;
            self.added.push((name.clone(), None));
            wanted.push(Resize::Add { node: Arc::new(Node { name, ..self.template.clone() }), after: self.start_up });
        }
        let (now, idle) = (sight.now, self.idle);
        self.added.retain_mut(|(name, empty_since)| {
            let Some(node) = sight.snapshot.node(name) else { return true };
            if !node.pods.is_empty() {
                *empty_since = None;
                return true;
            }
            let since = *empty_since.get_or_insert(now);
            if now.saturating_sub(since) < idle {
                return true;
            }
            wanted.push(Resize::Remove(name.clone()));
            false
        });
        wanted
    }
}
