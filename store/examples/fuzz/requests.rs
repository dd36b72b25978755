//! Damaged requests to the face of etcd.

use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use kubewright_store::{Face, FaceConfig, MemoryStore, Store};
use tower::ServiceExt;

use crate::mutate::{Random, mutate};

/// Methods of one answer, each with requests that make sense: fields by number, in protobuf's encoding.
const CALLS: [(&str, &[&[u8]]); 20] = [
    (
        "KV/Range",
        &[b"\x0a\x01a", b"\x0a\x01a\x12\x01z\x18\x02\x20\x03\x28\x01\x30\x02", b"\x0a\x01\0\x12\x01\0\x48\x01"],
    ),
    ("KV/Put", &[b"\x0a\x01a\x12\x05value\x18\x07\x20\x01", b"\x0a\x01b\x30\x01"]),
    ("KV/DeleteRange", &[b"\x0a\x01a\x12\x01c\x18\x01"]),
    (
        "KV/Txn",
        &[
            b"\x0a\x0a\x08\x00\x10\x03\x1a\x01a\x3a\x01v\x12\x0a\x12\x08\x0a\x01a\x12\x03abc\x1a\x05\x0a\x03\x0a\x01a",
            b"\x12\x0c\x22\x0a\x12\x08\x12\x06\x0a\x01k\x12\x01v\x1a\x05\x1a\x03\x0a\x01k",
        ],
    ),
    ("KV/Compact", &[b"\x08\x02"]),
    ("Lease/LeaseGrant", &[b"\x08\x0a\x10\x07"]),
    ("Lease/LeaseRevoke", &[b"\x08\x07"]),
    ("Lease/LeaseTimeToLive", &[b"\x08\x07\x10\x01"]),
    ("Lease/LeaseLeases", &[b""]),
    ("Maintenance/Status", &[b""]),
    ("Maintenance/Alarm", &[b"\x08\x01\x10\x01\x18\x01"]),
    ("Maintenance/Defragment", &[b""]),
    ("Maintenance/Hash", &[b""]),
    ("Maintenance/HashKV", &[b"\x08\x02"]),
    ("Maintenance/MoveLeader", &[b"\x08\x02"]),
    ("Cluster/MemberList", &[b"\x08\x01"]),
    ("Cluster/MemberAdd", &[b"\x0a\x0bhttp://n4:1\x10\x01"]),
    ("Cluster/MemberPromote", &[b"\x08\x02"]),
    // Streams: a request, and the end of them.
    ("Watch/Watch", &[b"\x0a\x06\x0a\x01a\x12\x01z", b"\x12\x02\x08\x01", b"\x1a\x00"]),
    ("Lease/LeaseKeepAlive", &[b"\x08\x07"]),
];

/// Sends one damaged request. It is answered, whatever it is; an error says how it was not.
pub(crate) async fn damage(face: &Face, random: &mut Random) -> Result<(), String> {
    let (method, samples) = CALLS[random.below(CALLS.len())];
    let mut message = samples[random.below(samples.len())].to_vec();
    mutate(&mut message, random);
    let mut body = vec![0];
    body.extend_from_slice(&(message.len() as u32).to_be_bytes());
    body.extend_from_slice(&message);
    // Now and then the frame around it too.
    if random.below(4) == 0 {
        mutate(&mut body, random);
    }
    let request = Request::post(format!("/etcdserverpb.{method}"))
        .header("content-type", "application/grpc")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| error.to_string())?;
    let told = format!("{method} {message:?}");
    let Ok(answer) = face.clone().oneshot(request).await;
    let in_headers = answer.headers().contains_key("grpc-status");
    let mut body = answer.into_body();
    let mut has_status = in_headers;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| format!("{told}: {error}"))?;
        // Nothing comes after trailers; who asks for more may be told the same again.
        if let Some(trailers) = frame.trailers_ref() {
            has_status |= trailers.contains_key("grpc-status");
            break;
        }
    }
    if has_status { Ok(()) } else { Err(format!("{told}: an answer without a status")) }
}

/// A face over a store with a little in it.
pub(crate) fn face() -> (Arc<dyn Store>, Face) {
    let store = Arc::new(MemoryStore::new());
    (store.clone(), Face::new(store, FaceConfig::default()))
}
