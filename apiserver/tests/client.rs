//! `kube::Client` over the server, in one process.

mod common;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::json;

fn configmap(name: &str) -> ConfigMap {
    serde_json::from_value(json!({ "metadata": { "name": name, "labels": { "app": "a" } }, "data": { "k": "1" } }))
        .expect("a config map")
}

#[tokio::test]
async fn config_maps_live_and_die() {
    let server = common::server().await;
    let client = kube::Client::new(server.clone(), "default");
    let api: Api<ConfigMap> = Api::default_namespaced(client);

    let created = api.create(&PostParams::default(), &configmap("a")).await.unwrap();
    assert!(created.metadata.uid.is_some() && created.metadata.creation_timestamp.is_some());
    let error = api.create(&PostParams::default(), &configmap("a")).await.unwrap_err();
    assert!(error.to_string().contains("configmaps \"a\" already exists"), "{error}");

    let mut changed = api.get("a").await.unwrap();
    changed.data.get_or_insert_default().insert("k".into(), "2".into());
    let updated = api.replace("a", &PostParams::default(), &changed).await.unwrap();
    assert_ne!(updated.metadata.resource_version, changed.metadata.resource_version);
    let error = api.replace("a", &PostParams::default(), &changed).await.unwrap_err();
    assert!(error.to_string().contains("the object has been modified"), "{error}");

    let patch = Patch::Merge(json!({ "data": { "k": null, "m": "3" } }));
    let patched = api.patch("a", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(patched.data.unwrap().keys().collect::<Vec<_>>(), ["m"]);

    let list = api.list(&ListParams::default().labels("app=a")).await.unwrap();
    assert_eq!(list.items.len(), 1);
    api.delete("a", &DeleteParams::default()).await.unwrap();
    assert_eq!(api.get_opt("a").await.unwrap().map(|c| c.metadata.name), None);
    server.shutdown().await;
}

#[tokio::test]
async fn a_watcher_sees_everything_once() {
    let server = common::server().await;
    let client = kube::Client::new(server.clone(), "default");
    let api: Api<ConfigMap> = Api::default_namespaced(client);
    api.create(&PostParams::default(), &configmap("before")).await.unwrap();
    for config in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        let mut seen = watcher(api.clone(), config).applied_objects().boxed();
        assert_eq!(seen.try_next().await.unwrap().unwrap().metadata.name.unwrap(), "before");
        for at in 0..20 {
            let name = format!("n{at}");
            api.create(&PostParams::default(), &configmap(&name)).await.unwrap();
            assert_eq!(seen.try_next().await.unwrap().unwrap().metadata.name.unwrap(), name);
        }
        api.delete_collection(&DeleteParams::default(), &ListParams::default().fields("metadata.name!=before"))
            .await
            .unwrap();
    }
    server.shutdown().await;
}

#[tokio::test]
async fn pods_pass() {
    let server = common::server().await;
    let client = kube::Client::new(server.clone(), "default");
    let api: Api<Pod> = Api::default_namespaced(client);
    let pod: Pod = serde_json::from_value(json!({
        "metadata": { "generateName": "web-" }, "spec": { "containers": [{ "name": "c", "image": "i" }] },
    }))
    .unwrap();
    let created = api.create(&PostParams::default(), &pod).await.unwrap();
    let name = created.metadata.name.unwrap();
    assert!(name.starts_with("web-") && name.len() == 9);
    let patch = json!({ "spec": { "containers": [{ "name": "c", "image": "j" }] } });
    let patched = api.patch(&name, &PatchParams::default(), &Patch::Strategic(patch)).await.unwrap();
    assert_eq!(patched.spec.unwrap().containers[0].image.as_deref(), Some("j"));
    server.shutdown().await;
}
