//! Forgets the store's history after a while, as upstream's API server does for etcd.

use std::sync::Arc;
use std::time::Duration;

use kubewright_store::{Error, Store};
use tokio_util::sync::CancellationToken;

/// Compacts, every interval, what was history an interval ago: so history lasts between one and two of them.
pub(super) async fn run(store: Arc<dyn Store>, interval: Duration, cancel: CancellationToken) {
    let mut seen = None;
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(interval) => {}
        }
        if let Some(revision) = seen {
            match store.compact(revision).await {
                // Nothing new happened, or another server was first.
                Ok(()) | Err(Error::Compacted { .. }) => {}
                Err(error) => tracing::warn!(%error, "the store's history could not be compacted"),
            }
        }
        match store.status().await {
            Ok(status) => seen = Some(status.revision),
            Err(error) => tracing::warn!(%error, "the store does not answer"),
        }
    }
}
