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
        match self.names_audience(pod, a.namespace, audience) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(why) => return Err(a.forbidden(format!("error validating audience {audience:?}: {why}"))),
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

    /// Whether a volume of the pod names the audience. The fault, if none does, tells what could not be followed.
    fn names_audience(&self, pod: &Value, namespace: &str, audience: &str) -> Result<bool, String> {
        let mut faults = Vec::new();
        for volume in pod["spec"]["volumes"].as_array().into_iter().flatten() {
            let mut sources = volume["projected"]["sources"].as_array().into_iter().flatten();
            if sources.any(|source| {
                let token = &source["serviceAccountToken"];
                token.is_object() && text(&token["audience"]) == audience
            }) {
                return Ok(true);
            }
            match self.driver_of(pod, volume, namespace).and_then(|driver| self.requests(driver.as_deref(), audience)) {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(fault) => faults.push(fault),
            }
        }
        match faults.as_slice() {
            [] => Ok(false),
            [one] => Err(one.clone()),
            many => Err(format!("[{}]", many.join(", "))),
        }
    }

    /// The driver behind a volume, by way of its claim if it has one.
    fn driver_of(&self, pod: &Value, volume: &Value, namespace: &str) -> Result<Option<String>, String> {
        let claim = if volume["ephemeral"]["volumeClaimTemplate"].is_object() {
            format!("{}-{}", text(&pod["metadata"]["name"]), text(&volume["name"]))
        } else {
            text(&volume["persistentVolumeClaim"]["claimName"]).to_owned()
        };
        if claim.is_empty() {
            return Ok(driver(volume));
        }
        let found = self.objects.cached(GroupResource::core("persistentvolumeclaims"), namespace, &claim);
        let found = found.ok_or_else(|| format!("persistentvolumeclaim {claim:?} not found"))?;
        let name = text(&found["spec"]["volumeName"]);
        let found = self.objects.cached(GroupResource::core("persistentvolumes"), "", name);
        let found = found.ok_or_else(|| format!("persistentvolume {name:?} not found"))?;
        Ok(driver(&found["spec"]))
    }

    /// Whether the driver asks for tokens of that audience.
    fn requests(&self, driver: Option<&str>, audience: &str) -> Result<bool, String> {
        let Some(name) = driver else { return Ok(false) };
        let driver = self.objects.cached(GroupResource::new("storage.k8s.io", "csidrivers"), "", name);
        let driver = driver.ok_or_else(|| format!("csidriver.storage.k8s.io {name:?} not found"))?;
        let mut requests = driver["spec"]["tokenRequests"].as_array().into_iter().flatten();
        Ok(requests.any(|request| text(&request["audience"]) == audience))
    }
}

/// Kinds of volumes from the time before CSI, and the drivers that serve them now.
const MIGRATED: [(&str, &str); 7] = [
    ("awsElasticBlockStore", "ebs.csi.aws.com"),
    ("azureDisk", "disk.csi.azure.com"),
    ("azureFile", "file.csi.azure.com"),
    ("cinder", "cinder.csi.openstack.org"),
    ("gcePersistentDisk", "pd.csi.storage.gke.io"),
    ("portworxVolume", "pxd.portworx.com"),
    ("vsphereVolume", "csi.vsphere.vmware.com"),
];

/// The driver that a volume source names.
fn driver(source: &Value) -> Option<String> {
    let named = source["csi"]["driver"].as_str().filter(|name| !name.is_empty());
    let migrated = || MIGRATED.iter().find(|(kind, _)| source[*kind].is_object()).map(|(_, driver)| *driver);
    named.or_else(migrated).map(str::to_owned)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
