//! Bodies that are too large, too deep, too slow, or larger than they look.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{Method, StatusCode};
use http_body_util::StreamBody;
use kubewright_apiserver::request::User;
use tokio::io::AsyncWriteExt;
use tower::ServiceExt;

use crate::served::{Served, ask, pour, until_closed};

const CONFIGMAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn a_hundred_megabytes_are_refused_after_three() {
    let served = Served::start(|_| {}).await;
    let piece = vec![b' '; 1 << 20];
    // Who says how much it is is refused at once.
    let mut announced = served.http1().await;
    let head = format!("POST {CONFIGMAPS} HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", 100 << 20);
    announced.write_all(head.as_bytes()).await.unwrap();
    let (mut reading, mut writing) = tokio::io::split(announced);
    let piece_too = piece.clone();
    let writer = tokio::spawn(async move {
        let mut written = 0;
        while written < 100 && writing.write_all(&piece_too).await.is_ok() {
            written += 1;
        }
        written
    });
    let mut answer = Vec::new();
    let mut buffer = vec![0; 4096];
    while let Ok(read @ 1..) = tokio::io::AsyncReadExt::read(&mut reading, &mut buffer).await {
        answer.extend_from_slice(&buffer[..read]);
    }
    assert!(writer.await.unwrap() < 100, "the server read all of it");
    let answer = String::from_utf8_lossy(&answer);
    // The answer may be lost when the connection is cut off under what is still being sent.
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 413"), "{answer}");

    // Who doesn't is refused when it is too much.
    let mut chunked = served.http1().await;
    let head = format!("POST {CONFIGMAPS} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
    chunked.write_all(head.as_bytes()).await.unwrap();
    let mut chunk = format!("{:x}\r\n", piece.len()).into_bytes();
    chunk.extend_from_slice(&piece);
    chunk.extend_from_slice(b"\r\n");
    pour(&mut chunked, &chunk, 4).await;
    let answer = String::from_utf8_lossy(&until_closed(&mut chunked).await).into_owned();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 413"), "{answer}");
    served.stop().await;
}

#[tokio::test]
async fn what_is_nested_too_deeply_is_a_400() {
    let served = Served::start(|_| {}).await;
    let mut client = served.client().await;
    let deep = |open: &str, close: &str| format!("{}1{}", open.repeat(10_000), close.repeat(10_000));
    for (method, uri, content_type, body) in [
        ("POST", CONFIGMAPS, "application/json", deep("{\"a\":", "}")),
        ("POST", CONFIGMAPS, "application/json", deep("[", "]")),
        ("POST", CONFIGMAPS, "application/yaml", deep("[", "]")),
        ("POST", CONFIGMAPS, "application/yaml", deep("{a: ", "}")),
        ("PATCH", "/api/v1/namespaces/default", "application/merge-patch+json", deep("{\"a\":", "}")),
        ("PATCH", "/api/v1/namespaces/default", "application/strategic-merge-patch+json", deep("{\"a\":", "}")),
        ("PATCH", "/api/v1/namespaces/default", "application/json-patch+json", deep("[", "]")),
        ("PATCH", "/api/v1/namespaces/default?fieldManager=a", "application/apply-patch+yaml", deep("{a: ", "}")),
    ] {
        let request = http::Request::builder().method(method).uri(uri).header("host", "a");
        let request = request.header("content-type", content_type);
        let request = request.body(http_body_util::Full::new(Bytes::from(body))).unwrap();
        let answer = client.send_request(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{method} {content_type}");
        http_body_util::BodyExt::collect(answer.into_body()).await.unwrap();
    }
    served.stop().await;
}

#[tokio::test]
async fn what_unfolds_to_more_than_it_is_is_not_unfolded() {
    let served = Served::start(|_| {}).await;
    let mut client = served.client().await;
    // A billion strings in a few lines of YAML.
    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for n in 1..10 {
        let list = vec![format!("*a{}", n - 1); 10].join(", ");
        laughs.push_str(&format!("a{n}: &a{n} [{list}]\n"));
    }
    // Fifty megabytes of spaces, and then an object after all.
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    (0..50).for_each(|_| gzip.write_all(&[b' '; 1 << 20]).unwrap());
    gzip.write_all(br#"{"metadata":{"name":"bomb"}}"#).unwrap();
    let gzip = gzip.finish().unwrap();
    assert!(gzip.len() < 60_000, "{}", gzip.len());
    for (content_type, encoding, body) in
        [("application/yaml", "", laughs.into_bytes()), ("application/json", "gzip", gzip)]
    {
        let request = http::Request::builder().method("POST").uri(CONFIGMAPS).header("host", "a");
        let request = request.header("content-type", content_type).header("content-encoding", encoding);
        let request = request.body(http_body_util::Full::new(Bytes::from(body))).unwrap();
        let answer = client.send_request(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{content_type} {encoding}");
        http_body_util::BodyExt::collect(answer.into_body()).await.unwrap();
    }
    assert_eq!(ask(&mut client, "GET", "/readyz", Bytes::new()).await.0, StatusCode::OK);
    served.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_ends_is_given_up_after_a_minute() {
    let store = std::sync::Arc::new(kubewright_store::MemoryStore::new());
    let server = kubewright_apiserver::server::ApiServer::builder(store).build().await.unwrap();
    let admin = server.as_user(User::admin());
    let request = http::Request::builder().method(Method::POST).uri(CONFIGMAPS);
    let pieces = futures::stream::repeat(()).then_after_a_second();
    let request = request.body(StreamBody::new(pieces)).unwrap();
    let begun = tokio::time::Instant::now();
    let answer = admin.oneshot(request).await.unwrap();
    assert_eq!((answer.status(), begun.elapsed().as_secs()), (StatusCode::GATEWAY_TIMEOUT, 60));
    server.shutdown().await;
}

/// A space every second.
trait ThenAfterASecond {
    fn then_after_a_second(
        self,
    ) -> impl futures::Stream<Item = Result<http_body::Frame<Bytes>, std::convert::Infallible>> + Send + 'static;
}

impl<S: futures::Stream<Item = ()> + Send + 'static> ThenAfterASecond for S {
    fn then_after_a_second(
        self,
    ) -> impl futures::Stream<Item = Result<http_body::Frame<Bytes>, std::convert::Infallible>> + Send + 'static {
        futures::StreamExt::then(self, |()| async {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            Ok(http_body::Frame::data(Bytes::from_static(b" ")))
        })
    }
}
