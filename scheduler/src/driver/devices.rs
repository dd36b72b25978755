//! Claims to devices: saying what they got, and for whom.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use kube::Client;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answers::Answers;
use super::api::{CallError, Caller, JSON, STRATEGIC, call, call_patiently, whole_second};
use crate::object::{
    DeviceAllocation, DeviceClaim, DeviceRequest, ExtendedDevices, GivenDevice, Name, NodeSelector, PodInfo,
    RequestMapping, Time,
};

/// How often a claim is read again when somebody else has changed it meanwhile.
const TRIES: usize = 4;
/// How long between looks at devices that are being made ready.
const PAUSE: Duration = Duration::from_secs(5);
const FINALIZER: &str = "resource.kubernetes.io/delete-protection";

fn conflict(message: String) -> CallError {
    CallError { code: 409, message }
}

fn selector(nodes: &NodeSelector) -> Value {
    let term = |term: &crate::object::NodeSelectorTerm| {
        let mut shown = json!({});
        if !term.match_expressions.is_empty() {
            shown["matchExpressions"] = json!(term.match_expressions);
        }
        if !term.match_fields.is_empty() {
            shown["matchFields"] = json!(term.match_fields);
        }
        shown
    };
    json!({"nodeSelectorTerms": nodes.node_selector_terms.iter().map(term).collect::<Vec<_>>()})
}

fn allocated(allocation: &DeviceAllocation) -> Value {
    let result = |given: &GivenDevice| {
        let GivenDevice { request, id, admin_access, share, readying, tolerations } = given;
        let mut result = json!({"request": request, "driver": id.driver, "pool": id.pool, "device": id.device});
        if *admin_access {
            result["adminAccess"] = json!(true);
        }
        if let Some(share) = share {
            result["shareID"] = json!(share.id);
            result["consumedCapacity"] = json!(share.consumed);
        }
        if readying.is_needed() {
            result["bindingConditions"] = json!(readying.conditions);
        }
        if !readying.failures.is_empty() {
            result["bindingFailureConditions"] = json!(readying.failures);
        }
        if !tolerations.is_empty() {
            result["tolerations"] = json!(tolerations);
        }
        result
    };
    let results: Vec<Value> = allocation.devices.iter().map(result).collect();
    let mut shown = json!({"devices": {"results": results}});
    if !allocation.config.is_empty() {
        shown["devices"]["config"] = json!(allocation.config);
    }
    if let Some(nodes) = &allocation.nodes {
        shown["nodeSelector"] = selector(nodes);
    }
    shown
}

fn claim_path(namespace: &str, name: &str) -> String {
    format!("{}/{name}", claims_path(namespace))
}

fn claims_path(namespace: &str) -> String {
    format!("/apis/resource.k8s.io/v1/namespaces/{namespace}/resourceclaims")
}

/// The claims that were written for a pod while it is being bound.
#[derive(Default)]
pub(super) struct Held {
    reserved: Vec<(Name, Name, Name)>,
    pod: Name,
    made: Option<(Name, Name)>,
}

impl Held {
    /// Notes on a claim which devices it got, if it has none yet, and that a pod uses it.
    pub(super) async fn reserve(
        &mut self,
        caller: &Caller,
        claim: &DeviceClaim,
        allocation: Option<&DeviceAllocation>,
        pod: &PodInfo,
        answers: &mut Answers,
    ) -> Result<(), CallError> {
        let result = reserve(&caller.client, claim, allocation, pod, caller.clock.now()).await;
        // Where nobody knows whether the server took it, giving it back tells.
        if result.as_ref().err().is_none_or(CallError::is_unsure) {
            self.pod = pod.uid.clone();
            self.reserved.push((claim.namespace.clone(), claim.name.clone(), claim.uid.clone()));
        }
        note(&result?, answers);
        Ok(())
    }

    /// Makes the claim for a pod that asks for devices as extended resources.
    pub(super) async fn make(
        &mut self,
        caller: &Caller,
        devices: &ExtendedDevices,
        allocation: &DeviceAllocation,
        pod: &PodInfo,
    ) -> Result<(), CallError> {
        let client = &caller.client;
        let made = call(client, Method::POST, &claims_path(&pod.namespace), JSON, &new_claim(devices, pod)).await;
        let status = if made.is_ok() { "success" } else { "failure" };
        caller.metrics.count("resourceclaim_creates_total", &[("status", status)], 1);
        let made = made.map_err(|error| CallError {
            message: format!(
                "create claim for extended resources {}/<extended-resources>: {}",
                pod.namespace, error.message
            ),
            ..error
        })?;
        let claim = DeviceClaim::deserialize(&made).map_err(|error| conflict(error.to_string()))?;
        self.made = Some((claim.namespace.clone(), claim.name.clone()));
        reserve(client, &claim, Some(allocation), pod, caller.clock.now()).await?;
        let mapping = |own: &RequestMapping| json!({"containerName": own.container, "resourceName": own.resource, "requestName": own.request});
        let mappings: Vec<Value> = devices.mappings.iter().map(mapping).collect();
        let told = json!({"requestMappings": mappings, "resourceClaimName": claim.name});
        let patch = json!({"metadata": {"uid": pod.uid}, "status": {"extendedResourceClaimStatus": told}});
        let path = format!("/api/v1/namespaces/{}/pods/{}/status", pod.namespace, pod.name);
        call_patiently(client, Method::PATCH, &path, STRATEGIC, &patch).await.map(drop)
    }

