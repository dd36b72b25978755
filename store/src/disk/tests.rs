use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;

use super::files::Disk;
use super::log::{Log, segment_name};
use super::record::{HEADER, KIND_COMMAND, KIND_SEAL};
use super::recover::recover;
use super::sim::SimDisk;
use super::{DiskConfig, DiskStore};
use crate::codec::encode_command;
use crate::state::{Command, State};
use crate::{Error, Health, KeyRange, LeaseId, Op, Revision, Store, StoreExt, Txn, WatchOptions};

fn config() -> DiskConfig {
    let mut config = DiskConfig::new("unused");
    config.segment_bytes = 4096;
    config.snapshot_after_bytes = 16 << 10;
    config
}

fn open(disk: &SimDisk) -> DiskStore {
    DiskStore::open_on(&config(), Arc::new(disk.clone())).expect("a sound disk opens")
}

fn put(n: usize) -> Command {
    let value = vec![b'v'; n * 37 % 200];
    Command::Txn(Txn::new().then(Op::put(format!("key/{n}"), value)))
}

fn encoded(command: &Command) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_command(command, &mut bytes);
    bytes
}

/// A log of batches, as a crash right after the last would leave it; with the offset at which the last
/// batch starts and the digests after each record, the empty one first.
fn written(batches: &[usize], segment_bytes: u64) -> (SimDisk, u64, Vec<u32>) {
    let disk = SimDisk::default();
    let mut log = Log::create(Arc::new(disk.clone()), 1, segment_bytes).expect("room");
    let mut state = State::new();
    let mut digests = vec![state.digest()];
    let (mut offset, mut last, mut n) = (HEADER, HEADER, 0);
    for batch in batches {
        let mut records = Vec::new();
        for _ in 0..*batch {
            let command = put(n);
            n += 1;
            records.push(encoded(&command));
            state.apply(command).outcome.expect("a put");
            digests.push(state.digest());
        }
        let records = records.iter().map(|r| (KIND_COMMAND, &**r));
        last = offset;
        offset += log.append(records).expect("room");
    }
    (disk, last, digests)
}

fn recovered(disk: &SimDisk) -> Result<u32, Error> {
    let disk: Arc<dyn Disk> = Arc::new(disk.after_crash(|| true));
    recover(&disk, 1 << 13).map(|recovered| recovered.state.digest())
}

#[test]
fn a_log_cut_anywhere_keeps_the_records_before_the_cut() {
    let (disk, _, digests) = written(&[1, 3, 2, 4], 1 << 13);
    let name = segment_name(1);
    let full = disk.bytes(&name);
    let end = full.iter().rposition(|b| *b != 0).expect("records") + 1;
    let mut seen = [0, 0];
    for cut in HEADER as usize..end {
        let zeros = disk.after_crash(|| true);
        zeros.tamper(&name, |bytes| bytes[cut..].fill(0));
        let short = disk.after_crash(|| true);
        short.tamper(&name, |bytes| bytes.truncate(cut));
        for (cut_disk, seen) in [zeros, short].iter().zip(&mut seen) {
            let digest = recovered(cut_disk).expect("a cut log opens");
            let records = digests.iter().position(|d| *d == digest);
            let records = records.expect("a state that once was");
            assert!(records == *seen || records == *seen + 1, "cut at {cut}");
            *seen = records;
        }
    }
    assert!(seen.iter().all(|seen| *seen >= digests.len() - 2));
}

