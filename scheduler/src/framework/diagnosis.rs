//! Why a pod fits nowhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::{Code, Status};
use crate::cache::{NodeInfo, NodeSlot, Snapshot};
use crate::object::Name;

/// What plugins said about each node, and about all those nobody looked at.
///
/// Most nodes are told the same, so each thing that was said is kept once. A clone shares what was said with the original
/// until one of the two changes.
#[derive(Clone, Debug, Default)]
pub struct NodeStatuses {
    said: Arc<Vec<Status>>,
    /// How many nodes were told each of those.
    counts: Vec<usize>,
    /// Nodes, and which of those they were told, or [`NOTHING`].
    explicit: Arc<Vec<(NodeSlot, u32)>>,
    absent: Option<Status>,
}

/// Among how many of the last statuses is looked for an equal one.
const LATELY: usize = 16;
/// The node was told nothing.
const NOTHING: u32 = u32::MAX;

impl NodeStatuses {
    /// Notes what was said about a node; once for each.
    pub fn set(&mut self, node: NodeSlot, status: Status) {
        let number = self.number(status);
        Arc::make_mut(&mut self.explicit).push((node, number));
    }

    /// Room for those nodes in that order, with nothing said to any of them yet; for [`set_at`](Self::set_at).
    pub(crate) fn in_order(nodes: &[NodeSlot]) -> Self {
        Self { explicit: Arc::new(nodes.iter().map(|node| (*node, NOTHING)).collect()), ..Self::default() }
    }

    /// Notes what the node at that place is told now, in place of what it was told before.
    pub(crate) fn set_at(&mut self, place: usize, status: Option<Status>) {
        let number = status.map_or(NOTHING, |status| self.number(status));
        let (_, known) = &mut Arc::make_mut(&mut self.explicit)[place];
        if let Some(count) = self.counts.get_mut(std::mem::replace(known, number) as usize) {
            *count -= 1;
        }
    }

    /// What the node at that place, which should be this one, was told.
    pub(crate) fn code_at(&self, place: usize, node: NodeSlot) -> Code {
        match self.explicit.get(place) {
            Some((own, number)) if *own == node => {
                let said = self.said.get(*number as usize).or(self.absent.as_ref());
                said.map_or(Code::UnschedulableAndUnresolvable, Status::code)
            }
            _ => self.code(node),
        }
    }

    /// The number of a status; the same for equal ones, unless many others were between. It is told to one node more.
    fn number(&mut self, status: Status) -> u32 {
        let from = self.said.len().saturating_sub(LATELY);
        let known = self.said[from..].iter().position(|known| *known == status);
        let at = known.map_or(self.said.len(), |known| from + known);
        if known.is_none() {
            Arc::make_mut(&mut self.said).push(status);
            self.counts.push(0);
        }
        self.counts[at] += 1;
        u32::try_from(at).unwrap_or(NOTHING)
    }

    /// How many different things were said.
    pub(crate) fn kinds(&self) -> usize {
        self.said.len()
    }

    /// Notes what was said about a node, in place of what was said before.
    pub(crate) fn replace(&mut self, node: NodeSlot, status: Status) {
        let counts = &mut self.counts;
        Arc::make_mut(&mut self.explicit).retain(|(own, number)| {
            if *own == node
                && let Some(count) = counts.get_mut(*number as usize)
            {
                *count -= 1;
            }
            *own != node
        });
        self.set(node, status);
    }

    /// Notes what holds for every node not spoken of.
    pub fn set_absent(&mut self, status: Status) {
        self.absent = Some(status);
    }

    /// What was said about a node.
    #[must_use]
    pub fn get(&self, node: NodeSlot) -> Option<&Status> {
        let said = self.explicit.iter().find(|(own, _)| *own == node);
        said.and_then(|(_, number)| self.said.get(*number as usize)).or(self.absent.as_ref())
    }

    /// The code for a node; nodes nobody spoke of cannot be helped.
    #[must_use]
    pub fn code(&self, node: NodeSlot) -> Code {
        self.get(node).map_or(Code::UnschedulableAndUnresolvable, Status::code)
    }

    /// How many nodes were spoken of.
    #[must_use]
    pub fn len(&self) -> usize {
        self.counts.iter().sum()
    }

    /// Whether none was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.iter().all(|count| *count == 0)
    }

    /// The nodes spoken of, and what was said.
    pub fn iter(&self) -> impl Iterator<Item = (NodeSlot, &Status)> {
        self.explicit.iter().filter_map(|(slot, number)| Some((*slot, self.said.get(*number as usize)?)))
    }

    /// Each thing that was said, and of how many nodes.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&Status, usize)> {
        self.said.iter().zip(self.counts.iter().copied()).filter(|(_, nodes)| *nodes > 0)
    }

    /// The nodes where preemption might help, in the snapshot's order.
    pub fn resolvable<'a>(&self, snapshot: &'a Snapshot) -> Vec<&'a NodeInfo> {
        let helps = |status: &Status| status.code() == Code::Unschedulable;
        let mut helped = vec![self.absent.as_ref().is_some_and(helps); snapshot.slot_count()];
        for (slot, status) in self.iter() {
            if let Some(helped) = helped.get_mut(slot.at()) {
                *helped = helps(status);
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
        for (status, nodes) in self.diagnosis.nodes.counts() {
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
