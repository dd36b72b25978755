//! Between etcd's words and ours.

use std::sync::Arc;

use bytes::Bytes;
use tonic::Status;

use crate::membership::refusal;
use crate::proto;
use crate::{Compare, CompareOp, CompareTarget, Entry, Error, KeyRange, LeaseId, Op, Put, Revision, Txn};

/// The range from `key` to `range_end`, which is empty for one key and a zero byte for no end.
pub(super) fn range(key: Bytes, range_end: Bytes) -> Result<KeyRange, Status> {
    if range_end.is_empty() {
        if key.is_empty() {
            return Err(Status::invalid_argument("etcdserver: key is not provided"));
        }
        return Ok(KeyRange::key(key));
    }
    Ok(range_to(key, range_end))
}

/// As `range`, but an empty key means the first of all.
pub(super) fn watch_range(key: Bytes, range_end: Bytes) -> KeyRange {
    if range_end.is_empty() {
        return KeyRange::key(if key.is_empty() { Bytes::from_static(&[0]) } else { key });
    }
    range_to(key, range_end)
}

fn range_to(key: Bytes, range_end: Bytes) -> KeyRange {
    // The zero byte as a start is the first key of all, and stands for it.
    let key = if *key == [0] { Bytes::new() } else { key };
    match *range_end {
        [0] => KeyRange::starting_at(key),
        _ => KeyRange::between(key, range_end),
    }
}

/// A revision in a request; none for 0.
pub(super) fn revision(number: i64) -> Result<Option<Revision>, Status> {
    match u64::try_from(number) {
        Ok(0) => Ok(None),
        Ok(number) => Ok(Some(Revision(number))),
        Err(_) => Err(Status::out_of_range("etcdserver: mvcc: required revision has been compacted")),
    }
}

pub(super) fn lease(id: i64) -> Option<LeaseId> {
    (id != 0).then_some(LeaseId(id))
}

pub(super) fn kv(entry: &Entry) -> proto::KeyValue {
    proto::KeyValue {
        key: entry.key.as_bytes().clone(),
        create_revision: entry.create_revision.0 as i64,
        mod_revision: entry.mod_revision.0 as i64,
        version: entry.version as i64,
        value: entry.value.clone(),
        lease: entry.lease.map_or(0, |lease| lease.0),
    }
}

pub(super) fn kvs(entries: &[Arc<Entry>]) -> Vec<proto::KeyValue> {
    entries.iter().map(|entry| kv(entry)).collect()
}

#[cfg(test)]
pub(super) fn event(event: &crate::Event, prev_kv: bool) -> proto::Event {
    proto::Event {
        kind: i32::from(event.kind == crate::EventKind::Delete),
        kv: Some(kv(&event.entry)),
        prev_kv: event.prev.as_ref().filter(|_| prev_kv).map(|entry| kv(entry)),
    }
}

pub(super) fn put(request: proto::PutRequest) -> Result<Put, Status> {
    if request.ignore_value && !request.value.is_empty() {
        return Err(Status::invalid_argument("etcdserver: value is provided"));
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(Status::invalid_argument("etcdserver: lease is provided"));
    }
    // Copies of their own: a slice would keep the whole buffer that it came in, for as long as the key lives.
    let (key, value) = (Bytes::copy_from_slice(&request.key), Bytes::copy_from_slice(&request.value));
    let mut put = Put::new(key, value).lease(lease(request.lease));
    (put.keep_value, put.keep_lease) = (request.ignore_value, request.ignore_lease);
    Ok(put)
}

pub(super) fn delete(request: &proto::DeleteRangeRequest) -> Result<Op, Status> {
    range(request.key.clone(), request.range_end.clone()).map(Op::DeleteRange)
}

pub(super) fn compares(txn: &mut Txn, compares: &[proto::Compare]) -> Result<(), Status> {
    for compare in compares {
        txn.compares.push(self::compare(compare)?);
    }
    Ok(())
}

fn compare(compare: &proto::Compare) -> Result<Compare, Status> {
    let op = match compare.result() {
        proto::CompareResult::Equal => CompareOp::Equal,
        proto::CompareResult::Greater => CompareOp::Greater,
        proto::CompareResult::Less => CompareOp::Less,
        proto::CompareResult::NotEqual => CompareOp::NotEqual,
    };
    let number = |n: i64| u64::try_from(n).map_err(|_| Status::invalid_argument("a compare with a negative number"));
    let target = match (compare.target, &compare.target_union) {
        (0, Some(proto::TargetUnion::Version(n))) => CompareTarget::Version(number(*n)?),
        (1, Some(proto::TargetUnion::CreateRevision(n))) => CompareTarget::CreateRevision(Revision(number(*n)?)),
        (2, Some(proto::TargetUnion::ModRevision(n))) => CompareTarget::ModRevision(Revision(number(*n)?)),
        (3, Some(proto::TargetUnion::Value(value))) => CompareTarget::Value(value.clone()),
        (4, Some(proto::TargetUnion::Lease(id))) => CompareTarget::Lease(lease(*id)),
        // Zeros are not sent.
        (0, None) => CompareTarget::Version(0),
        (1, None) => CompareTarget::CreateRevision(Revision::ZERO),
        (2, None) => CompareTarget::ModRevision(Revision::ZERO),
        (3, None) => CompareTarget::Value(Bytes::new()),
        (4, None) => CompareTarget::Lease(None),
        _ => return Err(Status::invalid_argument("a compare whose target and value differ")),
    };
    Ok(Compare::new(range(compare.key.clone(), compare.range_end.clone())?, op, target))
}

pub(super) const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";

/// The status by which etcd's clients know an error.
pub(super) fn status(error: Error) -> Status {
    match error {
        Error::Compacted { .. } => Status::out_of_range(COMPACTED),
        Error::FutureRevision { .. } => {
            Status::out_of_range("etcdserver: mvcc: required revision is a future revision")
        }
        Error::KeyNotFound { .. } => Status::invalid_argument("etcdserver: key not found"),
        Error::LeaseNotFound { .. } => Status::not_found("etcdserver: requested lease not found"),
        Error::LeaseExists { .. } => Status::failed_precondition("etcdserver: lease already exists"),
        Error::TooLarge { unit: "operations", .. } => {
            Status::invalid_argument("etcdserver: too many operations in txn request")
        }
        Error::TooLarge { .. } => Status::invalid_argument("etcdserver: request is too large"),
        Error::NoSpace { .. } => Status::resource_exhausted("etcdserver: mvcc: database space exceeded"),
        Error::InvalidRequest { reason } if reason == "too large lease ttl" => {
            Status::out_of_range("etcdserver: too large lease TTL")
        }
        Error::InvalidRequest { reason } => Status::invalid_argument(format!("etcdserver: {reason}")),
        Error::MemberNotFound { .. } => Status::not_found("etcdserver: member not found"),
        Error::Refused { reason } => refused(&reason),
        Error::Closed => Status::unavailable("etcdserver: server stopped"),
        Error::Unavailable { reason } => Status::unavailable(format!("etcdserver: {reason}")),
        other => Status::internal(format!("etcdserver: {other}")),
    }
}

/// Clients know reasons by their exact words; whoever operates the store finds the whole reason in its log.
fn refused(reason: &str) -> Status {
    tracing::warn!(reason, "a change of members was refused");
    let words = [refusal::NOT_IN_SYNC, refusal::NOT_ENOUGH_UP, refusal::URL_IS_TAKEN];
    let known = words.into_iter().find(|words| reason.starts_with(words));
    Status::failed_precondition(format!("etcdserver: {}", known.unwrap_or(reason)))
}
