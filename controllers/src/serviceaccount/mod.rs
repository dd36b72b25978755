//! Gives every namespace its service account `default`.

use std::sync::Arc;

use serde_json::json;

use crate::Error;
use crate::cache::Cache;
use crate::manager::{Config, Context, Controller, Made, Setup};
use crate::objects::{Namespace, ObjectKey, ServiceAccount, kinds};
use crate::plan::{Action, Create, Plan};

struct ServiceAccountController {
    namespaces: Arc<Cache<Namespace>>,
    accounts: Arc<Cache<ServiceAccount>>,
}

pub(crate) fn make(setup: &Setup<'_>, _: &Config) -> Result<Option<Made>, Error> {
    setup.reconcile_each::<Namespace>();
    setup.on::<ServiceAccount>(|change, queue| {
        if let (Some(account), None) = (&change.old, &change.new) {
            queue.add(ObjectKey::new("", &account.metadata.namespace));
        }
    });
    Ok(Some(Made::controller(ServiceAccountController { namespaces: setup.cache(), accounts: setup.cache() })))
}

impl Controller for ServiceAccountController {
    fn reconcile(&self, key: &ObjectKey, _: &Context) -> Plan {
        let Some(namespace) = self.namespaces.get(key) else { return Plan::nothing() };
        reconcile(&namespace, self.accounts.named(&key.name, "default").as_deref())
    }
}

/// What must be done so that a namespace has its default service account.
#[must_use]
pub fn reconcile(namespace: &Namespace, account: Option<&ServiceAccount>) -> Plan {
    let mut plan = Plan::nothing();
    if account.is_none() && !namespace.metadata.deleting() && namespace.status.phase != "Terminating" {
        let name = &namespace.metadata.name;
        plan.push(Action::Create(Create {
            kind: kinds::SERVICE_ACCOUNT,
            namespace: name.clone(),
            object: json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": name}}),
            or_exists: true,
            announce: None,
        }));
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::World;

    #[test]
    fn every_living_namespace_has_one() {
        let mut world = World::new(&[make]);
        world.add(kinds::NAMESPACE, json!({"metadata": {"name": "a"}, "status": {"phase": "Active"}}));
        world.add(kinds::NAMESPACE, json!({"metadata": {"name": "b"}, "status": {"phase": "Terminating"}}));
        world.settle();
        assert!(world.get(kinds::SERVICE_ACCOUNT, "a", "default").is_some());
        assert!(world.get(kinds::SERVICE_ACCOUNT, "b", "default").is_none());
        world.remove(kinds::SERVICE_ACCOUNT, "a", "default");
        world.settle();
        assert!(world.get(kinds::SERVICE_ACCOUNT, "a", "default").is_some());
        world.assert_settled();
    }
}
