//! Who may ask for administrative access to devices: claims in namespaces that are labelled for it. And who may write
//! which part of a claim's [status].

mod status;

use std::sync::Arc;

use async_trait::async_trait;
use kubewright_api::field::{FieldError, FieldErrors, Path};
use kubewright_api::status::Status;
use serde_json::Value;

use crate::authz::{Attributes, Authorizer};
use crate::object;
use crate::objects::{GroupResource, Objects};
use crate::registry::{CommitHook, Reservation};

/// The label of namespaces in which claims may have administrative access.
const LABEL: &str = "resource.kubernetes.io/admin-access";

/// Looks at claims, their templates and what is allocated to them.
pub(crate) struct DeviceAccess {
    objects: Arc<dyn Objects>,
    kind: &'static str,
    /// Where the requests are.
    requests: &'static str,
    /// Decides who may write which part of the status.
    authorizer: Option<Arc<dyn Authorizer>>,
}

impl DeviceAccess {
    /// For claims.
    pub(crate) fn of_claims(objects: Arc<dyn Objects>, authorizer: Arc<dyn Authorizer>) -> Self {
        let requests = "/spec/devices/requests";
        Self { objects, kind: "ResourceClaim", requests, authorizer: Some(authorizer) }
    }

    /// For templates of claims.
    pub(crate) fn of_templates(objects: Arc<dyn Objects>) -> Self {
        let requests = "/spec/spec/devices/requests";
        Self { objects, kind: "ResourceClaimTemplate", requests, authorizer: None }
    }

    /// Where access is asked for, or given, that wasn't before. What is asked for never changes.
    fn wanted(&self, object: &Value, old: Option<&Value>) -> Option<Path> {
        const RESULTS: &str = "/status/allocation/devices/results";
        let asked = |request: &Value| request["exactly"]["adminAccess"] == true;
        let given = |result: &Value| result["adminAccess"] == true;
        let first = |object: &Value, list: &str, is: &dyn Fn(&Value) -> bool| {
            object.pointer(list).and_then(Value::as_array).and_then(|list| list.iter().position(is))
        };
        let (at, list) = match old {
            // Upstream tells of templates as if they were claims.
            None => (first(object, self.requests, &asked)?, Path::new("spec.devices.requests")),
            Some(old) if first(old, RESULTS, &given).is_some() => return None,
            Some(_) => (first(object, RESULTS, &given)?, Path::new("status.allocation.devices.results")),
        };
        Some(list.index(at).child("adminAccess"))
    }
}

#[async_trait]
impl CommitHook for DeviceAccess {
    async fn unauthorized(&self, request: &Attributes, object: &Value, old: &Value) -> FieldErrors {
        match &self.authorizer {
            Some(authorizer) if request.subresource == "status" => {
                status::unauthorized(&**authorizer, request, object, old).await
            }
            _ => FieldErrors::new(),
        }
    }

    async fn before(
        &self,
        object: &mut Value,
        old: Option<&Value>,
        _dry_run: bool,
    ) -> Result<Option<Box<dyn Reservation>>, Status> {
        let Some(path) = self.wanted(object, old) else { return Ok(None) };
        let namespace = object::namespace(object);
        let found = self.objects.get(GroupResource::core("namespaces"), "", namespace).await?;
        if found["metadata"]["labels"][LABEL] == "true" {
            return Ok(None);
        }
        let why = format!("admin access to devices requires the `{LABEL}: true` label on the containing namespace");
        let fault = FieldError::forbidden(&path, why);
        Err(Status::invalid("resource.k8s.io", self.kind, object::name(object), &[fault]))
    }

    fn deleted(&self, _object: &Value) {}
}
