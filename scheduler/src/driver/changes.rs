//! What the loop hears of the cluster, handed on to the core.

use std::sync::Arc;

use super::informer::Change;
use super::running::Running;
use crate::object::Name;

impl Running {
    pub(super) fn on_change(&mut self, change: Change) {
        let now = self.clock.now();
        let scheduler = &mut self.scheduler;
        match change {
            Change::PutPod(pod) => scheduler.put_pod(pod, now),
            Change::RemovePod(uid) => scheduler.remove_pod(&uid, now),
            Change::PutNode(node) => scheduler.put_node(node, now),
            Change::RemoveNode(name) => scheduler.remove_node(&name, now),
            Change::PutFullNode(node) => {
                let name = Name::from(node["metadata"]["name"].as_str().unwrap_or_default());
                Arc::make_mut(&mut self.full_nodes).insert(name, node);
            }
            Change::RemoveFullNode(name) => drop(Arc::make_mut(&mut self.full_nodes).remove(&name)),
            Change::PutNamespace(namespace) => scheduler.put_namespace(namespace, now),
            Change::RemoveNamespace(name) => scheduler.remove_namespace(&name),
            Change::PutWorkload(kind, workload) => scheduler.put_workload(kind, workload),
            Change::RemoveWorkload(kind, namespace, name) => scheduler.remove_workload(kind, &namespace, &name),
            Change::PutBudget(budget) => scheduler.put_budget(budget),
            Change::RemoveBudget(namespace, name) => scheduler.remove_budget(&namespace, &name),
            Change::PutPodGroup(group) => scheduler.put_pod_group(group, now),
            Change::RemovePodGroup(namespace, name) => scheduler.remove_pod_group(&namespace, &name),
            Change::Devices(change) => scheduler.change_devices(change, now),
            Change::Storage(change) => scheduler.change_storage(change, now),
            Change::Synced => self.unsynced -= 1,
        }
    }
}
