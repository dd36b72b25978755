//! Servers of fewer resources, and of resources of one's own.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Client, ResourceExt};
use kubewright::api::field::{FieldError, FieldErrors, Path};
use kubewright::apiserver::objects::GroupResource;
use kubewright::apiserver::registry::{Column, OwnResource, ResourceInfo, Strategy, StrategyContext};
use kubewright::apiserver::server;
use kubewright::testing::TestCluster;
use serde_json::{Value, json};

async fn chosen(choose: impl FnOnce(server::Builder) -> server::Builder + Send + 'static) -> TestCluster {
    TestCluster::builder().rbac().customize(choose).start().await.expect("a server of less")
}

async fn get(client: &Client, path: &str, accept: &str) -> Result<Value, u16> {
    let request = http::Request::get(path).header("accept", accept).body(Vec::new()).expect("a request");
    client.request(request).await.map_err(|error| match error {
        kube::Error::Api(status) => status.code,
        other => panic!("{path}: {other}"),
    })
}

/// Groups and resources that discovery tells of.
async fn discovered(client: &Client) -> Vec<String> {
    let mut found = Vec::new();
    for root in ["/api", "/apis"] {
        let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        let list = get(client, root, accept).await.expect("discovery");
        for group in list["items"].as_array().into_iter().flatten() {
            for resource in
                group["versions"].as_array().into_iter().flatten().flat_map(|v| v["resources"].as_array()).flatten()
            {
                let name = group["metadata"]["name"].as_str().unwrap_or_default();
                found.push(format!("{name}/{}", resource["resource"].as_str().expect("a name")));
            }
        }
    }
    found.sort();
    found
}

#[tokio::test(start_paused = true)]
async fn a_server_of_custom_resources_serves_nothing_else() {
    let cluster = chosen(|builder| builder.only_custom_resources()).await;
    let client = cluster.client();
    assert_eq!(discovered(&client).await, ["/namespaces", "apiextensions.k8s.io/customresourcedefinitions"]);
    assert_eq!(get(&client, "/api/v1/pods", "application/json").await, Err(404));
    cluster
        .apply(
            "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: ships.example.com}, \
             spec: {group: example.com, scope: Namespaced, names: {kind: Ship, plural: ships}, versions: [{name: v1, \
             served: true, storage: true, schema: {openAPIV3Schema: {type: object, \
             x-kubernetes-preserve-unknown-fields: true}}}]}}\n---\n\
             {apiVersion: example.com/v1, kind: Ship, metadata: {name: vasa}, spec: {tons: 1210}}",
        )
        .await
        .unwrap();
    let ship = get(&client, "/apis/example.com/v1/namespaces/default/ships/vasa", "application/json").await.unwrap();
    assert_eq!(ship["spec"]["tons"], 1210);
    assert!(
        cluster
            .apply("{apiVersion: example.com/v1, kind: Ship, metadata: {name: a, namespace: nowhere}}")
            .await
            .is_err()
    );
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_server_of_one_built_in_resource_needs_no_namespaces() {
    let cluster = chosen(|builder| builder.only_resources([GroupResource::core("configmaps")])).await;
    let client = cluster.client();
    assert_eq!(discovered(&client).await, ["/configmaps"]);
    let maps: Api<ConfigMap> = Api::namespaced(client, "anywhere");
    let mut map = ConfigMap::default();
    map.metadata.name = Some("a".into());
    assert!(maps.create(&PostParams::default(), &map).await.unwrap().metadata.uid.is_some());
    map.metadata.name = Some("Not A Name".into());
    assert!(maps.create(&PostParams::default(), &map).await.is_err(), "it is validated as ever");
    let others: Api<ConfigMap> = Api::namespaced(cluster.client_as("someone", &[]), "anywhere");
    let refused = others.list(&ListParams::default()).await.unwrap_err();
    assert!(matches!(&refused, kube::Error::Api(status) if status.code == 403), "no roles, nothing allowed: {refused}");
    cluster.stop().await;
}

struct Lamps;

impl Strategy for Lamps {
    fn default(&self, lamp: &mut Value) {
        if lamp["spec"]["brightness"].is_null() {
            lamp["spec"]["brightness"] = json!(100);
        }
    }

    fn prepare_for_create(&self, _: &StrategyContext<'_>, lamp: &mut Value) {
        lamp["status"] = json!({"lit": false});
    }

    fn prepare_for_update(&self, _: &StrategyContext<'_>, lamp: &mut Value, old: &Value) {
        lamp["status"] = old["status"].clone();
    }

    fn validate(&self, lamp: &Value) -> FieldErrors {
        let brightness = &lamp["spec"]["brightness"];
        if brightness.as_i64().is_some_and(|percent| (0..=100).contains(&percent)) {
            return FieldErrors::new();
        }
        vec![FieldError::invalid(&Path::new("spec").child("brightness"), brightness.clone(), "must be from 0 to 100")]
    }

    fn columns(&self) -> &'static [Column] {
        const LIT: Column = Column {
            name: "Lit",
            kind: "boolean",
            format: "",
            priority: 0,
            description: "whether it shines",
            cell: |lamp, _| lamp["status"]["lit"].clone(),
        };
        &[LIT]
    }

    fn tracks_generation(&self) -> bool {
        true
    }

    fn subresource(&self, name: &str) -> Option<&dyn Strategy> {
        (name == "status").then_some(&Status)
    }
}

