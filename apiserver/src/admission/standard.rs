//! The plugins of a standard server, in upstream's order.

use std::sync::Arc;

use super::*;
use crate::authz::Authorizer;
use crate::environment::Environment;
use crate::objects::Objects;

/// What upstream has on by default, and [`NodeRestriction`].
#[must_use]
pub fn standard(
    objects: &Arc<dyn Objects>,
    authorizer: &Arc<dyn Authorizer>,
    environment: &Arc<dyn Environment>,
) -> Vec<Arc<dyn Admission>> {
    let objects = || Arc::clone(objects);
    let authorizer = || Arc::clone(authorizer);
    vec![
        Arc::new(NamespaceLifecycle::new(objects())),
        Arc::new(LimitRanger::new(objects())),
        Arc::new(ServiceAccount::new(objects(), Arc::clone(environment))),
        Arc::new(NodeRestriction::new(objects(), authorizer())),
        Arc::new(TaintNodesByCondition),
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
        // Last: what it counts nobody refuses any more.
        Arc::new(ResourceQuota::new(objects())),
    ]
}
