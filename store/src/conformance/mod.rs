//! What every store must do, as tests: one `#[test]` per promise.
//!
//! An implementation elsewhere runs the suite with a factory that makes a fresh, empty store:
//!
//! ```no_run
//! mod my_store {
//!     use kubewright_store::{MemoryStore, conformance::Fixture};
//!
//!     async fn fresh() -> Fixture {
//!         // A guard lives as long as the test: a directory, a server…
//!         Fixture::new(MemoryStore::new()).guard(())
//!     }
//!     kubewright_store::conformance_suite!(fresh);
//! }
//! ```
//!
//! What a store cannot do it says by [`Fixture::lacks`]; the cases that need it then have nothing to
//! test.

pub mod compaction;
pub mod concurrency;
pub mod conditions;
pub mod entries;
pub mod leases;
pub mod ranges;
pub mod transactions;
pub mod watches;

mod suite;

use std::any::Any;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;

use crate::{Entry, Error, EventKind, ManualClock, Store, WatchEvents, WatchStream};

/// No case takes nearly this long.
const PATIENCE: Duration = Duration::from_secs(120);

/// A power that a store may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Capability {
    /// [`WatchOptions::progress_interval`](crate::WatchOptions::progress_interval) in less than some seconds.
    ProgressInterval,
    /// Leases of a few seconds, and expiry soon after.
    ShortLeases,
    /// A watch may start at the compacted revision itself.
    WatchFromCompacted,
    /// A progress mark that was asked for waits until the watch has caught up. Etcd before 3.4.25 and 3.5.8 does
    /// not do that.
    ProgressWhileCatchingUp,
}

/// A fresh store and what belongs to it.
#[derive(Debug)]
pub struct Fixture {
    /// The store, empty and never written to.
    pub store: Arc<dyn Store>,
    clock: Option<ManualClock>,
    lacks: Vec<Capability>,
    guards: Vec<Box<dyn Any + Send>>,
    is_absent: bool,
}

impl Fixture {
    /// A store that can do everything, by the real clock.
    pub fn new(store: impl Store) -> Self {
        Self { store: Arc::new(store), clock: None, lacks: Vec::new(), guards: Vec::new(), is_absent: false }
    }

    /// No store: what it takes to make one is not on this machine, and there is nothing to test.
    pub fn absent() -> Self {
        Self { is_absent: true, ..Self::new(crate::MemoryStore::new()) }
    }

    /// The clock that the store goes by, so that no case has to wait.
    #[must_use]
    pub fn clock(mut self, clock: ManualClock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Something to drop when the test is over.
    #[must_use]
    pub fn guard(mut self, guard: impl Any + Send) -> Self {
        self.guards.push(Box::new(guard));
        self
    }

    /// Something that the store cannot do.
    #[must_use]
    pub fn lacks(mut self, capability: Capability) -> Self {
        self.lacks.push(capability);
        self
    }

    fn can(&self, capability: Capability) -> bool {
        !self.lacks.contains(&capability)
    }

    /// Lets time go by for the store.
    async fn pass(&self, time: Duration) {
        match &self.clock {
            Some(clock) => clock.advance(time),
            None => tokio::time::sleep(time).await,
        }
    }
}

/// Runs one case on a fresh store.
///
/// # Panics
/// If the store does not do what the case asks.
pub fn run<Made, Ran>(factory: impl FnOnce() -> Made, case: impl FnOnce(Fixture) -> Ran)
where
    Made: Future<Output = Fixture>,
    Ran: Future<Output = ()>,
{
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let case = async {
            let fixture = factory().await;
            if !fixture.is_absent {
                case(fixture).await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, case).await.is_ok(), "the store does not answer");
    });
}

/// The next batch that is not a progress mark.
async fn next(watch: &mut WatchStream) -> WatchEvents {
    loop {
        let batch = watch.next().await.expect("the watch goes on").expect("no error");
        if !batch.is_progress() {
            return batch;
        }
    }
}

/// Batches up to and with the one that puts `key`.
async fn until_put(watch: &mut WatchStream, key: &str) -> Vec<WatchEvents> {
    let mut batches = Vec::new();
    loop {
        let batch = next(watch).await;
        let last = batch.events.iter().any(|e| e.kind == EventKind::Put && *e.entry.key == *key.as_bytes());
        batches.push(batch);
        if last {
            return batches;
        }
    }
}

fn keys(entries: &[Arc<Entry>]) -> Vec<String> {
    entries.iter().map(|entry| entry.key.to_string()).collect()
}

#[track_caller]
fn assert_compacted<T>(result: Result<T, Error>) {
    match result {
        Err(Error::Compacted { .. }) => {}
        Err(other) => panic!("expected a compacted revision, not: {other}"),
        Ok(_) => panic!("expected a compacted revision"),
    }
}

#[track_caller]
fn assert_invalid<T>(result: Result<T, Error>) {
    match result {
        Err(Error::InvalidRequest { .. }) => {}
        Err(other) => panic!("expected an invalid request, not: {other}"),
        Ok(_) => panic!("expected an invalid request"),
    }
}
