//! Who may be taken for gone.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kubewright::testing::TestCluster;
use serde_json::{Value, json};

fn map(name: &str, owners: Value) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name, "ownerReferences": owners}})).expect("a sound object")
}

fn owned_by(name: &str, uid: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid})
}

/// A reference says where its owner is, and may lie: that there is none at that place tells nothing of other places.
#[tokio::test(start_paused = true)]
async fn an_owner_that_is_not_here_may_be_elsewhere() {
    let cluster = TestCluster::builder().controllers(["garbage-collector-controller"]).start().await.unwrap();
    cluster.apply("{apiVersion: v1, kind: Namespace, metadata: {name: evil}}").await.unwrap();
    let here: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    let evil: Api<ConfigMap> = Api::namespaced(cluster.client(), "evil");
    let create = PostParams::default();
    let uid = here.create(&create, &map("owner", json!([]))).await.unwrap().uid().unwrap();
    here.create(&create, &map("kept", json!([owned_by("owner", &uid)]))).await.unwrap();
    evil.create(&create, &map("liar", json!([owned_by("none", &uid)]))).await.unwrap();
    cluster.advance(Duration::from_secs(60)).await;
    // Whoever's owners change is looked at again.
    let both = |name: &str| json!([owned_by(name, &uid), owned_by("gone", "1-2-3")]);
    let look_at = async |maps: &Api<ConfigMap>, name: &str, owner: &str| {
        let owners = json!({"metadata": {"ownerReferences": both(owner)}});
        maps.patch(name, &PatchParams::default(), &Patch::Merge(owners)).await.map(drop)
    };
    if evil.get_opt("liar").await.unwrap().is_some() {
        look_at(&evil, "liar", "none").await.unwrap();
        cluster.advance(Duration::from_secs(60)).await;
    }
    assert!(evil.get_opt("liar").await.unwrap().is_none(), "its owner is not where it says");
    look_at(&here, "kept", "owner").await.unwrap();
    cluster.advance(Duration::from_secs(60)).await;
    let kept = here.get_opt("kept").await.unwrap().expect("its owner is there");
    assert_eq!(kept.owner_references().len(), 1, "the one that is gone was taken out");
    cluster.stop().await;
}
