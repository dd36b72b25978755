//! Watches that break off.

use bytes::Bytes;
use futures::{StreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use kubewright_api::status::Status;
use kubewright_apiserver::body::{Body, BoxError};
use serde_json::json;
use tokio_util::sync::CancellationToken;

/// How a watch ends before its time.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) events: usize,
    pub(super) expired: bool,
}

struct Watch {
    body: Body,
    end: Option<End>,
    broken: CancellationToken,
    over: bool,
}

/// The body of a watch that ends when `broken` is cancelled, or as `end` says.
pub(super) fn breakable(body: Body, end: Option<End>, broken: CancellationToken) -> Body {
    let frames = stream::unfold(Watch { body, end, broken, over: false }, next);
    StreamBody::new(frames.map(|data| data.map(http_body::Frame::data))).boxed_unsync()
}

async fn next(mut watch: Watch) -> Option<(Result<Bytes, BoxError>, Watch)> {
    if watch.over {
        return None;
    }
    if watch.end.is_some_and(|end| end.events == 0) {
        watch.over = true;
        let last = watch.end.filter(|end| end.expired).map(|_| expired())?;
        return Some((Ok(last), watch));
    }
    let frame = tokio::select! {
        () = watch.broken.cancelled() => return None,
        frame = watch.body.frame() => frame?,
    };
    let data = frame.map(|frame| frame.into_data().unwrap_or_default());
    let data = data.map(|data| match &mut watch.end {
        Some(end) => first_events(&data, &mut end.events),
        None => data,
    });
    Some((data, watch))
}

/// The events of the bytes that may still come; an event is a line.
fn first_events(data: &Bytes, left: &mut usize) -> Bytes {
    for (at, _) in data.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
        *left -= 1;
        if *left == 0 {
            return data.slice(..=at);
        }
    }
    data.clone()
}

fn expired() -> Bytes {
    let status = Status::expired("too old resource version: injected by the test");
    let mut line = json!({"type": "ERROR", "object": status}).to_string();
    line.push('\n');
    line.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(end: Option<End>, broken: CancellationToken) -> Vec<String> {
        let parts = ["one\ntw", "o\nthree\n"].map(|part| Ok::<_, BoxError>(http_body::Frame::data(part.into())));
        let body = StreamBody::new(stream::iter(parts)).boxed_unsync();
        let all = breakable(body, end, broken).collect().await.unwrap().to_bytes();
        String::from_utf8_lossy(&all).lines().map(str::to_owned).collect()
    }

    #[tokio::test]
    async fn a_watch_ends_after_whole_events() {
        let unbroken = CancellationToken::new;
        assert_eq!(lines(None, unbroken()).await, ["one", "two", "three"]);
        assert_eq!(lines(Some(End { events: 2, expired: false }), unbroken()).await, ["one", "two"]);
        let ended = lines(Some(End { events: 1, expired: true }), unbroken()).await;
        assert!(ended[0] == "one" && ended[1].contains("\"ERROR\"") && ended[1].contains("410"), "{ended:?}");
        assert!(lines(Some(End { events: 0, expired: false }), unbroken()).await.is_empty());
    }
}
