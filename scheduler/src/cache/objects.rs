//! Objects beside nodes and pods that plugins look at.

use std::collections::BTreeMap;

use super::{Devices, Storage};
use crate::object::{Budget, Labels, Name, Namespace, Workload, WorkloadKind};

/// Namespaces, workloads and disruption budgets.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    namespaces: BTreeMap<Name, Labels>,
    workloads: BTreeMap<(Name, WorkloadKind, Name), Workload>,
    budgets: BTreeMap<(Name, Name), Budget>,
    namespaces_version: u64,
    budgets_version: u64,
    /// Devices and the claims to them.
    pub devices: Devices,
    /// Volumes and the claims to them.
    pub storage: Storage,
}

impl Objects {
    /// Puts a namespace in, in place of an earlier version.
    pub fn put_namespace(&mut self, namespace: Namespace) {
        if self.namespaces.get(&namespace.name) != Some(&namespace.labels) {
            self.namespaces_version += 1;
            self.namespaces.insert(namespace.name, namespace.labels);
        }
    }

    /// Takes a namespace out.
    pub fn remove_namespace(&mut self, name: &str) {
        self.namespaces_version += u64::from(self.namespaces.remove(name).is_some());
    }

    /// A number that grows when namespaces or their labels change.
    pub(crate) const fn namespaces_version(&self) -> u64 {
        self.namespaces_version
    }

    /// The labels of a namespace.
    #[must_use]
    pub fn namespace_labels(&self, name: &str) -> Option<&Labels> {
        self.namespaces.get(name)
    }

    /// All namespaces with their labels.
    pub fn namespaces(&self) -> impl Iterator<Item = (&Name, &Labels)> {
        self.namespaces.iter()
    }

    /// Puts a workload in, in place of an earlier version.
    pub fn put_workload(&mut self, kind: WorkloadKind, workload: Workload) {
        self.workloads.insert((workload.namespace.clone(), kind, workload.name.clone()), workload);
    }

    /// Takes a workload out.
    pub fn remove_workload(&mut self, kind: WorkloadKind, namespace: &Name, name: &Name) {
        self.workloads.remove(&(namespace.clone(), kind, name.clone()));
    }

    /// A workload by name.
    #[must_use]
    pub fn workload(&self, kind: WorkloadKind, namespace: &Name, name: &Name) -> Option<&Workload> {
        self.workloads.get(&(namespace.clone(), kind, name.clone()))
    }

    /// The services of a namespace.
    pub fn services(&self, namespace: &Name) -> impl Iterator<Item = &Workload> {
        let first = (namespace.clone(), WorkloadKind::Service, Name::default());
        self.workloads
            .range(first..)
            .take_while(move |((own, kind, _), _)| own == namespace && *kind == WorkloadKind::Service)
            .map(|(_, workload)| workload)
    }

    /// Puts a budget in, in place of an earlier version.
    pub fn put_budget(&mut self, budget: Budget) {
        self.budgets_version += 1;
        self.budgets.insert((budget.namespace.clone(), budget.name.clone()), budget);
    }

    /// Takes a budget out.
    pub fn remove_budget(&mut self, namespace: &Name, name: &Name) {
        let gone = self.budgets.remove(&(namespace.clone(), name.clone()));
        self.budgets_version += u64::from(gone.is_some());
    }

    /// A number that grows when budgets change.
    pub(crate) const fn budgets_version(&self) -> u64 {
        self.budgets_version
    }

    /// All budgets.
    pub fn budgets(&self) -> impl Iterator<Item = &Budget> {
        self.budgets.values()
    }
}
