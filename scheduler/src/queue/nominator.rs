//! Nodes promised to pods.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::object::{Name, PodInfo};

/// Which pods were promised which nodes: room is being made for them there.
#[derive(Clone, Debug, Default)]
pub struct Nominator {
    by_node: BTreeMap<Name, Vec<Arc<PodInfo>>>,
    nodes: BTreeMap<Name, Name>,
    changes: Vec<Name>,
    changes_dropped: u64,
}

/// How many changes are remembered.
const CHANGES_MAX: usize = 4096;

impl Nominator {
    /// Promises a node to a pod, in place of an earlier promise.
    pub fn add(&mut self, pod: Arc<PodInfo>, node: &Name) {
        self.remove(&pod.uid);
        if !node.is_empty() {
            self.nodes.insert(pod.uid.clone(), node.clone());
            self.by_node.entry(node.clone()).or_default().push(pod);
            self.note_change(node.clone());
        }
    }

    fn note_change(&mut self, node: Name) {
        if self.changes.len() >= CHANGES_MAX {
            self.changes_dropped += self.changes.len() as u64;
            self.changes.clear();
        }
        self.changes.push(node);
    }

    /// Where the list of changes ends now.
    pub(crate) const fn changes_end(&self) -> u64 {
        self.changes_dropped + self.changes.len() as u64
    }

    /// The nodes whose promises changed since then, some perhaps twice; `None` if that is too long ago.
    pub(crate) fn changes_since(&self, cursor: u64) -> Option<&[Name]> {
        let at = usize::try_from(cursor.checked_sub(self.changes_dropped)?).ok()?;
        self.changes.get(at..)
    }

    /// Takes a promise back.
    pub fn remove(&mut self, uid: &str) {
        let Some(node) = self.nodes.remove(uid) else { return };
        if let Some(pods) = self.by_node.get_mut(&node) {
            pods.retain(|pod| *pod.uid != *uid);
            if pods.is_empty() {
                self.by_node.remove(&node);
            }
        }
        self.note_change(node);
    }

    /// Takes note of a newer version of a pod. A promise of ours that the API server doesn't know yet is kept; one that it
    /// knew and does not know any more was taken back.
    pub fn update(&mut self, old: &PodInfo, pod: &Arc<PodInfo>) {
        let untold = old.nominated_node_name.is_empty() && pod.nominated_node_name.is_empty();
        let ours = if untold { self.nodes.get(&pod.uid).cloned() } else { None };
        self.add(pod.clone(), ours.as_ref().unwrap_or(&pod.nominated_node_name));
    }

    /// The pods that were promised a node.
    #[must_use]
    pub fn on_node(&self, node: &str) -> &[Arc<PodInfo>] {
        self.by_node.get(node).map_or(&[], Vec::as_slice)
    }

    /// The node promised to a pod.
    #[must_use]
    pub fn node_of(&self, uid: &str) -> Option<&Name> {
        self.nodes.get(uid)
    }

    /// Whether nothing is promised to anybody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The nodes promised to somebody.
    pub fn nodes(&self) -> impl Iterator<Item = &Name> {
        self.by_node.keys()
    }
}
