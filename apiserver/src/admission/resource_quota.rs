//! `ResourceQuota`: what is made in a namespace is counted before it is stored, and refused beyond the quota.
//!
//! A controller says in a quota's status what is limited and how much is used; here that use grows with every object
//! that is let in. In each namespace one write at a time is counted, so that two cannot both take the last place.

mod limited;
mod usage;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use kubewright_api::quantity::Quantity;
use kubewright_api::status::Status;
use serde_json::Value;
use tokio::sync::Mutex;

use super::{Admission, AdmissionAttributes, Operation};
use crate::keyed::Keyed;
use crate::objects::{GroupResource, Objects};
pub(super) use limited::validate as validate_limited;
pub use limited::{LimitedResource, MatchScope};
use usage::{Amounts, amounts, matches_scopes, missing, usage};

/// How often a status that somebody else changed meanwhile is read again.
const TRIES: usize = 5;

/// The plugin.
pub struct ResourceQuota {
    objects: Arc<dyn Objects>,
    limited: Vec<LimitedResource>,
    /// A lock for each namespace.
    counting: Keyed<Mutex<()>>,
}

impl fmt::Debug for ResourceQuota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResourceQuota")
    }
}

fn list(amounts: &Amounts) -> String {
    amounts.iter().map(|(name, amount)| format!("{name}={amount}")).collect::<Vec<_>>().join(",")
}

impl ResourceQuota {
    /// Looks quotas up, and counts, there.
    #[must_use]
    pub fn new(objects: Arc<dyn Objects>) -> Self {
        Self { objects, limited: Vec::new(), counting: Keyed::default() }
    }

    /// Lets these be consumed under a quota only (default: what no quota limits, nobody limits).
    #[must_use]
    pub fn limiting(mut self, limited: Vec<LimitedResource>) -> Self {
        self.limited = limited;
        self
    }

    /// Those of the namespace.
    fn quotas(&self, a: &AdmissionAttributes<'_>) -> Result<Vec<Value>, Status> {
        let quotas = GroupResource::core("resourcequotas");
        self.objects.readable(quotas, Some(a.namespace))?;
        Ok(self.objects.cached_list(quotas, Some(a.namespace)))
    }

    /// What a quota limits must be said.
    fn specified(a: &AdmissionAttributes<'_>, quota: &Value) -> Result<(), Status> {
        let missing = match a.old {
            None => missing(a.group, a.resource, &a.object, &amounts(&quota["spec"]["hard"])),
            Some(_) => Vec::new(),
        };
        if missing.is_empty() {
            return Ok(());
        }
        let name = quota["metadata"]["name"].as_str().unwrap_or_default();
        Err(a.forbidden(format!("failed quota: {name}: must specify {}", missing.join("; "))))
    }

    /// What a quota will have counted once the object is there; `None` if it doesn't limit the object.
    fn counted(a: &AdmissionAttributes<'_>, quota: &Value) -> Result<Option<Amounts>, Status> {
        let name = quota["metadata"]["name"].as_str().unwrap_or_default();
        let limited = amounts(&quota["spec"]["hard"]);
        // What another quota counted so far is new to this one.
        let old = a.old.filter(|old| matches_scopes(quota, a.group, a.resource, old));
        let (mut wanted, before) =
            (usage(a.group, a.resource, &a.object), old.map(|old| usage(a.group, a.resource, old)));
        wanted.retain(|name, _| limited.contains_key(name));
        if let Some(before) = &before {
            // Only what grows is held against the quota.
            wanted = wanted
                .into_iter()
                .map(|(name, amount)| {
                    let old = before.get(&name).copied().unwrap_or_default();
                    (name, amount - old)
                })
                .filter(|(_, delta)| *delta > Quantity::default())
                .collect();
        }
        wanted.retain(|_, amount| *amount > Quantity::default());
        if wanted.is_empty() {
            return Ok(None);
        }
        // What is limited counts from the moment it was written; how much is used somebody has to have counted.
        let (hard, used) = (limited, amounts(&quota["status"]["used"]));
        let unknown: Vec<&str> = wanted.keys().filter(|name| !used.contains_key(*name)).map(String::as_str).collect();
        if !unknown.is_empty() {
            return Err(a.forbidden(format!("status unknown for quota: {name}, resources: {}", unknown.join(","))));
        }
        let mut after = used.clone();
        let mut exceeded: (Amounts, Amounts, Amounts) = Default::default();
        for (resource, amount) in &wanted {
            let before = used.get(resource).copied().unwrap_or_default();
            let total = before + *amount;
            if total > hard[resource] {
                exceeded.0.insert(resource.clone(), *amount);
                exceeded.1.insert(resource.clone(), before);
                exceeded.2.insert(resource.clone(), hard[resource]);
            }
            after.insert(resource.clone(), total);
        }
        if exceeded.0.is_empty() {
            return Ok(Some(after));
        }
        let (requested, used, limited) = (list(&exceeded.0), list(&exceeded.1), list(&exceeded.2));
        Err(a.forbidden(format!("exceeded quota: {name}, requested: {requested}, used: {used}, limited: {limited}")))
    }

