//! Leases in the state: which there are and which keys hang on them. When they expire is the driver's
//! business.

use std::collections::BTreeSet;
use std::time::Duration;

use super::State;
use crate::{Error, Key, Lease, LeaseId, Revision, WatchEvents};

/// The longest life of a lease, in seconds; as in etcd.
const TTL_SECONDS_MAX: u64 = 9_000_000_000;

#[derive(Clone, Debug)]
pub(super) struct LeaseRecord {
    pub(super) ttl: Duration,
    pub(super) keys: BTreeSet<Key>,
}

impl State {
    /// A lease and its keys.
    ///
    /// # Errors
    /// [`Error::LeaseNotFound`].
    pub fn lease(&self, id: LeaseId) -> Result<(Lease, Vec<Key>), Error> {
        let found = self.leases.get(&id);
        let record = found.ok_or(Error::LeaseNotFound { lease: id })?;
        let keys = record.keys.iter().cloned().collect();
        Ok((Lease::new(id, record.ttl), keys))
    }

    /// All leases, by name.
    pub fn leases(&self) -> impl ExactSizeIterator<Item = Lease> + '_ {
        let lease = |(id, record): (&LeaseId, &LeaseRecord)| Lease::new(*id, record.ttl);
        self.leases.iter().map(lease)
    }

    pub(super) fn grant_lease(&mut self, id: Option<LeaseId>, ttl: Duration) -> Result<Lease, Error> {
        let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        if seconds > TTL_SECONDS_MAX {
            return Err(Error::invalid("too large lease ttl"));
        }
        let id = match id {
            Some(id) if id.0 <= 0 => {
                return Err(Error::invalid("a lease's id must be above 0"));
            }
            Some(id) => id,
            None => self.unused_lease(),
        };
        if self.leases.contains_key(&id) {
            return Err(Error::LeaseExists { lease: id });
        }
        let ttl = Duration::from_secs(seconds.max(1));
        let keys = BTreeSet::new();
        self.leases.insert(id, LeaseRecord { ttl, keys });
        Ok(Lease::new(id, ttl))
    }

    fn unused_lease(&mut self) -> LeaseId {
        loop {
            let id = LeaseId(self.next_lease);
            self.next_lease = self.next_lease.checked_add(1).unwrap_or(1);
            if !self.leases.contains_key(&id) {
                return id;
            }
        }
    }

    pub(super) fn revoke_lease(&mut self, id: LeaseId) -> Result<Option<WatchEvents>, Error> {
        let removed = self.leases.remove(&id);
        let record = removed.ok_or(Error::LeaseNotFound { lease: id })?;
        let revision: Revision = self.revision.next();
        let mut events = Vec::with_capacity(record.keys.len());
        for key in &record.keys {
            self.delete(key, revision, &mut events);
        }
        Ok(self.publish(events))
    }

    /// Notes that a key's lease changed.
    pub(super) fn move_lease(&mut self, key: &Key, from: Option<LeaseId>, to: Option<LeaseId>) {
        if from == to {
            return;
        }
        if let Some(record) = from.and_then(|id| self.leases.get_mut(&id)) {
            record.keys.remove(key);
        }
        if let Some(record) = to.and_then(|id| self.leases.get_mut(&id)) {
            record.keys.insert(key.clone());
        }
    }
}
