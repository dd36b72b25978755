//! Devices: what is written of them before a pod is bound.

use std::sync::Arc;

use http::Method;
use kubewright_scheduler::driver::{DriverConfig, MetricsRegistry};
use serde_json::{Value, json};

use crate::fake::{DEVICE_CLAIMS, FakeApi};
use crate::{NODES, PODS, asks, put_pod, run, small, start, start_as, until_bound, until_event};

/// A node with this device of class `gpu`, which is also an extended resource.
fn with_device(device: Value) -> FakeApi {
    let api = FakeApi::new();
    api.put(NODES, small("n").json().clone());
    let class = json!({"metadata": {"name": "gpu", "uid": "gpu"}, "spec": {"extendedResourceName": "example.com/gpu"}});
    api.put("/apis/resource.k8s.io/v1/deviceclasses", class);
    let slice = json!({"metadata": {"name": "s", "uid": "s"}, "spec": {"driver": "d", "nodeName": "n",
        "pool": {"name": "n", "generation": 1, "resourceSliceCount": 1}, "devices": [device]}});
    api.put("/apis/resource.k8s.io/v1/resourceslices", slice);
    api
}

fn put_claim(api: &FakeApi) {
    put_claim_named(api, "c");
}

fn put_claim_named(api: &FakeApi, name: &str) {
    let requests = json!([{"name": "r", "exactly": {"deviceClassName": "gpu"}}]);
    let claim = json!({"metadata": {"name": name, "namespace": "default", "uid": name},
        "spec": {"devices": {"requests": requests}}});
    api.put(DEVICE_CLAIMS, claim);
}

fn use_claim(api: &FakeApi, pod: &str) {
    use_claim_named(api, pod, "c");
}

fn use_claim_named(api: &FakeApi, pod: &str, claim: &str) {
    let claims = json!([{"name": "gpus", "resourceClaimName": claim}]);
    put_pod(api, &asks(pod, "1").spec("resourceClaims", claims));
}

#[test]
fn devices_are_noted_on_the_claim_before_its_pod_is_bound() {
    run(async {
        let api = with_device(json!({"name": "gpu-0"}));
        put_claim(&api);
        let driver = start(&api, DriverConfig::default());
        use_claim(&api, "p");
        assert_eq!(until_bound(&api, "p").await, "n");
        let claim = api.get(DEVICE_CLAIMS, "c").unwrap();
        let result = json!({"request": "r", "driver": "d", "pool": "n", "device": "gpu-0"});
        assert_eq!(claim["status"]["allocation"]["devices"]["results"], json!([result]));
        assert!(claim["status"]["allocation"]["allocationTimestamp"].is_string());
        assert_eq!(claim["status"]["reservedFor"][0]["uid"], "p");
        assert_eq!(claim["metadata"]["finalizers"][0], "resource.kubernetes.io/delete-protection");
        use_claim(&api, "q");
        assert_eq!(until_bound(&api, "q").await, "n");
        assert_eq!(api.get(DEVICE_CLAIMS, "c").unwrap()["status"]["reservedFor"][1]["uid"], "q", "a claim is shared");
        driver.stop().await.unwrap();
    });
}

