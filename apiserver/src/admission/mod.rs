//! Admission: what may still change or refuse a write that authorization let through.
//!
//! Each plugin is an [`Admission`]; [`standard`] are those that upstream has on by default, and [`NodeRestriction`].

mod asked;
mod certificates;
mod conditions;
mod config;
mod deciding;
mod default_tolerations;
mod lent_authorizer;
mod limit_ranger;
mod matching;
mod metrics;
mod namespace_lifecycle;
mod node_restriction;
mod plugin;
mod pod_nodes;
pub mod pod_security;
mod policy;
mod priority;
mod reinvocation;
mod resource_quota;
mod runtime_class;
mod service_account;
mod standard;
mod storage;
mod taint_nodes;
mod webhook;

pub use certificates::{CertificateApproval, CertificateSigning, CertificateSubjectRestriction};
pub use config::{AdmissionConfig, AdmissionConfigError};
pub use default_tolerations::DefaultTolerationSeconds;
pub use limit_ranger::LimitRanger;
pub use metrics::AdmissionMetrics;
pub use namespace_lifecycle::NamespaceLifecycle;
pub use node_restriction::NodeRestriction;
pub use pod_nodes::{NodeDeclaredFeatureValidator, PodResizeValidator, PodTopologyLabels};
pub use pod_security::{PodSecurity, PodSecurityConfig};
pub use policy::{MutatingPolicies, PolicyStatuses, ValidatingPolicies};
pub use priority::Priority;
pub use reinvocation::Reinvocation;
pub use resource_quota::{LimitedResource, MatchScope, ResourceQuota};
pub use runtime_class::RuntimeClass;
pub use service_account::ServiceAccount;
pub use standard::standard;
pub use storage::{
    DefaultIngressClass, DefaultStorageClass, PersistentVolumeClaimResize, StorageObjectInUseProtection,
};
pub use taint_nodes::TaintNodesByCondition;
pub use webhook::{MutatingWebhooks, ValidatingWebhooks};

use async_trait::async_trait;
use jiff::Timestamp;
use kubewright_api::status::Status;
use serde_json::Value;

use crate::objects::GroupResource;
use crate::request::{Context, User, Warnings};

/// What is done to the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// It is created.
    Create,
    /// It is changed.
    Update,
    /// It is deleted.
    Delete,
    /// A connection to it is opened (exec, attach, port-forward, proxy).
    Connect,
}

/// Completes an object that was changed as if it had come with the request: checks it against its type, and fills in
/// defaults.
pub type Complete<'a> = &'a (dyn Fn(&mut Value) -> Result<(), Status> + Send + Sync);

/// A write on its way.
#[non_exhaustive]
pub struct AdmissionAttributes<'a> {
    /// What is done.
    pub operation: Operation,
    /// API group; empty for the core group.
    pub group: &'a str,
    /// API version of the request.
    pub version: &'a str,
    /// Plural name.
    pub resource: &'a str,
    /// Subresource; empty if there is none.
    pub subresource: &'a str,
    /// Kind of the object in the request, such as `Pod`, or `Eviction` for `pods/eviction`.
    pub kind: &'a str,
    /// Namespace; empty if there is none.
    pub namespace: &'a str,
    /// Name; empty while a name is yet to be generated.
    pub name: &'a str,
    /// The object as it shall be; `Null` in a deletion.
    pub object: Value,
    /// The object as it is; `None` in a creation.
    pub old: Option<&'a Value>,
    /// The request's options (`CreateOptions`, `DeleteOptions`, …) as JSON.
    pub options: &'a Value,
    /// Whether nothing shall be stored.
    pub dry_run: bool,
    /// Who asks.
    pub user: &'a User,
    /// When.
    pub now: Timestamp,
    /// Where warnings and notes for the audit log go.
    pub warnings: &'a Warnings,
    /// What is done with an object that a webhook or a policy changed.
    pub completion: Option<Complete<'a>>,
    /// Who is asked a second time.
    pub reinvocation: Reinvocation,
}

