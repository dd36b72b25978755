//! Between our words and etcd's.

use std::sync::Arc;

use bytes::Bytes;
use tonic::{Code, Status};

use crate::proto::{self, Request, Response};
use crate::{
    Committed, Compare, CompareOp, CompareTarget, Consistency, Entry, Error, Event, EventKind, KeyRange, LeaseId, Op,
    OpResult, Page, Put, RangeOptions, Revision, Txn,
};

/// The key and the end by which etcd knows a range.
pub(super) fn bounds(range: &KeyRange) -> (Bytes, Bytes) {
    const ZERO: Bytes = Bytes::from_static(&[0]);
    if let Some(key) = range.as_exact() {
        return (key.as_bytes().clone(), Bytes::new());
    }
    if range.is_empty() {
        // An end that is empty, or a zero byte, would mean something else.
        let nothing = Bytes::from_static(&[1]);
        return (nothing.clone(), nothing);
    }
    let start = if range.start().is_empty() { ZERO } else { range.start().as_bytes().clone() };
    let end = range.end().map_or(ZERO, Into::into);
    // Nothing is below a zero byte, though as an end it stands for none.
    if range.end().is_some() && *end == [0] {
        let nothing = Bytes::from_static(&[1]);
        return (nothing.clone(), nothing);
    }
    (start, end)
}

pub(super) fn range_request(range: &KeyRange, options: &RangeOptions) -> proto::RangeRequest {
    let (key, range_end) = bounds(range);
    proto::RangeRequest {
        key,
        range_end,
        limit: options.limit.map_or(0, |limit| i64::try_from(limit).unwrap_or(i64::MAX)),
        revision: options.revision.map_or(0, |revision| revision.0 as i64),
        serializable: options.consistency == Consistency::Serializable,
        keys_only: options.keys_only,
        count_only: options.count_only,
        ..proto::RangeRequest::default()
    }
}

pub(super) fn entry(kv: proto::KeyValue) -> Arc<Entry> {
    Arc::new(Entry {
        key: kv.key.into(),
        value: kv.value,
        create_revision: Revision(kv.create_revision as u64),
        mod_revision: Revision(kv.mod_revision as u64),
        version: kv.version as u64,
        lease: (kv.lease != 0).then_some(LeaseId(kv.lease)),
    })
}

pub(super) fn event(event: proto::Event) -> Option<Event> {
    let kind = if event.kind == 0 { EventKind::Put } else { EventKind::Delete };
    Some(Event::new(kind, entry(event.kv?), event.prev_kv.map(entry)))
}

pub(super) fn page(response: proto::RangeResponse, options: &RangeOptions, latest: Revision) -> Page {
    let shown = options.revision.filter(|revision| !revision.is_zero()).unwrap_or(latest);
    let mut page = Page::new(response.kvs.into_iter().map(entry).collect(), shown, latest);
    page.more = response.more;
    page.count = (options.count || options.count_only).then_some(response.count as u64);
    page
}

pub(super) fn txn_request(txn: &Txn) -> proto::TxnRequest {
    proto::TxnRequest {
        compare: txn.compares.iter().map(compare).collect(),
        success: txn.success.iter().map(op).collect(),
        failure: txn.failure.iter().map(op).collect(),
    }
}

fn compare(compare: &Compare) -> proto::Compare {
    let (key, range_end) = bounds(&compare.range);
    let (target, union) = match &compare.target {
        CompareTarget::Version(version) => (0, proto::TargetUnion::Version(*version as i64)),
        CompareTarget::CreateRevision(revision) => (1, proto::TargetUnion::CreateRevision(revision.0 as i64)),
        CompareTarget::ModRevision(revision) => (2, proto::TargetUnion::ModRevision(revision.0 as i64)),
        CompareTarget::Value(value) => (3, proto::TargetUnion::Value(value.clone())),
        CompareTarget::Lease(lease) => (4, proto::TargetUnion::Lease(lease.map_or(0, |lease| lease.0))),
    };
    let result = match compare.op {
        CompareOp::Equal => proto::CompareResult::Equal,
        CompareOp::NotEqual => proto::CompareResult::NotEqual,
        CompareOp::Greater => proto::CompareResult::Greater,
        CompareOp::Less => proto::CompareResult::Less,
    };
    proto::Compare { result: result as i32, target, key, target_union: Some(union), range_end }
}

