//! An operator that deletes namespaces whose time is over, and its tests: days pass in them.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::{Api, DeleteParams, Preconditions};
use kube::runtime::controller::Action;
use kube::runtime::{Controller, watcher};
use kube::{Client, ResourceExt};
use kubewright::testing::{Fault, TestCluster};

/// How long a namespace lives, in hours.
const TTL: &str = "janitor.example.com/ttl-hours";

struct Context {
    client: Client,
    now: Box<dyn Fn() -> Timestamp + Send + Sync>,
}

async fn reconcile(namespace: Arc<Namespace>, context: Arc<Context>) -> Result<Action, kube::Error> {
    let hours = namespace.annotations().get(TTL).and_then(|hours| hours.parse::<i64>().ok());
    let (Some(hours), Some(created)) = (hours, namespace.creation_timestamp()) else {
        return Ok(Action::await_change());
    };
    let left = (created.0 + SignedDuration::from_hours(hours)).duration_since((context.now)());
    if left.is_positive() {
        return Ok(Action::requeue(left.unsigned_abs()));
    }
    if namespace.metadata.deletion_timestamp.is_none() {
        // Not another that took its name meanwhile.
        let preconditions = Preconditions { uid: namespace.uid(), resource_version: None };
        let options = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        Api::<Namespace>::all(context.client.clone()).delete(&namespace.name_any(), &options).await?;
    }
    Ok(Action::await_change())
}

/// The operator.
async fn run(client: Client, now: impl Fn() -> Timestamp + Send + Sync + 'static) {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let retry = |_: Arc<Namespace>, _: &kube::Error, _: Arc<Context>| Action::requeue(Duration::from_secs(5));
    Controller::new(namespaces, watcher::Config::default())
        .run(reconcile, retry, Arc::new(Context { client, now: Box::new(now) }))
        .for_each(|_| std::future::ready(()))
        .await;
}

const NAMESPACES: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: preview, annotations: {janitor.example.com/ttl-hours: "48"}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: preview}
---
apiVersion: v1
kind: Namespace
metadata: {name: production}
"#;

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn a_namespace_goes_when_its_time_is_over() {
    let builder = TestCluster::builder().controllers(["namespace-controller"]);
    let cluster = builder.starts_at("2026-02-28T12:00:00Z".parse().unwrap()).start().await.unwrap();
    let clock = *cluster.clock();
    let operator = tokio::spawn(run(cluster.client(), move || clock.now()));
    cluster.apply(NAMESPACES).await.unwrap();
    let namespaces: Api<Namespace> = Api::all(cluster.client());
    // The first attempt comes when the API server is unwell.
    let unwell = cluster.inject(Fault::unavailable().verb("delete").times(2));

    cluster.advance(47 * HOUR).await;
    assert!(namespaces.get("preview").await.is_ok_and(|found| found.metadata.deletion_timestamp.is_none()));
    cluster.advance(HOUR).await;
    cluster.until(&namespaces, "preview", |found| found.is_none()).await.unwrap();
    assert_eq!(unwell.hits(), 2);
    assert_eq!(clock.now().strftime("%F").to_string(), "2026-03-02");

    let settings: Api<ConfigMap> = Api::namespaced(cluster.client(), "preview");
    assert!(settings.get_opt("settings").await.unwrap().is_none(), "what was in it went with it");
    assert!(namespaces.get("production").await.is_ok(), "others stay");
    operator.abort();
    cluster.stop().await;
}
