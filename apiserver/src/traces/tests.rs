//! Spans as a collector in this process gets them.

use std::net::SocketAddr;
use std::sync::Mutex;

use bytes::Bytes;
use http::{Request, Response};
use kubewright_store::MemoryStore;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::environment::SystemEnvironment;
use crate::remote::{Remote, RemoteError, Target};
use crate::request::User;
use crate::server::ApiServer;

/// Keeps the spans it is sent.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Span>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let mut spans = self.0.lock().unwrap();
        for resource in request.into_inner().resource_spans {
            spans.extend(resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
        }
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    async fn listen(&self) -> SocketAddr {
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let service = TraceServiceServer::new(self.clone());
        let incoming = tonic::transport::server::TcpIncoming::from(socket);
        tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
        address
    }

    fn named(&self, name: &str) -> Vec<Span> {
        self.0.lock().unwrap().iter().filter(|span| span.name == name).cloned().collect()
    }
}

/// A webhook that keeps the `traceparent` it is called with.
#[derive(Default)]
struct Webhook(Mutex<Vec<String>>);

#[async_trait::async_trait]
impl Remote for Webhook {
    async fn send(&self, _: &Target, request: Request<Bytes>) -> Result<Response<Bytes>, RemoteError> {
        self.0.lock().unwrap().push(request.headers()["traceparent"].to_str().unwrap().to_owned());
        let review: Value = serde_json::from_slice(request.body()).unwrap();
        let response = json!({"uid": review["request"]["uid"], "allowed": true});
        let answer = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
        Ok(Response::new(answer.to_string().into()))
    }
}

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

async fn post(server: &ApiServer, uri: &str, parent: Option<&str>, object: &Value) -> http::StatusCode {
    let mut request = Request::post(uri).header("content-type", "application/json");
    if let Some(parent) = parent {
        request = request.header("traceparent", parent);
    }
    let request = request.body(http_body_util::Full::new(Bytes::from(object.to_string()))).unwrap();
    server.clone().oneshot(request).await.unwrap().status()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_its_webhook_and_its_store_are_one_trace() {
    let collector = Collector::default();
    let endpoint = collector.listen().await.to_string();
    let config = TracingConfig { endpoint, sampling_rate_per_million: 0 };
    let traces = Traces::new(&config, &SystemEnvironment).unwrap();
    let webhook = Arc::new(Webhook::default());
    let builder = ApiServer::builder(Arc::new(MemoryStore::new())).remote(Arc::clone(&webhook) as _);
    let server = builder.traces(traces.clone()).build().await.unwrap();
    let admin = server.as_user(User::admin());
    let hooks = json!({"metadata": {"name": "h"}, "webhooks": [{
        "name": "h.example.com", "clientConfig": {"url": "https://hook.test/"}, "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}],
    }]});
    let uri = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
    assert_eq!(post(&admin, uri, None, &hooks).await, 201);
    let map = |name: &str| json!({"metadata": {"name": name}});
    let maps = "/api/v1/namespaces/default/configmaps";
    // None is sampled but those that a client with the right began.
    assert_eq!(post(&admin, maps, None, &map("a")).await, 201);
    assert_eq!(post(&admin, maps, Some(PARENT), &map("b")).await, 201);
    let other = server.as_user(User::new("ann", &["system:authenticated"]));
    assert_eq!(post(&other, maps, Some(PARENT), &map("c")).await, 403);
    server.shutdown().await;
    traces.shutdown().await;

    let requests = collector.named("POST /api/v1/namespaces/{:namespace}/configmaps");
    let [request] = requests.as_slice() else { panic!("one request is traced: {requests:?}") };
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let trace = hex(&request.trace_id);
    assert_eq!((trace.as_str(), hex(&request.parent_span_id).as_str()), (&PARENT[3..35], &PARENT[36..52]));
    let below = |name: &str, parent: &Span| {
        let span = collector.named(name).pop().unwrap_or_else(|| panic!("a span {name}"));
        assert_eq!((&span.trace_id, &span.parent_span_id), (&parent.trace_id, &parent.span_id), "{name}");
        span
    };
    let create = below("Create", request);
    let call = below("HTTP POST", &below("Call validating webhook", &create));
    assert_eq!(webhook.0.lock().unwrap().last().unwrap(), &format!("00-{trace}-{}-01", hex(&call.span_id)));
    below("Txn etcd3", &create);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_away_costs_no_request() {
    let config = TracingConfig { endpoint: "127.0.0.1:1".into(), sampling_rate_per_million: 1_000_000 };
    let traces = Traces::new(&config, &SystemEnvironment).unwrap();
    let server = ApiServer::builder(Arc::new(MemoryStore::new())).traces(traces.clone()).build().await.unwrap();
    let admin = server.as_user(User::admin());
    for number in 0..50 {
        let map = json!({"metadata": {"name": format!("m{number}")}});
        assert_eq!(post(&admin, "/api/v1/namespaces/default/configmaps", None, &map).await, 201);
    }
    server.shutdown().await;
    traces.shutdown().await;
}