#[test]
fn a_claim_is_made_for_devices_asked_for_as_an_extended_resource() {
    run(async {
        let (api, metrics) = (with_device(json!({"name": "gpu-0"})), Arc::new(MetricsRegistry::default()));
        let driver = start_as(&api, DriverConfig::default(), "default-scheduler", &metrics);
        put_pod(&api, &asks("p", "1").requests(&[("example.com/gpu", "1")]));
        assert_eq!(until_bound(&api, "p").await, "n");
        let made = &api.calls(&Method::POST, "/resourceclaims")[0];
        assert_eq!(made["metadata"]["generateName"], "p-extended-resources-");
        assert_eq!(made["metadata"]["annotations"], json!({"resource.kubernetes.io/extended-resource-claim": "true"}));
        assert_eq!(made["metadata"]["ownerReferences"][0]["uid"], "p");
        let exactly = json!({"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1});
        assert_eq!(made["spec"]["devices"]["requests"], json!([{"name": "container-1-request-0", "exactly": exactly}]));
        let told = api.get(PODS, "p").unwrap()["status"]["extendedResourceClaimStatus"].clone();
        let mapping =
            json!({"containerName": "c", "resourceName": "example.com/gpu", "requestName": "container-1-request-0"});
        assert_eq!(told["requestMappings"], json!([mapping]));
        let claim = api.get(DEVICE_CLAIMS, told["resourceClaimName"].as_str().unwrap()).unwrap();
        assert_eq!(claim["status"]["allocation"]["devices"]["results"][0]["device"], "gpu-0");
        assert_eq!(claim["status"]["reservedFor"][0]["uid"], "p");
        let created = "scheduler_resourceclaim_creates_total{status=\"success\"} 1";
        assert!(metrics.render().contains(created), "{}", metrics.render());
        driver.stop().await.unwrap();
    });
}

#[test]
fn a_claim_that_was_made_goes_when_the_binding_fails() {
    run(async {
        let api = with_device(json!({"name": "gpu-0"}));
        api.fail_next("/binding", 500, "not now");
        let driver = start(&api, DriverConfig::default());
        put_pod(&api, &asks("p", "1").requests(&[("example.com/gpu", "1")]));
        assert_eq!(until_bound(&api, "p").await, "n");
        assert_eq!(api.calls(&Method::POST, "/resourceclaims").len(), 2);
        assert_eq!(api.calls(&Method::DELETE, "/resourceclaims").len(), 1);
        driver.stop().await.unwrap();
    });
}

fn slow() -> Value {
    json!({"name": "gpu-0", "bindingConditions": ["ready"], "bindingFailureConditions": ["broken"]})
}

/// The driver of the devices says how one of them is.
async fn report(api: &FakeApi, condition: &str) {
    let allocated = |api: &FakeApi| {
        let claim = api.get(DEVICE_CLAIMS, "c")?;
        (!claim["status"]["allocation"].is_null()).then_some(claim)
    };
    let mut claim = api.until("an allocation", allocated).await;
    assert_eq!(claim["status"]["allocation"]["devices"]["results"][0]["bindingConditions"], json!(["ready"]));
    claim["status"]["devices"] = json!([{"driver": "d", "pool": "n", "device": "gpu-0",
        "conditions": [{"type": condition, "status": "True", "reason": "Done", "message": "told"}]}]);
    api.put(DEVICE_CLAIMS, claim);
}

#[test]
fn a_pod_is_bound_when_its_devices_are_ready() {
    run(async {
        let (api, metrics) = (with_device(slow()), Arc::new(MetricsRegistry::default()));
        put_claim(&api);
        let driver = start_as(&api, DriverConfig::default(), "default-scheduler", &metrics);
        use_claim(&api, "p");
        let event = until_event(&api, "BindingConditionsPending").await;
        assert_eq!(event["note"], "waiting for binding conditions for device on node n");
        assert!(api.calls(&Method::POST, "/binding").is_empty());
        report(&api, "ready").await;
        assert_eq!(until_bound(&api, "p").await, "n");
        let line = "scheduler_dra_bindingconditions_allocations_total\
                    {driver=\"d\",profile=\"default-scheduler\",status=\"success\"} 1";
        assert!(metrics.render().contains(line), "{}", metrics.render());
        driver.stop().await.unwrap();
    });
}

#[test]
fn a_claim_whose_devices_broke_is_free_again() {
    run(async {
        let api = with_device(slow());
        put_claim(&api);
        let driver = start(&api, DriverConfig::default());
        use_claim(&api, "p");
        report(&api, "broken").await;
        let event = until_event(&api, "FailedScheduling").await;
        let why = "device binding failed: claim=c, reason=Done, message=\"told\"";
        assert_eq!(event["note"], why);
        let freed = |api: &FakeApi| {
            let writes = api.calls(&Method::PUT, "/resourceclaims/c/status");
            writes.into_iter().find(|claim| claim["status"]["allocation"].is_null())
        };
        api.until("its devices are taken away", freed).await;
        report(&api, "ready").await;
        assert_eq!(until_bound(&api, "p").await, "n");
        driver.stop().await.unwrap();
    });
}

#[test]
fn devices_that_the_server_knows_of_stay_taken_when_binding_fails() {
    run(async {
        let api = with_device(json!({"name": "gpu-0"}));
        put_claim_named(&api, "c");
        put_claim_named(&api, "d");
        let driver = start(&api, DriverConfig::default());
        put_pod(&api, &asks("before", "100m"));
        until_bound(&api, "before").await;
        api.mute(DEVICE_CLAIMS);
        api.fail_next("/pods/p/binding", 500, "etcdserver: request timed out");
        use_claim_named(&api, "p", "c");
        until_event(&api, "FailedScheduling").await;
        use_claim_named(&api, "q", "d");
        assert_eq!(until_bound(&api, "p").await, "n");
        tokio::time::sleep(std::time::Duration::from_secs(60)).await;
        let second = api.get(DEVICE_CLAIMS, "d").unwrap();
        assert!(second["status"]["allocation"].is_null(), "the device is taken: {second}");
        driver.stop().await.unwrap();
    });
}
