//! What etcd's own clients rely on, message by message.

use bytes::{BufMut, Bytes, BytesMut};
use futures::{Stream, StreamExt};
use http_body_util::{BodyExt, StreamBody};
use prost::Message;
use tonic::{Code, Status};
use tower::ServiceExt;

use super::*;
use crate::proto::*;
use crate::{MemoryStore, StoreExt};

fn face() -> (Arc<MemoryStore>, Face) {
    let store = Arc::new(MemoryStore::new());
    let face = Face::new(store.clone(), FaceConfig::default()).backup(store.clone());
    (store, face)
}

fn text(bytes: &Bytes) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

fn keys(response: &RangeResponse) -> Vec<&str> {
    response.kvs.iter().map(|kv| text(&kv.key)).collect()
}

fn range(key: &'static str, end: &'static str) -> RangeRequest {
    RangeRequest { key: key.into(), range_end: end.into(), ..RangeRequest::default() }
}

fn put(key: &'static str, value: &'static str) -> PutRequest {
    PutRequest { key: key.into(), value: value.into(), ..PutRequest::default() }
}

/// `d`, `b`, `c`, `a` created in this order, then `b` and `c` changed; values the other way round.
async fn four_keys() -> Face {
    let (store, face) = face();
    for (key, value) in [("d", "1"), ("b", "9"), ("c", "9"), ("a", "4"), ("b", "3"), ("c", "2")] {
        store.put(key, value).await.expect("put");
    }
    face
}

#[tokio::test]
async fn ranges_are_sorted_by_any_target_in_both_directions() {
    let face = four_keys().await;
    for (target, order, expected) in [
        (SortTarget::Key, SortOrder::None, "abcd"),
        (SortTarget::Key, SortOrder::Descend, "dcba"),
        (SortTarget::Create, SortOrder::Ascend, "dbca"),
        (SortTarget::Create, SortOrder::Descend, "acbd"),
        (SortTarget::Mod, SortOrder::Ascend, "dabc"),
        (SortTarget::Mod, SortOrder::Descend, "cbad"),
        (SortTarget::Version, SortOrder::Ascend, "adbc"),
        (SortTarget::Value, SortOrder::Ascend, "dcba"),
        // A target without an order sorts upwards.
        (SortTarget::Mod, SortOrder::None, "dabc"),
    ] {
        let mut request = range("a", "\0");
        (request.sort_target, request.sort_order) = (target as i32, order as i32);
        let response = face.inner.range(request.clone()).await.expect("range").message();
        assert_eq!(keys(&response).concat(), expected, "{target:?} {order:?}");
        request.limit = 2;
        let response = face.inner.range(request).await.expect("range").message();
        assert_eq!(keys(&response).concat(), expected[..2], "{target:?} {order:?} limited");
        assert!(response.more && response.count == 4);
    }
}

#[tokio::test]
async fn ranges_are_filtered_by_revisions() {
    let face = four_keys().await;
    let filtered = async |change: fn(&mut RangeRequest)| {
        let mut request = range("a", "\0");
        change(&mut request);
        let response = face.inner.range(request).await.expect("range").message();
        (keys(&response).concat(), response.count)
    };
    // As in etcd the count is of the range, whatever is filtered out of it.
    assert_eq!(filtered(|r| r.min_mod_revision = 6).await, ("bc".into(), 4));
    assert_eq!(filtered(|r| r.max_mod_revision = 5).await, ("ad".into(), 4));
    assert_eq!(filtered(|r| r.min_create_revision = 4).await, ("ac".into(), 4));
    assert_eq!(filtered(|r| r.max_create_revision = 3).await, ("bd".into(), 4));
    assert_eq!(filtered(|r| (r.min_mod_revision, r.max_mod_revision) = (6, 6)).await, ("b".into(), 4));
    assert_eq!(filtered(|r| (r.min_mod_revision, r.count_only) = (6, true)).await, ("".into(), 4));
    assert_eq!(filtered(|r| (r.revision, r.limit) = (4, 2)).await, ("bc".into(), 3));
    let mut request = range("a", "\0");
    request.keys_only = true;
    let response = face.inner.range(request).await.expect("range").message();
    assert!(response.kvs.iter().all(|kv| kv.value.is_empty() && kv.mod_revision > 0));
}

#[track_caller]
fn refused<T>(result: Result<T, Status>, code: Code, message: &str) {
    match result {
        Err(status) => assert_eq!((status.code(), status.message()), (code, message)),
        Ok(_) => panic!("it should be refused: {message}"),
    }
}

