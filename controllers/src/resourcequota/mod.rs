//! Keeps account of what is used of resource quotas.

mod usage;

pub use usage::{PodUse, used};

use usage::counts_claim;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kubewright_api::quantity::{Format, Quantity};
use kubewright_api::quota::{OF_DEVICE_CLASS, OF_STORAGE_CLASS, of_resource_claim, of_volume_claim};
use kubewright_api::requests::{ResourceList, add};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::Error;
use crate::api::{Api, METADATA_LIST};
use crate::cache::Cache;
use crate::discovery::{Served, discover};
use crate::manager::{AsyncController, Config, Environment, Made, Setup};
use crate::objects::{ObjectKey, Pod, QuotaScope, ResourceQuota, kinds};
use crate::plan::merge_patch;

const JSON: &str = "application/json";
/// How long after a pod's change its quotas are counted: many changes are counted once.
const SETTLE: Duration = Duration::from_millis(500);
/// How often everything is counted though no pod changed.
const PERIOD: Duration = Duration::from_secs(60);
/// Objects that are counted under their plain names.
const PLAIN: [&str; 6] =
    ["configmaps", "secrets", "services", "persistentvolumeclaims", "replicationcontrollers", "resourcequotas"];
/// Where a namespace's resource claims are.
const RESOURCE_CLAIMS: &str = "/apis/resource.k8s.io/v1/namespaces";

struct QuotaController {
    quotas: Arc<Cache<ResourceQuota>>,
}

pub(crate) fn make(setup: &Setup<'_>, _: &Config) -> Result<Option<Made>, Error> {
    setup.reconcile_each::<ResourceQuota>();
    let quotas = setup.cache::<ResourceQuota>();
    let controller = QuotaController { quotas: Arc::clone(&quotas) };
    setup.on::<Pod>(move |change, queue| {
        let counts = |pod: &Pod| (pod.finished(), pod.metadata.deleting());
        if change.old.as_deref().map(counts) != change.new.as_deref().map(counts)
            && let Some(pod) = change.latest()
        {
            let here = quotas.in_namespace(&pod.metadata.namespace);
            here.iter().for_each(|quota| queue.add_after(quota.metadata.key(), SETTLE));
        }
    });
    Ok(Some(Made::Async(Box::new(controller))))
}

