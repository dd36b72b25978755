//! Keeps a cache current: one list, then a watch from its version on, and again from the start when it is too old.

use std::time::Duration;

use futures::StreamExt;
use kube::core::WatchEvent;
use tokio::time::{Instant, timeout_at};

use super::registry::Informer;
use crate::Error;
use crate::api::Api;
use crate::objects::Object;
use crate::queue::Backoff;

/// How long a watch is asked to last, in seconds.
const WATCH_SECONDS: u32 = 290;
const JSON: &str = "application/json";

/// Lists and watches for ever.
pub(super) async fn run<K: Object>(informer: &Informer<K>, api: Api) {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30));
    loop {
        let mut version = match list(informer, &api).await {
            Ok(version) => version,
            Err(error) => {
                tracing::warn!(kind = %K::KIND, %error, "cannot list");
                tokio::time::sleep(backoff.next_delay()).await;
                continue;
            }
        };
        informer.synced.send_replace(true);
        loop {
            let started = Instant::now();
            let ended = watch(informer, &api, &mut version).await;
            if started.elapsed() > Duration::from_secs(5) {
                backoff.reset();
            }
            match ended {
                Ok(()) => {}
                Err(Error::Expired { .. }) => {
                    tracing::debug!(kind = %K::KIND, version, "the watch is too old; listing again");
                    tokio::time::sleep(backoff.next_delay()).await;
                    break;
                }
                Err(error) => tracing::debug!(kind = %K::KIND, %error, "the watch broke off"),
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }
}

async fn list<K: Object>(informer: &Informer<K>, api: &Api) -> Result<String, Error> {
    let path = K::KIND.path("");
    let mut objects: Vec<K> = Vec::new();
    let mut next = String::new();
    loop {
        let page = api.page::<K>(&path, K::FIELD_SELECTOR, &next, JSON).await?;
        objects.extend(page.items);
        if page.metadata.next.is_empty() {
            let version = page.metadata.resource_version;
            informer.notify(informer.cache.replace(objects, version.parse().unwrap_or(0)));
            return Ok(version);
        }
        next = page.metadata.next;
    }
}

async fn watch<K: Object>(informer: &Informer<K>, api: &Api, version: &mut String) -> Result<(), Error> {
    // A connection that died without a word is given up shortly after the server should have ended the watch.
    let deadline = Instant::now() + Duration::from_secs(u64::from(WATCH_SECONDS) + 15);
    let stream = api.watch::<K>(&K::KIND.path(""), K::FIELD_SELECTOR, version, WATCH_SECONDS, JSON).await?;
    let mut stream = std::pin::pin!(stream);
    while let Ok(Some(event)) = timeout_at(deadline, stream.next()).await {
        let (object, deleted) = match event {
            Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => (object, false),
            Ok(WatchEvent::Deleted(object)) => (object, true),
            Ok(WatchEvent::Bookmark(mark)) => {
                *version = mark.metadata.resource_version;
                informer.cache.delivered(version.parse().unwrap_or(0));
                continue;
            }
            Ok(WatchEvent::Error(status)) => return Err((*status).into()),
            Err(kube::Error::SerdeError(error)) => {
                tracing::warn!(kind = %K::KIND, %error, "an object can't be decoded and is passed over");
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        object.meta().resource_version.clone_into(version);
        informer.notify(informer.cache.deliver(object, deleted));
    }
    Ok(())
}
