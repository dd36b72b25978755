//! Why no node can take a pod, kept node by node: what a scan of all nodes would find, without the scan.

use super::super::decide::{Refusal, View};
use super::kept::Class;
use crate::framework::{Diagnosis, FitError, NodeStatuses, Status};
use crate::object::PodInfo;

/// How many different statuses are kept before they are collected anew.
const KINDS_MAX: usize = 1024;

/// What each node says, by its place.
#[derive(Default)]
pub(super) struct Refusals(NodeStatuses);

impl Refusals {
    /// Takes note of what a node says now; `None` if too many different things were said.
    pub(super) fn set(&mut self, place: usize, status: Option<Status>) -> Option<()> {
        self.0.set_at(place, status);
        (self.0.kinds() <= KINDS_MAX).then_some(())
    }
}

impl Class {
    /// Why the pod fits nowhere, which must be so. `None` if something is wrong, which the scan will find and tell.
    pub(super) fn refuse(&mut self, view: View<'_>, pod: &PodInfo) -> Option<Refusal> {
        if self.refusals.is_none() {
            self.refusals = Some(self.collect(view, pod)?);
        }
        let mut diagnosis = Diagnosis { nodes: self.refusals.as_ref()?.0.clone(), ..Diagnosis::default() };
        let said: Vec<Status> = diagnosis.nodes.counts().map(|(status, _)| status.clone()).collect();
        said.iter().for_each(|status| diagnosis.blame(status));
        Some(Refusal::DoesNotFit(Box::new(FitError { nodes_total: view.snapshot.len(), diagnosis })))
    }

    fn collect(&self, view: View<'_>, pod: &PodInfo) -> Option<Refusals> {
        let View { profile, snapshot, nominator } = view;
        let mut refusals = Refusals(NodeStatuses::in_order(snapshot.order()));
        for (place, node) in snapshot.nodes().enumerate() {
            match profile.run_filter_with_nominated(&self.state, pod, node, nominator) {
                Err(status) if status.is_rejection() => refusals.set(place, Some(status))?,
                _ => return None,
            }
        }
        Some(refusals)
    }
}
