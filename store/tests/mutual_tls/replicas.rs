//! Replicas that reach one another over HTTP/2 with certificates.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kubewright_store::{
    Consistency, Error, Member, Membership, PeerConfig, PeerNetwork, PeerTls, RaftConfig, RaftStore, ReadOptions,
    Store, StoreExt,
};
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
    /// What the member of this name shows. All are reached on one host, so that names alone tell them apart.
    fn peer(&self, name: &str) -> PeerTls {
        let (certificate, key) = self.issue_to(name, "localhost");
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

/// Member 1 behind the first door, and so on.
fn members(doors: &[Door]) -> Vec<Member> {
    let member = |(id, door): (u64, &Door)| {
        Member::voter(id).named(format!("n{id}")).peer_url(format!("https://{}", door.address()))
    };
    (1..).zip(doors).map(member).collect()
}

struct Replica {
    store: Arc<RaftStore>,
    cancelled: CancellationToken,
    served: JoinHandle<()>,
}

impl Replica {
    async fn start(id: u64, doors: &[Door], home: &Path, tls: PeerTls) -> Self {
        let founders = members(doors);
        let config = RaftConfig::founding(id, founders.clone(), home.join(id.to_string()));
        Self::start_among(&founders, &doors[id as usize - 1], config, tls).await
    }

    async fn start_among(others: &[Member], door: &Door, mut config: RaftConfig, tls: PeerTls) -> Self {
        let mut peers = PeerConfig::new(config.id).tls(tls);
        for member in others {
            peers = peers.peer(member.id, member.peer_urls[0].clone());
        }
        let network = PeerNetwork::new(peers).expect("a configuration that makes sense");
        config.checkpoint_after = 40;
        // What was on its way to a leader that went away gets no answer, and is asked for again.
        config.request_timeout = Duration::from_secs(10);
        let store = Arc::new(RaftStore::open(config, network.transport()).await.expect("open"));
        let (listener, inbox, cancelled) = (door.listener(), store.inbox(), CancellationToken::new());
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
    let first = Replica::start(1, &doors, home.path(), authority.peer("n1")).await;
    let second = Replica::start(2, &doors, home.path(), authority.peer("n2")).await;
    let value = vec![b'v'; 4000];
    for n in 0..120 {
        // A write that broke off may have happened; it is the same again.
        let store = if n % 2 == 0 { &first.store } else { &second.store };
        while store.put(format!("key/{n}"), value.clone()).await.is_err() {}
    }
    // It was not there from the start, and the log no longer goes back that far: it gets the whole state.
    let third = Replica::start(3, &doors, home.path(), authority.peer("n3")).await;
    agree(&[&first, &second, &third]).await;
    assert_eq!(third.store.read("key/7").await.expect("read").expect("there").value, value);

    // One goes away and comes back; the others notice and find it again.
    second.stop().await;
    while third.store.put("meanwhile", "written").await.is_err() {}
    let second = Replica::start(2, &doors, home.path(), authority.peer("n2")).await;
    agree(&[&first, &second, &third]).await;
    assert_eq!(second.store.read("meanwhile").await.expect("read").expect("there").value, "written");
    for replica in [first, second, third] {
        replica.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_cannot_speak_for_another() {
    let (authority, home) = (Authority::new(), tempfile::tempdir().expect("a directory"));
    let doors = [Door::new(), Door::new(), Door::new()];
    let first = Replica::start(1, &doors, home.path(), authority.peer("n1")).await;
    let second = Replica::start(2, &doors, home.path(), authority.peer("n2")).await;
    let third = Replica::start(3, &doors, home.path(), authority.peer("n3")).await;
    while first.store.put("before", "1").await.is_err() {}
    agree(&[&first, &second, &third]).await;
    first.stop().await;

    // Whoever has the second's certificate has all that the first had, and says that it is the first.
    let impostor = Replica::start(1, &doors, home.path(), authority.peer("n2")).await;
    while second.store.put("meanwhile", "1").await.is_err() {}
    let heard = tokio::time::timeout(Duration::from_secs(3), impostor.store.put("by the impostor", "1")).await;
    assert!(!matches!(heard, Ok(Ok(_))), "the others listen to it");
    assert!(!impostor.store.is_leader());
    let options = ReadOptions::latest().consistency(Consistency::Serializable);
    let known = impostor.store.get(&"meanwhile".into(), options).await;
    assert_eq!(known.expect("what it has"), None, "nor is it told anything");
    impostor.stop().await;

    let first = Replica::start(1, &doors, home.path(), authority.peer("n1")).await;
    agree(&[&first, &second, &third]).await;
    assert_eq!(first.store.read("by the impostor").await.expect("read"), None);
    assert!(first.store.read("meanwhile").await.expect("read").is_some());
    for replica in [first, second, third] {
        replica.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_was_added_finds_out_who_it_is_and_joins() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (doors, home) = ([Door::new(), Door::new()], tempfile::tempdir().expect("a directory"));
    let first = Replica::start(1, &doors[..1], home.path(), authority.peer("n1")).await;
    for n in 0..100 {
        first.store.put(format!("key/{n}"), vec![b'v'; 1000]).await.expect("put");
    }
    let url = format!("https://{}", doors[1].address());
    let added = first.store.add_learner(Member::default().peer_url(url.clone())).await.expect("added");
    assert_eq!((added.id, added.is_learner), (2, true));

    let config = PeerConfig::new(1).tls(stranger.peer("n2"));
    let nothing = PeerNetwork::members_at(&config, &doors[0].address()).await;
    assert!(matches!(nothing, Err(Error::Unavailable { .. })), "{nothing:?}");
    let config = PeerConfig::new(1).tls(authority.peer("n2"));
    let found = PeerNetwork::members_at(&config, &doors[0].address()).await.expect("the members");
    let own = found.members.iter().find(|member| member.peer_urls.contains(&url)).expect("it was added");
    assert_eq!((own.id, found.members.len()), (2, 2));

    let config = RaftConfig::joining(own.id, home.path().join("2"));
    let second = Replica::start_among(&found.members, &doors[1], config, authority.peer("n2")).await;
    agree(&[&first, &second]).await;
    second.store.announce("n2", &["https://clients:2379".to_owned()]).await.expect("told");
    let known = first.store.members(true).await.expect("members");
    let known = known.get(2).expect("there");
    assert_eq!((&*known.name, &*known.client_urls[0]), ("n2", "https://clients:2379"));
    while first.store.promote(2).await.is_err() {}
    second.store.put("together", "1").await.expect("put");
    let other = RaftConfig::joining(3, home.path().join("2"));
    for replica in [first, second] {
        replica.stop().await;
    }
    let network = kubewright_store::LocalNetwork::new();
    let refused = RaftStore::open(other, network.transport(3)).await;
    assert!(matches!(refused, Err(Error::InvalidRequest { reason }) if reason.contains("of member 2")));
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
    let replica = Replica::start(1, &doors, home.path(), authority.peer("n1")).await;
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