    async fn count(&self, a: &AdmissionAttributes<'_>) -> Result<(), Status> {
        let matches = |quota: &&Value| matches_scopes(quota, a.group, a.resource, &a.object);
        if self.limited.is_empty() && !self.quotas(a)?.iter().any(|quota| matches(&quota)) {
            return Ok(());
        }
        let counting = self.counting.get(a.namespace, Mutex::default);
        let _one_at_a_time = counting.lock().await;
        let quotas = self.quotas(a)?;
        quotas.iter().filter(matches).try_for_each(|quota| Self::specified(a, quota))?;
        limited::covered(&self.limited, a, &quotas)?;
        // All must agree before any is counted.
        let mut pending: BTreeMap<String, Amounts> = BTreeMap::new();
        for quota in quotas.iter().filter(matches) {
            if let Some(after) = Self::counted(a, quota)? {
                pending.insert(quota["metadata"]["name"].as_str().unwrap_or_default().to_owned(), after);
            }
        }
        if a.dry_run {
            return Ok(());
        }
        for name in pending.keys() {
            self.store(a, name).await?;
        }
        Ok(())
    }

    async fn store(&self, a: &AdmissionAttributes<'_>, name: &str) -> Result<(), Status> {
        let place = GroupResource::core("resourcequotas");
        for _ in 0..TRIES {
            let mut quota = match self.objects.get(place, a.namespace, name).await {
                Ok(quota) => quota,
                // Gone meanwhile: it limits nothing.
                Err(status) if status.code == 404 => return Ok(()),
                Err(status) => return Err(status),
            };
            let Some(after) = Self::counted(a, &quota)? else { return Ok(()) };
            quota["status"]["used"] = after.iter().map(|(k, v)| (k.clone(), Value::from(v.to_string()))).collect();
            match self.objects.update_status(place, quota).await {
                Err(status) if status.reason == "Conflict" => {}
                outcome => return outcome.map(drop),
            }
        }
        Err(a.forbidden(format!("quota {name} is changing too fast; try again")))
    }
}

#[async_trait]
impl Admission for ResourceQuota {
    fn name(&self) -> &'static str {
        "ResourceQuota"
    }

    fn handles(&self, a: &AdmissionAttributes<'_>) -> bool {
        let grows = matches!(
            (a.operation, a.group, a.resource, a.subresource),
            (Operation::Create, _, _, "")
                | (Operation::Update, "", "pods", "" | "resize")
                | (Operation::Update, "", "services" | "persistentvolumeclaims", "")
        );
        // What is asked and not stored counts nothing.
        let stored = !matches!(a.group, "authorization.k8s.io" | "authentication.k8s.io");
        let leaving = a.old.is_some_and(|old| old["metadata"]["deletionTimestamp"].is_string());
        grows && stored && !leaving && !a.namespace.is_empty() && a.resource != "namespaces"
    }

    async fn validate(&self, a: &AdmissionAttributes<'_>) -> Result<(), Status> {
        self.count(a).await
    }
}
