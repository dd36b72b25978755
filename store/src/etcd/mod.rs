//! A store that is an etcd cluster, or anything else that speaks its API.

mod client;
mod convert;
mod status;
mod watch;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use tonic::Status;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::proto::{
    CompactionRequest, HeaderResponse, LeaseGrantRequest, LeaseLeasesResponse, LeaseRequest, LeaseResponse,
    LeaseTimeToLiveRequest, LeaseTimeToLiveResponse, Nothing, RangeResponse, ResponseHeader, SnapshotResponse,
    TxnResponse,
};
use crate::{
    Committed, Consistency, Entry, Error, Key, KeyRange, Lease, LeaseId, LeaseStatus, Op, Page, RangeOptions,
    ReadOptions, Revision, Store, StoreStatus, Txn, WatchOptions, WatchStream,
};
use client::Client;

const STOPPED: &str = "the connection to etcd has no address";

/// How an [`EtcdStore`] reaches its cluster.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EtcdConfig {
    /// URLs of the members: `http://127.0.0.1:2379`, `https://etcd-0:2379`, …
    pub endpoints: Vec<String>,
    /// For `https` endpoints.
    pub tls: Option<EtcdTls>,
    /// How long a request waits for its answer before it gets [`Error::Unavailable`]. 10 s.
    pub request_timeout: Duration,
    /// How long a connection may take. 5 s.
    pub connect_timeout: Duration,
}

/// Certificates, as PEM.
#[derive(Clone)]
#[non_exhaustive]
pub struct EtcdTls {
    /// The authorities that sign the members' certificates.
    pub ca: Vec<u8>,
    /// This client's certificate and its key, if the members ask for one.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
    /// The name in the members' certificates, if it is not that of the URL.
    pub server_name: Option<String>,
}

impl EtcdTls {
    /// Members whose certificates `ca` signed.
    pub fn new(ca: impl Into<Vec<u8>>) -> Self {
        Self { ca: ca.into(), identity: None, server_name: None }
    }

    /// The same with a certificate of this client and its key.
    #[must_use]
    pub fn identity(mut self, certificate: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.identity = Some((certificate.into(), key.into()));
        self
    }
}

impl fmt::Debug for EtcdTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key is nobody's business.
        f.debug_struct("EtcdTls").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

impl EtcdConfig {
    /// A cluster at these URLs.
    pub fn new<E: Into<String>>(endpoints: impl IntoIterator<Item = E>) -> Self {
        Self {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            tls: None,
            request_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
        }
    }

    /// The same over TLS.
    #[must_use]
    pub fn tls(mut self, tls: EtcdTls) -> Self {
        self.tls = Some(tls);
        self
    }

    fn channel(&self) -> Result<Channel, Error> {
        let mut endpoints = Vec::new();
        for url in &self.endpoints {
            let bad = |error: tonic::transport::Error| Error::invalid(format!("endpoint {url}: {error}"));
            let mut endpoint = Endpoint::from_shared(url.clone()).map_err(bad)?;
            endpoint = endpoint
                .connect_timeout(self.connect_timeout)
                .tcp_nodelay(true)
                .http2_keep_alive_interval(Duration::from_secs(30))
                .keep_alive_while_idle(true)
                .initial_stream_window_size(1 << 20)
                .initial_connection_window_size(4 << 20);
            if let Some(tls) = &self.tls {
                let mut config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&tls.ca));
                if let Some((certificate, key)) = &tls.identity {
                    config = config.identity(Identity::from_pem(certificate, key));
                }
                if let Some(name) = &tls.server_name {
                    config = config.domain_name(name);
                }
                endpoint = endpoint.tls_config(config).map_err(bad)?;
            }
            endpoints.push(endpoint);
        }
        match endpoints.len() {
            0 => Err(Error::invalid(STOPPED)),
            1 => Ok(endpoints.remove(0).connect_lazy()),
            _ => Ok(Channel::balance_list(endpoints.into_iter())),
        }
    }
}

/// A store that is an etcd cluster, 3.4 or later, or anything else that speaks its API, as
/// `Face` does (feature `face`).
///
/// [`Error::Unavailable`] is all that is known when a connection breaks: the write may have happened. What
/// etcd does not tell is left out of [`Store::status`]. Leases live by etcd's clock, and progress marks come
/// at etcd's intervals, whatever [`WatchOptions::progress_interval`] says.
///
/// ```no_run
/// # async fn connect() -> Result<(), kubewright_store::Error> {
/// use kubewright_store::{EtcdConfig, EtcdStore, StoreExt};
///
/// let store = EtcdStore::connect(EtcdConfig::new(["http://127.0.0.1:2379"]))?;
/// store.put("greeting", "hello").await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct EtcdStore {
    client: Client,
    /// The newest revision seen.
    recent: Arc<AtomicU64>,
}

impl EtcdStore {
    /// A store that connects when it is first used, and again whenever it must. Call it within a tokio
    /// runtime.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] for a configuration that makes no sense.
    pub fn connect(config: EtcdConfig) -> Result<Self, Error> {
        let channel = config.channel()?;
        Ok(Self::over(Client::new(channel, config.request_timeout)))
    }

