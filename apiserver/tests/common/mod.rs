//! A server in process, and raw requests to it.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use kubewright_apiserver::request::User;
use kubewright_apiserver::server::ApiServer;
use kubewright_store::MemoryStore;
use serde_json::Value;
use tower::ServiceExt;

/// A server without standard parts, as an administrator sees it.
pub(crate) async fn server() -> ApiServer {
    let builder = ApiServer::builder(Arc::new(MemoryStore::new())).bare();
    builder.build().await.expect("an empty store can be read").as_user(User::admin())
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) code: StatusCode,
    pub(crate) headers: http::HeaderMap,
    pub(crate) bytes: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|_| panic!("no JSON: {:?}", self.bytes))
    }

    /// Code, reason and message of a `Status`.
    pub(crate) fn fault(&self) -> (u16, String, String) {
        let status = self.json();
        let text = |field: &str| status[field].as_str().unwrap_or_default().to_owned();
        (self.code.as_u16(), text("reason"), text("message"))
    }
}

/// Sends a request with a body of that type.
pub(crate) async fn send(
    server: &ApiServer,
    method: Method,
    uri: &str,
    content_type: &str,
    body: impl Into<Bytes>,
) -> Answer {
    let request = Request::builder().method(method).uri(uri).header(header::CONTENT_TYPE, content_type);
    exchange(server, request.body(Full::new(body.into())).expect("a sound request")).await
}

/// Sends a JSON request.
pub(crate) async fn json(server: &ApiServer, method: Method, uri: &str, body: &Value) -> Answer {
    send(server, method, uri, "application/json", body.to_string()).await
}

/// Gets something.
pub(crate) async fn get(server: &ApiServer, uri: &str) -> Answer {
    send(server, Method::GET, uri, "", "").await
}

/// Gets something in the form that `accept` asks for.
pub(crate) async fn get_as(server: &ApiServer, uri: &str, accept: &str) -> Answer {
    let request = Request::builder().uri(uri).header(header::ACCEPT, accept);
    exchange(server, request.body(Full::new(Bytes::new())).expect("a sound request")).await
}

pub(crate) async fn exchange(server: &ApiServer, request: Request<Full<Bytes>>) -> Answer {
    let response = server.clone().oneshot(request).await.expect("infallible");
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.expect("the body is in memory").to_bytes();
    Answer { code: parts.status, headers: parts.headers, bytes }
}

/// A watch, line by line.
pub(crate) struct Events {
    body: kubewright_apiserver::body::Body,
    buffer: Vec<u8>,
}

impl Events {
    pub(crate) async fn open(server: &ApiServer, uri: &str, accept: &str) -> Self {
        let request = Request::builder().uri(uri).header(header::ACCEPT, accept);
        let request = request.body(Full::new(Bytes::new())).expect("a sound request");
        let response = server.clone().oneshot(request).await.expect("infallible");
        assert_eq!(response.status(), StatusCode::OK, "{uri}");
        Self { body: response.into_body(), buffer: Vec::new() }
    }

    /// The next event; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).expect("a line is an event"));
            }
            let frame = self.body.frame().await?.expect("the stream does not fail");
            self.buffer.extend_from_slice(&frame.into_data().expect("only data"));
        }
    }

    /// The type and name of the next event.
    pub(crate) async fn next_name(&mut self) -> (String, String) {
        let event = self.next().await.expect("one more event");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (text(&event["type"]), text(&event["object"]["metadata"]["name"]))
    }
}
