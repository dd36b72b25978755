//! Claims stay as long as a pod uses them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;

use super::guard;
use crate::Error;
use crate::api::Api;
use crate::cache::Cache;
use crate::manager::{AsyncController, Config, Environment, Made, Setup};
use crate::objects::{Meta, ObjectKey, PersistentVolumeClaim, Pod, kinds, null_default};
use crate::plan::Plan;

const FINALIZER: &str = "kubernetes.io/pvc-protection";
/// How long to wait before a claim in use is looked at again though no pod was seen to go.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a pod says about the claims that it uses.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PodClaims {
    /// Its metadata.
    pub metadata: Meta,
    /// Its node and its volumes.
    pub spec: PodClaimsSpec,
    /// Whether it has ended.
    pub status: PodClaimsStatus,
}

/// A pod's node and volumes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodClaimsSpec {
    /// Its node.
    pub node_name: String,
    /// Its volumes.
    #[serde(deserialize_with = "null_default")]
    pub volumes: Vec<Volume>,
}

/// Whether a pod has ended.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PodClaimsStatus {
    /// Its phase.
    pub phase: String,
}

/// A volume, as far as it comes from a claim.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// The claim that it comes from.
    pub persistent_volume_claim: Option<ClaimSource>,
    /// There if a claim is made for the pod.
    pub ephemeral: Option<Ephemeral>,
}

/// Names a claim.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClaimSource {
    /// The claim's name.
    pub claim_name: String,
}

/// A claim is made for the pod.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Ephemeral {}

impl PodClaims {
    /// Whether it uses the claim. A pod without a node doesn't, for no kubelet starts a pod with a claim that goes.
    fn uses(&self, claim: &PersistentVolumeClaim) -> bool {
        let wanted = &claim.metadata.name;
        let own = |volume: &Volume| {
            let ended = matches!(self.status.phase.as_str(), "Succeeded" | "Failed") && self.metadata.deleting();
            let made = format!("{}-{}", self.metadata.name, volume.name);
            let of_it = claim.metadata.controller().is_some_and(|owner| owner.uid == self.metadata.uid);
            volume.ephemeral.is_some() && !ended && made == **wanted && of_it
        };
        let named = |volume: &Volume| {
            volume.persistent_volume_claim.as_ref().is_some_and(|source| *source.claim_name == **wanted)
        };
        !self.spec.node_name.is_empty() && self.spec.volumes.iter().any(|volume| named(volume) || own(volume))
    }
}

struct Protection {
    claims: Arc<Cache<PersistentVolumeClaim>>,
}

pub(crate) fn make(setup: &Setup<'_>, _: &Config) -> Result<Option<Made>, Error> {
    setup.reconcile_each::<PersistentVolumeClaim>();
    let claims = setup.cache::<PersistentVolumeClaim>();
    let leaving = Arc::clone(&claims);
    // A pod that ends or goes frees its claims.
    setup.on::<Pod>(move |change, queue| {
        let gone = change.new.as_ref().is_none_or(|pod| pod.finished());
        if let Some(pod) = change.latest().filter(|_| gone) {
            let here = leaving.in_namespace(&pod.metadata.namespace);
            here.iter().filter(|claim| claim.metadata.deleting()).for_each(|claim| queue.add(claim.metadata.key()));
        }
    });
    Ok(Some(Made::Async(Box::new(Protection { claims }))))
}

#[async_trait]
impl AsyncController for Protection {
    async fn reconcile(&self, key: &ObjectKey, environment: &Environment) -> Result<Option<Duration>, Error> {
        let Some(claim) = self.claims.get(key) else { return Ok(None) };
        // Only who is to go is worth a look at the pods, at those there are now.
        let pods = if claim.metadata.deleting() { pods(&environment.applier.api, key).await? } else { Vec::new() };
        let mut plan = reconcile(&claim, &pods);
        let waits = claim.metadata.deleting() && plan.is_settled();
        let applied = environment.applier.apply(environment.component, plan.take_actions()).await;
        applied.map_err(|broken| broken.error)?;
        Ok(waits.then_some(PATIENCE))
    }
}

async fn pods(api: &Api, key: &ObjectKey) -> Result<Vec<PodClaims>, Error> {
    let (mut all, mut next) = (Vec::new(), String::new());
    loop {
        let page = api.page::<PodClaims>(&kinds::POD.path(&key.namespace), "", &next, "application/json").await?;
        all.extend(page.items);
        next = page.metadata.next;
        if next.is_empty() {
            return Ok(all);
        }
    }
}

/// What becomes of a claim, given the pods of its namespace.
#[must_use]
pub fn reconcile(claim: &PersistentVolumeClaim, pods: &[PodClaims]) -> Plan {
    guard(claim, FINALIZER, !pods.iter().any(|pod| pod.uses(claim)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::plan::Action;

    fn claim(change: Value) -> PersistentVolumeClaim {
        let mut claim = json!({"metadata": {"name": "c", "namespace": "a", "uid": "1", "resourceVersion": "5",
            "finalizers": ["x/y", FINALIZER]}});
        crate::plan::apply_merge_patch(&mut claim, &change);
        serde_json::from_value(claim).unwrap()
    }

    fn leaving() -> Value {
        json!({"metadata": {"deletionTimestamp": "2030-01-01T00:00:00Z"}})
    }

    fn pod(spec: Value) -> PodClaims {
        serde_json::from_value(json!({"metadata": {"name": "p", "uid": "u"}, "spec": spec})).unwrap()
    }

    fn finalizers(plan: &Plan) -> Option<Value> {
        match plan.actions.as_slice() {
            [] => None,
            [Action::Patch(patch)] => Some(patch.body["metadata"]["finalizers"].clone()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_claim_stays_while_a_pod_uses_it() {
        let named = json!([{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]);
        let user = pod(json!({"nodeName": "n", "volumes": named}));
        assert_eq!(finalizers(&reconcile(&claim(leaving()), std::slice::from_ref(&user))), None);
        assert_eq!(finalizers(&reconcile(&claim(leaving()), &[])), Some(json!(["x/y"])));
        for other in [
            pod(json!({"volumes": named})),
            pod(json!({"nodeName": "n", "volumes": [{"persistentVolumeClaim": {"claimName": "other"}}]})),
            pod(json!({"nodeName": "n", "volumes": null})),
        ] {
            assert_eq!(finalizers(&reconcile(&claim(leaving()), &[other])), Some(json!(["x/y"])));
        }
        assert_eq!(finalizers(&reconcile(&claim(json!({})), &[user])), None, "it isn't going");
        let bare = claim(json!({"metadata": {"finalizers": null}}));
        assert_eq!(finalizers(&reconcile(&bare, &[])), Some(json!([FINALIZER])));
    }

    #[test]
    fn a_claim_made_for_a_pod_is_its_own() {
        let made = |uid: &str| {
            let owner = json!([{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": uid, "controller": true}]);
            let mut change = leaving();
            change["metadata"]["name"] = "p-v".into();
            change["metadata"]["ownerReferences"] = owner;
            claim(change)
        };
        let user = pod(json!({"nodeName": "n", "volumes": [{"name": "v", "ephemeral": {}}]}));
        assert_eq!(finalizers(&reconcile(&made("u"), std::slice::from_ref(&user))), None);
        assert_eq!(finalizers(&reconcile(&made("other"), &[user])), Some(json!(["x/y"])));
    }
}
