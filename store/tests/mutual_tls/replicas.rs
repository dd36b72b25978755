//! Replicas that reach one another over HTTP/2 with certificates.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kubewright_store::{Error, PeerConfig, PeerNetwork, PeerTls, RaftConfig, RaftStore, Store, StoreExt};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use super::Authority;

/// How long anything may take. It takes a moment; but the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(120);

impl Authority {
    fn peer(&self) -> PeerTls {
        let (certificate, key) = self.issue("localhost");
        PeerTls::new(certificate.pem(), key.serialize_pem(), self.0.pem())
    }
}

/// A listener that stays when who serves it does not.
struct Door(std::net::TcpListener);

impl Door {
    fn new() -> Self {
        let door = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        door.set_nonblocking(true).expect("a listener that does not block");
        Self(door)
    }

    fn address(&self) -> String {
        format!("localhost:{}", self.0.local_addr().expect("an address").port())
    }

    fn listener(&self) -> TcpListener {
        TcpListener::from_std(self.0.try_clone().expect("another handle")).expect("a listener")
    }
}

struct Replica {
    store: Arc<RaftStore>,
    cancelled: CancellationToken,
    served: JoinHandle<()>,
}

impl Replica {
    async fn start(id: u64, doors: &[Door], home: &Path, tls: PeerTls) -> Self {
        let mut config = PeerConfig::new(id).tls(tls);
        for (n, door) in doors.iter().enumerate() {
            config = config.peer(n as u64 + 1, format!("https://{}", door.address()));
        }
        let network = PeerNetwork::new(config).expect("a configuration that makes sense");
        let voters: Vec<u64> = (1..=doors.len() as u64).collect();
        let mut config = RaftConfig::new(id, voters, home.join(id.to_string()));
        config.checkpoint_after = 40;
        config.request_timeout = PATIENCE;
        let store = Arc::new(RaftStore::open(config, network.transport()).await.expect("open"));
        let (listener, inbox, cancelled) = (doors[id as usize - 1].listener(), store.inbox(), CancellationToken::new());
        let served = tokio::spawn({
            let cancelled = cancelled.clone();
            async move { network.serve(listener, inbox, cancelled).await }
        });
        Self { store, cancelled, served }
    }

    async fn stop(self) {
        self.cancelled.cancel();
        self.served.await.expect("the network ends");
        self.store.close().await;
    }
}

async fn agree(replicas: &[&Replica]) {
    let agree = async {
        loop {
            let mut found = Vec::new();
            for replica in replicas {
                found.push((replica.store.status().await.expect("status").revision, replica.store.digest()));
            }
            if found.iter().all(|one| *one == found[0]) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, agree).await.expect("all replicas have the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_with_certificates_keep_a_store_together() {
    let (authority, home) = (Authority::new(), tempfile::tempdir().expect("a directory"));
    let doors = [Door::new(), Door::new(), Door::new()];
    let first = Replica::start(1, &doors, home.path(), authority.peer()).await;
    let second = Replica::start(2, &doors, home.path(), authority.peer()).await;
    let value = vec![b'v'; 4000];
    for n in 0..120 {
        // A write that broke off may have happened; it is the same again.
        let store = if n % 2 == 0 { &first.store } else { &second.store };
        while store.put(format!("key/{n}"), value.clone()).await.is_err() {}
    }
    // It was not there from the start, and the log no longer goes back that far: it gets the whole state.
    let third = Replica::start(3, &doors, home.path(), authority.peer()).await;
    agree(&[&first, &second, &third]).await;
    assert_eq!(third.store.read("key/7").await.expect("read").expect("there").value, value);

    // One goes away and comes back; the others notice and find it again.
    second.stop().await;
    while third.store.put("meanwhile", "written").await.is_err() {}
    let second = Replica::start(2, &doors, home.path(), authority.peer()).await;
    agree(&[&first, &second, &third]).await;
    assert_eq!(second.store.read("meanwhile").await.expect("read").expect("there").value, "written");
    for replica in [first, second, third] {
        replica.stop().await;
    }
}

/// Connects as somebody with this identity, says hello and answers whether the other side does.
async fn is_let_in(door: &Door, tls: rustls::ClientConfig) -> bool {
    let stream = TcpStream::connect(door.0.local_addr().expect("an address")).await.expect("a connection");
    let name = ServerName::try_from("localhost").expect("a name");
    let Ok(mut stream) = TlsConnector::from(Arc::new(tls)).connect(name, stream).await else { return false };
    // What a client of HTTP/2 begins with, and an empty frame of settings.
    let hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let mut first = [0; 9];
    stream.write_all(hello).await.is_ok() && stream.read_exact(&mut first).await.is_ok()
}

fn client(trusts: &Authority, signed_by: Option<&Authority>) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusts.0.der().clone()).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("versions").with_root_certificates(roots);
    let mut config = match signed_by {
        None => config.with_no_client_auth(),
        Some(authority) => {
            let (certificate, key) = authority.issue("localhost");
            let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
            config.with_client_auth_cert(vec![certificate.der().clone()], key).expect("a certificate")
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

#[tokio::test]
async fn only_replicas_with_certificates_are_let_in() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (doors, home) = ([Door::new()], tempfile::tempdir().expect("a directory"));
    let replica = Replica::start(1, &doors, home.path(), authority.peer()).await;
    assert!(is_let_in(&doors[0], client(&authority, Some(&authority))).await);
    assert!(!is_let_in(&doors[0], client(&authority, None)).await, "without a certificate");
    assert!(!is_let_in(&doors[0], client(&authority, Some(&stranger))).await, "with a stranger's certificate");
    assert!(!is_let_in(&doors[0], client(&stranger, Some(&authority))).await, "of a replica that it does not know");
    replica.stop().await;
}

#[test]
fn a_replica_without_certificates_does_not_go_to_others_over_tls() {
    let refused = PeerNetwork::new(PeerConfig::new(1).peer(2, "https://n2:2380"));
    assert!(matches!(refused, Err(Error::InvalidRequest { reason }) if reason.contains("no certificate")));
}
