//! Snapshots in etcd's own format, taken over and made.
//!
//! What is taken are the newest versions of all keys, with their revisions, and the leases; history is not, as if it
//! were compacted at the newest revision. Users, roles and members are etcd's own affair.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::bolt::{Bolt, Damage};
use super::{PAGE, SHA, bolt_write};
use crate::codec::{Reason, put_bytes, put_number};
use crate::state::{ImageSink, State, image};
use crate::{Entry, LeaseId, Revision};

/// A revision as a key: the commit, an underscore, the place in the commit; and a mark if something was deleted.
const REVISION: usize = 17;
const DELETED: usize = REVISION + 1;

/// Makes a state of the whole file.
pub(super) fn state(bytes: &[u8]) -> Result<State, Damage> {
    let length = bytes.len() as u64;
    if length % PAGE != SHA {
        return Err((length, "the checksum at the end is missing: save it with etcdctl snapshot save"));
    }
    let (body, stored) = bytes.split_at(bytes.len() - SHA as usize);
    if *Sha256::digest(body) != *stored {
        return Err((body.len() as u64, "the checksum of the whole does not match"));
    }
    let bolt = Bolt::open(body)?;
    let (mut newest, mut entries) = (Revision::INITIAL, BTreeMap::new());
    let keys = bolt.bucket(b"key")?.ok_or((0, "no keys: this is no file of etcd's"))?;
    bolt.each(keys, &mut |revision, value| {
        newest = newest.max(Revision(main(revision)?));
        let entry = entry(value)?;
        match revision.len() {
            DELETED => drop(entries.remove(&entry.key)),
            _ => drop(entries.insert(entry.key.clone(), entry)),
        }
        Ok(())
    })?;
    if let Some(meta) = bolt.bucket(b"meta")? {
        bolt.each(meta, &mut |name, value| {
            // What was deleted last may be forgotten already.
            if matches!(name, b"scheduledCompactRev" | b"finishedCompactRev") {
                newest = newest.max(Revision(main(value)?));
            }
            Ok(())
        })?;
    }
    let mut leases = BTreeMap::new();
    if let Some(bucket) = bolt.bucket(b"lease")? {
        bolt.each(bucket, &mut |_, value| {
            let (mut id, mut ttl) = (0, 0);
            fields(value, &mut |field, number, _| match field {
                1 => id = number,
                2 => ttl = number,
                _ => {}
            })?;
            leases.insert(id, ttl);
            Ok(())
        })?;
    }
    made(newest, &leases, entries.into_values()).map_err(|reason| (0, reason))
}

/// The file of a state, as etcd's tools save it.
pub(super) fn file(state: &State) -> Vec<u8> {
    let mut entries: Vec<_> = state.entries().collect();
    // In the order in which they were written; those of one transaction are told apart by a number.
    entries.sort_by_key(|entry| entry.mod_revision);
    let (mut keys, mut before, mut place) = (Vec::new(), Revision::ZERO, 0_u64);
    for entry in entries {
        place = if entry.mod_revision == before { place + 1 } else { 0 };
        before = entry.mod_revision;
        keys.push((revision_key(entry.mod_revision, place), kv(entry)));
    }
    let compacted = revision_key(state.revision(), 0);
    let meta = [&b"finishedCompactRev"[..], b"scheduledCompactRev"].map(|name| (name.to_vec(), compacted.clone()));
    let lease = |lease: crate::Lease| {
        let mut value = Vec::new();
        put_field(&mut value, 1, lease.id.0 as u64);
        put_field(&mut value, 2, lease.ttl.as_secs());
        ((lease.id.0 as u64).to_be_bytes().to_vec(), value)
    };
    let mut leases: Vec<_> = state.leases().map(lease).collect();
    leases.sort_unstable();
    // What etcd's tools expect to be there is there, in the order of names.
    let mut bytes = bolt_write::file(vec![
        (b"alarm", Vec::new()),
        (b"auth", Vec::new()),
        (b"authRoles", Vec::new()),
        (b"authUsers", Vec::new()),
        (b"cluster", Vec::new()),
        (b"key", keys),
        (b"lease", leases),
        (b"members", Vec::new()),
        (b"members_removed", Vec::new()),
        (b"meta", meta.to_vec()),
    ]);
    let sha = Sha256::digest(&bytes);
    bytes.extend_from_slice(&sha);
    bytes
}

