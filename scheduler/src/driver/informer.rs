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
                // What a list told that broke off is known: it is to be taken back if the next list doesn't have it.
                self.known.append(&mut self.fresh);
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
        let key = key(identity);
        match self.fresh.get(&key).or_else(|| self.known.get(&key)) {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::lean::Nodes;
    use super::*;

    fn seen(name: &str, uid: &str) -> Watched<Nodes> {
        serde_json::from_value(json!({"metadata": {"name": name, "uid": uid, "resourceVersion": "1"}})).unwrap()
    }

    /// What is told of nodes after those events.
    async fn told(events: Vec<Event<Watched<Nodes>>>) -> Vec<String> {
        let (sender, mut changes) = mpsc::channel(64);
        let telling =
            Telling { put: Change::PutNode, remove: |id| Change::RemoveNode(format!("{} {}", id.name, id.uid).into()) };
        let mut informer = Informer::<Nodes>::new(telling, sender);
        for event in events {
            informer.on_event(event).await.unwrap();
        }
        drop(informer);
        let mut told = Vec::new();
        while let Some(change) = changes.recv().await {
            told.push(match change {
                Change::PutNode(node) => format!("put {} {}", node.name, node.uid),
                Change::RemoveNode(text) => format!("remove {text}"),
                other => format!("{other:?}"),
            });
        }
        told
    }

    #[tokio::test]
    async fn what_a_broken_off_list_told_is_taken_back_when_it_is_gone() {
        let (a, b) = (|| seen("a", "a"), || seen("b", "b"));
        let events =
            vec![Event::Init, Event::InitApply(a()), Event::Init, Event::Init, Event::InitApply(b()), Event::InitDone];
        assert_eq!(told(events).await, ["put a a", "put b b", "remove a a", "Synced"]);
        let again = vec![Event::InitApply(a()), Event::Init, Event::InitApply(a()), Event::InitDone];
        assert_eq!(told(again).await, ["put a a", "put a a", "Synced"]);
    }

    #[tokio::test]
    async fn a_namesake_replaces_what_a_broken_off_list_told_once() {
        let (old, new) = (|| seen("a", "old"), || seen("a", "new"));
        let events = vec![
            Event::InitApply(old()),
            Event::Init,
            Event::InitApply(new()),
            Event::InitApply(new()),
            Event::InitDone,
            Event::Apply(new()),
        ];
        let expected = ["put a old", "remove a old", "put a new", "put a new", "Synced", "put a new"];
        assert_eq!(told(events).await, expected);
    }
}
