//! Watches the metadata of all objects of one resource.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt;
use kube::core::WatchEvent;
use serde::Deserialize;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};

use super::graph::{Identity, Item};
use crate::Error;
use crate::api::{Api, METADATA, METADATA_LIST};
use crate::discovery::Served;
use crate::objects::{OwnerReference, null_default};
use crate::queue::Backoff;

const WATCH_SECONDS: u32 = 290;
/// After how many failed lists others no longer wait for this resource.
const PATIENCE: u32 = 3;

/// What a monitor saw.
#[derive(Debug)]
pub(super) enum Seen {
    /// Added or changed.
    Put(Item),
    /// Gone.
    Gone(String),
}

/// The metadata that matters here.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Partial {
    metadata: PartialMeta,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PartialMeta {
    name: String,
    namespace: String,
    uid: String,
    resource_version: String,
    deletion_timestamp: Option<String>,
    #[serde(deserialize_with = "null_default")]
    owner_references: Vec<OwnerReference>,
    #[serde(deserialize_with = "null_default")]
    finalizers: Vec<String>,
}

/// Watches until dropped; `synced` becomes true once the first list was delivered or has failed too often.
pub(super) async fn run(api: Api, served: Served, seen: mpsc::Sender<Seen>, synced: watch::Sender<bool>) {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(60));
    let mut known = BTreeSet::new();
    let mut failures = 0;
    loop {
        let mut version = match list(&api, &served, &seen, &mut known).await {
            Ok(version) => version,
            Err(error) => {
                failures += 1;
                tracing::debug!(resource = served.plural, %error, "cannot list");
                if failures >= PATIENCE {
                    synced.send_replace(true);
                }
                tokio::time::sleep(backoff.next_delay()).await;
                continue;
            }
        };
        synced.send_replace(true);
        loop {
            let started = Instant::now();
            let ended = follow(&api, &served, &seen, &mut known, &mut version).await;
            if started.elapsed() > Duration::from_secs(5) {
                backoff.reset();
            }
            tokio::time::sleep(backoff.next_delay()).await;
            match ended {
                Ok(()) => {}
                Err(Error::Expired { .. } | Error::NotFound { .. }) => break,
                Err(error) => tracing::debug!(resource = served.plural, %error, "the watch broke off"),
            }
        }
    }
}

async fn list(
    api: &Api,
    served: &Served,
    seen: &mpsc::Sender<Seen>,
    known: &mut BTreeSet<String>,
) -> Result<String, Error> {
    let (path, mut next, mut listed) = (served.path(""), String::new(), BTreeSet::new());
    loop {
        let page = api.page::<Partial>(&path, "", &next, METADATA_LIST).await?;
        for object in page.items {
            listed.insert(object.metadata.uid.clone());
            _ = seen.send(Seen::Put(item(served, object))).await;
        }
        next = page.metadata.next;
        if next.is_empty() {
            for gone in known.difference(&listed) {
                _ = seen.send(Seen::Gone(gone.clone())).await;
            }
            *known = listed;
            return Ok(page.metadata.resource_version);
        }
    }
}

async fn follow(
    api: &Api,
    served: &Served,
    seen: &mpsc::Sender<Seen>,
    known: &mut BTreeSet<String>,
    version: &mut String,
) -> Result<(), Error> {
    let deadline = Instant::now() + Duration::from_secs(u64::from(WATCH_SECONDS) + 15);
    let stream = api.watch::<Partial>(&served.path(""), "", version, WATCH_SECONDS, METADATA).await?;
    let mut stream = std::pin::pin!(stream);
    while let Ok(Some(event)) = timeout_at(deadline, stream.next()).await {
        match event? {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                object.metadata.resource_version.clone_into(version);
                known.insert(object.metadata.uid.clone());
                _ = seen.send(Seen::Put(item(served, object))).await;
            }
            WatchEvent::Deleted(object) => {
                object.metadata.resource_version.clone_into(version);
                known.remove(&object.metadata.uid);
                _ = seen.send(Seen::Gone(object.metadata.uid)).await;
            }
            WatchEvent::Bookmark(mark) => *version = mark.metadata.resource_version,
            WatchEvent::Error(status) => return Err((*status).into()),
        }
    }
    Ok(())
}

pub(super) fn api_version(served: &Served) -> String {
    if served.group.is_empty() { served.version.clone() } else { format!("{}/{}", served.group, served.version) }
}

fn item(served: &Served, object: Partial) -> Item {
    let meta = object.metadata;
    Item {
        identity: Identity {
            api_version: api_version(served),
            kind: served.kind.clone(),
            namespace: meta.namespace,
            name: meta.name,
            uid: meta.uid,
        },
        owners: meta.owner_references,
        deleting: meta.deletion_timestamp.is_some(),
        finalizers: meta.finalizers,
    }
}
