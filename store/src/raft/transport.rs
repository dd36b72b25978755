//! How replicas reach one another.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

use bytes::Bytes;

use super::driver::Input;
use super::frame::Envelope;
use crate::Members;

/// Messages, and bytes of them, that may wait at a replica; further ones are dropped, which raft takes in its
/// stride.
const WAITING_MAX: usize = 4096;
const WAITING_BYTES_MAX: usize = 64 << 20;

/// Carries messages between replicas. It may lose, delay, double and reorder them, but must not change
/// them, nor let strangers send any: whoever can, controls the store.
pub trait Transport: Send + Sync + fmt::Debug + 'static {
    /// Sends a message to a member, without waiting. The other side hands it to that replica's [`Inbox`].
    fn send(&self, to: u64, message: Bytes);

    /// Says who the members are, whenever that changes. A transport that finds them by other means need not
    /// listen.
    fn set_members(&self, members: &Members) {
        let _ = members;
    }
}

/// What waits at a replica.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    messages: AtomicUsize,
    bytes: AtomicUsize,
}

impl Waits {
    fn enter(&self, bytes: usize) -> bool {
        let messages = self.messages.fetch_add(1, Ordering::Relaxed);
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        // One message is taken whatever its size.
        let fits = messages < WAITING_MAX && (before == 0 || before + bytes <= WAITING_BYTES_MAX);
        if !fits {
            self.leave(bytes);
        }
        fits
    }

    pub(crate) fn leave(&self, bytes: usize) {
        self.messages.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Where messages for a replica are handed in. Cloning shares it.
#[derive(Clone)]
pub struct Inbox {
    inputs: mpsc::Sender<Input>,
    waits: Arc<Waits>,
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").field("waits", &self.waits).finish_non_exhaustive()
    }
}

impl Inbox {
    pub(super) fn new(inputs: mpsc::Sender<Input>) -> Self {
        Self { inputs, waits: Arc::default() }
    }

    pub(super) fn waits(&self) -> Arc<Waits> {
        self.waits.clone()
    }

    /// Hands in a message that another replica sent. What does not decode, or is too much, is dropped.
    pub fn deliver(&self, bytes: &Bytes) {
        if !self.waits.enter(bytes.len()) {
            return;
        }
        let sent = match Envelope::decode(bytes) {
            Ok(envelope) => self.inputs.send(Input::Frame(envelope, bytes.len())).is_ok(),
            Err(refused) => {
                let super::frame::Refused { offset, reason } = refused;
                tracing::warn!(offset, reason, "a message of another replica was refused");
                false
            }
        };
        if !sent {
            self.waits.leave(bytes.len());
        }
    }

    /// Says that a member cannot be reached now, so that it is not sent more than a little until it is heard.
    pub fn unreachable(&self, id: u64) {
        // A replica that is no more does not care.
        let _ = self.inputs.send(Input::Unreachable(id));
    }
}

/// A network between replicas in one process, which can be cut. Cloning shares it.
///
/// See [`RaftStore`](crate::RaftStore) for how it is used.
#[derive(Clone, Debug, Default)]
pub struct LocalNetwork(Arc<Mutex<Links>>);

#[derive(Debug, Default)]
struct Links {
    inboxes: BTreeMap<u64, Inbox>,
    cut_off: BTreeSet<u64>,
}

impl LocalNetwork {
    /// A network without replicas.
    pub fn new() -> Self {
        Self::default()
    }

    fn links(&self) -> MutexGuard<'_, Links> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The transport of one replica.
    pub fn transport(&self, from: u64) -> Arc<dyn Transport> {
        Arc::new(LocalTransport { network: self.clone(), from })
    }

    /// Says where a replica's messages go; in the place of an older one of that number.
    pub fn join(&self, id: u64, inbox: Inbox) {
        self.links().inboxes.insert(id, inbox);
    }

    /// Cuts a replica off from all others.
    pub fn cut_off(&self, id: u64) {
        self.links().cut_off.insert(id);
    }

    /// Undoes a [cut](LocalNetwork::cut_off).
    pub fn reconnect(&self, id: u64) {
        self.links().cut_off.remove(&id);
    }
}

#[derive(Debug)]
struct LocalTransport {
    network: LocalNetwork,
    from: u64,
}

impl Transport for LocalTransport {
    fn send(&self, to: u64, message: Bytes) {
        let links = self.network.links();
        if links.cut_off.contains(&self.from) || links.cut_off.contains(&to) {
            return;
        }
        if let Some(inbox) = links.inboxes.get(&to) {
            inbox.deliver(&message);
        }
    }
}
