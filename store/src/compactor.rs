//! Forgetting history in time.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::{Clock, Error, Revision, Store};

/// Looks at the size of the history in so many parts of the time that it is kept.
const LOOKS: u32 = 10;

/// Keeps a store's history from growing without end. A store keeps every revision until it is told to
/// compact; this tells it, as long as it [runs](Compactor::run).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use std::sync::Arc;
///
/// use kubewright_store::{Compactor, MemoryStore, TokioClock};
/// use tokio_util::sync::CancellationToken;
///
/// let store = Arc::new(MemoryStore::new());
/// let cancelled = CancellationToken::new();
/// let work = Compactor::default().run(store.clone(), Arc::new(TokioClock::new()), cancelled.clone());
/// let task = tokio::spawn(work);
/// // …
/// cancelled.cancel();
/// task.await.unwrap();
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compactor {
    /// How long history is kept at least, and about twice that at most. 5 minutes, as in Kubernetes.
    pub keep: Duration,
    /// With more bytes of older versions than this, history is forgotten at once, however young. 256 MiB.
    pub history_bytes_max: u64,
}

impl Default for Compactor {
    fn default() -> Self {
        Self { keep: Duration::from_secs(300), history_bytes_max: 256 << 20 }
    }
}

impl Compactor {
    /// Compacts the store now and then, until cancelled or until the store is closed or failed. What else goes wrong, as
    /// when a replica has no leader for a while, is tried again.
    pub async fn run(self, store: Arc<dyn Store>, clock: Arc<dyn Clock>, cancelled: CancellationToken) {
        let work = async {
            let mut then = Revision::ZERO;
            loop {
                let begun = clock.now();
                for look in 1..=LOOKS {
                    clock.sleep_until(begun + self.keep * look / LOOKS).await;
                    if let Some(status) = tried(store.status().await)?
                        && status.history_bytes > self.history_bytes_max
                    {
                        compact(&*store, status.revision).await?;
                    }
                }
                let Some(status) = tried(store.status().await)? else { continue };
                if then > status.compacted {
                    compact(&*store, then).await?;
                }
                then = status.revision;
            }
        };
        let _: Option<Result<Infallible, Over>> = cancelled.run_until_cancelled(work).await;
    }
}

/// There is nothing to compact any more.
struct Over;

async fn compact(store: &dyn Store, through: Revision) -> Result<(), Over> {
    match store.compact(through).await {
        // Another one was faster.
        Err(Error::Compacted { .. }) => Ok(()),
        result => tried(result).map(drop),
    }
}

/// What came of it, unless it may be tried again later.
fn tried<T>(result: Result<T, Error>) -> Result<Option<T>, Over> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Error::Closed | Error::Failed { .. }) => Err(Over),
        Err(error) => {
            tracing::warn!(%error, "cannot compact the store's history");
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use async_trait::async_trait;

    use super::*;
    use crate::{ManualClock, MemoryStore, StoreExt, StoreStatus, forward_store};

    async fn compacted(store: &MemoryStore, clock: &ManualClock) -> Revision {
        let before = store.status().await.expect("status").compacted;
        loop {
            clock.advance(Duration::from_secs(1));
            tokio::task::yield_now().await;
            let now = store.status().await.expect("status").compacted;
            if now > before {
                return now;
            }
        }
    }

    #[tokio::test]
    async fn history_goes_when_it_is_old() {
        let (clock, store, cancelled) = (ManualClock::new(), Arc::new(MemoryStore::new()), CancellationToken::new());
        let work = Compactor::default().run(store.clone(), Arc::new(clock.clone()), cancelled.clone());
        let task = tokio::spawn(work);
        let first = store.put("a", "1").await.expect("put").mod_revision;
        assert_eq!(compacted(&store, &clock).await, first);
        assert!(clock.now() >= Duration::from_secs(600), "not before it is old");
        let second = store.put("a", "2").await.expect("put").mod_revision;
        assert_eq!(compacted(&store, &clock).await, second);
        cancelled.cancel();
        task.await.expect("it ends");
    }

    #[tokio::test]
    async fn history_goes_at_once_when_it_is_large() {
        let (clock, store) = (ManualClock::new(), Arc::new(MemoryStore::new()));
        let compactor = Compactor { history_bytes_max: 1000, ..Compactor::default() };
        let task = tokio::spawn(compactor.run(store.clone(), Arc::new(clock.clone()), CancellationToken::new()));
        for _ in 0..20 {
            store.put("a", vec![0; 100]).await.expect("put");
        }
        assert_eq!(compacted(&store, &clock).await, Revision(21));
        assert!(clock.now() < Duration::from_secs(60));
        store.close().await;
        while !task.is_finished() {
            clock.advance(Duration::from_secs(30));
            tokio::task::yield_now().await;
        }
    }

    /// A store that cannot tell its status now.
    struct Away(MemoryStore, AtomicBool);

    #[async_trait]
    impl Store for Away {
        forward_store!(|away| &away.0; get, range, commit, watch, compact);
        forward_store!(|away| &away.0; lease_grant, lease_keep_alive, lease_revoke, lease_status, leases);

        async fn status(&self) -> Result<StoreStatus, Error> {
            if self.1.swap(false, Ordering::Relaxed) {
                return Err(Error::unavailable("no leader"));
            }
            self.0.status().await
        }
    }

    #[tokio::test]
    async fn a_store_that_is_away_for_a_while_is_compacted_later() {
        let (clock, cancelled) = (ManualClock::new(), CancellationToken::new());
        let store = Arc::new(Away(MemoryStore::new(), true.into()));
        let work = Compactor::default().run(store.clone(), Arc::new(clock.clone()), cancelled.clone());
        let task = tokio::spawn(work);
        let first = store.0.put("a", "1").await.expect("put").mod_revision;
        while store.1.load(Ordering::Relaxed) {
            clock.advance(Duration::from_secs(1));
            tokio::task::yield_now().await;
        }
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        assert!(!task.is_finished(), "it goes on");
        assert_eq!(compacted(&store.0, &clock).await, first);
        cancelled.cancel();
        task.await.expect("it ends");
    }
}
