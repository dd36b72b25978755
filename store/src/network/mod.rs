//! The network between the replicas of a [`RaftStore`](crate::RaftStore): HTTP/2, with mutual TLS.
//!
//! Each replica has one connection to each other one, over which it sends; what it receives comes over the others'.
//! A connection carries two streams, one for raft's messages and one for the pieces of whole states, so that a
//! heartbeat never waits behind a state. Nothing is repeated: what cannot be sent at once, or soon, is dropped, for
//! raft repeats what matters. Who speaks for a member must have that member's certificate: see `owner`.

mod config;
mod dial;
mod frames;
mod owner;
mod serve;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use config::{PeerConfig, PeerTls};

use self::config::Identity;
use self::frames::Lane;
use self::owner::Known;
use crate::codec::Decoder;
use crate::{Error, Inbox, Member, Members, Transport};

/// Where messages are posted, and where pieces of whole states.
const MESSAGES: &str = "/kubewright.store.raft/1/messages";
const STATES: &str = "/kubewright.store.raft/1/states";
/// Where the members can be had, by one that is to join.
const MEMBERS: &str = "/kubewright.store.raft/1/members";
/// What may be on its way in one stream, and in a connection: so that one stream never takes all.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// The network between replicas, as one of them sees it. Cloning shares it.
///
/// ```no_run
/// # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
/// use kubewright_store::{PeerConfig, PeerNetwork, PeerTls, RaftConfig, RaftStore};
/// use tokio::net::TcpListener;
/// use tokio_util::sync::CancellationToken;
///
/// let read = |name: &str| std::fs::read(name);
/// let tls = PeerTls::new(read("peer.crt")?, read("peer.key")?, read("peers-ca.crt")?);
/// let config = PeerConfig::new(1).peer(2, "n2:2380").peer(3, "n3:2380").tls(tls);
/// let network = PeerNetwork::new(config)?;
/// let store = RaftStore::open(RaftConfig::new(1, [1, 2, 3], "data"), network.transport()).await?;
///
/// let listener = TcpListener::bind("0.0.0.0:2380").await?;
/// network.serve(listener, store.inbox(), CancellationToken::new()).await;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct PeerNetwork {
    shared: Arc<Shared>,
}

struct Shared {
    config: PeerConfig,
    identity: Option<Identity>,
    /// To those who are connected.
    routes: Mutex<BTreeMap<u64, Route>>,
    world: watch::Sender<World>,
}

/// The members, as far as this one has been told.
#[derive(Clone, Debug, Default)]
struct World {
    /// All that ever were: those that were removed may ask whether they were.
    known: Known,
    /// Those that are, once the store has said so.
    members: Option<Members>,
}

/// The way to a replica.
#[derive(Debug)]
struct Route {
    messages: Lane,
    states: Lane,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("config", &self.config).finish_non_exhaustive()
    }
}

impl PeerNetwork {
    /// A network that [`serve`](PeerNetwork::serve) starts; until then messages are dropped.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] that says what of the configuration makes no sense: an address, a certificate.
    pub fn new(config: PeerConfig) -> Result<Self, Error> {
        config.validate()?;
        let identity = config.tls.as_ref().map(Identity::new).transpose()?;
        let known = config.peers.iter().map(|(id, urls)| {
            let member = Member { id: *id, peer_urls: urls.clone(), ..Member::default() };
            (*id, member)
        });
        let world = World { known: known.collect(), members: None };
        let shared = Shared { config, identity, routes: Mutex::default(), world: watch::Sender::new(world) };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// What [`RaftStore::open`](crate::RaftStore::open) takes.
    pub fn transport(&self) -> Arc<dyn Transport> {
        self.shared.clone()
    }

    /// Asks the member that is reached at `address` who the members are: for one that was added to them, and has yet to
    /// find out its number. It shows the configuration's certificate; the number in it does not count.
    ///
    /// # Errors
    /// [`Error::Unavailable`] for one that does not answer, or that knows no members yet itself;
    /// [`Error::InvalidRequest`] for an address or a certificate that makes no sense.
    pub async fn members_at(config: &PeerConfig, address: &str) -> Result<Members, Error> {
        let identity = config.tls.as_ref().map(Identity::new).transpose()?;
        dial::members_at(config, identity.as_ref(), address).await
    }

    /// The replicas that this one has a connection to now, which may be broken already.
    pub fn connected(&self) -> Vec<u64> {
        self.shared.routes().keys().copied().collect()
    }

    /// Takes what other replicas send to `listener`, handing it to `inbox`, and keeps up connections to them, until
    /// cancelled; returns when all connections are closed.
    pub async fn serve(&self, listener: TcpListener, inbox: Inbox, cancelled: CancellationToken) {
        let tasks = TaskTracker::new();
        tokio::join!(
            serve::accept(&self.shared, listener, &inbox, &cancelled, &tasks),
            dial::keep_connected(&self.shared, &cancelled, &tasks),
        );
        tasks.close();
        tasks.wait().await;
    }
}

impl Shared {
    fn routes(&self) -> MutexGuard<'_, BTreeMap<u64, Route>> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Transport for Shared {
    fn send(&self, to: u64, message: Bytes) {
        let routes = self.routes();
        let Some(route) = routes.get(&to) else { return };
        let lane = if is_piece_of_state(&message) { &route.states } else { &route.messages };
        if !lane.offer(message) {
            tracing::debug!(to, "a message was dropped: too many wait");
        }
    }

    fn set_members(&self, members: &Members) {
        self.world.send_if_modified(|world| {
            for member in members.members.iter().filter(|member| !member.peer_urls.is_empty()) {
                world.known.insert(member.id, member.clone());
            }
            world.members.replace(members.clone()).as_ref() != Some(members)
        });
    }
}

/// Who sent a message, and what kind it is, which is otherwise no business of the network: after the version stand
/// three numbers, the second of which is the sender, and then the kind.
fn header(message: &[u8]) -> Option<(u64, u8)> {
    const VERSION: u8 = 2;
    let mut from = Decoder::new(message);
    if from.byte().ok()? != VERSION {
        return None;
    }
    let (_cluster, sender, _to) = (from.number().ok()?, from.number().ok()?, from.number().ok()?);
    Some((sender, from.byte().ok()?))
}

/// Whether a message is a piece of a whole state.
fn is_piece_of_state(message: &[u8]) -> bool {
    const PIECE: u8 = 2;
    header(message).is_some_and(|(_, kind)| kind == PIECE)
}

/// Runs what HTTP/2 does in the background, as tasks that are waited for.
#[derive(Clone, Debug)]
struct Tracked(TaskTracker);

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}
