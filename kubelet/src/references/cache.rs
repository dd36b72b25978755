use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watch_objects};
use serde::de::DeserializeOwned;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::{Fetched, KeyedData, ObjectKind};

/// Kind, namespace and name of an object.
pub type ObjectKey = (ObjectKind, String, String);

struct Entry {
    users: BTreeSet<String>,
    value: watch::Receiver<Fetched>,
    _watch: DropGuard,
}

/// Watches the objects that pods of this node refer to, each alone, and no others.
pub struct ObjectCache {
    client: kube::Client,
    entries: Mutex<BTreeMap<ObjectKey, Entry>>,
    changes: broadcast::Sender<ObjectKey>,
    tasks: TaskTracker,
    cancel: CancellationToken,
}

impl Debug for ObjectCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObjectCache").field("objects", &self.len()).finish_non_exhaustive()
    }
}

/// How many changes a slow listener may be behind; beyond that it looks at everything.
const CHANGES_MAX: usize = 256;

impl ObjectCache {
    /// An empty cache; its watches end with `cancel`, and run in `tasks`.
    #[must_use]
    pub fn new(client: kube::Client, tasks: TaskTracker, cancel: CancellationToken) -> Self {
        let (changes, _) = broadcast::channel(CHANGES_MAX);
        Self { client, entries: Mutex::default(), changes, tasks, cancel }
    }

    /// How many objects are watched.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries().len()
    }

    /// Whether nothing is watched.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The objects that change, from now on.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<ObjectKey> {
        self.changes.subscribe()
    }

    /// Says which objects of `namespace` the pod `uid` refers to now. What nobody refers to is watched no longer.
    pub fn refer(&self, uid: &str, namespace: &str, objects: &BTreeSet<(ObjectKind, String)>) {
        let mut entries = self.entries();
        for (kind, name) in objects {
            let key = (*kind, namespace.to_owned(), name.clone());
            let entry = entries.entry(key.clone()).or_insert_with(|| self.start(&key));
            entry.users.insert(uid.to_owned());
        }
        entries.retain(|(kind, space, name), entry| {
            if !(space == namespace && objects.contains(&(*kind, name.clone()))) {
                entry.users.remove(uid);
            }
            !entry.users.is_empty()
        });
    }

    /// Says that the pod is gone.
    pub fn forget(&self, uid: &str) {
        self.refer(uid, "", &BTreeSet::new());
    }

    /// What is known of an object that someone refers to.
    #[must_use]
    pub fn get(&self, kind: ObjectKind, namespace: &str, name: &str) -> Fetched {
        let key = (kind, namespace.to_owned(), name.to_owned());
        self.entries().get(&key).map_or(Fetched::Unknown, |entry| entry.value.borrow().clone())
    }

    /// Waits until every object the pod refers to was read once, or for `patience` at most.
    pub async fn synced(&self, uid: &str, patience: Duration) {
        let waiting: Vec<_> = {
            let entries = self.entries();
            let own = entries.values().filter(|entry| entry.users.contains(uid));
            own.map(|entry| entry.value.clone()).collect()
        };
        let all = async {
            for mut value in waiting {
                drop(value.wait_for(|value| *value != Fetched::Unknown).await);
            }
        };
        drop(tokio::time::timeout(patience, all).await);
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, BTreeMap<ObjectKey, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self, key: &ObjectKey) -> Entry {
        let (sender, value) = watch::channel(Fetched::Unknown);
        let cancel = self.cancel.child_token();
        let follower = Follower { key: key.clone(), value: sender, changes: self.changes.clone() };
        let (client, stopped) = (self.client.clone(), cancel.clone());
        self.tasks.spawn(async move {
            let namespace = follower.key.1.clone();
            let followed = async {
                match follower.key.0 {
                    ObjectKind::ConfigMap => {
                        follower.follow(kube::Api::<ConfigMap>::namespaced(client, &namespace)).await;
                    }
                    ObjectKind::Secret => follower.follow(kube::Api::<Secret>::namespaced(client, &namespace)).await,
                }
            };
            stopped.run_until_cancelled(followed).await.unwrap_or_default();
        });
        Entry { users: BTreeSet::new(), value, _watch: cancel.drop_guard() }
    }

    /// The uids of the pods that refer to an object.
    #[must_use]
    pub fn users(&self, key: &ObjectKey) -> Vec<String> {
        self.entries().get(key).map(|entry| entry.users.iter().cloned().collect()).unwrap_or_default()
    }
}

/// Follows one object.
struct Follower {
    key: ObjectKey,
    value: watch::Sender<Fetched>,
    changes: broadcast::Sender<ObjectKey>,
}

impl Follower {
    async fn follow<K>(&self, api: kube::Api<K>)
    where
        K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Into<KeyedData>
            + Send
            + 'static,
    {
        let only = watcher::Config::default().fields(&format!("metadata.name={}", self.key.2));
        let mut events = pin!(watch_objects(api, only).default_backoff());
        let mut listed = None;
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => listed = None,
                Ok(Event::InitApply(object)) => listed = Some(object),
                Ok(Event::InitDone) => self.set(listed.take()),
                Ok(Event::Apply(object)) => self.set(Some(object)),
                Ok(Event::Delete(_)) => self.set(None::<K>),
                Err(error) => {
                    let (kind, namespace, name) = &self.key;
                    tracing::debug!(%kind, namespace, name, %error, "watch failed, will be tried again");
                }
            }
        }
    }

    fn set<K: Into<KeyedData>>(&self, object: Option<K>) {
        let value = object.map_or(Fetched::Missing, |object| Fetched::Found(Arc::new(object.into())));
        let changed = self.value.send_if_modified(|current| {
            let changed = *current != value;
            *current = value;
            changed
        });
        if changed {
            // Nobody may be listening, and that is well.
            drop(self.changes.send(self.key.clone()));
        }
    }
}
