//! Runs the garbage collector: monitors feed the graph, workers act on what it brings up.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::decide::{Owner, Verdict, decide};
use super::graph::{Graph, Identity, Item, Work, coordinates};
use super::monitor::{self, Seen};
use super::{FOREGROUND, ORPHAN};
use crate::Error;
use crate::api::{Api, DeleteOptions, METADATA, object_path};
use crate::discovery::{Served, discover};
use crate::manager::{Driver, Environment};
use crate::objects::{Meta, ObjectKey, OwnerReference};
use crate::plan::Propagation;
use crate::queue::WorkQueue;

/// How often it looks for new resources.
const RESYNC: Duration = Duration::from_secs(30);
const WORKERS: usize = 20;
/// How many owners are remembered as absent. UIDs are never used again, so that it holds for ever: of an owner where a
/// reference says that it is. Elsewhere there may be one of that UID; references lie.
const ABSENT_REMEMBERED: usize = 1000;

pub(super) struct Collector {
    ignored: Vec<String>,
}

/// What monitors, workers and the resync share.
struct Shared {
    api: Api,
    graph: Mutex<Graph>,
    queue: WorkQueue<Work>,
    resources: Mutex<Vec<Served>>,
    absent: Mutex<VecDeque<Identity>>,
}

struct Monitor {
    cancel: CancellationToken,
    synced: watch::Receiver<bool>,
    served: Served,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Live {
    metadata: Meta,
}

impl Collector {
    pub(super) fn new(ignored: Vec<String>) -> Self {
        Self { ignored }
    }
}

impl Driver for Collector {
    fn run(self: Box<Self>, environment: Environment, cancel: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let shared = Arc::new(Shared {
                api: environment.applier.api.clone(),
                graph: Mutex::default(),
                queue: WorkQueue::default(),
                resources: Mutex::default(),
                absent: Mutex::default(),
            });
            let mut tasks = JoinSet::new();
            let (sender, receiver) = mpsc::channel(1024);
            tasks.spawn(observe(shared.clone(), receiver, cancel.clone()));
            let mut monitors = BTreeMap::new();
            let mut working = false;
            loop {
                match self.resync(&shared, &sender, &mut monitors, &mut tasks, &cancel).await {
                    Ok(()) if !working => {
                        if cancel.run_until_cancelled(all_synced(&monitors)).await.is_none() {
                            break;
                        }
                        working = true;
                        (0..WORKERS).for_each(|_| _ = tasks.spawn(work(shared.clone(), cancel.clone())));
                    }
                    Ok(()) => {}
                    Err(error) => tracing::debug!(%error, "cannot discover resources"),
                }
                let pause = if working { RESYNC } else { Duration::from_secs(1) };
                if cancel.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                    break;
                }
            }
            shared.queue.close();
            drop(sender);
            while let Some(ended) = tasks.join_next().await {
                if let Err(error) = ended {
                    tracing::error!(%error, "a task of the garbage collector panicked");
                }
            }
        })
    }
}

impl Collector {
    /// Starts monitors of new resources and ends those of resources that are gone.
    async fn resync(
        &self,
        shared: &Arc<Shared>,
        sender: &mpsc::Sender<Seen>,
        monitors: &mut BTreeMap<(String, String), Monitor>,
        tasks: &mut JoinSet<()>,
        cancel: &CancellationToken,
    ) -> Result<(), Error> {
        let Some(discovery) = cancel.run_until_cancelled(discover(&shared.api)).await.transpose()? else {
            return Ok(());
        };
        let ignored = |served: &Served| self.ignored.contains(&format!("{}/{}", served.group, served.plural));
        let watchable = |served: &Served| ["delete", "list", "watch"].iter().all(|verb| served.can(verb));
        let wanted: Vec<Served> =
            discovery.once().into_iter().filter(|served| watchable(served) && !ignored(served)).collect();
        // If the server could not tell about a group, its resources may well be there.
        if discovery.failed.is_empty() {
            monitors.retain(|_, monitor| {
                let stays = wanted.contains(&monitor.served);
                if !stays {
                    monitor.cancel.cancel();
                    let mut graph = lock(&shared.graph);
                    for uid in graph.of_kind(&monitor::api_version(&monitor.served), &monitor.served.kind) {
                        graph.remove(&uid);
                    }
                }
                stays
            });
        }
        *lock(&shared.resources) = discovery.resources;
        for served in wanted {
            let key = (served.group.clone(), served.plural.clone());
            monitors.entry(key).or_insert_with(|| {
                let (synced, receiver) = watch::channel(false);
                let cancel = cancel.child_token();
                let run = monitor::run(shared.api.clone(), served.clone(), sender.clone(), synced);
                let until = cancel.clone();
                tasks.spawn(async move { _ = until.run_until_cancelled(run).await });
                Monitor { cancel, synced: receiver, served }
            });
        }
        Ok(())
    }
}

