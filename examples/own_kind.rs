//! An API server of one kind, defined in Rust, and its controller.
//!
//! `cargo run --example own_kind`

#![allow(clippy::print_stdout, reason = "it shows what it does")]

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::runtime::controller::Action;
use kube::runtime::wait::await_condition;
use kube::runtime::{Controller, watcher};
use kube::{Client, ResourceExt};
use kubewright::api::field::{FieldError, FieldErrors, Path};
use kubewright::apiserver::registry::{Column, OwnResource, ResourceInfo, Strategy, StrategyContext};
use kubewright::apiserver::request::User;
use kubewright::apiserver::server::ApiServer;
use kubewright::store::MemoryStore;
use serde_json::{Value, json};

/// What a lamp is.
struct Lamps;

const COLUMNS: &[Column] = &[Column {
    name: "Lit",
    kind: "boolean",
    format: "",
    priority: 0,
    description: "whether it shines",
    cell: |lamp, _| lamp["status"]["lit"].clone(),
}];

impl Strategy for Lamps {
    fn default(&self, lamp: &mut Value) {
        if lamp["spec"]["brightness"].is_null() {
            lamp["spec"]["brightness"] = json!(100);
        }
    }

    fn prepare_for_create(&self, _: &StrategyContext<'_>, lamp: &mut Value) {
        lamp["status"] = json!({"lit": false});
    }

    fn validate(&self, lamp: &Value) -> FieldErrors {
        let brightness = &lamp["spec"]["brightness"];
        if brightness.as_i64().is_some_and(|percent| (0..=100).contains(&percent)) {
            return FieldErrors::new();
        }
        vec![FieldError::invalid(&Path::new("spec").child("brightness"), brightness.clone(), "must be from 0 to 100")]
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }
}

/// Lights the lamps that are on.
async fn reconcile(lamp: Arc<DynamicObject>, lamps: Arc<Api<DynamicObject>>) -> Result<Action, kube::Error> {
    let lit = lamp.data["spec"]["on"] == true;
    if lamp.data["status"]["lit"] != lit {
        let patch = Patch::Merge(json!({"status": {"lit": lit}}));
        lamps.patch(&lamp.name_any(), &PatchParams::default(), &patch).await?;
    }
    Ok(Action::await_change())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let resource = OwnResource::new(ResourceInfo::new("home.example.com", "v1", "Lamp"), Arc::new(Lamps));
    let builder = ApiServer::builder(Arc::new(MemoryStore::new())).only_resources([]).resource(resource);
    let server = builder.build().await?;
    let client = Client::new(server.as_user(User::admin()), "default");

    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("home.example.com", "v1", "Lamp"));
    let lamps: Api<DynamicObject> = Api::default_namespaced_with(client, &kind);
    let retry =
        |_: Arc<DynamicObject>, _: &kube::Error, _: Arc<Api<DynamicObject>>| Action::requeue(Duration::from_secs(1));
    let controller = Controller::new_with(lamps.clone(), watcher::Config::default(), kind.clone())
        .run(reconcile, retry, Arc::new(lamps.clone()))
        .for_each(|_| std::future::ready(()));
    let controller = tokio::spawn(controller);

    let lamp = |name: &str, spec: Value| DynamicObject::new(name, &kind).data(json!({"spec": spec}));
    lamps.create(&PostParams::default(), &lamp("desk", json!({"on": true}))).await?;
    let refused = lamps.create(&PostParams::default(), &lamp("sun", json!({"on": true, "brightness": 1000}))).await;
    println!("refused: {}", refused.expect_err("too bright"));
    let lit = |lamp: Option<&DynamicObject>| lamp.is_some_and(|lamp| lamp.data["status"]["lit"] == true);
    println!("desk: {}", lamps.get("desk").await?.data["spec"]);
    await_condition(lamps, "desk", lit).await?;
    println!("the lamp on the desk is lit");
    controller.abort();
    server.shutdown().await;
    Ok(())
}