    /// A store behind a face in the same process: what a client sees, without sockets.
    #[cfg(feature = "face")]
    pub fn behind(face: crate::Face) -> Self {
        Self::over(Client::new(face, Duration::from_secs(10)))
    }

    /// A copy of everything that the member holds, as it sends it: pieces, each with about how many bytes are
    /// still to come. What the bytes mean is the server's business: a [`Backup`](crate::Backup) from a `Face`, a
    /// database file from etcd.
    ///
    /// # Errors
    /// [`Error::Unavailable`], here and in the stream.
    pub async fn snapshot(&self) -> Result<impl Stream<Item = Result<(Bytes, u64), Error>> + Send + use<>, Error> {
        let path = "/etcdserverpb.Maintenance/Snapshot";
        let asked = futures::stream::iter([Nothing {}]);
        let opened = self.client.streaming::<_, SnapshotResponse>(path, asked).await;
        let pieces = opened.map_err(|status| convert::error(&status, Revision::ZERO, Revision::ZERO))?;
        Ok(pieces.map(|piece| match piece {
            Ok(piece) => Ok((piece.blob, piece.remaining_bytes)),
            Err(status) => Err(convert::error(&status, Revision::ZERO, Revision::ZERO)),
        }))
    }

    fn over(client: Client) -> Self {
        Self { client, recent: Arc::new(AtomicU64::new(Revision::INITIAL.0)) }
    }

    fn seen(&self, header: Option<ResponseHeader>) -> Revision {
        let revision = header.map_or(0, |header| header.revision as u64);
        self.recent.fetch_max(revision, Ordering::Relaxed);
        Revision(revision)
    }

    /// The error that a status stands for, of a request that asked for this revision.
    async fn error(&self, status: Status, requested: Option<Revision>) -> Error {
        let requested = requested.unwrap_or_default();
        if convert::is_compacted(&status) {
            // A status has no room to say what is left.
            let compacted = self.compacted().await.unwrap_or_default();
            return Error::Compacted { requested, compacted };
        }
        convert::error(&status, requested, Revision(self.recent.load(Ordering::Relaxed)))
    }

    /// Up to where history was compacted. Etcd tells only those who ask to watch it.
    async fn compacted(&self) -> Result<Revision, Error> {
        let oldest = RangeOptions::at(Revision::INITIAL).consistency(Consistency::Serializable);
        let (anything, oldest) = (KeyRange::key("\0"), convert::range_request(&KeyRange::key("\0"), &oldest));
        let read: Result<RangeResponse, Status> = self.client.unary("/etcdserverpb.KV/Range", oldest).await;
        match read {
            Ok(_) => return Ok(Revision::ZERO),
            Err(status) if convert::is_compacted(&status) => {}
            Err(status) => return Err(convert::error(&status, Revision::INITIAL, Revision::ZERO)),
        }
        let refused = match watch::open(&self.client, &anything, Revision::INITIAL, WatchOptions::default()).await {
            // The refusal comes right after the confirmation.
            Ok(mut stream) => stream.next().await.unwrap_or(Err(Error::unavailable("etcd ended the watch"))).err(),
            Err(error) => Some(error),
        };
        match refused {
            Some(Error::Compacted { compacted, .. }) => Ok(compacted),
            Some(error) => Err(error),
            None => Err(Error::unavailable("etcd watches what it has compacted")),
        }
    }
}

fn not_found(status: Status, lease: LeaseId) -> Error {
    match status.code() {
        tonic::Code::NotFound => Error::LeaseNotFound { lease },
        _ => convert::error(&status, Revision::ZERO, Revision::ZERO),
    }
}

#[async_trait]
impl Store for EtcdStore {
    async fn get(&self, key: &Key, options: ReadOptions) -> Result<Option<Arc<Entry>>, Error> {
        let range = RangeOptions::latest().revision(options.revision).consistency(options.consistency);
        Ok(self.range(KeyRange::key(key), range).await?.entries.pop())
    }

    async fn range(&self, range: KeyRange, options: RangeOptions) -> Result<Page, Error> {
        let request = convert::range_request(&range, &options);
        let response: Result<RangeResponse, Status> = self.client.unary("/etcdserverpb.KV/Range", request).await;
        match response {
            Ok(response) => {
                let latest = self.seen(response.header);
                Ok(convert::page(response, &options, latest))
            }
            Err(status) => Err(self.error(status, options.revision).await),
        }
    }

