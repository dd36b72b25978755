//! Extenders: services outside the scheduler that have a say in its decisions.
//!
//! The core only knows what each has a say in. Where one is to be asked, a decision pauses with a
//! [`Question`]; whoever drives the scheduler asks, and hands back the [`Answer`].

use std::collections::{BTreeMap, BTreeSet};

use super::{Candidate, Code, Status};
use crate::object::{Name, PodInfo};

/// What an extender has a say in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extender {
    /// Its name: the beginning of its URL.
    pub name: Name,
    /// Whether it rules out nodes.
    pub filters: bool,
    /// Whether it scores nodes.
    pub prioritizes: bool,
    /// Whether it looks at who is to be preempted.
    pub preempts: bool,
    /// Whether it binds pods.
    pub binds: bool,
    /// How much its scores count.
    pub weight: i64,
    /// Whether scheduling goes on when it fails.
    pub ignorable: bool,
    /// The extended resources for whose sake it is asked; it is asked about every pod if there are none.
    pub managed_resources: BTreeSet<Name>,
}

/// What counts among the plugins that must change their minds when an extender ruled nodes out.
pub(crate) const EXTENDER: &str = "Extender";

/// The most that an extender gives a node.
pub const EXTENDER_SCORE_MAX: i64 = 10;

impl Extender {
    /// Whether it is asked about that pod.
    #[must_use]
    pub fn is_interested(&self, pod: &PodInfo) -> bool {
        let managed = &self.managed_resources;
        managed.is_empty() || pod.spec.requests.scalars.iter().any(|(name, _)| managed.contains(name))
    }
}

/// What is to be asked. Extenders are given by their place in the scheduler's list.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Question {
    /// Which of those nodes can take the pod?
    Filter {
        /// Who is asked.
        extender: usize,
        /// The nodes that nobody has ruled out yet.
        nodes: Vec<Name>,
    },
    /// How good is each of those nodes?
    Prioritize {
        /// Who are asked, all at once.
        extenders: Vec<usize>,
        /// The nodes that can take the pod.
        nodes: Vec<Name>,
    },
    /// On which of those nodes may which pods be preempted?
    Preempt {
        /// Who is asked.
        extender: usize,
        /// The nodes, each with the pods that would have to go.
        candidates: Vec<Candidate>,
    },
}

/// What was answered; an error is the extender's failure to answer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Answer {
    /// To [`Question::Filter`].
    Filtered(Result<Filtered, String>),
    /// To [`Question::Prioritize`]: for each extender each node's score, from 0 to [`EXTENDER_SCORE_MAX`]. Nothing from
    /// one that failed.
    Prioritized(Vec<Vec<(Name, i64)>>),
    /// To [`Question::Preempt`].
    Preempted(Result<Vec<Preempted>, String>),
}

/// An extender's verdict on nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filtered {
    /// Those that can take the pod.
    pub nodes: Vec<Name>,
    /// Those that cannot, and why.
    pub failed: BTreeMap<Name, String>,
    /// Those that could not even if other pods went, and why.
    pub unresolvable: BTreeMap<Name, String>,
}

impl Filtered {
    /// What is said about each node that cannot.
    pub(crate) fn statuses(&self) -> Vec<(&Name, Status)> {
        let hopeless = self.unresolvable.iter().map(|(node, why)| (node, Code::UnschedulableAndUnresolvable, why));
        let others = self.failed.iter().filter(|(node, _)| !self.unresolvable.contains_key(*node));
        let all = hopeless.chain(others.map(|(node, why)| (node, Code::Unschedulable, why)));
        all.map(|(node, code, why)| (node, Status::new(code, why.clone()))).collect()
    }
}

/// The pods that an extender would have go on a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preempted {
    /// The node.
    pub node: Name,
    /// The pods, by their UIDs.
    pub victims: Vec<Name>,
    /// How many of them break a disruption budget by going.
    pub budget_violations: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;

    #[test]
    fn who_is_asked_about_what() {
        let everything = Extender::default();
        let gpus = Extender { managed_resources: ["example.com/gpu".into()].into(), ..Extender::default() };
        let plain = pod("a").requests(&[("cpu", "1")]).build();
        let gpu = pod("b").requests(&[("example.com/gpu", "1")]).build();
        let init = pod("c").init_requests(&[("example.com/gpu", "1")]).build();
        assert_eq!([&plain, &gpu, &init].map(|pod| everything.is_interested(pod)), [true, true, true]);
        assert_eq!([&plain, &gpu, &init].map(|pod| gpus.is_interested(pod)), [false, true, true]);
    }

    #[test]
    fn hopeless_nodes_are_not_told_twice() {
        let filtered = Filtered {
            failed: [("a".into(), "full".to_owned()), ("b".into(), "full".to_owned())].into(),
            unresolvable: [("b".into(), "broken".to_owned())].into(),
            ..Filtered::default()
        };
        let statuses: Vec<String> =
            filtered.statuses().into_iter().map(|(node, status)| format!("{node} {status:?}")).collect();
        assert_eq!(statuses, ["b UnschedulableAndUnresolvable(broken)", "a Unschedulable(full)"]);
    }
}
