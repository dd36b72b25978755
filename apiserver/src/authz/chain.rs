//! Several authorizers, one after the other.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::{Attributes, Authorizer, Decision};
use crate::request::{SYSTEM_MASTERS, User};

/// Asks in turn; the first yes or no counts, and without either the answer is no.
#[derive(Clone)]
pub struct Chain(Arc<[Arc<dyn Authorizer>]>);

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chain({})", self.0.len())
    }
}

impl Chain {
    /// Asks these, the first one first.
    #[must_use]
    pub fn new(authorizers: Vec<Arc<dyn Authorizer>>) -> Self {
        Self(authorizers.into())
    }
}

#[async_trait]
impl Authorizer for Chain {
    async fn authorize(&self, attributes: &Attributes) -> Decision {
        let mut reasons = Vec::new();
        for authorizer in self.0.iter() {
            match authorizer.authorize(attributes).await {
                Decision::NoOpinion(reason) if reason.is_empty() => {}
                Decision::NoOpinion(reason) => reasons.push(reason),
                Decision::Deny(reason) => {
                    reasons.push(reason);
                    return Decision::Deny(reasons.join("\n"));
                }
                Decision::Allow(reason) => {
                    reasons.push(reason);
                    return Decision::Allow(reasons.join("\n"));
                }
            }
        }
        Decision::NoOpinion(reasons.join("\n"))
    }

    fn cannot_list_rules(&self, user: &User) -> Vec<String> {
        self.0.iter().flat_map(|authorizer| authorizer.cannot_list_rules(user)).collect()
    }
}

/// Allows everything to the group `system:masters`.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemMasters;

#[async_trait]
impl Authorizer for SystemMasters {
    async fn authorize(&self, attributes: &Attributes) -> Decision {
        if attributes.user.in_group(SYSTEM_MASTERS) {
            return Decision::Allow(String::new());
        }
        Decision::NoOpinion(String::new())
    }
}
