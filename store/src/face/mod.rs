//! The etcd v3 API over any store.

mod convert;
mod encoding;
mod http2;
mod joined;
mod kv;
mod lease;
mod maintenance;
mod members;
mod route;
mod serve;
mod snapshot;
#[cfg(test)]
mod tests;
mod threads;
mod tls;
mod unary;
mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tonic::Status;

pub use tls::FaceTls;

use crate::proto::ResponseHeader;
use crate::{Backup, Membership, Revision, Store, StoreStatus};

/// How a [`Face`] presents itself.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FaceConfig {
    /// The cluster's id in the header of every response. 1.
    pub cluster_id: u64,
    /// This member's id. 1.
    pub member_id: u64,
    /// This member's name, in the list of members. `default`.
    pub name: String,
    /// Where clients reach this member, in the list of members.
    pub client_urls: Vec<String>,
    /// Where other members reach it.
    pub peer_urls: Vec<String>,
    /// The version of etcd whose API this is; clients decide by it what they may ask for. 3.5.21.
    pub version: String,
    /// How often a watch that asked for progress is told of it when nothing else happens. 10 minutes.
    pub progress_interval: Duration,
    /// The largest request, in bytes. 16 MiB.
    pub request_bytes_max: usize,
    /// The most connections at a time; further ones wait. 1,024.
    pub connections_max: usize,
    /// How many threads of its own [`serve`](Face::serve) starts for connections, each with a runtime of one thread; 0
    /// has connections served by the runtime that calls it. With threads a request is read, carried out and answered
    /// on one of them, which saves waking others. While its only client asks one thing after the other, one
    /// thread looks for the next request for up to a tenth of a millisecond before it sleeps. Meant for a
    /// [`DiskStore`](crate::DiskStore) that [commits in place](crate::DiskConfig::commit_in_place): a store whose own
    /// tasks carry out requests, as those of a replica do, has other threads to wake in any case. 0.
    pub threads: usize,
}

impl Default for FaceConfig {
    fn default() -> Self {
        Self {
            cluster_id: 1,
            member_id: 1,
            name: "default".to_owned(),
            client_urls: Vec::new(),
            peer_urls: Vec::new(),
            version: "3.5.21".to_owned(),
            progress_interval: Duration::from_secs(600),
            request_bytes_max: 16 << 20,
            connections_max: 1024,
            threads: 0,
        }
    }
}

/// A store with the face of etcd: KV, Watch, Lease, Cluster, Maintenance, and what makes sense of Auth, so that
/// `etcdctl`, and what else speaks that API, works on it.
///
/// Snapshots are given of a store that can be [backed up](Face::backup), in the format of [`Backup`] and with the
/// checksum that etcd's clients look for, but not as the database file that etcd itself keeps: restore them with
/// [`DiskStore::restore`](crate::DiskStore::restore). Members can be changed, and the leader moved, with
/// [`members`](Face::members).
///
/// A face is a `tower` service for HTTP/2 requests; [`serve`](Face::serve) puts it behind a listener.
/// Cloning shares it.
///
/// ```no_run
/// # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
///
/// use kubewright_store::{Face, FaceConfig, MemoryStore};
/// use tokio::net::TcpListener;
/// use tokio_util::sync::CancellationToken;
///
/// let face = Face::new(Arc::new(MemoryStore::new()), FaceConfig::default());
/// let listener = TcpListener::bind("127.0.0.1:2379").await?;
/// face.serve(listener, None, CancellationToken::new()).await;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Face {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn Store>,
    backup: Option<Arc<dyn Backup>>,
    members: Option<Arc<dyn Membership>>,
    config: FaceConfig,
    /// The newest revision seen, for headers of answers that have none of their own.
    recent: AtomicU64,
    term: AtomicU64,
}

impl Face {
    /// A face for `store`.
    pub fn new(store: Arc<dyn Store>, config: FaceConfig) -> Self {
        let (recent, term) = (AtomicU64::new(1), AtomicU64::new(1));
        let inner = Inner { store, backup: None, members: None, config, recent, term };
        Self { inner: Arc::new(inner) }
    }

    /// The same, giving snapshots of what this backs up: the store, as a rule.
    #[must_use]
    pub fn backup(self, backup: Arc<dyn Backup>) -> Self {
        self.with(|inner| inner.backup = Some(backup))
    }

    /// The same, telling of these members and changing them: of the store, as a rule.
    #[must_use]
    pub fn members(self, members: Arc<dyn Membership>) -> Self {
        self.with(|inner| inner.members = Some(members))
    }

    fn with(self, change: impl FnOnce(&mut Inner)) -> Self {
        let Inner { store, backup, members, config, recent, term } = &*self.inner;
        let number = |of: &AtomicU64| AtomicU64::new(of.load(Ordering::Relaxed));
        let mut inner = Inner {
            store: store.clone(),
            backup: backup.clone(),
            members: members.clone(),
            config: config.clone(),
            recent: number(recent),
            term: number(term),
        };
        change(&mut inner);
        Self { inner: Arc::new(inner) }
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Inner {
    fn header(&self, revision: Revision) -> ResponseHeader {
        self.recent.fetch_max(revision.0, Ordering::Relaxed);
        ResponseHeader {
            cluster_id: self.config.cluster_id,
            member_id: self.config.member_id,
            revision: revision.0 as i64,
            raft_term: self.term.load(Ordering::Relaxed),
        }
    }

    fn recent(&self) -> Revision {
        Revision(self.recent.load(Ordering::Relaxed))
    }

    fn recent_header(&self) -> ResponseHeader {
        self.header(self.recent())
    }

    /// What the store says of itself, and a header that tells the same.
    async fn found(&self) -> Result<(StoreStatus, ResponseHeader), Status> {
        let found = self.store.status().await.map_err(convert::status)?;
        if let Some(replication) = &found.replication {
            self.term.store(replication.term, Ordering::Relaxed);
        }
        let header = self.header(found.revision);
        Ok((found, header))
    }

    async fn newest(&self) -> Result<Revision, Status> {
        Ok(self.found().await?.0.revision)
    }

    async fn newest_header(&self) -> Result<ResponseHeader, Status> {
        Ok(self.header(self.newest().await?))
    }
}
