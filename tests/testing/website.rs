//! An operator that keeps a Deployment for every `Website`, and its tests.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::runtime::{Controller, watcher};
use kube::{Client, Resource, ResourceExt};
use kubewright::testing::{Fault, TestCluster};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What users ask for.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Website {
    metadata: ObjectMeta,
    spec: WebsiteSpec,
    #[serde(default)]
    status: WebsiteStatus,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct WebsiteSpec {
    image: String,
    replicas: i32,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct WebsiteStatus {
    #[serde(default)]
    ready_replicas: i32,
}

impl k8s_openapi::Resource for Website {
    const API_VERSION: &'static str = "example.com/v1";
    const GROUP: &'static str = "example.com";
    const KIND: &'static str = "Website";
    const VERSION: &'static str = "v1";
    const URL_PATH_SEGMENT: &'static str = "websites";
    type Scope = NamespaceResourceScope;
}

impl k8s_openapi::Metadata for Website {
    type Ty = ObjectMeta;

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

fn definition() -> CustomResourceDefinition {
    let spec = json!({"type": "object", "required": ["image"], "properties": {
        "image": {"type": "string", "minLength": 1},
        "replicas": {"type": "integer", "minimum": 0, "maximum": 10, "default": 1}}});
    let status = json!({"type": "object", "properties": {"readyReplicas": {"type": "integer"}}});
    let schema = json!({"type": "object", "properties": {"spec": spec, "status": status}});
    let definition = json!({"metadata": {"name": "websites.example.com"}, "spec": {"group": "example.com",
        "scope": "Namespaced", "names": {"kind": "Website", "plural": "websites", "singular": "website"},
        "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
            "schema": {"openAPIV3Schema": schema}}]}});
    serde_json::from_value(definition).expect("a definition")
}

fn deployment(site: &Website) -> Value {
    let labels = json!({"website": site.name_any()});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": site.name_any(), "ownerReferences": [site.controller_owner_ref(&())]},
        "spec": {"replicas": site.spec.replicas, "selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels},
            "spec": {"containers": [{"name": "site", "image": site.spec.image}]}}},
    })
}

async fn reconcile(site: Arc<Website>, client: Arc<Client>) -> Result<Action, kube::Error> {
    let (name, namespace) = (site.name_any(), site.namespace().unwrap_or_default());
    let apply = PatchParams::apply("website-operator").force();
    let deployments: Api<Deployment> = Api::namespaced((*client).clone(), &namespace);
    let written = deployments.patch(&name, &apply, &Patch::Apply(deployment(&site))).await?;
    let ready_replicas = written.status.and_then(|status| status.ready_replicas).unwrap_or(0);
    let status = WebsiteStatus { ready_replicas };
    if status != site.status {
        let sites: Api<Website> = Api::namespaced((*client).clone(), &namespace);
        sites.patch_status(&name, &PatchParams::default(), &Patch::Merge(json!({"status": status}))).await?;
    }
    Ok(Action::await_change())
}

/// The operator.
async fn run(client: Client) {
    let sites: Api<Website> = Api::all(client.clone());
    let deployments: Api<Deployment> = Api::all(client.clone());
    let retry = |_: Arc<Website>, _: &kube::Error, _: Arc<Client>| Action::requeue(Duration::from_secs(1));
    Controller::new(sites, watcher::Config::default())
        .owns(deployments, watcher::Config::default())
        .run(reconcile, retry, Arc::new(client))
        .for_each(|_| std::future::ready(()))
        .await;
}

const SITE: &str = r#"
apiVersion: example.com/v1
kind: Website
metadata: {name: blog}
spec: {image: "blog:1", replicas: 3}
"#;

/// What the operator may do, and no more.
const ROLE: &str = r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: website-operator}
rules:
- {apiGroups: [example.com], resources: [websites], verbs: [get, list, watch]}
- {apiGroups: [example.com], resources: [websites/status], verbs: [patch]}
- {apiGroups: [apps], resources: [deployments], verbs: [get, list, watch, create, patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: website-operator}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: website-operator}
subjects:
- {kind: ServiceAccount, name: website-operator, namespace: operators}
"#;

