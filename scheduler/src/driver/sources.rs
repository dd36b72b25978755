//! The watches from which the main loop hears.

use std::sync::Arc;

use kube::Client;
use kube::runtime::watcher;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::DriverConfig;
use super::informer::{Change, Informer, Telling};
use super::lean::{
    Attachments, Budgets, Claims, CsiDrivers, CsiNodes, DeviceClaims, DeviceClasses, DeviceSlices, DeviceTaintRules,
    FullNodes, Identity, Kind, Namespaces, Nodes, PodGroups, Pods, ReplicaSets, ReplicationControllers, Services,
    StatefulSets, StorageCapacities, StorageClasses, Volumes,
};
use crate::object::{Workload, WorkloadKind};
use crate::schedule::{DeviceChange, StorageChange};

/// What is watched only where it is needed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// Pod groups: not every server has them.
    pub(super) gangs: bool,
    /// Whole nodes, for extenders.
    pub(super) full_nodes: bool,
    /// Rules that taint devices: servers have them only when they are told to.
    pub(super) taint_rules: bool,
}

/// Starts all watches; tells how many there are.
pub(super) fn spawn_informers(
    tasks: &mut JoinSet<()>,
    client: &Client,
    config: &DriverConfig,
    wanted: Wanted,
    changes: &mpsc::Sender<Change>,
    stop: &CancellationToken,
) -> usize {
    let mut all = Spawner { tasks, client, page_size: config.page_size, changes, stop, count: 0 };
    if wanted.full_nodes {
        all.spawn::<FullNodes>("", Change::PutFullNode, |id| Change::RemoveFullNode(id.name.clone()));
    }
    all.spawn::<Nodes>("", Change::PutNode, |id| Change::RemoveNode(id.name.clone()));
    all.spawn::<Namespaces>(
        "",
        |namespace| Change::PutNamespace((*namespace).clone()),
        |id| Change::RemoveNamespace(id.name.clone()),
    );
    all.spawn_workload::<Services>(
        |workload| Change::PutWorkload(WorkloadKind::Service, (*workload).clone()),
        |id| Change::RemoveWorkload(WorkloadKind::Service, id.namespace.clone(), id.name.clone()),
    );
    all.spawn_workload::<ReplicationControllers>(
        |workload| Change::PutWorkload(WorkloadKind::ReplicationController, (*workload).clone()),
        |id| Change::RemoveWorkload(WorkloadKind::ReplicationController, id.namespace.clone(), id.name.clone()),
    );
    all.spawn_workload::<ReplicaSets>(
        |workload| Change::PutWorkload(WorkloadKind::ReplicaSet, (*workload).clone()),
        |id| Change::RemoveWorkload(WorkloadKind::ReplicaSet, id.namespace.clone(), id.name.clone()),
    );
    all.spawn_workload::<StatefulSets>(
        |workload| Change::PutWorkload(WorkloadKind::StatefulSet, (*workload).clone()),
        |id| Change::RemoveWorkload(WorkloadKind::StatefulSet, id.namespace.clone(), id.name.clone()),
    );
    all.spawn::<Budgets>(
        "",
        |budget| Change::PutBudget((*budget).clone()),
        |id| Change::RemoveBudget(id.namespace.clone(), id.name.clone()),
    );
    all.spawn_storage();
    all.spawn_devices();
    if wanted.taint_rules {
        all.spawn::<DeviceTaintRules>(
            "",
            |rule| Change::Devices(DeviceChange::PutTaintRule((*rule).clone())),
            |id| Change::Devices(DeviceChange::RemoveTaintRule(id.name.clone())),
        );
    }
    if wanted.gangs {
        all.spawn::<PodGroups>(
            "",
            |group| Change::PutPodGroup((*group).clone()),
            |id| Change::RemovePodGroup(id.namespace.clone(), id.name.clone()),
        );
    }
    all.spawn::<Pods>("status.phase!=Succeeded,status.phase!=Failed", Change::PutPod, |id| {
        Change::RemovePod(id.uid.clone())
    });
    all.count
}

struct Spawner<'a> {
    tasks: &'a mut JoinSet<()>,
    client: &'a Client,
    page_size: u32,
    changes: &'a mpsc::Sender<Change>,
    stop: &'a CancellationToken,
    count: usize,
}

impl Spawner<'_> {
    fn spawn<K: Kind>(&mut self, fields: &str, put: fn(Arc<K::Object>) -> Change, remove: fn(&Identity) -> Change) {
        let mut config = watcher::Config::default().page_size(self.page_size);
        if !fields.is_empty() {
            config = config.fields(fields);
        }
        let informer = Informer::<K>::new(Telling { put, remove }, self.changes.clone());
        self.tasks.spawn(informer.run(self.client.clone(), config, self.stop.clone()));
        self.count += 1;
    }

    fn spawn_storage(&mut self) {
        use Change::Storage;
        use StorageChange as S;
        self.spawn::<Claims>(
            "",
            |claim| Storage(S::PutClaim((*claim).clone())),
            |id| Storage(S::RemoveClaim(id.namespace.clone(), id.name.clone())),
        );
        self.spawn::<Volumes>(
            "",
            |volume| Storage(S::PutVolume((*volume).clone())),
            |id| Storage(S::RemoveVolume(id.name.clone())),
        );
        self.spawn::<StorageClasses>(
            "",
            |class| Storage(S::PutClass((*class).clone())),
            |id| Storage(S::RemoveClass(id.name.clone())),
        );
        self.spawn::<CsiNodes>(
            "",
            |node| Storage(S::PutCsiNode((*node).clone())),
            |id| Storage(S::RemoveCsiNode(id.name.clone())),
        );
        self.spawn::<CsiDrivers>(
            "",
            |driver| Storage(S::PutCsiDriver((*driver).clone())),
            |id| Storage(S::RemoveCsiDriver(id.name.clone())),
        );
        self.spawn::<StorageCapacities>(
            "",
            |capacity| Storage(S::PutCapacity((*capacity).clone())),
            |id| Storage(S::RemoveCapacity(id.namespace.clone(), id.name.clone())),
        );
        self.spawn::<Attachments>(
            "",
            |attachment| Storage(S::PutAttachment((*attachment).clone())),
            |id| Storage(S::RemoveAttachment(id.name.clone())),
        );
    }

    fn spawn_devices(&mut self) {
        use Change::Devices;
        use DeviceChange as D;
        self.spawn::<DeviceClaims>(
            "",
            |claim| Devices(D::PutClaim((*claim).clone())),
            |id| Devices(D::RemoveClaim(id.namespace.clone(), id.name.clone())),
        );
        self.spawn::<DeviceClasses>(
            "",
            |class| Devices(D::PutClass((*class).clone())),
            |id| Devices(D::RemoveClass(id.name.clone())),
        );
        self.spawn::<DeviceSlices>(
            "",
            |slice| Devices(D::PutSlice((*slice).clone())),
            |id| Devices(D::RemoveSlice(id.name.clone())),
        );
    }

    fn spawn_workload<K: Kind<Object = Workload>>(
        &mut self,
        put: fn(Arc<Workload>) -> Change,
        remove: fn(&Identity) -> Change,
    ) {
        self.spawn::<K>("", put, remove);
    }
}