fn op(op: &Op) -> proto::RequestOp {
    let delete = |range: &KeyRange| {
        let (key, range_end) = bounds(range);
        Request::DeleteRange(proto::DeleteRangeRequest { key, range_end, prev_kv: true })
    };
    let request = match op {
        Op::Put(put) => Request::Put(proto::PutRequest {
            key: put.key.as_bytes().clone(),
            value: if put.keep_value { Bytes::new() } else { put.value.clone() },
            lease: put.lease.filter(|_| !put.keep_lease).map_or(0, |lease| lease.0),
            // The entry that was written follows from the one that was there.
            prev_kv: true,
            ignore_value: put.keep_value,
            ignore_lease: put.keep_lease,
        }),
        Op::Delete(key) => delete(&KeyRange::key(key)),
        Op::DeleteRange(range) => delete(range),
        Op::Get(key) => Request::Range(range_request(&KeyRange::key(key), &RangeOptions::latest())),
        Op::Range(range, options) => Request::Range(range_request(range, options)),
        Op::Txn(inner) => Request::Txn(txn_request(inner)),
    };
    proto::RequestOp { request: Some(request) }
}

pub(super) fn committed(txn: Txn, response: proto::TxnResponse, revision: Revision) -> Result<Committed, Error> {
    let succeeded = response.succeeded;
    Ok(Committed::new(revision, succeeded, results(txn, response, revision)?))
}

fn results(txn: Txn, response: proto::TxnResponse, revision: Revision) -> Result<Vec<OpResult>, Error> {
    let ops = if response.succeeded { txn.success } else { txn.failure };
    let answered = ops.into_iter().zip(response.responses);
    let results = answered.map(|(op, response)| match (op, response.response) {
        (Op::Put(put), Some(Response::Put(response))) => {
            let prev = response.prev_kv.map(entry);
            Ok(OpResult::Put { entry: written(put, prev.as_deref(), revision), prev })
        }
        (Op::Delete(_) | Op::DeleteRange(_), Some(Response::DeleteRange(response))) => {
            Ok(OpResult::Deleted(response.prev_kvs.into_iter().map(entry).collect()))
        }
        (Op::Get(_), Some(Response::Range(response))) => Ok(OpResult::Got(response.kvs.into_iter().next().map(entry))),
        (Op::Range(_, options), Some(Response::Range(response))) => {
            Ok(OpResult::Range(page(response, &options, revision)))
        }
        (Op::Txn(inner), Some(Response::Txn(response))) => {
            let succeeded = response.succeeded;
            Ok(OpResult::Txn { succeeded, results: results(inner, response, revision)? })
        }
        _ => Err(Error::unavailable("etcd answered an operation with another's result")),
    });
    results.collect()
}

fn written(put: Put, prev: Option<&Entry>, revision: Revision) -> Arc<Entry> {
    Arc::new(Entry {
        value: prev.filter(|_| put.keep_value).map_or(put.value, |prev| prev.value.clone()),
        create_revision: prev.map_or(revision, |prev| prev.create_revision),
        mod_revision: revision,
        version: prev.map_or(1, |prev| prev.version + 1),
        lease: prev.filter(|_| put.keep_lease).map_or(put.lease, |prev| prev.lease),
        key: put.key,
    })
}

pub(super) fn is_compacted(status: &Status) -> bool {
    status.message().contains("required revision has been compacted")
}

pub(super) fn error(status: &Status, requested: Revision, current: Revision) -> Error {
    let message = status.message();
    match status.code() {
        Code::OutOfRange if message.contains("future revision") => Error::FutureRevision { requested, current },
        Code::ResourceExhausted if message.contains("database space exceeded") => {
            Error::NoSpace { reason: "etcd's database".to_owned() }
        }
        Code::InvalidArgument if message.contains("too many operations") => {
            Error::TooLarge { size: 0, limit: 0, unit: "operations" }
        }
        Code::InvalidArgument if message.contains("too large") => Error::TooLarge { size: 0, limit: 0, unit: "bytes" },
        Code::InvalidArgument | Code::OutOfRange | Code::Unimplemented | Code::FailedPrecondition => {
            Error::invalid(message.strip_prefix("etcdserver: ").unwrap_or(message))
        }
        _ => Error::unavailable(format!("{:?}: {message}", status.code())),
    }
}