#[tokio::test]
async fn what_is_wrong_is_said_in_etcds_words() {
    let (_, face) = face();
    let inner = &face.inner;
    refused(inner.range(range("", "")).await, Code::InvalidArgument, "etcdserver: key is not provided");
    refused(inner.put(put("", "1")).await, Code::InvalidArgument, "etcdserver: key is not provided");
    let mut request = put("a", "1");
    request.ignore_value = true;
    refused(inner.put(request.clone()).await, Code::InvalidArgument, "etcdserver: value is provided");
    request.value = Bytes::new();
    refused(inner.put(request).await, Code::InvalidArgument, "etcdserver: key not found");
    let leased = PutRequest { lease: 7, ignore_lease: true, ..put("a", "1") };
    refused(inner.put(leased).await, Code::InvalidArgument, "etcdserver: lease is provided");
    let leased = PutRequest { lease: 7, ..put("a", "1") };
    refused(inner.put(leased).await, Code::NotFound, "etcdserver: requested lease not found");
    let future = RangeRequest { revision: 9, ..range("a", "") };
    let message = "etcdserver: mvcc: required revision is a future revision";
    refused(inner.range(future).await, Code::OutOfRange, message);
    let compact = CompactionRequest { revision: 9, physical: false };
    refused(inner.compact(compact).await, Code::OutOfRange, message);
    let grant = LeaseGrantRequest { ttl: 60, id: 5 };
    inner.lease_grant(grant).await.expect("granted");
    refused(inner.lease_grant(grant).await, Code::FailedPrecondition, "etcdserver: lease already exists");
    let forever = LeaseGrantRequest { ttl: i64::MAX, id: 6 };
    refused(inner.lease_grant(forever).await, Code::OutOfRange, "etcdserver: too large lease TTL");
    let unchangeable = "etcdserver: this store has one member, which cannot be changed";
    refused(inner.member_remove(MemberRequest { id: 1 }).await, Code::Unimplemented, unchangeable);
}

fn ops(requests: impl IntoIterator<Item = Request>) -> Vec<RequestOp> {
    requests.into_iter().map(|request| RequestOp { request: Some(request) }).collect()
}

fn compare(target: i32, key: &'static str, end: &'static str, union: Option<TargetUnion>) -> Compare {
    let (key, range_end) = (key.into(), end.into());
    Compare { result: CompareResult::Equal as i32, target, key, range_end, target_union: union }
}

#[tokio::test]
async fn transactions_compare_everything_and_may_hold_others() {
    let (_, face) = face();
    let inner = &face.inner;
    inner.lease_grant(LeaseGrantRequest { ttl: 60, id: 5 }).await.expect("granted");
    for key in ["p/1", "p/2"] {
        inner.put(PutRequest { lease: 5, ..put(key, "same") }).await.expect("put");
    }
    let holds = async |compare| {
        let txn = TxnRequest { compare: vec![compare], ..TxnRequest::default() };
        inner.txn(txn).await.expect("txn").succeeded
    };
    assert!(holds(compare(4, "p/1", "", Some(TargetUnion::Lease(5)))).await);
    assert!(holds(compare(4, "p/", "p0", Some(TargetUnion::Lease(5)))).await);
    assert!(!holds(compare(4, "p/1", "", None)).await, "a zero is not sent");
    assert!(holds(compare(3, "p/", "p0", Some(TargetUnion::Value("same".into())))).await);
    assert!(!holds(compare(1, "p/", "p0", Some(TargetUnion::CreateRevision(2)))).await, "not all of them");
    assert!(holds(compare(0, "absent", "", None)).await);

    let inside = TxnRequest {
        compare: vec![compare(0, "p/1", "", Some(TargetUnion::Version(1)))],
        success: ops([
            Request::Range(range("p/", "p0")),
            Request::DeleteRange(DeleteRangeRequest {
                key: "p/2".into(),
                prev_kv: true,
                ..DeleteRangeRequest::default()
            }),
        ]),
        failure: Vec::new(),
    };
    let outer =
        TxnRequest { success: ops([Request::Txn(inside), Request::Put(put("q", "1"))]), ..TxnRequest::default() };
    let response = inner.txn(outer).await.expect("txn");
    let [ResponseOp { response: Some(Response::Txn(inside)) }, ResponseOp { response: Some(Response::Put(_)) }] =
        &response.responses[..]
    else {
        panic!("{response:?}");
    };
    let [
        ResponseOp { response: Some(Response::Range(found)) },
        ResponseOp { response: Some(Response::DeleteRange(gone)) },
    ] = &inside.responses[..]
    else {
        panic!("{inside:?}");
    };
    assert!(inside.succeeded);
    assert_eq!((keys(found), gone.deleted, gone.prev_kvs.len()), (vec!["p/1", "p/2"], 1, 1));
    let mut deep = TxnRequest::default();
    for _ in 0..40 {
        deep = TxnRequest { success: ops([Request::Txn(deep)]), ..TxnRequest::default() };
    }
    assert_eq!(inner.txn(deep).await.expect_err("too deep").code(), Code::InvalidArgument);
}

