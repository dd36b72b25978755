//! The KV service.

use std::cmp::Ordering;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use prost::Message;
use tonic::Status;

use super::Inner;
use super::convert::{compares, delete, kv, kvs, put, range, revision, status};
use super::encoding::{entry_field_size, put_entry_field};
use super::unary::Encode;
use crate::proto::{
    CompactionRequest, DeleteRangeRequest, DeleteRangeResponse, HeaderResponse, PutRequest, PutResponse, RangeRequest,
    RangeResponse, Request, RequestOp, Response, ResponseHeader, ResponseOp, SortOrder, SortTarget, TxnRequest,
    TxnResponse,
};
use crate::txn::DEPTH_MAX;
use crate::{Consistency, Entry, KeyRange, Op, OpResult, Page, RangeOptions, Revision, Txn};

impl Inner {
    pub(super) async fn range(&self, request: RangeRequest) -> Result<Found, Status> {
        let (range, options) = range_options(&request)?;
        let page = self.store.range(range, options).await.map_err(status)?;
        let header = self.header(page.latest);
        Ok(Found::of(&request, page, header))
    }

    pub(super) async fn put(&self, request: PutRequest) -> Result<PutResponse, Status> {
        let wants_prev = request.prev_kv;
        let mut txn = Txn::new();
        // Room for one, not for the four that a list begins with.
        txn.success = vec![Op::Put(put(request)?)];
        let committed = self.store.commit(txn).await.map_err(status)?;
        let prev_kv = match committed.results.first() {
            Some(OpResult::Put { prev: Some(prev), .. }) if wants_prev => Some(kv(prev)),
            _ => None,
        };
        Ok(PutResponse { header: Some(self.header(committed.revision)), prev_kv })
    }

    pub(super) async fn delete_range(&self, request: DeleteRangeRequest) -> Result<DeleteRangeResponse, Status> {
        let txn = Txn::new().then(delete(&request)?);
        let committed = self.store.commit(txn).await.map_err(status)?;
        let header = Some(self.header(committed.revision));
        let Some(OpResult::Deleted(gone)) = committed.results.first() else {
            return Err(Status::internal("a deletion without a result"));
        };
        let prev_kvs = if request.prev_kv { kvs(gone) } else { Vec::new() };
        Ok(DeleteRangeResponse { header, deleted: gone.len() as i64, prev_kvs })
    }

    pub(super) async fn txn(&self, request: TxnRequest) -> Result<TxnResponse, Status> {
        let committed = self.store.commit(txn(&request, DEPTH_MAX)?).await.map_err(status)?;
        let header = self.header(committed.revision);
        txn_response(request, committed.succeeded, committed.results, header)
    }

    pub(super) async fn compact(&self, request: CompactionRequest) -> Result<HeaderResponse, Status> {
        let through = revision(request.revision)?.unwrap_or(Revision::ZERO);
        self.store.compact(through).await.map_err(status)?;
        Ok(HeaderResponse { header: Some(self.newest_header().await?) })
    }
}

fn txn(request: &TxnRequest, depth: usize) -> Result<Txn, Status> {
    let depth = depth.checked_sub(1);
    let depth =
        depth.ok_or_else(|| Status::invalid_argument("etcdserver: too many transactions within one another"))?;
    let mut txn = Txn::new();
    compares(&mut txn, &request.compare)?;
    txn.success = request.success.iter().map(|asked| op(asked, depth)).collect::<Result<_, _>>()?;
    txn.failure = request.failure.iter().map(|asked| op(asked, depth)).collect::<Result<_, _>>()?;
    Ok(txn)
}

fn op(op: &RequestOp, depth: usize) -> Result<Op, Status> {
    match &op.request {
        Some(Request::Range(request)) => {
            let (range, options) = range_options(request)?;
            Ok(Op::Range(range, options))
        }
        Some(Request::Put(request)) => put(request.clone()).map(Op::Put),
        Some(Request::DeleteRange(request)) => delete(request),
        Some(Request::Txn(request)) => txn(request, depth).map(Op::Txn),
        None => Err(Status::invalid_argument("etcdserver: an operation without a request")),
    }
}

fn txn_response(
    request: TxnRequest,
    succeeded: bool,
    results: Vec<OpResult>,
    header: ResponseHeader,
) -> Result<TxnResponse, Status> {
    let asked = if succeeded { request.success } else { request.failure };
    let responses = asked.into_iter().zip(results).map(|(asked, result)| {
        let response = match (asked.request, result) {
            (Some(Request::Range(request)), OpResult::Range(page)) => {
                Response::Range(Found::of(&request, page, header).message())
            }
            (Some(Request::Put(request)), OpResult::Put { prev, .. }) => Response::Put(PutResponse {
                header: Some(header),
                prev_kv: prev.filter(|_| request.prev_kv).map(|entry| kv(&entry)),
            }),
            (Some(Request::DeleteRange(request)), OpResult::Deleted(gone)) => {
                Response::DeleteRange(DeleteRangeResponse {
                    header: Some(header),
                    deleted: gone.len() as i64,
                    prev_kvs: if request.prev_kv { kvs(&gone) } else { Vec::new() },
                })
            }
            (Some(Request::Txn(request)), OpResult::Txn { succeeded, results }) => {
                Response::Txn(txn_response(request, succeeded, results, header)?)
            }
            _ => return Err(Status::internal("an operation with another's result")),
        };
        Ok(ResponseOp { response: Some(response) })
    });
    let responses = responses.collect::<Result<_, _>>()?;
    Ok(TxnResponse { header: Some(header), succeeded, responses })
}

