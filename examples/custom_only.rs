//! An API server of nothing but what its users define: namespaces, CustomResourceDefinitions, and their objects.
//!
//! `cargo run --example custom_only`

#![allow(clippy::print_stdout, reason = "it shows what it does")]

use std::sync::Arc;

use anyhow::ensure;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, PostParams};
use kube::core::GroupVersionKind;
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, Discovery};
use kubewright::apiserver::request::User;
use kubewright::apiserver::server::ApiServer;
use kubewright::store::MemoryStore;
use serde_json::json;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let server = ApiServer::builder(Arc::new(MemoryStore::new())).only_custom_resources().build().await?;
    let client = Client::new(server.as_user(User::admin()), "default");

    let spec = json!({"type": "object", "properties": {"tons": {"type": "integer", "minimum": 1}}});
    let definition: CustomResourceDefinition = serde_json::from_value(json!({
        "metadata": {"name": "ships.fleet.example.com"},
        "spec": {
            "group": "fleet.example.com", "scope": "Namespaced", "names": {"kind": "Ship", "plural": "ships"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}}],
        },
    }))?;
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    definitions.create(&PostParams::default(), &definition).await?;
    await_condition(definitions, "ships.fleet.example.com", conditions::is_crd_established()).await?;

    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("fleet.example.com", "v1", "Ship"));
    let ships: Api<DynamicObject> = Api::default_namespaced_with(client.clone(), &kind);
    let ship = |name: &str, tons: i64| DynamicObject::new(name, &kind).data(json!({"spec": {"tons": tons}}));
    ships.create(&PostParams::default(), &ship("vasa", 1210)).await?;
    let refused = ships.create(&PostParams::default(), &ship("raft", 0)).await;
    println!("refused: {}", refused.expect_err("a ship has a weight"));

    let discovery = Discovery::new(client).run().await?;
    let groups: Vec<&str> = discovery.groups().map(|group| group.name()).filter(|name| !name.is_empty()).collect();
    println!("groups: {groups:?}");
    println!("ships: {}", ships.list(&ListParams::default()).await?.items.len());
    ensure!(!discovery.has_group("apps"), "nothing else is served");
    server.shutdown().await;
    Ok(())
}
