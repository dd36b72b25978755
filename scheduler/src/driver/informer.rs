//! Watches a kind of object and tells of every change.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::lean::{Identity, Kind, Watched};
use crate::object::{Budget, Name, Namespace, Node, PodGroup, PodInfo, Workload, WorkloadKind};
use crate::schedule::{DeviceChange, StorageChange};

/// A change, as the main loop hears of it.
#[derive(Debug)]
pub(super) enum Change {
    PutPod(Arc<PodInfo>),
    RemovePod(Name),
    PutNode(Arc<Node>),
    PutFullNode(Arc<Value>),
    RemoveFullNode(Name),
    RemoveNode(Name),
    PutNamespace(Namespace),
    RemoveNamespace(Name),
    PutWorkload(WorkloadKind, Workload),
    RemoveWorkload(WorkloadKind, Name, Name),
    PutBudget(Budget),
    RemoveBudget(Name, Name),
    Storage(StorageChange),
    Devices(DeviceChange),
    PutPodGroup(PodGroup),
    RemovePodGroup(Name, Name),
    /// Everything of a kind that was there has been told.
    Synced,
}

/// How changes of a kind are told.
pub(super) struct Telling<K: Kind> {
    pub(super) put: fn(Arc<K::Object>) -> Change,
    pub(super) remove: fn(&Identity) -> Change,
}

/// The list of changes is full only while the main loop is busy, and then the watch waits.
pub(super) struct Informer<K: Kind> {
    telling: Telling<K>,
    known: BTreeMap<(Name, Name), Identity>,
    fresh: BTreeMap<(Name, Name), Identity>,
    changes: mpsc::Sender<Change>,
    synced: bool,
}

impl<K: Kind> Informer<K> {
    pub(super) const fn new(telling: Telling<K>, changes: mpsc::Sender<Change>) -> Self {
        Self { telling, known: BTreeMap::new(), fresh: BTreeMap::new(), changes, synced: false }
    }

    /// Watches until cancelled, or until nobody listens any more.
    pub(super) async fn run(mut self, client: Client, config: watcher::Config, stop: CancellationToken) {
        let api: Api<Watched<K>> = Api::all(client);
        let stream = watcher(api, config).default_backoff();
        futures::pin_mut!(stream);
        loop {
            let event = tokio::select! {
                () = stop.cancelled() => return,
                event = stream.next() => event,
            };
            let heard = match event {
                Some(Ok(event)) => self.on_event(event).await,
                // A server that doesn't know the kind has none of it. It may learn: the watch goes on trying.
                Some(Err(error)) if is_unknown_kind(&error) => {
                    tracing::debug!(kind = K::KIND, "the server doesn't know this kind");
                    if std::mem::replace(&mut self.synced, true) { Some(()) } else { self.tell(Change::Synced).await }
                }
                Some(Err(error)) => {
                    tracing::warn!(kind = K::KIND, %error, "watch failed, trying again");
                    Some(())
                }
                None => None,
            };
            if heard.is_none() {
                return;
            }
        }
    }

    async fn on_event(&mut self, event: Event<Watched<K>>) -> Option<()> {
        match event {
            Event::Apply(watched) => {
                self.replace_namesake(&watched.identity).await?;
                self.known.insert(key(&watched.identity), watched.identity.clone());
                self.tell((self.telling.put)(watched.object)).await
            }
            Event::Delete(watched) => {
                self.known.remove(&key(&watched.identity));
                self.tell((self.telling.remove)(&watched.identity)).await
            }
            Event::Init => {
                self.fresh.clear();
                Some(())
            }
            Event::InitApply(watched) => {
                self.replace_namesake(&watched.identity).await?;
                self.fresh.insert(key(&watched.identity), watched.identity.clone());
                self.tell((self.telling.put)(watched.object)).await
            }
            Event::InitDone => {
                let fresh = std::mem::take(&mut self.fresh);
                let old = std::mem::replace(&mut self.known, fresh);
                for (key, identity) in old {
                    if !self.known.contains_key(&key) {
                        self.tell((self.telling.remove)(&identity)).await?;
                    }
                }
                if std::mem::replace(&mut self.synced, true) {
                    return Some(());
                }
                self.tell(Change::Synced).await
            }
        }
    }

    /// An object of the same name that isn't the same object: the other one went without our hearing of it.
    async fn replace_namesake(&self, identity: &Identity) -> Option<()> {
        match self.known.get(&key(identity)) {
            Some(old) if old.uid != identity.uid => self.tell((self.telling.remove)(old)).await,
            _ => Some(()),
        }
    }

    async fn tell(&self, change: Change) -> Option<()> {
        self.changes.send(change).await.ok()
    }
}

fn is_unknown_kind(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::InitialListFailed(kube::Error::Api(status)) if status.code == 404)
}

fn key(identity: &Identity) -> (Name, Name) {
    (identity.namespace.clone(), identity.name.clone())
}