fn ready(count: i32) -> impl Fn(Option<&Website>) -> bool {
    move |site| site.is_some_and(|site| site.status.ready_replicas == count)
}

/// A cluster that rolls Deployments out.
async fn cluster() -> TestCluster {
    TestCluster::builder()
        .definitions([definition()])
        .controllers(["deployment-controller", "replicaset-controller", "garbage-collector-controller"])
        .nodes(1)
        .start()
        .await
        .expect("a cluster")
}

#[tokio::test(start_paused = true)]
async fn the_operator_needs_no_more_than_its_role() {
    let builder = TestCluster::builder().rbac().definitions([definition()]);
    let builder = builder.controllers(["deployment-controller", "replicaset-controller"]).nodes(1);
    let cluster = builder.start().await.unwrap();
    cluster.apply(ROLE).await.unwrap();
    let operator = tokio::spawn(run(cluster.client_of_account("operators", "website-operator")));
    cluster.apply(SITE).await.unwrap();

    let sites: Api<Website> = Api::default_namespaced(cluster.client());
    cluster.until(&sites, "blog", ready(3)).await.unwrap();
    let refused: Vec<_> = cluster.take_requests().into_iter().filter(|request| request.code == Some(403)).collect();
    assert_eq!(refused, [], "it was refused nothing");
    operator.abort();
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_deleted_comes_back_until_the_website_goes() {
    let cluster = cluster().await;
    let operator = tokio::spawn(run(cluster.client()));
    cluster.apply(SITE).await.unwrap();
    let sites: Api<Website> = Api::default_namespaced(cluster.client());
    let deployments: Api<Deployment> = Api::default_namespaced(cluster.client());
    cluster.until(&sites, "blog", ready(3)).await.unwrap();

    let first = deployments.get("blog").await.unwrap().uid();
    deployments.delete("blog", &DeleteParams::default()).await.unwrap();
    let another = |found: Option<&Deployment>| found.is_some_and(|found| found.uid() != first);
    cluster.until(&deployments, "blog", another).await.unwrap();

    // The operator does nothing for this: the owner reference that it set does.
    sites.delete("blog", &DeleteParams::default()).await.unwrap();
    cluster.until(&deployments, "blog", |found| found.is_none()).await.unwrap();
    operator.abort();
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_website_is_ready_whatever_the_network_does() {
    let cluster = cluster().await;
    let faults = [
        Fault::internal_error().verb("patch").resource("deployments").times(3),
        Fault::lost_answer().verb("patch").resource("deployments").times(2),
        Fault::lost_request().verb("patch").resource("websites/status").times(2),
        Fault::broken_watch(2).times(4),
        Fault::expired_watch(1).times(2),
    ];
    let faults = faults.map(|fault| cluster.inject(fault));
    let operator = tokio::spawn(run(cluster.client()));
    cluster.apply(SITE).await.unwrap();
    // Its own client, so that the watches of the wait don't take the faults that are meant for the operator.
    let sites: Api<Website> = Api::default_namespaced(cluster.spared_client());
    cluster.until(&sites, "blog", ready(3)).await.unwrap();
    assert_eq!(faults[0].hits(), 3, "it tried again");
    operator.abort();
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_website_that_is_ready_costs_nothing() {
    let cluster = cluster().await;
    let operator = tokio::spawn(run(cluster.client()));
    cluster.apply(SITE).await.unwrap();
    let sites: Api<Website> = Api::default_namespaced(cluster.client());
    cluster.until(&sites, "blog", ready(3)).await.unwrap();
    cluster.advance(Duration::from_secs(60)).await;
    cluster.take_requests();

    cluster.advance(Duration::from_secs(1800)).await;
    let writes: Vec<_> = cluster.take_requests().into_iter().filter(|request| request.is_write()).collect();
    assert_eq!(writes, [], "half an hour without a write");
    operator.abort();
    cluster.stop().await;
}
