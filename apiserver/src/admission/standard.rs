//! The plugins of a standard server, in upstream's order.

use std::sync::Arc;

use super::*;
use crate::authz::Authorizer;
use crate::environment::Environment;
use crate::objects::Objects;
use crate::remote::Remote;

/// What upstream has on by default, and [`NodeRestriction`].
#[must_use]
pub fn standard(
    objects: &Arc<dyn Objects>,
    authorizer: &Arc<dyn Authorizer>,
    environment: &Arc<dyn Environment>,
    config: AdmissionConfig,
    remote: &Arc<dyn Remote>,
    metrics: &AdmissionMetrics,
) -> Vec<Arc<dyn Admission>> {
    let objects = || Arc::clone(objects);
    let authorizer = || Arc::clone(authorizer);
    let (environment, remote) = (|| Arc::clone(environment), || Arc::clone(remote));
    let mutating = MutatingWebhooks::new(objects(), authorizer(), environment(), remote())
        .with_credentials(config.mutating_webhooks);
    let validating = ValidatingWebhooks::new(objects(), authorizer(), environment(), remote())
        .with_credentials(config.validating_webhooks);
    vec![
        Arc::new(NamespaceLifecycle::new(objects())),
        Arc::new(LimitRanger::new(objects())),
        Arc::new(ServiceAccount::new(objects(), environment())),
        Arc::new(NodeRestriction::new(objects(), authorizer())),
        Arc::new(TaintNodesByCondition),
        Arc::new(PodSecurity::new(objects(), config.pod_security).measured(metrics.clone())),
        Arc::new(Priority::new(objects())),
        Arc::new(DefaultTolerationSeconds),
        Arc::new(DefaultStorageClass::new(objects())),
        Arc::new(StorageObjectInUseProtection),
        Arc::new(PersistentVolumeClaimResize::new(objects())),
        Arc::new(RuntimeClass::new(objects())),
        Arc::new(CertificateApproval::new(authorizer())),
        Arc::new(CertificateSigning::new(authorizer())),
        Arc::new(CertificateSubjectRestriction),
        Arc::new(DefaultIngressClass::new(objects())),
        Arc::new(PodTopologyLabels::new(objects())),
        Arc::new(NodeDeclaredFeatureValidator::new(objects())),
        Arc::new(PodResizeValidator::new(objects())),
        Arc::new(MutatingPolicies::new(objects(), authorizer()).measured(metrics.clone())),
        Arc::new(mutating.measured(metrics.clone())),
        Arc::new(ValidatingPolicies::new(objects(), authorizer()).measured(metrics.clone())),
        Arc::new(validating.measured(metrics.clone())),
        // Last: what it counts nobody refuses any more.
        Arc::new(ResourceQuota::new(objects()).limiting(config.limited_resources)),
    ]
}
