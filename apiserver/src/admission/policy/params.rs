//! A policy's parameters: which objects a binding names.

use kubewright_api::resources;
use kubewright_api::selector::LabelSelector;
use serde_json::Value;

use super::compiled::{Binding, Policy};
use crate::admission::AdmissionAttributes;
use crate::admission::matching::JsonLabels;
use crate::objects::{GroupResource, Objects};

/// The parameters, each to be used once; `None` stands for none at all.
///
/// # Errors
/// The binding or the policy can't be used so; the message says why.
pub(super) async fn collect(
    policy: &Policy,
    binding: &Binding,
    a: &AdmissionAttributes<'_>,
    objects: &dyn Objects,
) -> Result<Vec<Option<Value>>, String> {
    let reference = &binding.param_ref;
    let Some((api_version, kind)) = policy.param_kind.as_ref().filter(|_| reference.is_object()) else {
        return Ok(vec![None]);
    };
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let known = objects.of_kind(group, version, kind);
    let (plural, namespaced) = known.ok_or_else(|| format!("paramKind kind `{api_version}, Kind={kind}` not known"))?;
    let given = reference["namespace"].as_str().unwrap_or_default();
    let namespace = match (namespaced, given) {
        (false, "") => "",
        (false, _) => return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".into()),
        (true, "") if a.namespace.is_empty() => {
            return Err("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources".into());
        }
        (true, "") => a.namespace,
        (true, given) => given,
    };
    let resource = GroupResource::new(group, &plural);
    let found: Vec<Value> = match reference["name"].as_str().filter(|name| !name.is_empty()) {
        Some(name) => objects.cached(resource, namespace, name).into_iter().collect(),
        None => {
            let selector: LabelSelector =
                serde_json::from_value(reference["selector"].clone()).map_err(|error| error.to_string())?;
            objects.readable(resource, namespaced.then_some(namespace)).map_err(|status| status.message)?;
            let all = objects.cached_list(resource, namespaced.then_some(namespace));
            all.into_iter().filter(|object| selector.matches(&JsonLabels(&object["metadata"]["labels"]))).collect()
        }
    };
    if found.is_empty() && reference["parameterNotFoundAction"] == "Deny" {
        return Err("no params found for policy binding with `Deny` parameterNotFoundAction".into());
    }
    let is_custom = resources::of_kind(group, version, kind).is_none();
    let mut shown = Vec::with_capacity(found.len());
    for mut object in found {
        // What is stored in another version is shown in the policy's.
        if is_custom && object["apiVersion"] != api_version.as_str() {
            object = objects.convert_custom(resource, object, api_version).await.map_err(|status| status.message)?;
        }
        object["apiVersion"] = api_version.as_str().into();
        shown.push(Some(object));
    }
    Ok(shown)
}
