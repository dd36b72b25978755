//! Authorization: who may do what.
//!
//! Each way to decide is an [`Authorizer`]; a [`Chain`] asks them in turn. Upstream's default is here too:
//! `system:masters` may do everything, then [`node`] decides for kubelets and [`rbac`] for everyone.

mod chain;
mod config;
mod metrics;
pub mod node;
pub mod rbac;
pub mod reviews;
mod structured;
mod webhook;

use async_trait::async_trait;

pub use chain::{Chain, SystemMasters};
pub use config::{
    AuthorizationConfig, AuthorizationConfigError, AuthorizationWebhookConfig, AuthorizerConfig, FailurePolicy,
};
pub use metrics::AuthzMetrics;
pub use structured::StructuredAuthorization;
pub(crate) use structured::{Lent, counted};
pub use webhook::AuthorizationWebhook;

use crate::request::{RequestInfo, User};

/// What someone wants to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Who.
    pub user: User,
    /// Verb, such as `list`.
    pub verb: String,
    /// API group; empty for the core group.
    pub group: String,
    /// API version.
    pub version: String,
    /// Namespace; empty if there is none.
    pub namespace: String,
    /// Plural name.
    pub resource: String,
    /// Subresource; empty if there is none.
    pub subresource: String,
    /// Name; empty if there is none.
    pub name: String,
    /// Whether it is about a resource, and not about a path.
    pub is_resource_request: bool,
    /// The path of a request that is about no resource.
    pub path: String,
    /// The label selector of a list, watch or deletecollection.
    pub label_selector: String,
    /// The field selector of a list, watch or deletecollection.
    pub field_selector: String,
}

impl Attributes {
    /// What that user's request asks for.
    #[must_use]
    pub fn new(user: &User, info: &RequestInfo) -> Self {
        Self {
            user: user.clone(),
            verb: info.verb.clone(),
            group: info.api_group.clone(),
            version: info.api_version.clone(),
            namespace: info.namespace.clone(),
            resource: info.resource.clone(),
            subresource: info.subresource.clone(),
            name: info.name.clone(),
            is_resource_request: info.is_resource_request,
            path: info.path.clone(),
            label_selector: info.label_selector.clone(),
            field_selector: info.field_selector.clone(),
        }
    }
}

/// What an authorizer thinks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Yes, for that reason.
    Allow(String),
    /// No, whatever others think, for that reason.
    Deny(String),
    /// Others shall decide; if nobody allows it, the answer is no. With a reason that may be empty.
    NoOpinion(String),
}

impl Decision {
    /// Whether it is a yes.
    #[must_use]
    pub const fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow(_))
    }
}

/// Decides who may do what.
#[async_trait]
pub trait Authorizer: Send + Sync + 'static {
    /// Decides.
    async fn authorize(&self, attributes: &Attributes) -> Decision;

    /// Why not all that it allows that user can be listed; nothing if its rules are roles and bindings.
    fn cannot_list_rules(&self, user: &User) -> Vec<String> {
        let _ = user;
        Vec::new()
    }
}

/// Allows everything: for tests and for servers behind something that decides.
#[derive(Clone, Copy, Debug, Default)]
pub struct AllowAll;

#[async_trait]
impl Authorizer for AllowAll {
    async fn authorize(&self, _: &Attributes) -> Decision {
        Decision::Allow(String::new())
    }
}