async fn all_synced(monitors: &BTreeMap<(String, String), Monitor>) {
    for monitor in monitors.values() {
        // An error means that the monitor has ended, so that there is nothing to wait for.
        _ = monitor.synced.clone().wait_for(|synced| *synced).await;
    }
}

async fn observe(shared: Arc<Shared>, mut seen: mpsc::Receiver<Seen>, cancel: CancellationToken) {
    while let Some(Some(event)) = cancel.run_until_cancelled(seen.recv()).await {
        let work = match event {
            Seen::Put(item) => lock(&shared.graph).put(item),
            Seen::Gone(uid) => lock(&shared.graph).remove(&uid),
        };
        work.into_iter().for_each(|work| shared.queue.add(work));
    }
}

async fn work(shared: Arc<Shared>, cancel: CancellationToken) {
    while let Some(work) = shared.queue.next().await {
        let attempt = async {
            match &work {
                Work::Delete(uid) => shared.attempt_to_delete(uid).await,
                Work::Orphan(uid) => shared.attempt_to_orphan(uid).await,
                Work::Verify(uid) => shared.verify(uid).await,
            }
        };
        match cancel.run_until_cancelled(attempt).await {
            None => {}
            Some(Ok(())) => shared.queue.forget(&work),
            Some(Err(error)) => {
                let delay = shared.queue.add_failed(work.clone());
                tracing::debug!(?work, %error, ?delay, "the garbage collector retries");
            }
        }
        shared.queue.done(&work);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    async fn attempt_to_delete(&self, uid: &str) -> Result<(), Error> {
        let Some(item) = lock(&self.graph).get(uid).cloned() else { return Ok(()) };
        if item.deleting && !item.waits_for_dependents() {
            return Ok(());
        }
        let Some(live) = self.live(&item.identity).await? else {
            // The watch will tell too; its dependents need not wait for that.
            self.gone(uid);
            return Ok(());
        };
        if item.waits_for_dependents() {
            return self.wait_for_dependents(&item, &live).await;
        }
        let mut owners = Vec::new();
        for reference in &live.owner_references {
            match self.owner(reference, &item.identity.namespace).await? {
                Some(owner) => owners.push((reference.clone(), owner)),
                // An owner of a kind that isn't served may exist: nothing is certain, nothing is deleted.
                None => return Ok(()),
            }
        }
        let (has_dependents, dependents_wait) = {
            let graph = lock(&self.graph);
            let has = graph.dependents_of(uid).next().is_some();
            (has, graph.dependents_of(uid).any(Item::waits_for_dependents))
        };
        let current = Item { deleting: live.deleting(), finalizers: live.finalizers.clone(), ..item };
        match decide(&current, &owners, has_dependents, dependents_wait) {
            Verdict::Keep => Ok(()),
            Verdict::DropOwners(lost) => {
                let keep = |reference: &&OwnerReference| !lost.contains(&reference.uid);
                let kept: Vec<_> = live.owner_references.iter().filter(keep).collect();
                self.patch(&current.identity, &live, json!({"ownerReferences": kept})).await
            }
            Verdict::Delete(propagation) => self.delete(&current.identity, &live, propagation).await,
            Verdict::UnblockAndDelete => {
                let unblock =
                    |reference: &OwnerReference| OwnerReference { block_owner_deletion: false, ..reference.clone() };
                let references: Vec<_> = live.owner_references.iter().map(unblock).collect();
                self.patch(&current.identity, &live, json!({"ownerReferences": references})).await?;
                self.delete(
                    &current.identity,
                    &Meta { resource_version: String::new(), ..live },
                    Propagation::Foreground,
                )
                .await
            }
        }
    }

    /// Lets an object go when nothing blocks it any more, or sees to it that the blockers go.
    async fn wait_for_dependents(&self, item: &Item, live: &Meta) -> Result<(), Error> {
        let blockers: Vec<String> = {
            let graph = lock(&self.graph);
            graph
                .blockers_of(&item.identity.uid)
                .filter(|blocker| !blocker.deleting)
                .map(|b| b.identity.uid.clone())
                .collect()
        };
        if lock(&self.graph).blockers_of(&item.identity.uid).next().is_none() {
            return self.drop_finalizer(&item.identity, live, FOREGROUND).await;
        }
        blockers.into_iter().for_each(|uid| self.queue.add(Work::Delete(uid)));
        Ok(())
    }

    async fn attempt_to_orphan(&self, uid: &str) -> Result<(), Error> {
        let Some(owner) = lock(&self.graph).get(uid).cloned() else { return Ok(()) };
        let dependents: Vec<Item> = lock(&self.graph).dependents_of(uid).cloned().collect();
        for dependent in dependents {
            let Some(live) = self.live(&dependent.identity).await? else { continue };
            let kept: Vec<_> = live.owner_references.iter().filter(|reference| reference.uid != uid).collect();
            if kept.len() != live.owner_references.len() {
                self.patch(&dependent.identity, &live, json!({"ownerReferences": kept})).await?;
            }
        }
        match self.live(&owner.identity).await? {
            Some(live) => self.drop_finalizer(&owner.identity, &live, ORPHAN).await,
            None => Ok(()),
        }
    }

    /// Looks whether an owner exists that no monitor has seen.
    async fn verify(&self, uid: &str) -> Result<(), Error> {
        let Some(identity) = lock(&self.graph).unseen(uid).cloned() else { return Ok(()) };
        let reference = OwnerReference {
            api_version: identity.api_version.clone(),
            kind: identity.kind.clone(),
            name: identity.name.clone(),
            uid: uid.to_owned(),
            ..OwnerReference::default()
        };
        if self.owner(&reference, &identity.namespace).await? == Some(Owner::Absent) {
            self.gone(uid);
        }
        Ok(())
    }

    /// What became of an owner; `None` if its kind isn't served or can't own the dependent.
    async fn owner(&self, reference: &OwnerReference, namespace: &str) -> Result<Option<Owner>, Error> {
        if let Some(item) = lock(&self.graph).get(&reference.uid) {
            let usable = item.identity.namespace.is_empty() || item.identity.namespace == namespace;
            if usable {
                return Ok(Some(if item.waits_for_dependents() { Owner::Waiting } else { Owner::Present }));
            }
        }
        let identity = coordinates(reference, namespace);
        if lock(&self.absent).contains(&identity) {
            return Ok(Some(Owner::Absent));
        }
        let Some(served) = self.served(&identity) else { return Ok(None) };
        if served.namespaced && namespace.is_empty() {
            return Ok(None);
        }
        Ok(Some(match self.live(&identity).await? {
            Some(live) if live.deleting() && live.finalizers.iter().any(|held| held == FOREGROUND) => Owner::Waiting,
            Some(_) => Owner::Present,
            None => {
                let mut absent = lock(&self.absent);
                absent.push_back(identity);
                if absent.len() > ABSENT_REMEMBERED {
                    absent.pop_front();
                }
                Owner::Absent
            }
        }))
    }

    fn gone(&self, uid: &str) {
        let work = lock(&self.graph).remove(uid);
        work.into_iter().for_each(|work| self.queue.add(work));
    }

    fn served(&self, identity: &Identity) -> Option<Served> {
        let (group, version) = identity.api_version.split_once('/').unwrap_or(("", &identity.api_version));
        let resources = lock(&self.resources);
        let same = |served: &&Served| served.group == group && served.kind == identity.kind && served.can("get");
        let exact = resources.iter().filter(same).find(|served| served.version == version);
        exact.or_else(|| resources.iter().find(same)).cloned()
    }

    fn path(&self, identity: &Identity) -> Result<String, Error> {
        let unknown =
            || Error::NotFound { message: format!("{} {} isn't served", identity.api_version, identity.kind) };
        let served = self.served(identity).ok_or_else(unknown)?;
        let namespace = if served.namespaced { identity.namespace.as_str() } else { "" };
        Ok(object_path(&served.path(namespace), &ObjectKey::new(namespace, &identity.name), ""))
    }

    /// The object's metadata now; `None` if it is gone or another has its name.
    async fn live(&self, identity: &Identity) -> Result<Option<Meta>, Error> {
        match self.api.get::<Live>(&self.path(identity)?, METADATA).await {
            Ok(live) => Ok(Some(live.metadata).filter(|meta| meta.uid == identity.uid)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn patch(&self, identity: &Identity, live: &Meta, mut metadata: Value) -> Result<(), Error> {
        metadata["uid"] = json!(identity.uid);
        metadata["resourceVersion"] = json!(live.resource_version);
        match self.api.patch_path(&self.path(identity)?, &json!({"metadata": metadata})).await {
            Ok(_) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn drop_finalizer(&self, identity: &Identity, live: &Meta, finalizer: &str) -> Result<(), Error> {
        if !live.finalizers.iter().any(|held| held == finalizer) {
            return Ok(());
        }
        let left: Vec<_> = live.finalizers.iter().filter(|held| *held != finalizer).collect();
        self.patch(identity, live, json!({"finalizers": left})).await
    }

    async fn delete(&self, identity: &Identity, live: &Meta, propagation: Propagation) -> Result<(), Error> {
        let options = DeleteOptions {
            uid: &identity.uid,
            resource_version: &live.resource_version,
            propagation: Some(propagation),
            grace_seconds: None,
        };
        tracing::debug!(
            kind = identity.kind,
            namespace = identity.namespace,
            name = identity.name,
            ?propagation,
            "collecting"
        );
        match self.api.delete_path(&self.path(identity)?, &options).await {
            Ok(_) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