    async fn commit(&self, txn: Txn) -> Result<Committed, Error> {
        txn.validate()?;
        let request = convert::txn_request(&txn);
        let response: Result<TxnResponse, Status> = self.client.unary("/etcdserverpb.KV/Txn", request).await;
        match response {
            Ok(response) => {
                let revision = self.seen(response.header);
                convert::committed(txn, response, revision)
            }
            Err(status) => {
                let ops = || txn.success.iter().chain(&txn.failure);
                let asked = ops().filter_map(|op| match op {
                    Op::Range(_, options) => options.revision,
                    _ => None,
                });
                let lease = ops().find_map(|op| match op {
                    Op::Put(put) => put.lease,
                    _ => None,
                });
                match (status.code(), lease) {
                    (tonic::Code::NotFound, Some(lease)) => Err(Error::LeaseNotFound { lease }),
                    _ if status.message().contains("key not found") => {
                        let kept = ops().find_map(|op| match op {
                            Op::Put(put) if put.keep_value || put.keep_lease => Some(put.key.clone()),
                            _ => None,
                        });
                        Err(Error::KeyNotFound { key: kept.unwrap_or_default() })
                    }
                    _ => Err(self.error(status, asked.max()).await),
                }
            }
        }
    }

    async fn watch(&self, range: KeyRange, from: Revision, options: WatchOptions) -> Result<WatchStream, Error> {
        watch::open(&self.client, &range, from, options).await
    }

    async fn compact(&self, through: Revision) -> Result<(), Error> {
        let request = CompactionRequest { revision: through.0 as i64, physical: false };
        let response: Result<HeaderResponse, Status> = self.client.unary("/etcdserverpb.KV/Compact", request).await;
        match response {
            Ok(_) => Ok(()),
            Err(status) => Err(self.error(status, Some(through)).await),
        }
    }

    async fn lease_grant(&self, id: Option<LeaseId>, ttl: Duration) -> Result<Lease, Error> {
        if id.is_some_and(|id| id.0 <= 0) {
            return Err(Error::invalid("a lease's id must be above 0"));
        }
        let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        let ttl = i64::try_from(seconds.max(1)).unwrap_or(i64::MAX);
        let request = LeaseGrantRequest { ttl, id: id.map_or(0, |id| id.0) };
        let granted: LeaseResponse = match self.client.unary("/etcdserverpb.Lease/LeaseGrant", request).await {
            Ok(granted) => granted,
            Err(status) if status.message().contains("lease already exists") => {
                return Err(Error::LeaseExists { lease: id.unwrap_or(LeaseId(0)) });
            }
            Err(status) => return Err(self.error(status, None).await),
        };
        Ok(Lease::new(LeaseId(granted.id), Duration::from_secs(granted.ttl as u64)))
    }

    async fn lease_keep_alive(&self, id: LeaseId) -> Result<Lease, Error> {
        let request = futures::stream::iter([LeaseRequest { id: id.0 }]);
        let path = "/etcdserverpb.Lease/LeaseKeepAlive";
        let answers = self.client.streaming::<_, LeaseResponse>(path, request).await;
        let mut answers = answers.map_err(|status| not_found(status, id))?;
        let answer = self.client.in_time(async { answers.message().await }).await;
        match answer.map_err(|status| not_found(status, id))? {
            Some(alive) if alive.ttl > 0 => Ok(Lease::new(id, Duration::from_secs(alive.ttl as u64))),
            Some(_) => Err(Error::LeaseNotFound { lease: id }),
            None => Err(Error::unavailable("etcd ended the stream")),
        }
    }

    async fn lease_revoke(&self, id: LeaseId) -> Result<Revision, Error> {
        let request = LeaseRequest { id: id.0 };
        let response: Result<HeaderResponse, Status> =
            self.client.unary("/etcdserverpb.Lease/LeaseRevoke", request).await;
        response.map(|response| self.seen(response.header)).map_err(|status| not_found(status, id))
    }

    async fn lease_status(&self, id: LeaseId) -> Result<LeaseStatus, Error> {
        let request = LeaseTimeToLiveRequest { id: id.0, keys: true };
        let response: Result<LeaseTimeToLiveResponse, Status> =
            self.client.unary("/etcdserverpb.Lease/LeaseTimeToLive", request).await;
        let found = response.map_err(|status| not_found(status, id))?;
        let Ok(remaining) = u64::try_from(found.ttl) else { return Err(Error::LeaseNotFound { lease: id }) };
        let mut keys: Vec<Key> = found.keys.into_iter().map(Key::from).collect();
        keys.sort_unstable();
        let lease = Lease::new(id, Duration::from_secs(found.granted_ttl as u64));
        Ok(LeaseStatus::new(lease, Duration::from_secs(remaining), keys))
    }

    async fn leases(&self) -> Result<Vec<Lease>, Error> {
        let response: Result<LeaseLeasesResponse, Status> =
            self.client.unary("/etcdserverpb.Lease/LeaseLeases", Nothing {}).await;
        let found = match response {
            Ok(found) => found,
            Err(status) => return Err(self.error(status, None).await),
        };
        let mut leases = Vec::new();
        for lease in found.leases {
            match self.lease_status(LeaseId(lease.id)).await {
                Ok(status) => leases.push(status.lease),
                // It has gone since.
                Err(Error::LeaseNotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        leases.sort_unstable_by_key(|lease| lease.id);
        Ok(leases)
    }

    async fn status(&self) -> Result<StoreStatus, Error> {
        status::of(self).await
    }
}