#[test]
fn a_flipped_bit_is_found_unless_it_looks_like_a_torn_write() {
    let (disk, last_batch, digests) = written(&[1, 3, 2, 4], 1 << 13);
    let name = segment_name(1);
    let end = disk.bytes(&name).iter().rposition(|b| *b != 0).expect("records") + 1;
    let full = *digests.last().expect("digests");
    let before_last = digests.len() - 1 - 4;
    let mut refused = 0;
    for at in 0..end {
        for bit in [0, 5, 7] {
            let damaged = disk.after_crash(|| true);
            damaged.tamper(&name, |bytes| bytes[at] ^= 1 << bit);
            match recovered(&damaged) {
                // The padding between records means nothing.
                Ok(digest) if digest == full => {}
                Ok(digest) => {
                    assert!(at as u64 >= last_batch, "lost data by a flip at {at}");
                    let left = digests.iter().position(|d| *d == digest);
                    assert!(left.expect("a state that once was") >= before_last);
                }
                Err(Error::Corrupt { file, offset, .. }) => {
                    assert!(file.ends_with(&name) && offset <= at as u64);
                    refused += 1;
                }
                Err(Error::Format { .. }) => assert!((8..12).contains(&at)),
                Err(other) => panic!("flip at {at}: {other}"),
            }
        }
    }
    assert!(refused > 1000, "{refused}");
}

#[test]
fn after_a_seal_damage_to_the_last_commands_is_found_too() {
    let disk = SimDisk::default();
    let mut log = Log::create(Arc::new(disk.clone()), 1, 1 << 13).expect("room");
    let command = encoded(&put(3));
    let size = log.append([(KIND_COMMAND, &*command)].into_iter()).expect("room");
    log.append([(KIND_SEAL, &[][..])].into_iter()).expect("room");
    for at in HEADER..HEADER + size - 8 {
        let damaged = disk.after_crash(|| true);
        damaged.tamper(&segment_name(1), |bytes| bytes[at as usize] ^= 4);
        assert!(matches!(recovered(&damaged), Err(Error::Corrupt { .. })), "{at}");
    }
}

#[test]
fn damage_in_an_older_segment_and_a_missing_one_are_refused() {
    let (disk, _, _) = written(&[1; 120], 4096);
    let names = disk.list().expect("names");
    assert!(names.len() > 3, "{names:?}");
    for (n, name) in names.iter().enumerate() {
        let missing = disk.after_crash(|| true);
        missing.remove(name).expect("it is there");
        let is_last = n + 1 == names.len();
        assert_eq!(recovered(&missing).is_ok(), is_last, "without {name}");
        if !is_last {
            let cut = disk.after_crash(|| true);
            cut.tamper(name, |bytes| bytes.truncate(2000));
            assert!(matches!(recovered(&cut), Err(Error::Corrupt { .. })), "{name}");
        }
    }
}

#[test]
fn remains_of_a_torn_write_never_come_back() {
    let (disk, last_batch, digests) = written(&[1, 1, 1], 1 << 13);
    // The first sector of the batch [3, 4] is lost, the rest of it is there.
    let mut log = {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        recover(&disk, 1 << 13).expect("sound").log
    };
    let records = [encoded(&put(3)), encoded(&put(4)), encoded(&put(5))];
    log.append(records.iter().map(|r| (KIND_COMMAND, &**r))).expect("room");
    let offset = disk.bytes(&segment_name(1));
    let torn = disk.after_crash(|| true);
    let start = (last_batch as usize..offset.len())
        .step_by(8)
        .find(|at| super::record::find_record(&offset, 1, *at as u64).index() == Some(4))
        .expect("the batch");
    torn.tamper(&segment_name(1), |bytes| bytes[start + 30] ^= 1);
    let disk: Arc<dyn Disk> = Arc::new(torn.clone());
    let mut again = recover(&disk, 1 << 13).expect("a torn tail");
    assert_eq!(again.state.digest(), digests[3]);
    // The same record in its place would make the stale ones behind it look right.
    again.log.append([(KIND_COMMAND, &*records[0])].into_iter()).expect("room");
    let mut state = again.state;
    state.apply(put(3)).outcome.expect("a put");
    assert_eq!(recovered(&torn).expect("sound"), state.digest());
}

impl super::record::Found<'_> {
    fn index(&self) -> Option<u64> {
        match self {
            Self::Record(record) => Some(record.index),
            _ => None,
        }
    }
}