/// Calls a method whose requests and answers are streams, as a client would, bytes and all.
async fn call<Q: Message, A: Message + Default>(
    face: &Face,
    path: &str,
    requests: impl Stream<Item = Q> + Send + 'static,
) -> impl Stream<Item = A> {
    let frames = requests.map(|request| {
        let mut bytes = BytesMut::new();
        bytes.put_u8(0);
        bytes.put_u32(request.encoded_len() as u32);
        request.encode(&mut bytes).expect("room");
        Ok::<_, std::convert::Infallible>(http_body::Frame::data(bytes.freeze()))
    });
    let request = http::Request::post(format!("http://face/etcdserverpb.{path}"))
        .header("content-type", "application/grpc")
        .body(StreamBody::new(frames))
        .expect("a request");
    let response = face.clone().oneshot(request).await.expect("infallible");
    let buffered = (response.into_body().into_data_stream(), BytesMut::new());
    let answers = futures::stream::unfold(buffered, |(mut body, mut buffer)| async move {
        loop {
            if let Some(mut length) = buffer.get(1..5) {
                let length = bytes::Buf::get_u32(&mut length) as usize;
                if buffer.len() >= length + 5 {
                    let message = buffer.split_to(length + 5).freeze().slice(5..);
                    return Some((A::decode(message).expect("an answer"), (body, buffer)));
                }
            }
            buffer.extend_from_slice(&body.next().await?.expect("no error"));
        }
    });
    Box::pin(answers)
}

fn create(create: WatchCreateRequest) -> WatchRequest {
    WatchRequest { request: Some(WatchRequestUnion::Create(create)) }
}

fn watch_all() -> WatchCreateRequest {
    WatchCreateRequest { key: "a".into(), range_end: "\0".into(), start_revision: 2, ..WatchCreateRequest::default() }
}

async fn watch(face: &Face, requests: Vec<WatchRequest>) -> impl Stream<Item = WatchResponse> {
    // The client stays.
    let requests = futures::stream::iter(requests).chain(futures::stream::pending());
    call::<_, WatchResponse>(face, "Watch/Watch", requests).await
}

#[tokio::test]
async fn large_batches_come_in_fragments_for_those_who_take_them() {
    let (store, face) = face();
    let mut txn = crate::Txn::new();
    for n in 0..40 {
        txn = txn.then(crate::Op::put(format!("k/{n:02}"), vec![b'v'; 100_000]));
    }
    Store::commit(&*store, txn).await.expect("commit");
    let mut responses = watch(&face, vec![create(WatchCreateRequest { fragment: true, ..watch_all() })]).await;
    assert!(responses.next().await.expect("created").created);
    let (mut events, mut parts) = (0, 0);
    loop {
        let response = responses.next().await.expect("a part");
        assert!(response.encoded_len() < 3 << 19, "about a MiB at most");
        (events, parts) = (events + response.events.len(), parts + 1);
        if !response.fragment {
            break;
        }
    }
    assert!(events == 40 && parts > 2, "{events} events in {parts} parts");
    // All of a revision at once for the others.
    let mut responses = watch(&face, vec![create(watch_all())]).await;
    assert!(responses.next().await.expect("created").created);
    assert_eq!(responses.next().await.expect("events").events.len(), 40);
}

