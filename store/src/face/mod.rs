//! The etcd v3 API over any store.

mod convert;
mod kv;
mod lease;
mod maintenance;
mod route;
mod serve;
mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tonic::Status;

use crate::proto::ResponseHeader;
use crate::{Revision, Store};

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
        }
    }
}

/// A store with the face of etcd: KV, Watch, Lease, and what makes sense of Cluster, Maintenance and
/// Auth, so that `etcdctl`, and what else speaks that API, works on it.
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

#[derive(Debug)]
struct Inner {
    store: Arc<dyn Store>,
    config: FaceConfig,
    /// The newest revision seen, for headers of answers that have none of their own.
    recent: AtomicU64,
    term: AtomicU64,
}

impl Face {
    /// A face for `store`.
    pub fn new(store: Arc<dyn Store>, config: FaceConfig) -> Self {
        let inner = Inner { store, config, recent: AtomicU64::new(1), term: AtomicU64::new(1) };
        Self { inner: Arc::new(inner) }
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

    async fn newest(&self) -> Result<Revision, Status> {
        let found = self.store.status().await.map_err(convert::status)?;
        if let Some(replication) = &found.replication {
            self.term.store(replication.term, Ordering::Relaxed);
        }
        Ok(found.revision)
    }

    async fn newest_header(&self) -> Result<ResponseHeader, Status> {
        Ok(self.header(self.newest().await?))
    }
}
