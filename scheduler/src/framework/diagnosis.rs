//! Why a pod fits nowhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use hashbrown::HashMap;

use super::{Code, Status};
use crate::cache::{NodeInfo, NodeSlot, Snapshot};
use crate::object::Name;

/// What plugins said about each node, and about all those nobody looked at.
#[derive(Clone, Debug, Default)]
pub struct NodeStatuses {
    explicit: Vec<(NodeSlot, Status)>,
    absent: Option<Status>,
}

impl NodeStatuses {
    /// Notes what was said about a node; once for each.
    pub fn set(&mut self, node: NodeSlot, status: Status) {
        self.explicit.push((node, status));
    }

    /// Notes what was said about a node, in place of what was said before.
    pub(crate) fn replace(&mut self, node: NodeSlot, status: Status) {
        self.explicit.retain(|(own, _)| *own != node);
        self.set(node, status);
    }

    /// Notes what holds for every node not spoken of.
    pub fn set_absent(&mut self, status: Status) {
        self.absent = Some(status);
    }

    /// What was said about a node.
    #[must_use]
    pub fn get(&self, node: NodeSlot) -> Option<&Status> {
        let said = self.explicit.iter().find(|(own, _)| *own == node).map(|(_, status)| status);
        said.or(self.absent.as_ref())
    }

    /// The code for a node; nodes nobody spoke of cannot be helped.
    #[must_use]
    pub fn code(&self, node: NodeSlot) -> Code {
        self.get(node).map_or(Code::UnschedulableAndUnresolvable, Status::code)
    }

    /// How many nodes were spoken of.
    #[must_use]
    pub fn len(&self) -> usize {
        self.explicit.len()
    }

    /// Whether none was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.explicit.is_empty()
    }

    /// The nodes spoken of, and what was said.
    pub fn iter(&self) -> impl Iterator<Item = (NodeSlot, &Status)> {
        self.explicit.iter().map(|(slot, status)| (*slot, status))
    }

    /// The nodes where preemption might help, in the snapshot's order.
    pub fn resolvable<'a>(&self, snapshot: &'a Snapshot) -> Vec<&'a NodeInfo> {
        let said: HashMap<NodeSlot, Code> = self.iter().map(|(slot, status)| (slot, status.code())).collect();
        let absent = self.absent.as_ref().map(Status::code);
        let code = |node: &NodeInfo| said.get(&node.slot).copied().or(absent);
        snapshot.nodes().filter(|node| code(node) == Some(Code::Unschedulable)).collect()
    }
}

/// Why a pod fits nowhere: what each node lacks, and which plugins said so.
#[derive(Clone, Debug, Default)]
pub struct Diagnosis {
    /// What was said about each node.
    pub nodes: NodeStatuses,
    /// The plugins that must change their minds.
    pub unschedulable_plugins: BTreeSet<Name>,
    /// The plugins that make the pod wait for something of theirs.
    pub pending_plugins: BTreeSet<Name>,
    /// What a PreFilter plugin said of the whole cluster.
    pub pre_filter: String,
    /// What became of preemption.
    pub post_filter: String,
}

impl Diagnosis {
    /// Notes which plugin said no.
    pub fn blame(&mut self, status: &Status) {
        let Some(plugin) = status.plugin() else { return };
        if status.code() == Code::Pending && !self.pending_plugins.contains(plugin) {
            self.pending_plugins.insert(plugin.clone());
        }
        if status.is_rejection() && !self.unschedulable_plugins.contains(plugin) {
            self.unschedulable_plugins.insert(plugin.clone());
        }
    }
}

/// A diagnosis together with the number of nodes; prints itself as upstream does.
#[derive(Clone, Debug, Default)]
pub struct FitError {
    /// How many nodes there are.
    pub nodes_total: usize,
    /// What is wrong with them.
    pub diagnosis: Diagnosis,
}

impl fmt::Display for FitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0/{} nodes are available:", self.nodes_total)?;
        let diagnosis = &self.diagnosis;
        if diagnosis.pre_filter.is_empty() {
            let reasons = self.histogram();
            if !reasons.is_empty() {
                write!(f, " {}.", reasons.join(", "))?;
            }
        } else {
            write!(f, " {}.", diagnosis.pre_filter)?;
        }
        if !diagnosis.post_filter.is_empty() {
            write!(f, " {}", diagnosis.post_filter)?;
        }
        Ok(())
    }
}

impl FitError {
    /// Every reason with the number of nodes it holds for, in the order of their text.
    fn histogram(&self) -> Vec<String> {
        let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
        for (_, status) in self.diagnosis.nodes.iter() {
            for reason in status.reasons() {
                *reasons.entry(reason).or_default() += 1;
            }
        }
        let silent = self.nodes_total.saturating_sub(self.diagnosis.nodes.len());
        if let Some(status) = self.diagnosis.nodes.absent.as_ref().filter(|_| silent > 0) {
            for reason in status.reasons() {
                *reasons.entry(reason).or_default() += silent;
            }
        }
        let mut lines: Vec<String> = reasons.into_iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        lines.sort();
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_counts_reasons() {
        let mut nodes = NodeStatuses::default();
        nodes.set(NodeSlot(0), Status::unresolvable("node(s) had untolerated taint(s)"));
        nodes.set(NodeSlot(1), Status::unschedulable("Insufficient cpu"));
        let both = vec!["Insufficient cpu".into(), "Insufficient memory".into()];
        nodes.set(NodeSlot(2), Status::with_reasons(Code::Unschedulable, both));
        let mut error = FitError { nodes_total: 3, diagnosis: Diagnosis { nodes, ..Diagnosis::default() } };
        let reasons = "1 Insufficient memory, 1 node(s) had untolerated taint(s), 2 Insufficient cpu";
        assert_eq!(error.to_string(), format!("0/3 nodes are available: {reasons}."));
        error.diagnosis.post_filter = "preemption: no".into();
        assert_eq!(error.to_string(), format!("0/3 nodes are available: {reasons}. preemption: no"));
        error.nodes_total = 5;
        error.diagnosis.post_filter.clear();
        error.diagnosis.nodes.set_absent(Status::unresolvable("node(s) didn't satisfy plugin(s) [X]"));
        assert!(error.to_string().contains("2 node(s) didn't satisfy plugin(s) [X]"));
    }
}