fn revision_key(revision: Revision, place: u64) -> Vec<u8> {
    let mut key = revision.get().to_be_bytes().to_vec();
    key.push(b'_');
    key.extend_from_slice(&place.to_be_bytes());
    key
}

fn kv(entry: &Entry) -> Vec<u8> {
    let mut value = Vec::with_capacity(entry.size() + 32);
    put_slice(&mut value, 1, &entry.key);
    put_field(&mut value, 2, entry.create_revision.get());
    put_field(&mut value, 3, entry.mod_revision.get());
    put_field(&mut value, 4, entry.version);
    put_slice(&mut value, 5, &entry.value);
    put_field(&mut value, 6, entry.lease.map_or(0, |lease| lease.0 as u64));
    value
}

fn put_field(to: &mut Vec<u8>, field: u64, number: u64) {
    if number != 0 {
        put_number(to, field << 3);
        put_number(to, number);
    }
}

fn put_slice(to: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    if !bytes.is_empty() {
        put_number(to, field << 3 | 2);
        put_bytes(to, bytes);
    }
}

fn made(newest: Revision, leases: &BTreeMap<u64, u64>, entries: impl Iterator<Item = Entry>) -> Result<State, Reason> {
    let (mut sink, mut blocks) = (ImageSink::default(), 1);
    sink.block(&image::compacted_meta(newest, leases))?;
    let mut entries = entries.map(|mut entry| {
        // What hangs on a lease that is gone was about to be deleted.
        entry.lease = entry.lease.filter(|lease| leases.contains_key(&(lease.0 as u64)));
        entry
    });
    while let Some(block) = image::entries(&mut entries) {
        sink.block(&block)?;
        blocks += 1;
    }
    sink.block(&image::end(blocks))?;
    sink.finish()
}

fn main(revision: &[u8]) -> Result<u64, Reason> {
    let main = revision.get(..8).filter(|_| matches!(revision.len(), REVISION | DELETED));
    main.and_then(|main| main.try_into().ok()).map(u64::from_be_bytes).ok_or("a revision of another length")
}

fn entry(value: &[u8]) -> Result<Entry, Reason> {
    let mut entry = Entry {
        key: crate::Key::from_static(b""),
        value: bytes::Bytes::new(),
        create_revision: Revision::ZERO,
        mod_revision: Revision::ZERO,
        version: 0,
        lease: None,
    };
    fields(value, &mut |field, number, bytes| match field {
        1 => entry.key = crate::Key::copy_from(bytes),
        2 => entry.create_revision = Revision(number),
        3 => entry.mod_revision = Revision(number),
        4 => entry.version = number,
        5 => entry.value = bytes::Bytes::copy_from_slice(bytes),
        6 => entry.lease = (number != 0).then_some(LeaseId(number as i64)),
        _ => {}
    })?;
    Ok(entry)
}

/// Shows the fields of a message in protobuf's encoding: a number, or bytes.
fn fields(mut rest: &[u8], visit: &mut dyn FnMut(u64, u64, &[u8])) -> Result<(), Reason> {
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        match tag & 7 {
            0 => visit(tag >> 3, varint(&mut rest)?, &[]),
            2 => {
                let length = usize::try_from(varint(&mut rest)?).map_err(|_| "a length beyond the end")?;
                let (bytes, after) = rest.split_at_checked(length).ok_or("a length beyond the end")?;
                visit(tag >> 3, 0, bytes);
                rest = after;
            }
            _ => return Err("a field of a kind that etcd does not write"),
        }
    }
    Ok(())
}