    /// Waits until the devices of claims are ready.
    pub(super) async fn await_ready(
        &self,
        caller: &Caller,
        claims: &[Arc<DeviceClaim>],
        extended: bool,
        pod: &PodInfo,
        timeout: Duration,
    ) -> Result<(), CallError> {
        let named = claims.iter().map(|claim| (claim.namespace.clone(), claim.name.clone()));
        let named: Vec<(Name, Name)> = named.chain(self.made.clone().filter(|_| extended)).collect();
        let start = caller.clock.now();
        let mut drivers = Vec::new();
        let looked = tokio::time::timeout(timeout, look(caller, &named, timeout, &mut drivers)).await;
        let late = || Err(conflict("device binding timeout: context deadline exceeded".to_owned()));
        let result = looked.unwrap_or_else(|_| late());
        let status = match &result {
            Ok(()) => "success",
            Err(error) if error.message.starts_with("device binding timeout") => "timeout",
            Err(error) if error.message.starts_with("device binding failed") => "failure",
            Err(_) => "error",
        };
        let took = caller.clock.now().duration_since(start).as_secs_f64();
        for (driver, waited_for) in drivers {
            let labels =
                [("driver", driver.as_str()), ("profile", pod.spec.scheduler_name.as_str()), ("status", status)];
            caller.metrics.observe("dra_bindingconditions_wait_duration_seconds", &labels, took);
            if waited_for {
                caller.metrics.count("dra_bindingconditions_allocations_total", &labels, 1);
            }
        }
        result
    }

    /// The pod is not bound after all: its claims are free for others, and the one that was made for it goes.
    pub(super) async fn give_back(self, caller: &Caller, answers: &mut Answers) {
        for (namespace, name, uid) in &self.reserved {
            let gone = json!([{"$patch": "delete", "uid": self.pod}]);
            let patch = json!({"metadata": {"uid": uid}, "status": {"reservedFor": gone}});
            let path = format!("{}/status", claim_path(namespace, name));
            match call_patiently(&caller.client, Method::PATCH, &path, STRATEGIC, &patch).await {
                Ok(now) => note(&now, answers),
                Err(error) => {
                    tracing::warn!(claim = %name, error.message, "a claim could not be given back; the next attempt will");
                }
            }
        }
        if let Some((namespace, name)) = &self.made
            && let Err(error) = remove(&caller.client, namespace, name).await
        {
            tracing::warn!(claim = %name, error.message, "a claim could not be removed; the next attempt will");
        }
    }
}

/// Notes what a claim is like now: it keeps its devices though the pod is not bound.
fn note(now: &Value, answers: &mut Answers) {
    match DeviceClaim::deserialize(now) {
        Ok(claim) => answers.device_claim(claim),
        Err(error) => tracing::warn!(%error, "the answer about a claim makes no sense"),
    }
}

