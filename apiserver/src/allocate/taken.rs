//! What the Services that exist have, and what writes under way have reserved.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::claims::Claims;
use crate::registry::Reservation;

/// What is taken, by whom.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// What each Service has, by namespace and name.
    services: BTreeMap<(String, String), Claims>,
    addresses: BTreeMap<IpAddr, usize>,
    ports: BTreeMap<u16, usize>,
    /// Services that can't be read and were not read before: nobody knows what they have.
    unreadable: BTreeSet<(String, String)>,
    /// What writes under way have reserved.
    pub(super) pending: BTreeMap<u64, Pending>,
    next_reservation: u64,
}

#[derive(Debug)]
pub(super) struct Pending {
    /// Namespace and name of the Service.
    of: (String, String),
    claims: Claims,
    /// Since when nobody knows whether it was stored.
    pub(super) unknown_since: Option<Instant>,
}

/// After so long what was stored has long been observed.
pub(super) const UNKNOWN_MAX: Duration = Duration::from_secs(60);

impl Taken {
    fn count(&mut self, claims: &Claims) {
        for address in &claims.addresses {
            *self.addresses.entry(*address).or_default() += 1;
        }
        for port in &claims.ports {
            *self.ports.entry(*port).or_default() += 1;
        }
    }

    fn discount(&mut self, claims: &Claims) {
        for address in &claims.addresses {
            discount(&mut self.addresses, address);
        }
        for port in &claims.ports {
            discount(&mut self.ports, port);
        }
    }

    pub(super) fn has_address(&self, address: IpAddr) -> bool {
        self.addresses.contains_key(&address)
            || self.pending.values().any(|pending| pending.claims.addresses.contains(&address))
    }

    pub(super) fn has_port(&self, port: u16) -> bool {
        self.ports.contains_key(&port) || self.pending.values().any(|pending| pending.claims.ports.contains(&port))
    }

    pub(super) fn reserve(&mut self, of: (String, String), claims: Claims) -> u64 {
        let id = self.next_reservation;
        self.next_reservation += 1;
        self.pending.insert(id, Pending { of, claims, unknown_since: None });
        id
    }

    /// Frees what was reserved for writes of which nobody has known for long how they ended.
    pub(super) fn forget_unknown(&mut self) {
        self.pending.retain(|_, pending| pending.unknown_since.is_none_or(|since| since.elapsed() < UNKNOWN_MAX));
    }

    /// That Service can't be read any more: it keeps what it had, if that is known.
    pub(super) fn lose(&mut self, service: (String, String)) {
        if !self.services.contains_key(&service) {
            self.unreadable.insert(service);
        }
    }

    /// Namespace and name of a Service that may have anything: nothing can be given away then.
    pub(super) fn unknown(&self) -> Option<(&str, &str)> {
        self.unreadable.first().map(|(namespace, name)| (namespace.as_str(), name.as_str()))
    }

    /// Notes what that Service has now; `None` if it is gone.
    pub(super) fn observe(&mut self, service: (String, String), claims: Option<Claims>) {
        self.unreadable.remove(&service);
        if let Some(before) = self.services.remove(&service) {
            self.discount(&before);
        }
        if let Some(claims) = claims {
            self.count(&claims);
            self.pending.retain(|_, pending| pending.of != service || !claims.has(&pending.claims));
            self.services.insert(service, claims);
        }
    }
}

fn discount<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// What a write under way has reserved. It ends when what was stored is observed, or when it is known that nothing was.
pub(super) struct Held {
    taken: Arc<Mutex<Taken>>,
    id: u64,
    begun: bool,
}

impl Held {
    /// What was [reserved](Taken::reserve) under that id.
    pub(super) fn new(taken: &Arc<Mutex<Taken>>, id: u64) -> Self {
        Self { taken: Arc::clone(taken), id, begun: false }
    }
}

impl Reservation for Held {
    fn begin(&mut self) {
        self.begun = true;
    }

    fn end(mut self: Box<Self>, stored: bool) {
        self.begun = stored;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let pending = &mut self.taken.lock().unwrap_or_else(PoisonError::into_inner).pending;
        if !self.begun {
            pending.remove(&self.id);
        } else if let Some(pending) = pending.get_mut(&self.id) {
            // Stored, if at all, and not observed so far.
            pending.unknown_since = Some(Instant::now());
        }
    }
}
