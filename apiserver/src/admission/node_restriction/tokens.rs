//! Tokens that a kubelet may get for the service accounts of its pods.

use kubewright_api::status::Status;
use serde_json::Value;

use super::NodeRestriction;
use crate::admission::{AdmissionAttributes, Operation};
use crate::authz::Attributes;
use crate::objects::GroupResource;

impl NodeRestriction {
    pub(super) async fn admit_token(&self, node: &str, a: &AdmissionAttributes<'_>) -> Result<(), Status> {
        if a.operation != Operation::Create || a.subresource != "token" {
            return Ok(());
        }
        let reference = &a.object["spec"]["boundObjectRef"];
        let field = |name: &str| reference[name].as_str().unwrap_or_default();
        if field("apiVersion") != "v1" || field("kind") != "Pod" || field("name").is_empty() {
            return Err(a.forbidden("node requested token not bound to a pod"));
        }
        let uid = field("uid");
        if uid.is_empty() {
            return Err(a.forbidden("node requested token with a pod binding without a uid"));
        }
        let pod = self.pod(a, field("name"))?;
        if pod["metadata"]["uid"] != uid {
            return Err(a.forbidden(format!(
                "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
            )));
        }
        if pod["spec"]["nodeName"] != node {
            return Err(a.forbidden("node requested token bound to a pod scheduled on a different node"));
        }
        self.admit_audience(&pod, a).await
    }

    /// A kubelet only gets tokens for audiences that the pod's volumes name.
    async fn admit_audience(&self, pod: &Value, a: &AdmissionAttributes<'_>) -> Result<(), Status> {
        let audience = match a.object["spec"]["audiences"].as_array().map_or(&[][..], Vec::as_slice) {
            [] => "",
            [one] => one.as_str().unwrap_or_default(),
            _ => return Err(a.forbidden("node may only request 0 or 1 audiences")),
        };
        if self.names_audience(pod, a.namespace, audience) {
            return Ok(());
        }
        let attributes = Attributes {
            user: a.user.clone(),
            verb: "request-serviceaccounts-token-audience".into(),
            namespace: a.namespace.into(),
            version: "v1".into(),
            resource: audience.into(),
            name: a.name.into(),
            is_resource_request: true,
            ..Attributes::default()
        };
        if self.authorizer.authorize(&attributes).await.is_allowed() {
            return Ok(());
        }
        Err(a.forbidden(format!(
            "audience {audience:?} not found in pod spec volume, {} is not authorized to request tokens for this audience",
            a.user.name
        )))
    }

    fn names_audience(&self, pod: &Value, namespace: &str, audience: &str) -> bool {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        pod["spec"]["volumes"].as_array().into_iter().flatten().any(|volume| {
            let mut sources = volume["projected"]["sources"].as_array().into_iter().flatten();
            if sources.any(|source| {
                let token = &source["serviceAccountToken"];
                token.is_object() && text(&token["audience"]) == audience
            }) {
                return true;
            }
            let claim = if volume["ephemeral"]["volumeClaimTemplate"].is_object() {
                format!("{}-{}", text(&pod["metadata"]["name"]), text(&volume["name"]))
            } else {
                text(&volume["persistentVolumeClaim"]["claimName"])
            };
            self.driver_names_audience(&text(&volume["csi"]["driver"]), &claim, namespace, audience)
        })
    }

    fn driver_names_audience(&self, inline: &str, claim: &str, namespace: &str, audience: &str) -> bool {
        let name = if claim.is_empty() { inline.to_owned() } else { self.driver(namespace, claim) };
        let drivers = GroupResource::new("storage.k8s.io", "csidrivers");
        let driver = self.objects.cached(drivers, "", &name).unwrap_or_default();
        let mut requests = driver["spec"]["tokenRequests"].as_array().into_iter().flatten();
        requests.any(|request| request["audience"].as_str().unwrap_or_default() == audience)
    }

    /// The driver of the volume that a claim is bound to.
    fn driver(&self, namespace: &str, claim: &str) -> String {
        let claim = self.objects.cached(GroupResource::core("persistentvolumeclaims"), namespace, claim);
        let volume = claim.and_then(|claim| claim["spec"]["volumeName"].as_str().map(str::to_owned));
        let volume = volume.and_then(|name| self.objects.cached(GroupResource::core("persistentvolumes"), "", &name));
        volume.and_then(|volume| volume["spec"]["csi"]["driver"].as_str().map(str::to_owned)).unwrap_or_default()
    }
}
