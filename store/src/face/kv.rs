//! The KV service.

use std::cmp::Ordering;

use tonic::Status;

use super::Inner;
use super::convert::{compares, delete, kv, kvs, put, range, revision, status};
use crate::proto::{
    CompactionRequest, DeleteRangeRequest, DeleteRangeResponse, HeaderResponse, KeyValue, PutRequest, PutResponse,
    RangeRequest, RangeResponse, Request, RequestOp, Response, ResponseOp, SortOrder, SortTarget, TxnRequest,
    TxnResponse,
};
use crate::{Consistency, KeyRange, Op, OpResult, Page, RangeOptions, Revision, Txn};

impl Inner {
    pub(super) async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Status> {
        let (range, options) = range_options(&request)?;
        let page = self.store.range(range, options).await.map_err(status)?;
        let latest = page.latest;
        Ok(range_response(&request, page, self.header(latest)))
    }

    pub(super) async fn put(&self, request: PutRequest) -> Result<PutResponse, Status> {
        let wants_prev = request.prev_kv;
        let txn = Txn::new().then(Op::Put(put(request)?));
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
        let mut txn = Txn::new();
        compares(&mut txn, request.compare)?;
        txn.success = request.success.iter().map(op).collect::<Result<_, _>>()?;
        txn.failure = request.failure.iter().map(op).collect::<Result<_, _>>()?;
        let committed = self.store.commit(txn).await.map_err(status)?;
        let header = self.header(committed.revision);
        let asked = if committed.succeeded { request.success } else { request.failure };
        let answered = asked.into_iter().zip(committed.results);
        let responses = answered.map(|(asked, result)| {
            let response = match (asked.request, result) {
                (Some(Request::Range(request)), OpResult::Range(page)) => {
                    Response::Range(range_response(&request, page, header))
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
                _ => return Err(Status::internal("an operation with another's result")),
            };
            Ok(ResponseOp { response: Some(response) })
        });
        let responses = responses.collect::<Result<_, _>>()?;
        Ok(TxnResponse { header: Some(header), succeeded: committed.succeeded, responses })
    }

    pub(super) async fn compact(&self, request: CompactionRequest) -> Result<HeaderResponse, Status> {
        let through = revision(request.revision)?.unwrap_or(Revision::ZERO);
        self.store.compact(through).await.map_err(status)?;
        Ok(HeaderResponse { header: Some(self.newest_header().await?) })
    }
}

fn op(op: &RequestOp) -> Result<Op, Status> {
    match &op.request {
        Some(Request::Range(request)) => {
            let (range, options) = range_options(request)?;
            Ok(Op::Range(range, options))
        }
        Some(Request::Put(request)) => put(request.clone()).map(Op::Put),
        Some(Request::DeleteRange(request)) => delete(request),
        Some(Request::Txn(_)) => Err(Status::unimplemented("a transaction within a transaction")),
        None => Err(Status::invalid_argument("an operation without a request")),
    }
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

fn range_response(request: &RangeRequest, page: Page, header: crate::proto::ResponseHeader) -> RangeResponse {
    let count = page.count.unwrap_or(page.entries.len() as u64) as i64;
    let (mut kvs, mut more) = (kvs(&page.entries), page.more);
    if is_selective(request) {
        kvs.retain(|kv| is_wanted(request, kv));
        sort(request, &mut kvs);
        let limit = usize::try_from(request.limit).ok().filter(|limit| *limit > 0);
        if let Some(limit) = limit.filter(|limit| *limit < kvs.len()) {
            kvs.truncate(limit);
            more = true;
        }
        if request.count_only {
            (kvs, more) = (Vec::new(), false);
        }
        if request.keys_only {
            kvs.iter_mut().for_each(|kv| kv.value.clear());
        }
    }
    RangeResponse { header: Some(header), kvs, more, count }
}

fn is_wanted(request: &RangeRequest, kv: &KeyValue) -> bool {
    let within = |revision, min, max| (min == 0 || revision >= min) && (max == 0 || revision <= max);
    within(kv.mod_revision, request.min_mod_revision, request.max_mod_revision)
        && within(kv.create_revision, request.min_create_revision, request.max_create_revision)
}

/// A target without an order sorts upwards, as in etcd.
fn sort(request: &RangeRequest, kvs: &mut [KeyValue]) {
    let by: fn(&KeyValue, &KeyValue) -> Ordering = match request.sort_target() {
        SortTarget::Key => |a, b| a.key.cmp(&b.key),
        SortTarget::Version => |a, b| a.version.cmp(&b.version),
        SortTarget::Create => |a, b| a.create_revision.cmp(&b.create_revision),
        SortTarget::Mod => |a, b| a.mod_revision.cmp(&b.mod_revision),
        SortTarget::Value => |a, b| a.value.cmp(&b.value),
    };
    match request.sort_order() {
        SortOrder::Descend => kvs.sort_by(|a, b| by(b, a)),
        SortOrder::Ascend | SortOrder::None => kvs.sort_by(by),
    }
}
