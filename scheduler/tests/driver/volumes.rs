//! Volumes: what is written of them before a pod is bound.

use http::Method;
use kubewright_scheduler::driver::DriverConfig;
use serde_json::{Value, json};

use crate::fake::{CLAIMS, FakeApi};
use crate::{NODES, PODS, asks, put_pod, run, small, start, until_bound, until_event};

const VOLUMES: &str = "/api/v1/persistentvolumes";

fn volume() -> Value {
    json!({"metadata": {"name": "v", "uid": "v"}, "status": {"phase": "Available"},
        "spec": {"storageClassName": "local", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}}})
}

fn claim() -> Value {
    json!({"metadata": {"name": "c", "namespace": "default", "uid": "c"},
        "spec": {"storageClassName": "local", "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}}}})
}

/// A node, a volume, and a claim that waits for a pod.
fn with_volume() -> FakeApi {
    let api = FakeApi::new();
    api.put(NODES, small("n").json().clone());
    let class = json!({"metadata": {"name": "local", "uid": "local"}, "volumeBindingMode": "WaitForFirstConsumer",
        "provisioner": "kubernetes.io/no-provisioner"});
    api.put("/apis/storage.k8s.io/v1/storageclasses", class);
    api.put(VOLUMES, volume());
    api.put(CLAIMS, claim());
    api
}

fn bind_claim(api: &FakeApi) {
    let mut claim = claim();
    claim["spec"]["volumeName"] = json!("v");
    claim["metadata"]["annotations"] = json!({"pv.kubernetes.io/bind-completed": "yes"});
    api.put(CLAIMS, claim);
}

async fn until_kept(api: &FakeApi) -> Value {
    let kept = |api: &FakeApi| api.calls(&Method::PATCH, "/persistentvolumes/v").into_iter().next();
    api.until("the volume is kept", kept).await
}

#[test]
fn a_claim_that_waits_is_given_a_volume_before_its_pod_is_bound() {
    run(async {
        let api = with_volume();
        let driver = start(&api, DriverConfig::default());
        put_pod(&api, &asks("p", "1").claims(&["c"]));
        let kept = |api: &FakeApi| api.calls(&Method::PATCH, "/persistentvolumes/v").into_iter().next();
        let patch = api.until("the volume is kept", kept).await;
        assert_eq!((&patch["spec"]["claimRef"]["name"], &patch["spec"]["claimRef"]["uid"]), (&json!("c"), &json!("c")));
        assert!(api.calls(&Method::POST, "/binding").is_empty(), "the pod waits for its volume");
        bind_claim(&api);
        assert_eq!(until_bound(&api, "p").await, "n");
        driver.stop().await.unwrap();
    });
}

#[test]
fn a_volume_that_somebody_else_took_is_not_taken_from_them() {
    run(async {
        let api = with_volume();
        let driver = start(&api, DriverConfig::default());
        put_pod(&api, &asks("before", "1"));
        until_bound(&api, "before").await;
        api.mute(VOLUMES);
        let mut taken = volume();
        taken["spec"]["claimRef"] = json!({"name": "other", "namespace": "default", "uid": "other"});
        api.put(VOLUMES, taken.clone());
        put_pod(&api, &asks("p", "1").claims(&["c"]));
        assert_eq!(until_event(&api, "FailedScheduling").await["note"], "the object has been modified");
        assert_eq!(api.get(VOLUMES, "v").unwrap()["spec"], taken["spec"]);
        driver.stop().await.unwrap();
    });
}

#[test]
fn a_volume_that_its_owner_kept_for_a_claim_is_not_marked_as_the_controllers() {
    run(async {
        let api = with_volume();
        let mut own = volume();
        own["spec"]["claimRef"] = json!({"name": "c", "namespace": "default"});
        api.put(VOLUMES, own);
        let driver = start(&api, DriverConfig::default());
        put_pod(&api, &asks("p", "1").claims(&["c"]));
        let patch = until_kept(&api).await;
        assert_eq!((&patch["spec"]["claimRef"]["uid"], &patch["metadata"]["annotations"]), (&json!("c"), &Value::Null));
        bind_claim(&api);
        until_bound(&api, "p").await;
        driver.stop().await.unwrap();
    });
}

#[test]
fn a_lost_answer_about_a_volume_is_looked_up() {
    run(async {
        let api = with_volume();
        let driver = start(&api, DriverConfig::default());
        put_pod(&api, &asks("before", "1"));
        until_bound(&api, "before").await;
        api.mute(VOLUMES);
        let mut ours = volume();
        ours["spec"]["claimRef"] = json!({"name": "c", "namespace": "default", "uid": "c"});
        api.put(VOLUMES, ours);
        put_pod(&api, &asks("p", "1").claims(&["c"]));
        until_kept(&api).await;
        bind_claim(&api);
        assert_eq!(until_bound(&api, "p").await, "n", "what is written is what was to be written");
        driver.stop().await.unwrap();
    });
}

#[test]
fn a_pod_that_waits_for_its_volume_makes_room_without_being_deleted() {
    run(async {
        let api = with_volume();
        let driver = start(&api, DriverConfig::default());
        put_pod(&api, &asks("low", "2").claims(&["c"]));
        until_kept(&api).await;
        put_pod(&api, &asks("high", "2").priority(100));
        let note = until_event(&api, "Preempted").await["note"].clone();
        assert_eq!(note, "Preempted by pod high on node n (in kube-scheduler memory).");
        assert_eq!(until_bound(&api, "high").await, "n");
        assert!(api.calls(&Method::DELETE, "/pods/low").is_empty());
        let low = api.get(PODS, "low").expect("it is still there");
        assert!(low["spec"]["nodeName"].is_null());
        driver.stop().await.unwrap();
    });
}
