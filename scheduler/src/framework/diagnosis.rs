//! Why a pod fits nowhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{Code, Status};
use crate::cache::{NodeInfo, NodeSlot, Snapshot};
use crate::object::Name;

/// What plugins said about each node, and about all those nobody looked at.
///
/// Most nodes are told the same, so each thing that was said is kept once.
#[derive(Clone, Debug, Default)]
pub struct NodeStatuses {
    said: Vec<Status>,
    /// Nodes, and which of those they were told.
    explicit: Vec<(NodeSlot, u32)>,
    absent: Option<Status>,
}

/// Among how many of the last statuses is looked for an equal one.
const LATELY: usize = 16;

impl NodeStatuses {
    /// Notes what was said about a node; once for each.
    pub fn set(&mut self, node: NodeSlot, status: Status) {
        let number = self.number(status);
        self.explicit.push((node, number));
    }

    /// The number of a status; the same for equal ones, unless many others were between.
    pub(crate) fn number(&mut self, status: Status) -> u32 {
        let from = self.said.len().saturating_sub(LATELY);
        let known = self.said[from..].iter().position(|known| *known == status);
        let at = known.map_or(self.said.len(), |known| from + known);
        if known.is_none() {
            self.said.push(status);
        }
        u32::try_from(at).unwrap_or(u32::MAX)
    }

    /// The same statuses, told to these nodes and no others.
    pub(crate) fn told(&self, nodes: impl Iterator<Item = (NodeSlot, u32)>) -> Self {
        Self { said: self.said.clone(), explicit: nodes.collect(), absent: None }
    }

    /// How many different things were said.
    pub(crate) const fn kinds(&self) -> usize {
        self.said.len()
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
        let said = self.explicit.iter().find(|(own, _)| *own == node).map(|(_, number)| &self.said[*number as usize]);
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
        self.explicit.iter().map(|(slot, number)| (*slot, &self.said[*number as usize]))
    }

    /// Each thing that was said, and of how many nodes.
    pub(crate) fn counts(&self) -> Vec<(&Status, usize)> {
        let mut counts: Vec<(&Status, usize)> = self.said.iter().map(|status| (status, 0)).collect();
        for (_, number) in &self.explicit {
            counts[*number as usize].1 += 1;
        }
        counts
    }

    /// The nodes where preemption might help, in the snapshot's order.
    pub fn resolvable<'a>(&self, snapshot: &'a Snapshot) -> Vec<&'a NodeInfo> {
        let helps = |status: &Status| status.code() == Code::Unschedulable;
        let mut helped = vec![self.absent.as_ref().is_some_and(helps); snapshot.slot_count()];
        let said: Vec<bool> = self.said.iter().map(helps).collect();
        for (slot, number) in &self.explicit {
            if let Some(helped) = helped.get_mut(slot.at()) {
                *helped = said[*number as usize];
            }
        }
        snapshot.nodes().filter(|node| helped[node.slot.at()]).collect()
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
        for (status, nodes) in self.diagnosis.nodes.counts().into_iter().filter(|(_, nodes)| *nodes > 0) {
            for reason in status.reasons() {
                *reasons.entry(reason).or_default() += nodes;
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
