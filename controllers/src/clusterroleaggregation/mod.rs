//! Gives aggregated cluster roles the rules of the roles they select.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::Error;
use crate::cache::Cache;
use crate::manager::{Config, Context, Controller, Made, Setup};
use crate::objects::{ClusterRole, ObjectKey};
use crate::plan::Plan;

struct Aggregation {
    roles: Arc<Cache<ClusterRole>>,
}

pub(crate) fn make(setup: &Setup<'_>, _: &Config) -> Result<Option<Made>, Error> {
    let roles = setup.cache::<ClusterRole>();
    setup.on::<ClusterRole>(move |_, queue| {
        let aggregated = roles.all().into_iter().filter(|role| role.aggregation_rule.is_some());
        aggregated.for_each(|role| queue.add(role.metadata.key()));
    });
    Ok(Some(Made::controller(Aggregation { roles: setup.cache() })))
}

impl Controller for Aggregation {
    fn reconcile(&self, key: &ObjectKey, _: &Context) -> Plan {
        self.roles.get(key).map_or_else(Plan::nothing, |role| reconcile(&role, &self.roles.all()))
    }
}

/// What must be done so that a role has the rules of all the roles it selects, each once.
#[must_use]
pub fn reconcile(role: &ClusterRole, all: &[Arc<ClusterRole>]) -> Plan {
    let mut plan = Plan::nothing();
    let Some(aggregation) = role.aggregation_rule.as_ref().filter(|_| !role.metadata.deleting()) else { return plan };
    let mut rules: Vec<Value> = Vec::new();
    for selector in &aggregation.cluster_role_selectors {
        // `all` is in the order of names, which makes the order of rules stable.
        let selected = all
            .iter()
            .filter(|other| other.metadata.name != role.metadata.name && selector.matches(&other.metadata.labels));
        for rule in selected.flat_map(|other| &other.rules) {
            if !rules.contains(rule) {
                rules.push(rule.clone());
            }
        }
    }
    if rules != role.rules {
        plan.patch(role, "", json!({"rules": rules}));
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::kinds;
    use crate::world::World;

    #[test]
    fn rules_follow_the_selected_roles() {
        let mut world = World::new(&[make]);
        let rule = |resource: &str| json!({"apiGroups": [""], "resources": [resource], "verbs": ["get"]});
        let selector = json!({"clusterRoleSelectors": [{"matchLabels": {"to-view": "true"}}]});
        world.add(kinds::CLUSTER_ROLE, json!({"metadata": {"name": "view"}, "aggregationRule": selector}));
        let labels = json!({"to-view": "true"});
        world.add(kinds::CLUSTER_ROLE, json!({"metadata": {"name": "b", "labels": labels}, "rules": [rule("pods")]}));
        world.add(
            kinds::CLUSTER_ROLE,
            json!({"metadata": {"name": "a", "labels": labels}, "rules": [rule("nodes"), rule("pods")]}),
        );
        world.add(kinds::CLUSTER_ROLE, json!({"metadata": {"name": "c"}, "rules": [rule("secrets")]}));
        world.settle();
        let rules = |world: &World| world.get(kinds::CLUSTER_ROLE, "", "view").unwrap()["rules"].clone();
        assert_eq!(rules(&world), json!([rule("nodes"), rule("pods")]));
        world.remove(kinds::CLUSTER_ROLE, "", "a");
        world.settle();
        assert_eq!(rules(&world), json!([rule("pods")]));
        world.assert_settled();
    }
}
