//! Role-based access control: roles, bindings, and the rule that nobody grants what they do not hold.
//!
//! [`Rbac`] observes roles and bindings: a change that was acknowledged is in force, and a decision looks only at the
//! bindings of the one who asks.

mod escalation;
mod index;
mod rule;

use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use serde_json::Value;

pub use escalation::{EscalationCheck, missing};
pub use rule::PolicyRule;
pub(crate) use rule::quoted;

use index::{Index, RoleRef};

use super::{Attributes, Authorizer, Decision};
use crate::objects::{GroupResource, Objects, Observer};
use crate::request::User;

/// The API group of roles and bindings.
pub const GROUP: &str = "rbac.authorization.k8s.io";

/// Decides by roles and bindings. Clones share their index.
#[derive(Clone, Debug, Default)]
pub struct Rbac {
    index: Arc<RwLock<Index>>,
}

/// Hears of one resource for the index.
struct Feed {
    index: Arc<RwLock<Index>>,
    binding: bool,
}

impl Observer for Feed {
    fn changed(&self, namespace: &str, name: &str, object: Option<&Value>) {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        if self.binding {
            index.set_binding(namespace, name, object);
        } else {
            index.set_role(namespace, name, object);
        }
    }
}

impl Rbac {
    /// Knows the roles and bindings there are, and follows their changes.
    #[must_use]
    pub fn observing(objects: &dyn Objects) -> Self {
        let rbac = Self::default();
        for (resource, binding) in
            [("clusterroles", false), ("roles", false), ("clusterrolebindings", true), ("rolebindings", true)]
        {
            let feed = Feed { index: Arc::clone(&rbac.index), binding };
            objects.observe(GroupResource::new(GROUP, resource), Arc::new(feed));
        }
        rbac
    }

    /// All rules that apply to a user cluster-wide and in that namespace, and the faults met on the way.
    #[must_use]
    pub fn rules_for(&self, user: &User, namespace: &str) -> (Vec<PolicyRule>, Vec<String>) {
        let mut rules = Vec::new();
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let faults = index.visit(user, namespace, &mut |grant| {
            rules.push(grant.rule.clone());
            true
        });
        (rules, faults)
    }

    /// The rules of the role that a binding in that namespace refers to.
    fn rules_of(&self, role: &RoleRef, namespace: &str) -> Result<Arc<Vec<PolicyRule>>, String> {
        self.index.read().unwrap_or_else(PoisonError::into_inner).rules_of(role, namespace)
    }

    /// Decides.
    #[must_use]
    pub fn decide(&self, attributes: &Attributes) -> Decision {
        let mut reason = None;
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let faults = index.visit(&attributes.user, &attributes.namespace, &mut |grant| {
            let allows = grant.rule.allows(attributes);
            if allows {
                reason = Some(format!("RBAC: allowed by {}", grant.describe()));
            }
            !allows
        });
        match (reason, faults.as_slice()) {
            (Some(reason), _) => Decision::Allow(reason),
            (None, []) => Decision::NoOpinion(String::new()),
            (None, [fault]) => Decision::NoOpinion(format!("RBAC: {fault}")),
            (None, faults) => Decision::NoOpinion(format!("RBAC: [{}]", faults.join(", "))),
        }
    }
}

#[async_trait]
impl Authorizer for Rbac {
    async fn authorize(&self, attributes: &Attributes) -> Decision {
        self.decide(attributes)
    }
}
