//! Events as bytes, made once for all watches of a stream that are told of them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use crate::proto::WatchResponse;
use crate::{Entry, Event, EventKind, Revision, WatchEvents};

/// The field of a response in which its events are.
const EVENTS: u32 = 11;
const KEPT_BYTES_MAX: usize = 4 << 20;
const KEPT_MAX: usize = 1024;

/// The newest revisions' events, as they go into a response.
#[derive(Debug, Default)]
pub(super) struct Encodings {
    kept: HashMap<(Revision, bool), Kept>,
    order: VecDeque<(Revision, bool)>,
    bytes: usize,
}

#[derive(Debug)]
struct Kept {
    /// Watches of other ranges are told of other events of the revision.
    events: Arc<[Event]>,
    encoded: Bytes,
}

impl Encodings {
    /// A revision's events.
    pub(super) fn of(&mut self, batch: &WatchEvents, prev_kv: bool) -> Bytes {
        let place = (batch.revision, prev_kv);
        if let Some(kept) = self.kept.get(&place)
            && Arc::ptr_eq(&kept.events, &batch.events)
        {
            return kept.encoded.clone();
        }
        let mut encoded = BytesMut::with_capacity(batch.events.iter().map(|event| size(event, prev_kv)).sum());
        batch.events.iter().for_each(|event| put(&mut encoded, event, prev_kv));
        let encoded = encoded.freeze();
        let kept = Kept { events: batch.events.clone(), encoded: encoded.clone() };
        self.bytes += encoded.len();
        match self.kept.insert(place, kept) {
            Some(other) => self.bytes -= other.encoded.len(),
            None => self.order.push_back(place),
        }
        while self.bytes > KEPT_BYTES_MAX || self.order.len() > KEPT_MAX {
            let Some(oldest) = self.order.pop_front() else { break };
            self.bytes -= self.kept.remove(&oldest).map_or(0, |kept| kept.encoded.len());
        }
        encoded
    }
}

/// A response with these encoded events.
pub(super) fn response(response: &WatchResponse, events: &[Bytes]) -> Bytes {
    let events_len: usize = events.iter().map(Bytes::len).sum();
    let mut encoded = BytesMut::with_capacity(response.encoded_len() + events_len);
    response.encode_raw(&mut encoded);
    events.iter().for_each(|events| encoded.put_slice(events));
    encoded.freeze()
}

/// One event alone.
pub(super) fn event(event: &Event, prev_kv: bool) -> Bytes {
    let mut encoded = BytesMut::with_capacity(size(event, prev_kv));
    put(&mut encoded, event, prev_kv);
    encoded.freeze()
}

fn size(event: &Event, prev_kv: bool) -> usize {
    let inside = inside(event, prev_kv);
    key_len(EVENTS) + encoded_len_varint(inside as u64) + inside
}

fn inside(event: &Event, prev_kv: bool) -> usize {
    let kind = if event.kind == EventKind::Delete { 2 } else { 0 };
    let prev = event.prev.as_deref().filter(|_| prev_kv);
    kind + entry_field_size(2, &event.entry) + prev.map_or(0, |prev| entry_field_size(3, prev))
}

fn put(to: &mut BytesMut, event: &Event, prev_kv: bool) {
    encode_key(EVENTS, WireType::LengthDelimited, to);
    encode_varint(inside(event, prev_kv) as u64, to);
    if event.kind == EventKind::Delete {
        encode_key(1, WireType::Varint, to);
        encode_varint(1, to);
    }
    put_entry_field(to, 2, &event.entry);
    if let Some(prev) = event.prev.as_deref().filter(|_| prev_kv) {
        put_entry_field(to, 3, prev);
    }
}

/// The size of an entry as field `tag` of a message.
pub(super) fn entry_field_size(tag: u32, entry: &Entry) -> usize {
    let size = entry_size(entry);
    key_len(tag) + encoded_len_varint(size as u64) + size
}

/// Writes an entry as field `tag` of a message.
pub(super) fn put_entry_field(to: &mut BytesMut, tag: u32, entry: &Entry) {
    encode_key(tag, WireType::LengthDelimited, to);
    encode_varint(entry_size(entry) as u64, to);
    put_bytes(to, 1, &entry.key);
    for (tag, number) in numbers(entry) {
        put_number(to, tag, number);
    }
    put_bytes(to, 5, &entry.value);
    put_number(to, 6, entry.lease.map_or(0, |lease| lease.0 as u64));
}