async fn exercise(store: &DiskStore) {
    for n in 0..300 {
        store.put(format!("key/{}", n % 50), vec![b'x'; n]).await.expect("put");
    }
    let lease = store.lease_grant(Some(LeaseId(7)), Duration::from_secs(60));
    lease.await.expect("lease");
    let leased = crate::Put::new("leased", "1").lease(Some(LeaseId(7)));
    store.commit(Txn::new().then(Op::Put(leased))).await.expect("put");
    store.delete("key/7").await.expect("delete");
    store.compact(Revision(100)).await.expect("compact");
    store.put("last", "1").await.expect("put");
}

#[tokio::test]
async fn what_was_closed_or_dropped_or_killed_opens_as_it_was() {
    let disk = SimDisk::default();
    let store = open(&disk);
    exercise(&store).await;
    let digest = store.digest();
    let killed = disk.after_crash(|| false);
    // The snapshot is written in the background, and the log that it replaces removed after that.
    let replaced = || {
        let names = disk.list().expect("names");
        names.iter().any(|name| name.starts_with("snapshot-")) && !names.contains(&segment_name(1))
    };
    while !replaced() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    store.close().await;
    for how in ["closed", "dropped"] {
        let store = open(&disk);
        assert_eq!(store.digest(), digest, "{how}");
        let keys = store.lease_status(LeaseId(7)).await.expect("lease").keys;
        assert_eq!(keys, ["leased".into()]);
        if how == "closed" {
            store.close().await;
        }
    }
    assert_eq!(open(&killed).digest(), digest);
}

