//! Default classes of claims and ingresses, growing claims, and volumes that are kept while in use.

use async_trait::async_trait;
use kubewright_api::quantity::Quantity;
use kubewright_api::status::Status;
use serde_json::{Value, json};

use super::plugin::plugin;
use super::{Admission, AdmissionAttributes, Operation};
use crate::objects::{GroupResource, Objects};

const STORAGE_CLASSES: GroupResource<'_> = GroupResource::new("storage.k8s.io", "storageclasses");
const INGRESS_CLASSES: GroupResource<'_> = GroupResource::new("networking.k8s.io", "ingressclasses");
const STORAGE_CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

/// The newest of the classes that one of these annotations marks as default.
fn default_class(objects: &dyn Objects, of: GroupResource<'_>, annotations: &[&str]) -> Option<String> {
    let mut classes: Vec<Value> = objects.cached_list(of, None);
    classes.retain(|class| annotations.iter().any(|name| class["metadata"]["annotations"][*name] == "true"));
    let text = |class: &Value, field: &str| class["metadata"][field].as_str().unwrap_or_default().to_owned();
    classes.sort_by_key(|class| text(class, "name"));
    // The sort is stable: among the newest the first by name.
    classes.sort_by_key(|class| std::cmp::Reverse(text(class, "creationTimestamp")));
    classes.first().map(|class| text(class, "name"))
}

plugin! {
    /// `DefaultStorageClass`: a claim that names no class gets the default one.
    DefaultStorageClass, objects: dyn Objects
}

#[async_trait]
impl Admission for DefaultStorageClass {
    fn name(&self) -> &'static str {
        "DefaultStorageClass"
    }

    fn handles(&self, a: &AdmissionAttributes<'_>) -> bool {
        a.creates("", "persistentvolumeclaims")
    }

    async fn admit(&self, a: &mut AdmissionAttributes<'_>) -> Result<(), Status> {
        let annotated = a.object["metadata"]["annotations"].get(STORAGE_CLASS_ANNOTATION).is_some();
        if annotated || a.object["spec"].get("storageClassName").is_some() {
            return Ok(());
        }
        let marks = ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
        if let Some(class) = default_class(&*self.objects, STORAGE_CLASSES, &marks) {
            a.object["spec"]["storageClassName"] = class.into();
        }
        Ok(())
    }
}

plugin! {
    /// `DefaultIngressClass`: an ingress that names no class gets the default one.
    DefaultIngressClass, objects: dyn Objects
}

#[async_trait]
impl Admission for DefaultIngressClass {
    fn name(&self) -> &'static str {
        "DefaultIngressClass"
    }

    fn handles(&self, a: &AdmissionAttributes<'_>) -> bool {
        a.creates("networking.k8s.io", "ingresses")
    }

    async fn admit(&self, a: &mut AdmissionAttributes<'_>) -> Result<(), Status> {
        let annotated = a.object["metadata"]["annotations"].get("kubernetes.io/ingress.class").is_some();
        if annotated || a.object["spec"].get("ingressClassName").is_some() {
            return Ok(());
        }
        let mark = ["ingressclass.kubernetes.io/is-default-class"];
        if let Some(class) = default_class(&*self.objects, INGRESS_CLASSES, &mark) {
            a.object["spec"]["ingressClassName"] = class.into();
        }
        Ok(())
    }
}

plugin! {
    /// `PersistentVolumeClaimResize`: a claim only grows where its class lets it.
    PersistentVolumeClaimResize, objects: dyn Objects
}

fn class_of(claim: &Value) -> Option<&str> {
    let annotated = claim["metadata"]["annotations"].get(STORAGE_CLASS_ANNOTATION);
    annotated.or_else(|| claim["spec"].get("storageClassName")).and_then(Value::as_str).filter(|name| !name.is_empty())
}

fn size_of(claim: &Value) -> Quantity {
    let text = claim["spec"]["resources"]["requests"]["storage"].as_str().unwrap_or("0");
    text.parse().unwrap_or_default()
}

#[async_trait]
impl Admission for PersistentVolumeClaimResize {
    fn name(&self) -> &'static str {
        "PersistentVolumeClaimResize"
    }

    fn handles(&self, a: &AdmissionAttributes<'_>) -> bool {
        a.is("", "persistentvolumeclaims") && a.operation == Operation::Update
    }

    async fn validate(&self, a: &AdmissionAttributes<'_>) -> Result<(), Status> {
        let Some(old) = a.old.filter(|old| size_of(&a.object) > size_of(old)) else { return Ok(()) };
        if old["status"]["phase"] != "Bound" {
            return Err(a.forbidden("Only bound persistent volume claims can be expanded"));
        }
        let class = class_of(&a.object).filter(|class| class_of(old) == Some(class));
        let class = class.and_then(|class| self.objects.cached(STORAGE_CLASSES, "", class));
        if class.is_some_and(|class| class["allowVolumeExpansion"] == true) {
            return Ok(());
        }
        let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize";
        Err(a.forbidden(why))
    }
}

/// `StorageObjectInUseProtection`: volumes, claims and attribute classes wait for whoever still uses them.
#[derive(Clone, Copy, Debug, Default)]
pub struct StorageObjectInUseProtection;

fn protection_of(a: &AdmissionAttributes<'_>) -> Option<&'static str> {
    match (a.group, a.resource) {
        ("", "persistentvolumes") => Some("kubernetes.io/pv-protection"),
        ("", "persistentvolumeclaims") => Some("kubernetes.io/pvc-protection"),
        ("storage.k8s.io", "volumeattributesclasses") => Some("kubernetes.io/vac-protection"),
        _ => None,
    }
}

#[async_trait]
impl Admission for StorageObjectInUseProtection {
    fn name(&self) -> &'static str {
        "StorageObjectInUseProtection"
    }

    fn handles(&self, a: &AdmissionAttributes<'_>) -> bool {
        a.operation == Operation::Create && a.subresource.is_empty() && protection_of(a).is_some()
    }

    async fn admit(&self, a: &mut AdmissionAttributes<'_>) -> Result<(), Status> {
        let Some(finalizer) = protection_of(a) else { return Ok(()) };
        match a.object["metadata"]["finalizers"].as_array_mut() {
            Some(list) if list.iter().any(|own| own == finalizer) => {}
            Some(list) => list.push(finalizer.into()),
            None => a.object["metadata"]["finalizers"] = json!([finalizer]),
        }
        Ok(())
    }
}
