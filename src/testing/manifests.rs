//! Objects from YAML, and custom resource definitions.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::{Scope, pinned_kind};
use kube::{Client, ResourceExt};
use serde::Deserialize;
use serde_json::Value;

use super::Error;

/// Whom the kit's own writes are noted as, in managed fields.
const MANAGER: &str = "kubewright-testing";

/// Applies every document, in order, as `kubectl apply --server-side --force-conflicts` does.
pub(super) async fn apply(client: &Client, yaml: &str) -> Result<Vec<DynamicObject>, Error> {
    let mut applied = Vec::new();
    for (at, document) in serde_yaml_ng::Deserializer::from_str(yaml).enumerate() {
        let faulty = |problem: String| Error::Manifest { document: at + 1, problem };
        let value = Value::deserialize(document).map_err(|error| faulty(error.to_string()))?;
        if value.is_null() {
            continue;
        }
        let object: DynamicObject = serde_json::from_value(value).map_err(|error| faulty(error.to_string()))?;
        let types = object.types.as_ref().ok_or_else(|| faulty("it has no apiVersion and kind".to_owned()))?;
        let kind = GroupVersionKind::try_from(types).map_err(|error| faulty(error.to_string()))?;
        let name = object.metadata.name.clone().ok_or_else(|| faulty("it has no metadata.name".to_owned()))?;
        let doing = format!("applying {} {name:?}", types.kind);
        let (resource, capabilities) = pinned_kind(client, &kind).await.map_err(Error::request(doing.clone()))?;
        let api: Api<DynamicObject> = match (capabilities.scope, object.namespace()) {
            (Scope::Cluster, _) => Api::all_with(client.clone(), &resource),
            (Scope::Namespaced, None) => Api::default_namespaced_with(client.clone(), &resource),
            (Scope::Namespaced, Some(namespace)) => Api::namespaced_with(client.clone(), &namespace, &resource),
        };
        let parameters = PatchParams::apply(MANAGER).force();
        let written = api.patch(&name, &parameters, &Patch::Apply(&object)).await.map_err(Error::request(doing))?;
        if types.kind == "CustomResourceDefinition" {
            established(client, &name).await?;
        }
        applied.push(written);
    }
    Ok(applied)
}

/// Installs definitions and waits until what they define is served.
pub(super) async fn install(client: &Client, definitions: &[CustomResourceDefinition]) -> Result<(), Error> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for definition in definitions {
        let name = definition.name_any();
        let doing = format!("installing CustomResourceDefinition {name:?}");
        let parameters = PatchParams::apply(MANAGER).force();
        api.patch(&name, &parameters, &Patch::Apply(definition)).await.map_err(Error::request(doing))?;
    }
    for definition in definitions {
        established(client, &definition.name_any()).await?;
    }
    Ok(())
}

async fn established(client: &Client, name: &str) -> Result<(), Error> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let wanted = |definition: Option<&CustomResourceDefinition>| {
        let status = definition.and_then(|definition| definition.status.as_ref());
        let conditions = status.and_then(|status| status.conditions.as_ref());
        conditions.into_iter().flatten().any(|held| held.type_ == "Established" && held.status == "True")
    };
    super::wait::until(api, name, super::wait::PATIENCE, wanted).await.map(drop)
}