#[tokio::test]
async fn a_watch_resumes_from_before_a_restart() {
    let disk = SimDisk::default();
    let store = open(&disk);
    exercise(&store).await;
    store.close().await;
    let store = open(&disk);
    let options = WatchOptions::default().prev_value();
    let watch = store.watch(KeyRange::all(), Revision(100), options).await;
    let mut watch = watch.expect("the compacted revision can be watched");
    for expected in 100..=304 {
        let batch = watch.next().await.expect("goes on").expect("no error");
        assert_eq!(batch.revision, Revision(expected));
        assert!(batch.events[0].prev.is_some() || batch.events[0].is_create());
    }
    let old = store.watch(KeyRange::all(), Revision(99), options).await;
    assert!(matches!(old, Err(Error::Compacted { .. })));
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_whenever_the_power_goes() {
    let mut seed = 1_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for mut disk in [SimDisk::default(), SimDisk::indirect()] {
        let mut acknowledged = 0;
        for round in 0..20 {
            let store = Arc::new(open(&disk));
            let found = store.count(KeyRange::all()).await.expect("count");
            assert!(found >= acknowledged, "round {round}: {found} of {acknowledged}");
            acknowledged = found;
            // Several writers, so that batches have several records.
            let mut writers = tokio::task::JoinSet::new();
            for writer in 0..4 {
                let store = store.clone();
                writers.spawn(async move {
                    for n in 0..20 {
                        let key = format!("{round}/{writer}/{n}");
                        store.put(key, vec![b'v'; 300]).await.expect("put");
                    }
                });
            }
            for _ in 0..random() % 60 {
                let key = format!("{round}/main/{acknowledged}");
                store.put(key, "value").await.expect("put");
                acknowledged += 1;
            }
            let crashed = disk.after_crash(|| random() % 3 != 0);
            while writers.join_next().await.is_some() {}
            store.close().await;
            disk = crashed;
        }
    }
}

#[tokio::test]
async fn writers_that_wait_share_a_sync() {
    let disk = SimDisk::default();
    let store = Arc::new(open(&disk));
    let before = disk.syncs();
    let puts = (0..200).map(|n| store.put(format!("{n}"), "value"));
    let mut puts = std::pin::pin!(futures::future::join_all(puts));
    // Nothing is written before all are in line.
    let held = disk.hold();
    assert!(futures::poll!(puts.as_mut()).is_pending());
    drop(held);
    assert!(puts.await.iter().all(Result::is_ok));
    let syncs = disk.syncs() - before;
    assert!(syncs < 30, "{syncs} syncs for 200 writes");
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_recovers() {
    let disk = SimDisk::default();
    let store = open(&disk);
    store.put("before", "1").await.expect("put");
    disk.set_capacity(Some(disk.used()));
    let error = loop {
        if let Err(error) = store.put("more", vec![0; 500]).await {
            break error;
        }
    };
    assert!(matches!(error, Error::NoSpace { .. }), "{error}");
    let digest = store.digest();
    assert!(store.read("before").await.expect("reads go on").is_some());
    let status = store.status().await.expect("status");
    assert!(matches!(status.health, Health::ReadOnly(_)));
    let crashed = disk.after_crash(|| true);
    assert_eq!(open(&crashed).digest(), digest);
    disk.set_capacity(None);
    store.put("after", "1").await.expect("space again");
    assert_eq!(store.status().await.expect("status").health, Health::Serving);
    let digest = store.digest();
    store.close().await;
    assert_eq!(open(&disk).digest(), digest);
}

#[tokio::test]
async fn a_failed_sync_ends_the_store() {
    let disk = SimDisk::default();
    let store = open(&disk);
    store.put("before", "1").await.expect("put");
    let watch = store.watch(KeyRange::all(), Revision::ZERO, WatchOptions::default());
    let mut watch = watch.await.expect("watch");
    disk.fail_syncs();
    let failed = |error: Option<Error>| matches!(error, Some(Error::Failed { .. }));
    assert!(failed(store.put("lost", "1").await.err()));
    assert!(failed(store.put("later", "1").await.err()));
    assert!(failed(store.read("before").await.err()));
    assert!(failed(watch.next().await.expect("an end").err()));
    assert!(watch.next().await.is_none());
    let status = store.status().await.expect("status still answers");
    assert!(matches!(status.health, Health::Failed(_)));
    store.close().await;
    let store = open(&disk);
    assert!(store.read("before").await.expect("read").is_some());
    assert!(store.read("lost").await.expect("read").is_none());
}

#[tokio::test]
async fn a_damaged_snapshot_is_refused_with_its_name_and_offset() {
    let disk = SimDisk::default();
    let store = open(&disk);
    exercise(&store).await;
    store.close().await;
    let names = disk.list().expect("names");
    let name = names.iter().find(|name| name.starts_with("snapshot-"));
    let name = name.expect("a snapshot");
    let length = disk.bytes(name).len();
    for at in (0..length).step_by(101) {
        let damaged = disk.after_crash(|| true);
        damaged.tamper(name, |bytes| bytes[at] ^= 16);
        match recovered(&damaged).expect_err("damage") {
            Error::Corrupt { file, offset, .. } => {
                assert!(file.ends_with(name) && offset <= at as u64);
            }
            Error::Format { .. } => assert!((8..12).contains(&at)),
            other => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn a_directory_has_one_store_at_a_time() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = DiskConfig::new(directory.path());
    let store = DiskStore::open(config.clone()).await.expect("open");
    let second = DiskStore::open(config.clone()).await.expect_err("locked");
    assert!(matches!(second, Error::Locked { .. }), "{second}");
    store.close().await;
    let store = DiskStore::open(config.clone()).await.expect("free again");
    drop(store);
    DiskStore::open(config).await.expect("free after a drop");
}

#[tokio::test]
async fn a_config_says_all_that_is_wrong_with_it() {
    let mut config = DiskConfig::new("unused");
    (config.segment_bytes, config.queue_max) = (0, 0);
    let error = DiskStore::open(config).await.expect_err("nonsense");
    let text = error.to_string();
    assert!(text.contains("segment_bytes") && text.contains("queue_max"), "{text}");
}
