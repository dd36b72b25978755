//! An API server of one kind behind another: who asks the first for a lamp is answered by the second.
//!
//! `cargo run --example aggregated`

#![allow(clippy::print_stdout, reason = "it shows what it does")]

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::jiff::Timestamp;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, PostParams};
use kube::core::GroupVersionKind;
use kube::runtime::wait::await_condition;
use kube::{Client, Discovery};
use kubewright::apiserver::pki::{Authority, Profile};
use kubewright::apiserver::registry::{OwnResource, ResourceInfo, Strategy, StrategyContext};
use kubewright::apiserver::request::User;
use kubewright::apiserver::serve::{Listener, Tls};
use kubewright::apiserver::server::ApiServer;
use kubewright::store::MemoryStore;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// Who made a lamp owns it.
struct Lamps;

impl Strategy for Lamps {
    fn prepare_for_create(&self, context: &StrategyContext<'_>, lamp: &mut Value) {
        lamp["spec"]["owner"] = context.user.name.as_str().into();
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (now, shutdown) = (Timestamp::now(), CancellationToken::new());
    let (serving, proxies) = (Authority::generate("serving", now)?, Authority::generate("front-proxy", now)?);

    // The server behind: it believes the front proxy, and leaves it to that one who may do what.
    let certificate = serving.issue(&Profile::server("lamps", vec!["lamps.default.svc".into()]), now)?;
    let behind = ApiServer::builder(Arc::new(MemoryStore::new()))
        .only_resources([])
        .resource(OwnResource::new(ResourceInfo::new("home.example.com", "v1", "Lamp"), Arc::new(Lamps)))
        .front_proxy(proxies.certificate_pem(), vec!["front-proxy-client".into()])
        .allow_all()
        .build()
        .await?;
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let port = socket.local_addr()?.port();
    let tls = Tls::new(&certificate.certificate, &certificate.key, proxies.certificate_pem())?;
    let serving_task = tokio::spawn(Listener::from_socket(socket, tls)?.serve(behind.clone(), shutdown.clone()));

    // The server in front.
    let identity = proxies.issue(&Profile::client("front-proxy-client", &[]), now)?;
    let front = ApiServer::builder(Arc::new(MemoryStore::new()))
        .front_proxy_client(&identity.certificate, &identity.key)
        .build()
        .await?;
    let client = Client::new(front.as_user(User::new("alice", &["system:masters"])), "default");
    let service: Service = serde_json::from_value(json!({"metadata": {"name": "lamps"},
        "spec": {"type": "ExternalName", "externalName": "localhost"}}))?;
    Api::default_namespaced(client.clone()).create(&PostParams::default(), &service).await?;
    let bundle = STANDARD.encode(serving.certificate_pem());
    let registration: APIService = serde_json::from_value(json!({"metadata": {"name": "v1.home.example.com"},
        "spec": {"group": "home.example.com", "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 10,
            "caBundle": bundle, "service": {"namespace": "default", "name": "lamps", "port": port}}}))?;
    let registrations: Api<APIService> = Api::all(client.clone());
    registrations.create(&PostParams::default(), &registration).await?;
    let available = |service: Option<&APIService>| {
        let conditions = service.and_then(|service| service.status.as_ref()?.conditions.as_ref());
        conditions.into_iter().flatten().any(|held| held.type_ == "Available" && held.status == "True")
    };
    await_condition(registrations, "v1.home.example.com", available).await?;

    let discovery = Discovery::new(client.clone()).run_aggregated().await?;
    println!("home.example.com is served: {}", discovery.has_group("home.example.com"));
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("home.example.com", "v1", "Lamp"));
    let lamps: Api<DynamicObject> = Api::default_namespaced_with(client, &kind);
    let lamp = DynamicObject::new("desk", &kind).data(json!({"spec": {"on": true}}));
    let made = lamps.create(&PostParams::default(), &lamp).await?;
    println!("the lamp's owner: {}", made.data["spec"]["owner"]);
    println!("lamps: {}", lamps.list(&ListParams::default()).await?.items.len());

    front.shutdown().await;
    shutdown.cancel();
    behind.shutdown().await;
    serving_task.await?;
    Ok(())
}
