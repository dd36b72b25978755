//! A store whose watch opens and then fails at once, as that of a store whose keys can't be had.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream;
use kubewright_apiserver::server::ApiServer;
use kubewright_store::{Error, KeyRange, MemoryStore, Revision, Store, WatchOptions, WatchStream, forward_store};

/// Counts how often it was watched.
#[derive(Default)]
struct Broken(MemoryStore, AtomicUsize);

#[async_trait]
impl Store for Broken {
    forward_store!(|broken| &broken.0; get, range, commit, compact, status);
    forward_store!(|broken| &broken.0; lease_grant, lease_keep_alive, lease_revoke, lease_status, leases);

    async fn watch(&self, _: KeyRange, _: Revision, _: WatchOptions) -> Result<WatchStream, Error> {
        // Who never waits is made to at last, so that the test ends.
        if self.1.fetch_add(1, Ordering::Relaxed) > 1000 {
            return Ok(WatchStream::new(stream::pending(), || {}));
        }
        Ok(WatchStream::new(stream::iter([Err(Error::unavailable("no key"))]), || {}))
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_fails_at_once_is_opened_again_ever_later() {
    let store = Arc::new(Broken::default());
    let server = ApiServer::builder(Arc::clone(&store) as _).bare().build().await.expect("a server");
    for _ in 0..600 {
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    let asked = store.1.load(Ordering::Relaxed);
    assert!((5..40).contains(&asked), "{asked} watches in a minute");
    server.shutdown().await;
}