/// Looks at claims until all of their devices are ready. Tells of which drivers they are and whether they were waited for.
async fn look(
    caller: &Caller,
    named: &[(Name, Name)],
    timeout: Duration,
    drivers: &mut Vec<(Name, bool)>,
) -> Result<(), CallError> {
    loop {
        let mut waits = false;
        drivers.clear();
        for (namespace, name) in named {
            let path = claim_path(namespace, name);
            let found = call_patiently(&caller.client, Method::GET, &path, JSON, &Value::Null).await?;
            let claim = DeviceClaim::deserialize(&found).map_err(|error| conflict(error.to_string()))?;
            let given = claim.allocation.iter().flat_map(|allocation| &allocation.devices);
            drivers.extend(given.map(|given| (given.id.driver.clone(), given.readying.is_needed())));
            if !claim.is_ready().map_err(conflict)? {
                if claim.is_overdue(timeout, caller.clock.now()) {
                    return Err(conflict(format!("device binding timeout: claim={name}")));
                }
                waits = true;
            }
        }
        if !waits {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The claim for a pod that asks for devices as extended resources.
fn new_claim(devices: &ExtendedDevices, pod: &PodInfo) -> Value {
    let request = |own: &DeviceRequest| {
        let exactly = json!({"deviceClassName": own.class, "allocationMode": "ExactCount", "count": own.count});
        json!({"name": own.name, "exactly": exactly})
    };
    let requests: Vec<Value> = devices.requests.iter().map(request).collect();
    let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": pod.name, "uid": pod.uid, "controller": true});
    json!({
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": {
            "generateName": format!("{}-extended-resources-", pod.name),
            "namespace": pod.namespace,
            "annotations": {DeviceClaim::EXTENDED: "true"},
            "ownerReferences": [owner],
        },
        "spec": {"devices": {"requests": requests}},
    })
}

/// Takes a claim's devices away from it.
pub(super) async fn free(client: &Client, claim: &DeviceClaim) -> Result<(), CallError> {
    let path = claim_path(&claim.namespace, &claim.name);
    let mut now = call(client, Method::GET, &path, JSON, &Value::Null).await?;
    let users = now["status"]["reservedFor"].as_array().cloned().unwrap_or_default();
    let is_new = |user: &Value| !claim.reserved_for.iter().any(|known| user["uid"] == json!(known));
    if now["metadata"]["uid"] != json!(claim.uid) || users.iter().any(is_new) {
        return Ok(());
    }
    now["status"] = json!({});
    call(client, Method::PUT, &format!("{path}/status"), JSON, &now).await.map(drop)
}

/// Removes a claim, which nothing holds back any more.
pub(super) async fn remove(client: &Client, namespace: &str, name: &str) -> Result<(), CallError> {
    let path = claim_path(namespace, name);
    let gone = |error: &CallError| error.code == CallError::NOT_FOUND;
    for _ in 0..TRIES {
        let mut now = match call(client, Method::GET, &path, JSON, &Value::Null).await {
            Err(error) if gone(&error) => return Ok(()),
            result => result?,
        };
        let finalizers = now["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
        now["metadata"]["finalizers"] = finalizers.into_iter().filter(|own| *own != json!(FINALIZER)).collect();
        match call(client, Method::PUT, &path, JSON, &now).await {
            Err(error) if error.code == 409 => continue,
            Err(error) if gone(&error) => return Ok(()),
            result => result?,
        };
        let options = json!({"apiVersion": "v1", "kind": "DeleteOptions"});
        return match call_patiently(client, Method::DELETE, &path, JSON, &options).await {
            Err(error) if gone(&error) => Ok(()),
            result => result.map(drop),
        };
    }
    Err(conflict(format!("resource claim {name} keeps changing")))
}

async fn reserve(
    client: &Client,
    claim: &DeviceClaim,
    allocation: Option<&DeviceAllocation>,
    pod: &PodInfo,
    now: Time,
) -> Result<Value, CallError> {
    let mut last = None;
    for _ in 0..TRIES {
        match try_reserve(client, claim, allocation, pod, now).await {
            Err(error) if error.code == 409 => last = Some(error),
            other => return other,
        }
    }
    Err(last.unwrap_or_else(|| conflict(format!("resource claim {} keeps changing", claim.name))))
}

async fn try_reserve(
    client: &Client,
    claim: &DeviceClaim,
    allocation: Option<&DeviceAllocation>,
    pod: &PodInfo,
    time: Time,
) -> Result<Value, CallError> {
    let path = claim_path(&claim.namespace, &claim.name);
    let mut now = call(client, Method::GET, &path, JSON, &Value::Null).await?;
    if now["metadata"]["uid"] != json!(claim.uid) || !now["metadata"]["deletionTimestamp"].is_null() {
        let message = format!("claim {} got deleted in the meantime", claim.name);
        return Err(CallError { code: 410, message });
    }
    let expected = allocation.map(allocated);
    if let Some(expected) = &expected {
        if now["status"]["allocation"].is_null() {
            now = protect(client, &path, now).await?;
            now["status"]["allocation"] = expected.clone();
        } else if now["status"]["allocation"]["devices"]["results"] != expected["devices"]["results"] {
            let message = format!("claim {} got allocated elsewhere in the meantime", claim.name);
            return Err(CallError { code: 410, message });
        }
    } else if now["status"]["allocation"].is_null() {
        let message = format!("claim {} got deallocated elsewhere in the meantime", claim.name);
        return Err(CallError { code: 410, message });
    }
    if now["status"]["allocation"]["allocationTimestamp"].is_null() {
        now["status"]["allocation"]["allocationTimestamp"] = json!(whole_second(time).to_string());
    }
    let mut consumers = now["status"]["reservedFor"].as_array().cloned().unwrap_or_default();
    if consumers.iter().any(|consumer| consumer["uid"] == json!(pod.uid)) {
        return Ok(now);
    }
    consumers.push(json!({"resource": "pods", "name": pod.name, "uid": pod.uid}));
    now["status"]["reservedFor"] = consumers.into();
    call(client, Method::PUT, &format!("{path}/status"), JSON, &now).await
}

/// Keeps a claim from going while it has devices.
async fn protect(client: &Client, path: &str, mut now: Value) -> Result<Value, CallError> {
    let mut finalizers = now["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    if finalizers.contains(&json!(FINALIZER)) {
        return Ok(now);
    }
    finalizers.push(json!(FINALIZER));
    now["metadata"]["finalizers"] = finalizers.into();
    call(client, Method::PUT, path, JSON, &now).await
}
