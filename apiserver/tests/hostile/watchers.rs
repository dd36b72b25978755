//! Watchers that take their time, or take nothing at all.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::served::{PATIENCE, Served, ask, until_closed};

const CONFIGMAPS: &str = "/api/v1/namespaces/default/configmaps";
/// So many changes the server remembers for slow watchers.
const WINDOW: usize = 32;

/// Changes one object so often that no buffer on the way holds it all.
async fn change_a_lot(served: &Served) {
    let mut client = served.client().await;
    let made = ask(&mut client, "POST", CONFIGMAPS, r#"{"metadata":{"name":"a"}}"#.into()).await;
    assert_eq!(made.0, StatusCode::CREATED);
    let filling = "f".repeat(200_000);
    for n in 0..200 {
        let body = format!(r#"{{"metadata":{{"name":"a"}},"data":{{"n":"{n}","f":"{filling}"}}}}"#);
        let (code, answer) = ask(&mut client, "PUT", &format!("{CONFIGMAPS}/a"), body.into()).await;
        assert_eq!(code, StatusCode::OK, "{answer}");
    }
}

#[tokio::test]
async fn a_slow_watcher_is_told_that_it_was_too_slow() {
    let served = Served::start_with(|_| {}, |builder| builder.watch_history(WINDOW, 4 << 20)).await;
    let mut client = served.client().await;
    let request = Request::get(format!("{CONFIGMAPS}?watch=1&resourceVersion=0")).header("host", "a");
    let mut watch = client.send_request(request.body(Full::<Bytes>::default()).unwrap()).await.unwrap().into_body();
    change_a_lot(&served).await;
    let read = async {
        let mut all = Vec::new();
        while let Some(frame) = watch.frame().await {
            all.extend_from_slice(frame.expect("an orderly end").data_ref().map_or(&[][..], |data| data));
        }
        all
    };
    let all = tokio::time::timeout(PATIENCE, read).await.expect("the watch ends");
    let last = all.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty()).expect("there are events");
    let event: serde_json::Value = serde_json::from_slice(last).expect("whole events");
    assert_eq!((event["type"].as_str(), event["object"]["code"].as_u64()), (Some("ERROR"), Some(410)));
    assert_eq!(event["object"]["reason"], "Expired");
    let message = event["object"]["message"].as_str().unwrap();
    assert!(message.contains("too slow") && message.contains("list again"), "{message}");
    served.stop().await;
}

#[tokio::test]
async fn who_takes_nothing_of_a_watch_loses_the_connection() {
    let served = Served::start(|limits| limits.stall_timeout = Duration::from_millis(500)).await;
    let mut stalled = served.http1().await;
    let head = format!("GET {CONFIGMAPS}?watch=1&resourceVersion=0 HTTP/1.1\r\nhost: a\r\n\r\n");
    stalled.write_all(head.as_bytes()).await.unwrap();
    assert!(stalled.read(&mut [0; 1024]).await.unwrap() > 0);
    change_a_lot(&served).await;
    // It is read to its end only now; the server has not waited for that.
    let mut client = served.client().await;
    let gone = async {
        loop {
            let (_, metrics) = ask(&mut client, "GET", "/metrics", Bytes::new()).await;
            let watches = metrics.lines().find(|line| {
                line.starts_with("apiserver_longrunning_requests") && line.contains("resource=\"configmaps\"")
            });
            if watches.is_some_and(|line| line.ends_with(" 0")) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("the server gives the watch up");
    until_closed(&mut stalled).await;
    served.stop().await;
}