#[async_trait]
impl AsyncController for QuotaController {
    async fn reconcile(&self, key: &ObjectKey, environment: &Environment) -> Result<Option<Duration>, Error> {
        let api = &environment.applier.api;
        // Upstream's role lets the account list and watch quotas, not get them. Should this one be an old one, then so
        // is the version that the patch below names.
        let Some(quota) = self.quotas.get(key).filter(|quota| !quota.metadata.deleting()) else { return Ok(None) };
        let pods: Vec<PodUse> = list(api, &kinds::POD.path(&key.namespace), JSON).await?;
        let counts = counts(api, &quota, &key.namespace).await?;
        let used = used(&quota, &pods, &counts, (environment.applier.clock)());
        let old = json!({"hard": quota.status.hard, "used": quota.status.used});
        if let Some(difference) = merge_patch(&old, &json!({"hard": quota.spec.hard, "used": used})) {
            let version = &quota.metadata.resource_version;
            let body = json!({"metadata": {"resourceVersion": version}, "status": difference});
            let answer = api.patch(kinds::RESOURCE_QUOTA, key, "status", &body).await?;
            environment.applier.caches.absorb(kinds::RESOURCE_QUOTA, &answer);
        }
        Ok(Some(PERIOD))
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Named {}

/// How many objects there are of each sort that the quota limits, and what services and claims ask for.
async fn counts(api: &Api, quota: &ResourceQuota, namespace: &str) -> Result<ResourceList, Error> {
    let scopes = quota.spec.all_scopes();
    if !scopes.is_empty() {
        return scoped_counts(api, &scopes, namespace).await;
    }
    let mut counts = BTreeMap::new();
    let limited = |name: &str| quota.spec.hard.contains_key(name);
    let wanted = |name: &str| limited(name) || limited(&format!("count/{name}"));
    let mut served: Option<Vec<Served>> = None;
    let generic = quota.spec.hard.keys().filter_map(|name| name.strip_prefix("count/"));
    let names: Vec<&str> = PLAIN.into_iter().filter(|name| wanted(name)).chain(generic).collect();
    for name in names {
        if served.is_none() {
            served = Some(discover(api).await?.once());
        }
        let (plural, group) = name.split_once('.').unwrap_or((name, ""));
        let known = served.iter().flatten().find(|served| served.plural == plural && served.group == group);
        let Some(known) = known.filter(|served| served.namespaced && served.can("list")) else { continue };
        let objects: Vec<Named> = list(api, &known.path(namespace), METADATA_LIST).await?;
        let count = Quantity::new(i64::try_from(objects.len()).unwrap_or(i64::MAX), Format::DecimalSi);
        counts.insert(format!("count/{name}"), count);
        if group.is_empty() {
            counts.insert(name.to_owned(), count);
        }
    }
    if limited("services.nodeports") || limited("services.loadbalancers") {
        let services: Vec<Value> = list(api, &kinds::SERVICE.path(namespace), JSON).await?;
        let ports = services.iter().flat_map(|service| service["spec"]["ports"].as_array().into_iter().flatten());
        let node_ports = ports.filter(|port| port["nodePort"].as_i64().is_some_and(|port| port != 0)).count();
        let balanced = services.iter().filter(|service| service["spec"]["type"] == "LoadBalancer").count();
        for (name, count) in [("services.nodeports", node_ports), ("services.loadbalancers", balanced)] {
            counts.insert(name.to_owned(), Quantity::new(i64::try_from(count).unwrap_or(i64::MAX), Format::DecimalSi));
        }
    }
    let by_class = quota.spec.hard.keys().any(|name| name.contains(OF_STORAGE_CLASS));
    if limited("requests.storage") || by_class {
        let claims: Vec<Value> = list(api, &kinds::PERSISTENT_VOLUME_CLAIM.path(namespace), JSON).await?;
        claims.iter().for_each(|claim| add(&mut counts, &of_volume_claim(claim)));
    }
    if quota.spec.hard.keys().any(|name| name.ends_with(OF_DEVICE_CLASS)) {
        let claims: Vec<Value> = list(api, &format!("{RESOURCE_CLAIMS}/{namespace}/resourceclaims"), JSON).await?;
        claims.iter().for_each(|claim| add(&mut counts, &of_resource_claim(claim)));
    }
    Ok(counts)
}

/// What a quota with scopes counts besides pods: claims of a class.
async fn scoped_counts(api: &Api, scopes: &[QuotaScope], namespace: &str) -> Result<ResourceList, Error> {
    let mut counts = BTreeMap::new();
    if !scopes.iter().all(|scope| scope.scope_name == "VolumeAttributesClass") {
        return Ok(counts);
    }
    let claims: Vec<Value> = list(api, &kinds::PERSISTENT_VOLUME_CLAIM.path(namespace), JSON).await?;
    let one = Quantity::new(1, Format::DecimalSi);
    for claim in claims.iter().filter(|claim| counts_claim(scopes, claim)) {
        add(&mut counts, &of_volume_claim(claim));
        let itself = ["persistentvolumeclaims", "count/persistentvolumeclaims"].map(|name| (name.to_owned(), one));
        add(&mut counts, &ResourceList::from(itself));
    }
    Ok(counts)
}

async fn list<K: DeserializeOwned>(api: &Api, path: &str, accept: &str) -> Result<Vec<K>, Error> {
    let (mut all, mut next) = (Vec::new(), String::new());
    loop {
        let page = api.page::<K>(path, "", &next, accept).await?;
        all.extend(page.items);
        next = page.metadata.next;
        if next.is_empty() {
            return Ok(all);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_count_where_their_attributes_are_meant() {
        let scope = |operator: &str, values: Value| -> Vec<QuotaScope> {
            serde_json::from_value(json!([
                {"scopeName": "VolumeAttributesClass", "operator": operator, "values": values}]))
            .unwrap()
        };
        let gold = json!({"spec": {"volumeAttributesClassName": "gold"}});
        assert!(counts_claim(&scope("In", json!(["gold"])), &gold));
        assert!(!counts_claim(&scope("In", json!(["silver"])), &gold));
        assert!(counts_claim(&scope("Exists", json!([])), &gold));
        assert!(counts_claim(&scope("DoesNotExist", json!([])), &json!({})));
        let pods: Vec<QuotaScope> = serde_json::from_value(json!([{"scopeName": "Terminating"}])).unwrap();
        assert!(!counts_claim(&pods, &gold));
    }
}
