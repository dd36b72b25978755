//! What is left of writes that a faulty disk refused.

use std::sync::Arc;

use super::blocks::BLOCK;
use super::files::Disk;
use super::log::{AppendError, Log};
use super::record::{HEADER, KIND_COMMAND, record_size};
use super::recover::read_segments;
use super::sim::SimDisk;
use super::{DiskConfig, DiskStore};
use crate::{Error, StoreExt};

/// What is in the records of the log's first segment.
fn records(disk: &SimDisk) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let read = read_segments(disk, &[1], &mut |_, _, record| {
        all.push(record.data.to_vec());
        Ok(())
    });
    read.expect("sound");
    all
}

#[test]
fn what_a_full_disk_took_of_a_refused_batch_never_comes_back() {
    // The first record ends where a block does: whatever is written in its place leaves the next block alone.
    let length = BLOCK - HEADER as usize - 32;
    assert_eq!(HEADER + record_size(length), BLOCK as u64);
    let (refused, refused_too, taken) = (vec![1; length], vec![2; 100], vec![3; length]);
    let disk = SimDisk::default();
    let mut log = Log::create(Arc::new(disk.clone()), 1, 1 << 16).expect("room");
    disk.fill_after(2);
    let batch = [&refused, &refused_too, &vec![4; BLOCK]];
    let error = log.append(batch.into_iter().map(|data| (KIND_COMMAND, &**data))).expect_err("no room for all");
    assert!(matches!(error, AppendError::NoSpace(_)), "{error:?}");
    log.append([(KIND_COMMAND, &*taken)].into_iter()).expect("room again");
    for keep in [false, true] {
        assert_eq!(records(&disk.after_crash(|| keep)), std::slice::from_ref(&taken), "{keep}");
    }
}

#[test]
fn a_wipe_that_may_not_last_ends_the_log() {
    let disk = SimDisk::default();
    let mut log = Log::create(Arc::new(disk.clone()), 1, 1 << 16).expect("room");
    log.append([(KIND_COMMAND, &b"first"[..])].into_iter()).expect("room");
    disk.fill_after(1);
    // The direct write is the next sync, and that of the wipe follows.
    disk.cut_power(Some(2));
    let error = log.append([(KIND_COMMAND, &[5; 2 * BLOCK][..])].into_iter()).expect_err("no room");
    assert!(matches!(error, AppendError::Fatal(_)), "{error:?}");
}

#[tokio::test]
async fn a_segment_whose_name_may_not_last_ends_the_store() {
    let mut config = DiskConfig::new("unused");
    config.segment_bytes = 4096;
    let disk = SimDisk::default();
    let store = DiskStore::open_on(&config, Arc::new(disk.clone())).expect("a sound disk opens");
    store.put("before", "1").await.expect("room");
    disk.fill_names();
    let mut digest = store.digest();
    let error = loop {
        match store.put("more", vec![0; 500]).await {
            Ok(_) => digest = store.digest(),
            Err(error) => break error,
        }
    };
    // There would be room for less in the segment before.
    if store.put("less", "1").await.is_ok() {
        digest = store.digest();
    }
    assert!(matches!(error, Error::Failed { .. }), "{error}");
    store.close().await;
    assert_eq!(disk.list().expect("names").len(), 2, "the segment before, and the new one");
    for keep in [true, false] {
        let crashed = disk.after_crash(|| keep);
        let again = DiskStore::open_on(&config, Arc::new(crashed)).expect("nothing is missing");
        assert_eq!(again.digest(), digest, "{keep}");
    }
}