fn varint(rest: &mut &[u8]) -> Result<u64, Reason> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first().ok_or("a number that is cut short")?;
        *rest = after;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err("a number that does not end")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::bolt::tests::{file as bolt_file, leaf};
    use super::*;

    fn key(revision: u64, deleted: bool) -> Vec<u8> {
        let mut key = revision.to_be_bytes().to_vec();
        key.extend_from_slice(b"_\0\0\0\0\0\0\0\0");
        if deleted {
            key.push(b't');
        }
        key
    }

    /// A key of one letter, what it was created and changed at, how often, its value, its lease.
    fn kv(name: &str, [created, changed, version]: [u8; 3], value: &str, lease: u8) -> Vec<u8> {
        let mut bytes = vec![10, 1, name.as_bytes()[0], 16, created, 24, changed, 32, version, 42, value.len() as u8];
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(&[48, lease]);
        bytes
    }

    fn sample() -> Vec<u8> {
        let keys = [
            (key(2, false), kv("a", [2, 2, 1], "old", 0)),
            (key(3, false), kv("b", [3, 3, 1], "gone", 0)),
            (key(4, false), kv("a", [2, 4, 2], "new", 7)),
            (key(5, true), vec![10, 1, b'b']),
            (key(6, false), kv("c", [6, 6, 1], "leased by nobody", 9)),
        ];
        let meta = [(b"scheduledCompactRev".to_vec(), key(8, false))];
        let leases = [(7_u64.to_be_bytes().to_vec(), vec![8, 7, 16, 60])];
        let mut bytes = bolt_file(&[(b"key", leaf(&keys)), (b"lease", leaf(&leases)), (b"meta", leaf(&meta))]);
        let sha = Sha256::digest(&bytes);
        bytes.extend_from_slice(&sha);
        bytes
    }

    #[test]
    fn the_newest_versions_and_the_leases_are_taken_over() {
        let state = state(&sample()).expect("sound");
        assert_eq!((state.revision(), state.compacted(), state.len()), (Revision(8), Revision(8), 2));
        let page = state.range(&crate::KeyRange::all(), &crate::RangeOptions::latest()).expect("a page");
        let entry = &page.entries[0];
        assert_eq!((&*entry.value, entry.create_revision, entry.mod_revision), (&b"new"[..], Revision(2), Revision(4)));
        assert_eq!((entry.version, entry.lease), (2, Some(LeaseId(7))));
        assert_eq!(page.entries[1].lease, None);
        assert_eq!(state.leases().map(|lease| (lease.id.0, lease.ttl.as_secs())).collect::<Vec<_>>(), [(7, 60)]);
    }

    #[test]
    fn a_state_comes_back_from_its_file() {
        let mut state = State::new();
        let ttl = std::time::Duration::from_secs(77);
        state.apply(crate::state::Command::LeaseGrant { id: None, ttl });
        for n in 0..2000_u32 {
            let put = crate::Put::new(format!("key/{:03}", n % 700), vec![b'v'; (n % 5000) as usize]);
            let txn = crate::Txn::new().then(crate::Op::Put(put.lease((n % 5 == 0).then_some(LeaseId(1)))));
            let txn = txn
                .then(crate::Op::delete(format!("gone/{}", n % 3)))
                .then(crate::Op::put(format!("gone/{}", n % 4 + 3), "1"));
            state.apply(crate::state::Command::Txn(txn));
        }
        state.apply(crate::state::Command::Txn(crate::Txn::new().then(crate::Op::delete("key/699"))));
        let back = super::state(&file(&state)).expect("sound");
        state.apply(crate::state::Command::Compact(state.revision()));
        assert_eq!((back.revision(), back.len()), (state.revision(), state.len()));
        assert!(back.entries().eq(state.entries()));
        assert!(back.leases().eq(state.leases()));
    }

    #[test]
    fn a_file_that_was_changed_or_cut_is_refused() {
        let good = sample();
        for at in (0..good.len()).step_by(7) {
            let mut damaged = good.clone();
            damaged[at] ^= 1;
            assert!(state(&damaged).is_err(), "changed at {at}");
            assert!(state(&good[..at]).is_err(), "cut at {at}");
        }
    }

    proptest! {
        /// With a checksum that fits, what is inside may be anything.
        #[test]
        fn whatever_is_inside_is_read_or_refused(damage in proptest::collection::vec((0_usize..5000, any::<u8>()), 1..8)) {
            let mut bytes = sample();
            let body = bytes.len() - SHA as usize;
            for (at, byte) in damage {
                bytes[at % body] = byte;
            }
            let sha = Sha256::digest(&bytes[..body]);
            bytes.splice(body.., sha);
            if let Err((offset, reason)) = state(&bytes) {
                prop_assert!(offset <= bytes.len() as u64 && !reason.is_empty());
            }
        }
    }
}
