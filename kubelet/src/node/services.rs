use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt as _;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watch_objects};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Context;
use crate::objects::Service;

/// Follows the cluster's services until cancelled: containers learn of them through their environment. `synced` turns
/// true when they are all known.
pub(crate) async fn follow_services(node: Arc<Context>, synced: watch::Sender<bool>, cancel: CancellationToken) {
    let followed = async {
        let api: kube::Api<Service> = kube::Api::all(node.client.clone());
        let mut events = std::pin::pin!(watch_objects(api, watcher::Config::default()).default_backoff());
        let key = |service: &Service| (service.metadata.namespace.clone(), service.metadata.name.clone());
        let mut known: BTreeMap<_, Service> = BTreeMap::new();
        let mut listed = BTreeMap::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitApply(service)) => {
                    listed.insert(key(&service), service);
                    continue;
                }
                Ok(Event::InitDone) => known = std::mem::take(&mut listed),
                Ok(Event::Apply(service)) => drop(known.insert(key(&service), service)),
                Ok(Event::Delete(service)) => drop(known.remove(&key(&service))),
                Err(error) => {
                    tracing::debug!(%error, "the watch of services failed, will be tried again");
                    continue;
                }
            }
            node.set_services(known.values().cloned().collect());
            synced.send_replace(true);
        }
    };
    cancel.run_until_cancelled(followed).await;
}
