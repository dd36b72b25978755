//! `NamespaceLifecycle`: nothing is made in a namespace that isn't there or is going away.

use async_trait::async_trait;
use kubewright_api::status::Status;

use super::plugin::plugin;
use super::{Admission, AdmissionAttributes, Operation};
use crate::objects::{GroupResource, Objects};

/// Namespaces that may not be deleted.
const IMMORTAL: [&str; 3] = ["default", "kube-public", "kube-system"];

plugin! {
    /// The plugin.
    NamespaceLifecycle, objects: dyn Objects
}

#[async_trait]
impl Admission for NamespaceLifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }

    fn handles(&self, a: &AdmissionAttributes<'_>) -> bool {
        let is_namespace = a.group.is_empty() && a.resource == "namespaces";
        match a.operation {
            Operation::Delete => is_namespace && IMMORTAL.contains(&a.name),
            // Whether a namespace exists is nothing that an access review should tell.
            Operation::Create | Operation::Update => {
                !is_namespace && !a.namespace.is_empty() && a.resource != "localsubjectaccessreviews"
            }
            Operation::Connect => false,
        }
    }

    async fn admit(&self, a: &mut AdmissionAttributes<'_>) -> Result<(), Status> {
        if a.operation == Operation::Delete {
            return Err(Status::forbidden("", "namespaces", a.name, "this namespace may not be deleted"));
        }
        let namespaces = GroupResource::core("namespaces");
        let namespace = match self.objects.cached(namespaces, "", a.namespace) {
            Some(namespace) => namespace,
            // Made through another server, perhaps.
            None => self.objects.get(namespaces, "", a.namespace).await?,
        };
        if a.operation == Operation::Create && namespace["status"]["phase"] == "Terminating" {
            let why =
                format!("unable to create new content in namespace {} because it is being terminated", a.namespace);
            let cause = format!("namespace {} is being terminated", a.namespace);
            return Err(a.forbidden(why).with_cause("NamespaceTerminating", cause, "metadata.namespace"));
        }
        Ok(())
    }
}