#[tokio::test]
async fn watches_filter_and_tell_what_was_there_and_how_far_they_are() {
    let (store, face) = face();
    for value in ["1", "2"] {
        store.put("a", value).await.expect("put");
    }
    store.delete("a").await.expect("delete");
    let no_puts = WatchCreateRequest { filters: vec![0], prev_kv: true, watch_id: 7, ..watch_all() };
    let progress = WatchRequest { request: Some(WatchRequestUnion::Progress(Nothing {})) };
    let mut responses = watch(&face, vec![create(no_puts.clone()), progress, create(no_puts)]).await;
    let created = responses.next().await.expect("created");
    assert_eq!((created.watch_id, created.created, created.canceled), (7, true, false));
    let (mut gone, mut marked, mut refused) = (None, None, None);
    while gone.is_none() || marked.is_none() || refused.is_none() {
        let response = responses.next().await.expect("more");
        if response.canceled {
            refused = Some(response.cancel_reason);
        } else if response.events.is_empty() {
            marked = Some((response.watch_id, response.header.expect("a header").revision));
        } else {
            gone = Some(response.events);
        }
    }
    let [event] = &gone.expect("events")[..] else { panic!("puts are left out") };
    assert_eq!((event.kind, text(&event.prev_kv.as_ref().expect("what was there").value)), (1, "2"));
    assert_eq!(marked, Some((-1, 4)));
    assert_eq!(refused.expect("a reason"), "etcdserver: duplicate watch id");
}

#[tokio::test]
async fn a_watch_from_what_is_compacted_is_cancelled_and_told_from_where_to_go_on() {
    let (store, face) = face();
    for _ in 0..5 {
        store.put("a", "1").await.expect("put");
    }
    Store::compact(&*store, Revision(4)).await.expect("compact");
    let empty = WatchCreateRequest { key: "b".into(), range_end: "a".into(), ..WatchCreateRequest::default() };
    let mut responses = watch(&face, vec![create(watch_all()), create(empty)]).await;
    assert!(responses.next().await.expect("created").created);
    let ended = responses.next().await.expect("cancelled");
    assert_eq!((ended.canceled, ended.compact_revision), (true, 4));
    let refused = responses.next().await.expect("refused");
    assert_eq!((refused.canceled, refused.watch_id), (true, -1));
    assert_eq!(refused.cancel_reason, "mvcc: watcher range is empty");
}

#[tokio::test]
async fn snapshots_end_with_their_checksum_and_restore() {
    let (store, face) = face();
    for n in 0..500 {
        store.put(format!("key/{n}"), vec![b'v'; 500]).await.expect("put");
    }
    let asked = futures::stream::iter([Nothing {}]);
    let mut pieces = call::<_, SnapshotResponse>(&face, "Maintenance/Snapshot", asked).await;
    let (mut bytes, mut left) = (Vec::new(), u64::MAX);
    while let Some(piece) = pieces.next().await {
        bytes.extend_from_slice(&piece.blob);
        assert!(piece.remaining_bytes <= left, "less and less is left");
        left = piece.remaining_bytes;
    }
    assert_eq!(bytes.len() % 512, 32, "as etcdctl checks");
    let home = tempfile::tempdir().expect("a directory");
    let (file, directory) = (home.path().join("snapshot"), home.path().join("store"));
    std::fs::write(&file, bytes).expect("write");
    let restored = crate::DiskStore::restore(&directory, &file, &mut |_, _| ()).expect("restore");
    assert_eq!(restored.digest, store.digest());
}

#[tokio::test]
async fn strange_requests_are_refused() {
    let (_, face) = face();
    let status = async |path: &str, body: &'static [u8]| {
        let body = http_body_util::Full::new(Bytes::from_static(body));
        let request = http::Request::post(format!("http://face/{path}")).body(body).expect("a request");
        let response = face.clone().oneshot(request).await.expect("infallible");
        let status = response.headers().get("grpc-status").expect("refused before any message");
        status.to_str().expect("a number").to_owned()
    };
    let code = |code: Code| (code as i32).to_string();
    assert_eq!(status("etcdserverpb.KV/Range", b"").await, code(Code::Internal));
    assert_eq!(status("etcdserverpb.KV/Range", b"\0\0\0\0\x09abc").await, code(Code::Internal));
    assert_eq!(status("etcdserverpb.KV/Range", b"\0\0\0\0\x03\xff\xff\xff").await, code(Code::Internal));
    assert_eq!(status("etcdserverpb.KV/Range", b"\x01\0\0\0\0").await, code(Code::Unimplemented));
    assert_eq!(status("etcdserverpb.KV/Nothing", b"\0\0\0\0\0").await, code(Code::Unimplemented));
    assert_eq!(status("etcdserverpb.Auth/UserAdd", b"\0\0\0\0\0").await, code(Code::FailedPrecondition));
}
