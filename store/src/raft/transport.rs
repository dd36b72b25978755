//! How replicas reach one another.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

use bytes::Bytes;

use super::disk::message;
use super::driver::Input;

/// Messages that may wait at a replica; further ones are dropped, which raft takes in its stride.
const WAITING_MAX: usize = 4096;

/// Carries messages between replicas. It may lose, delay, double and reorder them, but must not change
/// them, nor let strangers send any: whoever can, controls the store.
pub trait Transport: Send + Sync + fmt::Debug + 'static {
    /// Sends a message to a replica, without waiting. The other side hands it to that replica's [`Inbox`].
    fn send(&self, to: u64, message: Bytes);
}

/// Where messages for a replica are handed in. Cloning shares it.
#[derive(Clone)]
pub struct Inbox {
    inputs: mpsc::Sender<Input>,
    waiting: Arc<AtomicUsize>,
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").field("waiting", &self.waiting).finish_non_exhaustive()
    }
}

impl Inbox {
    pub(super) fn new(inputs: mpsc::Sender<Input>) -> Self {
        Self { inputs, waiting: Arc::default() }
    }

    pub(super) fn waiting(&self) -> Arc<AtomicUsize> {
        self.waiting.clone()
    }

    /// Hands in a message that another replica sent. What does not decode, or is too much, is dropped.
    pub fn deliver(&self, bytes: &Bytes) {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING_MAX {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let sent = match message(bytes) {
            Ok(message) => self.inputs.send(Input::Message(Box::new(message))).is_ok(),
            Err(reason) => {
                tracing::debug!(reason, "a message of another replica was dropped");
                false
            }
        };
        if !sent {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
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