impl std::fmt::Debug for AdmissionAttributes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AdmissionAttributes")
            .field("operation", &self.operation)
            .field("group", &self.group)
            .field("resource", &self.resource)
            .field("subresource", &self.subresource)
            .field("namespace", &self.namespace)
            .field("name", &self.name)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl<'a> AdmissionAttributes<'a> {
    /// What a request does to an object; its options tell whether it is a dry run.
    #[must_use]
    pub fn of_request(
        context: &'a Context,
        operation: Operation,
        kind: &'a str,
        object: Value,
        old: Option<&'a Value>,
        options: &'a Value,
    ) -> Self {
        let info = &context.info;
        Self {
            operation,
            group: &info.api_group,
            version: &info.api_version,
            resource: &info.resource,
            subresource: &info.subresource,
            kind,
            namespace: &info.namespace,
            name: &info.name,
            object,
            old,
            options,
            dry_run: options["dryRun"].as_array().is_some_and(|stages| !stages.is_empty()),
            user: &context.user,
            now: context.now,
            warnings: &context.warnings,
            completion: None,
            reinvocation: Reinvocation::default(),
        }
    }

    /// Completes an object that was changed on its way.
    ///
    /// # Errors
    /// It does not fit its type.
    pub fn complete(&self, object: &mut Value) -> Result<(), Status> {
        self.completion.map_or(Ok(()), |complete| complete(object))
    }

    /// The resource, without its version.
    #[must_use]
    pub const fn group_resource(&self) -> GroupResource<'a> {
        GroupResource::new(self.group, self.resource)
    }

    /// Whether it is about that resource itself, and not a subresource.
    #[must_use]
    pub fn is(&self, group: &str, resource: &str) -> bool {
        self.group == group && self.resource == resource && self.subresource.is_empty()
    }

    /// The object's name for messages: also that which a name will be generated from.
    #[must_use]
    pub fn display_name(&self) -> &str {
        let meta = &self.object["metadata"];
        let given = [Some(self.name), meta["name"].as_str(), meta["generateName"].as_str()];
        given.into_iter().flatten().find(|name| !name.is_empty()).unwrap_or("Unknown")
    }

    /// A refusal in upstream's words: 403, `pods "web" is forbidden: …`.
    #[must_use]
    pub fn forbidden(&self, why: impl AsRef<str>) -> Status {
        Status::forbidden(self.group, self.resource, self.display_name(), why.as_ref())
    }

    /// Whether the object is created or changed, itself and not through a subresource.
    #[must_use]
    pub fn writes(&self, group: &str, resource: &str) -> bool {
        self.is(group, resource) && matches!(self.operation, Operation::Create | Operation::Update)
    }

    /// Whether the object is created.
    #[must_use]
    pub fn creates(&self, group: &str, resource: &str) -> bool {
        self.is(group, resource) && self.operation == Operation::Create
    }
}

/// One admission plugin. All mutating parts run first, in order, then all validating ones.
#[async_trait]
pub trait Admission: Send + Sync + 'static {
    /// Its name, such as `NamespaceLifecycle`.
    fn name(&self) -> &'static str;

    /// Whether it looks at such writes at all.
    fn handles(&self, attributes: &AdmissionAttributes<'_>) -> bool;

    /// Changes or refuses the object.
    async fn admit(&self, attributes: &mut AdmissionAttributes<'_>) -> Result<(), Status> {
        let _ = attributes;
        Ok(())
    }

    /// Accepts or refuses the object as it became.
    async fn validate(&self, attributes: &AdmissionAttributes<'_>) -> Result<(), Status> {
        let _ = attributes;
        Ok(())
    }
}

/// Runs the mutating parts of all plugins.
///
/// # Errors
/// The first refusal.
pub async fn admit(
    plugins: &[std::sync::Arc<dyn Admission>],
    attributes: &mut AdmissionAttributes<'_>,
) -> Result<(), Status> {
    loop {
        for plugin in plugins {
            if plugin.handles(attributes) {
                plugin.admit(attributes).await?;
            }
        }
        // What a webhook or a policy changed the others see once more, and no more than once.
        if !attributes.reinvocation.start_second() {
            return Ok(());
        }
    }
}

/// Runs the validating parts of all plugins.
///
/// # Errors
/// The first refusal.
pub async fn validate(
    plugins: &[std::sync::Arc<dyn Admission>],
    attributes: &AdmissionAttributes<'_>,
) -> Result<(), Status> {
    for plugin in plugins {
        if plugin.handles(attributes) {
            plugin.validate(attributes).await?;
        }
    }
    Ok(())
}