/// Whether all entries must be looked at, whatever the limit.
fn is_selective(request: &RangeRequest) -> bool {
    let is_sorted = request.sort_order() != SortOrder::None
        && (request.sort_target() != SortTarget::Key || request.sort_order() == SortOrder::Descend);
    let filters =
        [request.min_mod_revision, request.max_mod_revision, request.min_create_revision, request.max_create_revision];
    is_sorted || request.sort_target() != SortTarget::Key || filters.iter().any(|revision| *revision != 0)
}

fn range_options(request: &RangeRequest) -> Result<(KeyRange, RangeOptions), Status> {
    let range = range(request.key.clone(), request.range_end.clone())?;
    let mut options = RangeOptions::latest().revision(revision(request.revision)?).with_count();
    if request.serializable {
        options = options.consistency(Consistency::Serializable);
    }
    if is_selective(request) {
        return Ok((range, options));
    }
    (options.keys_only, options.count_only) = (request.keys_only, request.count_only);
    options.limit = usize::try_from(request.limit).ok().filter(|limit| *limit > 0);
    Ok((range, options))
}

/// What a range answers. It may be large, so it is not made a message before it is bytes.
#[derive(Debug)]
pub(super) struct Found {
    header: ResponseHeader,
    entries: Vec<Arc<Entry>>,
    more: bool,
    count: u64,
}

impl Found {
    fn of(request: &RangeRequest, page: Page, header: ResponseHeader) -> Self {
        let count = page.count.unwrap_or(page.entries.len() as u64);
        let mut found = Self { header, entries: page.entries, more: page.more, count };
        if is_selective(request) {
            found.select(request);
        }
        found
    }

    /// What the store cannot do: filters, other orders, and the limit after them.
    fn select(&mut self, request: &RangeRequest) {
        self.entries.retain(|entry| is_wanted(request, entry));
        sort(request, &mut self.entries);
        let limit = usize::try_from(request.limit).ok().filter(|limit| *limit > 0);
        if let Some(limit) = limit.filter(|limit| *limit < self.entries.len()) {
            self.entries.truncate(limit);
            self.more = true;
        }
        if request.count_only {
            (self.entries, self.more) = (Vec::new(), false);
        }
        if request.keys_only {
            for entry in &mut self.entries {
                *entry = Arc::new(Entry { value: Bytes::new(), ..Entry::clone(entry) });
            }
        }
    }

    pub(super) fn message(&self) -> RangeResponse {
        RangeResponse { kvs: kvs(&self.entries), ..self.rest() }
    }

    fn rest(&self) -> RangeResponse {
        let (more, count) = (self.more, self.count as i64);
        RangeResponse { header: Some(self.header), kvs: Vec::new(), more, count }
    }
}

/// The field of a response in which its entries are.
const KVS: u32 = 2;

impl Encode for Found {
    fn size(&self) -> usize {
        let entries: usize = self.entries.iter().map(|entry| entry_field_size(KVS, entry)).sum();
        self.rest().encoded_len() + entries
    }

    fn put(&self, to: &mut BytesMut) {
        self.rest().encode_raw(to);
        self.entries.iter().for_each(|entry| put_entry_field(to, KVS, entry));
    }
}

fn is_wanted(request: &RangeRequest, entry: &Entry) -> bool {
    let within = |revision: Revision, min: i64, max: i64| {
        let revision = revision.0 as i64;
        (min == 0 || revision >= min) && (max == 0 || revision <= max)
    };
    within(entry.mod_revision, request.min_mod_revision, request.max_mod_revision)
        && within(entry.create_revision, request.min_create_revision, request.max_create_revision)
}

/// A target without an order sorts upwards, as in etcd.
fn sort(request: &RangeRequest, entries: &mut [Arc<Entry>]) {
    let by: fn(&Entry, &Entry) -> Ordering = match request.sort_target() {
        SortTarget::Key => |a, b| a.key.cmp(&b.key),
        SortTarget::Version => |a, b| a.version.cmp(&b.version),
        SortTarget::Create => |a, b| a.create_revision.cmp(&b.create_revision),
        SortTarget::Mod => |a, b| a.mod_revision.cmp(&b.mod_revision),
        SortTarget::Value => |a, b| a.value.cmp(&b.value),
    };
    match request.sort_order() {
        SortOrder::Descend => entries.sort_by(|a, b| by(b, a)),
        SortOrder::Ascend | SortOrder::None => entries.sort_by(|a, b| by(a, b)),
    }
}
