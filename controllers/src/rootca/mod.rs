//! Publishes in every namespace the certificates by which pods trust the API server.

use std::sync::Arc;

use serde_json::json;

use crate::Error;
use crate::cache::Cache;
use crate::manager::{Config, Context, Controller, Made, Setup};
use crate::objects::{ConfigMap, Namespace, ObjectKey, kinds};
use crate::plan::{Action, Create, Plan};

const NAME: &str = "kube-root-ca.crt";
const DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal \
    endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across \
    distributions of Kubernetes clusters.";

struct RootCaPublisher {
    namespaces: Arc<Cache<Namespace>>,
    config_maps: Arc<Cache<ConfigMap>>,
    certificates: String,
}

pub(crate) fn make(setup: &Setup<'_>, config: &Config) -> Result<Option<Made>, Error> {
    let Some(certificates) = config.root_ca.clone() else { return Ok(None) };
    setup.reconcile_each::<Namespace>();
    setup.on::<ConfigMap>(|change, queue| {
        if let Some(config_map) = change.latest() {
            queue.add(ObjectKey::new("", &config_map.metadata.namespace));
        }
    });
    let (namespaces, config_maps) = (setup.cache(), setup.cache());
    Ok(Some(Made::controller(RootCaPublisher { namespaces, config_maps, certificates })))
}

impl Controller for RootCaPublisher {
    fn reconcile(&self, key: &ObjectKey, _: &Context) -> Plan {
        let Some(namespace) = self.namespaces.get(key) else { return Plan::nothing() };
        reconcile(&namespace, self.config_maps.named(&key.name, NAME).as_deref(), &self.certificates)
    }
}

/// What must be done so that a namespace has the certificates.
#[must_use]
pub fn reconcile(namespace: &Namespace, config_map: Option<&ConfigMap>, certificates: &str) -> Plan {
    let mut plan = Plan::nothing();
    if namespace.metadata.deleting() || namespace.status.phase == "Terminating" {
        return plan;
    }
    let annotations = json!({"kubernetes.io/description": DESCRIPTION});
    match config_map {
        None => plan.push(Action::Create(Create {
            kind: kinds::CONFIG_MAP,
            namespace: namespace.metadata.name.clone(),
            object: json!({
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": NAME, "namespace": namespace.metadata.name, "annotations": annotations},
                "data": {"ca.crt": certificates},
            }),
            or_exists: true,
            announce: None,
        })),
        Some(held) => {
            let described = held.metadata.annotations.get("kubernetes.io/description") == Some(DESCRIPTION);
            if held.data.ca.as_deref() != Some(certificates) || !described {
                let body = json!({"metadata": {"annotations": annotations}, "data": {"ca.crt": certificates}});
                plan.patch(held, "", body);
            }
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::World;

    #[test]
    fn every_namespace_gets_the_certificates_and_keeps_them() {
        let config = Config { root_ca: Some("pem".into()), ..Config::default() };
        let mut world = World::configured(&[make], &config);
        world.add(kinds::NAMESPACE, json!({"metadata": {"name": "a"}}));
        world.settle();
        world.change(kinds::CONFIG_MAP, "a", NAME, json!({"data": {"ca.crt": "other"}}));
        world.settle();
        assert_eq!(world.get(kinds::CONFIG_MAP, "a", NAME).unwrap()["data"]["ca.crt"], json!("pem"));
        world.assert_settled();
    }
}
