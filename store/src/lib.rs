//! A revisioned, watchable, durable key-value store with etcd's guarantees.
//!
//! A control plane keeps all its state in one place, and everything else in it relies on what that
//! place promises: commits in one order, each durable before it is acknowledged; reads of any recent
//! revision; watches that miss nothing. The trait [`Store`] says what is promised, and stores keep it:
//! [`MemoryStore`] for tests and small embeddings, with feature `disk` `DiskStore` on a log of its own, and
//! with feature `raft` `RaftStore`, kept by several machines. What they hold is one deterministic [`state`]
//! machine; they differ in how a command becomes safe before it is applied.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), kubewright_store::Error> {
//! use futures::StreamExt;
//! use kubewright_store::{Compare, KeyRange, MemoryStore, Op, Revision, Store, StoreExt, Txn, WatchOptions};
//!
//! let store = MemoryStore::new();
//! let mut watch = store
//!     .watch(KeyRange::prefix("jobs/"), Revision::ZERO, WatchOptions::default())
//!     .await?;
//!
//! let first = store.put("jobs/1", "queued").await?;
//!
//! // Take the job if nobody else has.
//! let txn = Txn::new()
//!     .when(Compare::mod_revision("jobs/1", first.mod_revision))
//!     .then(Op::put("jobs/1", "running"))
//!     .otherwise(Op::get("jobs/1"));
//! assert!(store.commit(txn).await?.succeeded);
//!
//! for expected in ["queued", "running"] {
//!     let batch = watch.next().await.expect("the watch goes on")?;
//!     assert_eq!(batch.events[0].entry.value, expected);
//! }
//! # Ok(()) }
//! ```
//!
//! # Features
//!
//! None is on by default; each only adds.
//!
//! - `disk`: `DiskStore`, a store whose commits are on disk before they are acknowledged (Unix).
//! - `raft`: `RaftStore`, a store that several replicas keep together.
//! - `network`: `PeerNetwork`, which connects the replicas over HTTP/2 with mutual TLS.
//! - `etcd`: `EtcdStore`, a store that is an etcd cluster.
//! - `face`: `Face`, a gRPC server that speaks etcd's v3 API over any store; brings `disk`, for backups.
//! - `simulation`: a cluster of replicas under faults, from one seed, for those who want to see for themselves.
//! - `conformance`: the suite that every store must pass, as a macro that makes one test per promise.
//!
//! # Where next
//!
//! [`Store`] for the promises, [`StoreExt`] for conveniences, [`Txn`] for what a commit can do,
//! [`WatchStream`] for watches, [`Membership`] for stores that several machines keep, [`forward_store!`] for
//! wrappers.

#[cfg(feature = "disk")]
mod backup;
mod clock;
#[cfg(feature = "disk")]
mod codec;
mod compactor;
#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "disk")]
mod disk;
mod driver;
mod entry;
mod error;
#[cfg(feature = "etcd")]
mod etcd;
mod ext;
#[cfg(feature = "face")]
mod face;
mod forward;
mod key;
mod lease;
mod membership;
mod memory;
#[cfg(feature = "network")]
mod network;
#[cfg(any(feature = "etcd", feature = "face"))]
mod proto;
#[cfg(feature = "raft")]
mod raft;
mod read;
#[cfg(all(feature = "raft", any(test, feature = "simulation")))]
pub use raft::simulation;
pub mod state;
mod status;
mod store;
mod txn;
mod watch;

#[cfg(feature = "disk")]
pub use backup::{Backup, BackupInfo, BackupStream, Progress, export_to_etcd, verify_backup};
pub use clock::{Clock, ManualClock, TokioClock};
pub use compactor::Compactor;
#[cfg(feature = "disk")]
pub use disk::{DiskConfig, DiskStore};
pub use entry::{Entry, Revision};
pub use error::Error;
#[cfg(feature = "etcd")]
pub use etcd::{EtcdConfig, EtcdStore, EtcdTls};
pub use ext::{Conditional, StoreExt};
#[cfg(feature = "face")]
pub use face::{Face, FaceConfig, FaceTls};
pub use key::{Key, KeyRange};
pub use lease::{Lease, LeaseId, LeaseStatus};
pub use membership::{Member, MemberChange, Members, Membership};
pub use memory::MemoryStore;
#[cfg(feature = "network")]
pub use network::{PeerConfig, PeerNetwork, PeerTls};
#[cfg(feature = "raft")]
pub use raft::{Inbox, LocalNetwork, RaftConfig, RaftStore, Transport};
pub use read::{Consistency, Page, RangeOptions, ReadOptions};
pub use status::{Health, Replication, StoreStatus};
pub use store::Store;
pub use txn::{Committed, Compare, CompareOp, CompareTarget, Op, OpResult, Put, Txn};
pub use watch::{Event, EventKind, ProgressRequest, WatchEvents, WatchOptions, WatchStream};