struct Status;

impl Strategy for Status {
    fn prepare_for_update(&self, _: &StrategyContext<'_>, lamp: &mut Value, old: &Value) {
        lamp["spec"] = old["spec"].clone();
    }
}

#[tokio::test(start_paused = true)]
async fn a_resource_of_ones_own_behaves_as_its_strategy_says() {
    let resource = OwnResource::new(ResourceInfo::new("home.example.com", "v1", "Lamp").with_status(), Arc::new(Lamps));
    let cluster = chosen(move |builder| builder.only_resources([]).resource(resource)).await;
    let client = cluster.client();
    assert_eq!(discovered(&client).await, ["home.example.com/lamps"]);
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("home.example.com", "v1", "Lamp"));
    let lamps: Api<DynamicObject> = Api::default_namespaced_with(client.clone(), &kind);
    let lamp =
        |name: &str, spec: Value| DynamicObject::new(name, &kind).data(json!({"spec": spec, "status": {"lit": true}}));

    let desk = lamps.create(&PostParams::default(), &lamp("desk", json!({"on": true}))).await.unwrap();
    assert_eq!((&desk.data["spec"]["brightness"], &desk.data["status"]["lit"]), (&json!(100), &json!(false)));
    let refused = lamps.create(&PostParams::default(), &lamp("sun", json!({"brightness": 1000}))).await.unwrap_err();
    assert!(refused.to_string().contains("spec.brightness: Invalid value: 1000: must be from 0 to 100"), "{refused}");

    let merge = |patch: Value| Patch::Merge(patch);
    let both = json!({"spec": {"on": false}, "status": {"lit": true}});
    let patched = lamps.patch("desk", &PatchParams::default(), &merge(both.clone())).await.unwrap();
    assert_eq!((&patched.data["spec"]["on"], &patched.data["status"]["lit"]), (&json!(false), &json!(false)));
    assert_eq!((desk.metadata.generation, patched.metadata.generation), (Some(1), Some(2)));
    let both = json!({"spec": {"on": true}, "status": {"lit": true}});
    let status = lamps.patch_status("desk", &PatchParams::default(), &merge(both)).await.unwrap();
    assert_eq!((&status.data["spec"]["on"], &status.data["status"]["lit"]), (&json!(false), &json!(true)));
    assert_eq!(status.metadata.generation, Some(2), "a status is no new generation");

    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let table = get(&client, "/apis/home.example.com/v1/namespaces/default/lamps", table).await.unwrap();
    assert_eq!(table["columnDefinitions"][0]["name"], "Lit");
    assert_eq!(table["rows"][0]["cells"][0], true);
    let applied = Patch::Apply(json!({"apiVersion": "home.example.com/v1", "kind": "Lamp", "spec": {"on": true}}));
    let applied = lamps.patch("floor", &PatchParams::apply("me"), &applied).await.unwrap();
    assert_eq!(applied.managed_fields().len(), 1);
    cluster.stop().await;
}
