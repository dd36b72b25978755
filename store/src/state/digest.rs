//! A checksum of the whole state.

use std::sync::Arc;

use super::State;
use crate::{Entry, Event, EventKind, LeaseId};

impl State {
    /// A CRC-32C over everything that can be read: entries, history since the compacted revision,
    /// leases. Replicas that applied the same commands have the same; how much of the compacted
    /// history they have [pruned](State::prune) makes no difference.
    pub fn digest(&self) -> u32 {
        let mut digest = Digest(0);
        digest.number(self.revision.0);
        digest.number(self.compacted.0);
        for entry in self.live.all() {
            digest.entry(entry);
        }
        let skip = self.compacted.0.saturating_sub(self.history_start.0) as usize;
        for events in self.history.iter().skip(skip) {
            digest.number(events.len() as u64);
            for event in events.iter() {
                digest.event(event);
            }
        }
        for (id, record) in &self.leases {
            digest.lease(Some(*id));
            digest.number(record.ttl.as_secs());
            digest.number(record.keys.len() as u64);
        }
        digest.number(self.next_lease as u64);
        digest.0
    }
}

struct Digest(u32);

impl Digest {
    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0 = crc32c::crc32c_append(self.0, bytes);
    }

    fn number(&mut self, number: u64) {
        self.0 = crc32c::crc32c_append(self.0, &number.to_le_bytes());
    }

    fn lease(&mut self, lease: Option<LeaseId>) {
        self.number(lease.map_or(0, |lease| lease.0 as u64));
    }

    fn entry(&mut self, entry: &Arc<Entry>) {
        self.bytes(&entry.key);
        self.bytes(&entry.value);
        self.number(entry.create_revision.0);
        self.number(entry.mod_revision.0);
        self.number(entry.version);
        self.lease(entry.lease);
    }

    fn event(&mut self, event: &Event) {
        self.number(u64::from(event.kind == EventKind::Put));
        self.entry(&event.entry);
        self.number(u64::from(event.prev.is_some()));
        if let Some(prev) = &event.prev {
            self.entry(prev);
        }
    }
}