fn numbers(entry: &Entry) -> [(u32, u64); 3] {
    [(2, entry.create_revision.0), (3, entry.mod_revision.0), (4, entry.version)]
}

fn entry_size(entry: &Entry) -> usize {
    let bytes = |bytes: &[u8]| match bytes.len() {
        0 => 0,
        length => 1 + encoded_len_varint(length as u64) + length,
    };
    let number = |number: u64| if number == 0 { 0 } else { 1 + encoded_len_varint(number) };
    let numbers: usize = numbers(entry).into_iter().map(|(_, n)| number(n)).sum();
    bytes(&entry.key) + bytes(&entry.value) + numbers + number(entry.lease.map_or(0, |lease| lease.0 as u64))
}

/// What is empty is not sent.
fn put_bytes(to: &mut BytesMut, tag: u32, bytes: &[u8]) {
    if !bytes.is_empty() {
        encode_key(tag, WireType::LengthDelimited, to);
        encode_varint(bytes.len() as u64, to);
        to.put_slice(bytes);
    }
}

fn put_number(to: &mut BytesMut, tag: u32, number: u64) {
    if number != 0 {
        encode_key(tag, WireType::Varint, to);
        encode_varint(number, to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::face::convert;
    use crate::{Key, LeaseId, proto};

    fn entry(key: &str, value: &str, revision: u64, lease: Option<i64>) -> Arc<Entry> {
        Arc::new(Entry {
            key: Key::from(key),
            value: Bytes::copy_from_slice(value.as_bytes()),
            create_revision: Revision(revision / 2),
            mod_revision: Revision(revision),
            version: revision % 7,
            lease: lease.map(LeaseId),
        })
    }

    #[test]
    fn events_are_encoded_as_the_messages_they_stand_for() {
        let long = "v".repeat(40_000);
        let events = [
            Event::new(EventKind::Put, entry("a", "1", 2, None), None),
            Event::new(
                EventKind::Put,
                entry("key", &long, 1 << 40, Some(i64::MAX)),
                Some(entry("key", "", 3, Some(-1))),
            ),
            Event::new(EventKind::Delete, entry("b", "", 300, None), Some(entry("b", "was", 200, None))),
        ];
        for prev_kv in [false, true] {
            let head = WatchResponse { watch_id: 7, ..WatchResponse::default() };
            let encoded: Vec<Bytes> = events.iter().map(|e| event(e, prev_kv)).collect();
            let whole = WatchResponse {
                events: events.iter().map(|event| convert::event(event, prev_kv)).collect(),
                ..head.clone()
            };
            assert_eq!(response(&head, &encoded), whole.encode_to_vec());
            let batch = WatchEvents::new(Revision(9), events.to_vec().into());
            let (mut encodings, together) = (Encodings::default(), encoded.concat());
            assert_eq!(encodings.of(&batch, prev_kv), together);
            assert_eq!(encodings.of(&batch, prev_kv), together);
        }
        let mut kv = BytesMut::new();
        put_entry_field(&mut kv, 2, &events[1].entry);
        let response = proto::RangeResponse { kvs: vec![convert::kv(&events[1].entry)], ..<_>::default() };
        assert_eq!(kv, response.encode_to_vec());
        assert_eq!(entry_field_size(2, &events[1].entry), kv.len());
    }

    #[test]
    fn what_is_kept_is_bounded_and_belongs_to_its_range() {
        let mut encodings = Encodings::default();
        let batch = |revision, value: &str| {
            let entry = entry("a", value, revision, None);
            WatchEvents::new(Revision(revision), vec![Event::new(EventKind::Put, entry, None)].into())
        };
        let (one, other) = (batch(5, "one"), batch(5, "other"));
        assert_ne!(encodings.of(&one, false), encodings.of(&other, false));
        let large = "v".repeat(100_000);
        for revision in 10..100 {
            encodings.of(&batch(revision, &large), false);
        }
        assert!(encodings.bytes <= KEPT_BYTES_MAX && encodings.kept.len() == encodings.order.len());
    }
}
