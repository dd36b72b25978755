//! Attacks, each refused and in the audit log under its own name.
//!
//! | where | what is tried |
//! |---|---|
//! | [`tokens`] | forged, expired, wrong audience, `alg: none`, key confusion, of accounts and pods that are gone |
//! | [`paths`] | `..`, `//`, encoded slashes, case, smuggling a second target into one path |
//! | [`identities`] | request headers without the proxy's certificate, impersonation without right, credentials twice |
//! | [`climbing`] | through roles, bindings, signing requests, tokens, ephemeral containers, node objects |
//! | [`bombs`] | CEL, regular expressions, aliases, nesting, compressed and mislabelled bodies |
//! | [`floods`] | webhooks that call themselves, watches without end |
//!
//! What takes sockets is elsewhere: smuggling in the framing of requests and a front proxy's certificate in
//! `tests/serve.rs`, slow clients and floods of connections in `tests/hostile.rs`.

mod bombs;
mod climbing;
mod floods;
mod identities;
mod paths;
mod tokens;

use std::time::Duration;

use async_trait::async_trait;
use kubewright_apiserver::audit::{AuditConfig, AuditPolicy, Event, Sink, SinkError};
use kubewright_apiserver::server::Builder;
use tokio::sync::mpsc;

use super::*;

struct Gather(mpsc::UnboundedSender<Value>);

#[async_trait]
impl Sink for Gather {
    async fn write(&mut self, events: &[Event]) -> Result<(), SinkError> {
        events.iter().try_for_each(|event| self.0.send(event.json().clone())).map_err(SinkError::new)
    }
}

const POLICY: &str = "
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Request
  resources:
  - resources: [configmaps]
- level: Metadata
";

/// A server under attack, and its audit log.
pub(super) struct Gate {
    /// As the network sees it.
    pub(super) server: ApiServer,
    pub(super) admin: ApiServer,
    log: mpsc::UnboundedReceiver<Value>,
}

impl Gate {
    pub(super) async fn open() -> Self {
        Self::with(|builder| builder).await
    }

    pub(super) async fn with(configure: impl FnOnce(Builder) -> Builder) -> Self {
        let (sender, log) = mpsc::unbounded_channel();
        let audit = AuditConfig::new(AuditPolicy::parse(POLICY).expect("a sound policy")).sink(Gather(sender));
        let builder = configure(ApiServer::builder(Arc::new(MemoryStore::new())).audit(audit));
        let server = builder.build().await.expect("an empty store can be read");
        let admin = server.as_user(User::admin());
        Self { server, admin, log }
    }

    pub(super) fn as_user(&self, name: &str) -> ApiServer {
        self.server.as_user(User::new(name, &["system:authenticated"]))
    }

    pub(super) fn as_node(&self, name: &str) -> ApiServer {
        self.server.as_user(User::new(&format!("system:node:{name}"), &["system:nodes", "system:authenticated"]))
    }

    /// Sends the attack under its name; it must be refused with one of these codes, and the log must tell so. Gives
    /// the answer's message.
    pub(super) async fn refuses(&mut self, attack: &str, codes: &[u16], who: &ApiServer, tried: Tried) -> String {
        let mut request = Request::builder().method(tried.method).uri(&tried.uri).header("audit-id", attack);
        for (name, value) in &tried.headers {
            request = request.header(name, value);
        }
        let answer = common::exchange(who, request.body(Full::new(tried.body)).expect("a sound request")).await;
        let code = answer.code.as_u16();
        let message = String::from_utf8_lossy(&answer.bytes).into_owned();
        assert!(codes.contains(&code), "{attack}: {code} {message}");
        let logged = self.logged(attack).await;
        assert_eq!(logged["responseStatus"]["code"], code, "{attack}: {logged}");
        serde_json::from_slice::<Value>(&answer.bytes)
            .ok()
            .and_then(|status| status["message"].as_str().map(str::to_owned))
            .unwrap_or(message)
    }

    /// The event of that name.
    pub(super) async fn logged(&mut self, attack: &str) -> Value {
        let find = async {
            while let Some(event) = self.log.recv().await {
                if event["auditID"] == attack {
                    return event;
                }
            }
            panic!("{attack} is not in the audit log")
        };
        tokio::time::timeout(Duration::from_secs(60), find).await.unwrap_or_else(|_| panic!("{attack} is not logged"))
    }

    pub(super) async fn close(self) {
        self.server.shutdown().await;
    }
}

/// What an attacker sends.
pub(super) struct Tried {
    method: Method,
    uri: String,
    headers: Vec<(String, String)>,
    body: Bytes,
}

impl Tried {
    pub(super) fn get(uri: &str) -> Self {
        Self { method: Method::GET, uri: uri.to_owned(), headers: Vec::new(), body: Bytes::new() }
    }

    pub(super) fn delete(uri: &str) -> Self {
        Self { method: Method::DELETE, ..Self::get(uri) }
    }

    pub(super) fn post(uri: &str, object: &Value) -> Self {
        Self::sent(Method::POST, uri, "application/json", object.to_string())
    }

    pub(super) fn put(uri: &str, object: &Value) -> Self {
        Self::sent(Method::PUT, uri, "application/json", object.to_string())
    }

    pub(super) fn patch(uri: &str, object: &Value) -> Self {
        Self::sent(Method::PATCH, uri, "application/merge-patch+json", object.to_string())
    }

    pub(super) fn sent(method: Method, uri: &str, content_type: &str, body: impl Into<Bytes>) -> Self {
        let headers = vec![("content-type".to_owned(), content_type.to_owned())];
        Self { method, uri: uri.to_owned(), headers, body: body.into() }
    }

    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }
}
