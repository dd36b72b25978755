//! Environment variables and where they come from.

use kubewright_api::field::{FieldError, FieldErrors};
use kubewright_api::names;

use crate::kinds::read::Field;
use crate::kinds::validate::paths::no_backsteps;

const ENV_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
const VOLUME_FIELDS: &[&str] =
    &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
const ALL_FIELDS: &[&str] = &["spec.restartPolicy", "spec.schedulerName", "status.phase"];
const RESOURCES: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

/// The variables of a container.
pub(crate) fn env(container: &Field<'_>, errors: &mut FieldErrors) {
    for variable in container.field("env").items() {
        variable.field("name").require_and_check(errors, names::env_var_name);
        let from = variable.field("valueFrom");
        if from.is_set() {
            value_from(&from, variable.field("value").is_empty(), errors);
        }
    }
    let sources = container.field("envFrom");
    for source in sources.items() {
        source.field("prefix").check_if_set(errors, names::env_var_name);
        let (config_map, secret) = (source.field("configMapRef"), source.field("secretRef"));
        for reference in [&config_map, &secret].into_iter().filter(|reference| reference.is_set()) {
            reference.field("name").require_and_check(errors, names::dns1123_subdomain);
        }
        match (config_map.is_set(), secret.is_set()) {
            (false, false) => {
                sources.invalid_value(errors, "", "must specify one of: `configMapRef` or `secretRef`");
            }
            (true, true) => sources.invalid_value(errors, "", "may not have more than one field specified at a time"),
            _ => {}
        }
    }
}

fn value_from(from: &Field<'_>, no_value: bool, errors: &mut FieldErrors) {
    let mut sources = 0;
    for name in ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"] {
        let source = from.field(name);
        if !source.is_set() {
            continue;
        }
        sources += 1;
        match name {
            "fieldRef" => field_ref(&source, ENV_FIELDS, errors),
            "resourceFieldRef" => resource_field_ref(&source, false, errors),
            "fileKeyRef" => file_key(&source, errors),
            _ => {
                source.field("name").check(errors, names::dns1123_subdomain);
                source.field("key").require_and_check(errors, names::config_key);
            }
        }
    }
    if sources == 0 {
        let list = "`fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
        from.invalid_value(errors, "", format!("must specify one of: {list}"));
    } else if !no_value {
        from.invalid_value(errors, "", "may not be specified when `value` is not empty");
    } else if sources > 1 {
        from.invalid_value(errors, "", "may not have more than one field specified at a time");
    }
}

fn file_key(source: &Field<'_>, errors: &mut FieldErrors) {
    source.field("key").require_and_check(errors, names::env_var_name);
    source.field("volumeName").require_and_check(errors, names::dns1123_label);
    let path = source.field("path");
    if path.require(errors) {
        no_backsteps(&path, errors);
    }
}

/// A field of the pod, in a file of a volume.
pub(crate) fn field_ref_in_volume(field: &Field<'_>, errors: &mut FieldErrors) {
    field_ref(field, VOLUME_FIELDS, errors);
}

fn field_ref(field: &Field<'_>, allowed: &[&str], errors: &mut FieldErrors) {
    if !field.field("apiVersion").require(errors) || !field.field("fieldPath").require(errors) {
        return;
    }
    let path_field = field.field("fieldPath");
    let path = path_field.text();
    let version = field.field("apiVersion").text();
    if version != "v1" {
        let why = format!("error converting fieldPath: unsupported pod version: {version}");
        path_field.invalid(errors, why);
        return;
    }
    if let Some((base, subscript)) = subscripted(path) {
        match base {
            "metadata.annotations" | "metadata.labels" => {
                let key = if base == "metadata.annotations" { subscript.to_lowercase() } else { subscript.to_owned() };
                for fault in names::qualified_name(&key) {
                    field.invalid_value(errors, key.clone(), fault);
                }
            }
            _ => {
                let why = format!("error converting fieldPath: field label does not support subscript: {path}");
                path_field.invalid(errors, why);
            }
        }
        return;
    }
    let path = if path == "spec.host" { "spec.nodeName" } else { path };
    if ![ENV_FIELDS, VOLUME_FIELDS, ALL_FIELDS].concat().contains(&path) {
        path_field.invalid(errors, format!("error converting fieldPath: field label not supported: {path}"));
    } else if !allowed.contains(&path) {
        errors.push(FieldError::not_supported_in_order(&path_field.path(), path, allowed));
    }
}

/// `metadata.labels['a']` is `metadata.labels` and `a`.
fn subscripted(path: &str) -> Option<(&str, &str)> {
    let (base, rest) = path.strip_suffix("']")?.split_once("['")?;
    (!base.is_empty()).then_some((base, rest))
}

/// An amount of a container, in a variable or in a file of a volume.
pub(crate) fn resource_field_ref(field: &Field<'_>, in_volume: bool, errors: &mut FieldErrors) {
    let resource = field.field("resource");
    let name = resource.text();
    let huge_pages = name.starts_with("requests.hugepages-") || name.starts_with("limits.hugepages-");
    if in_volume && field.field("containerName").is_empty() {
        field.field("containerName").required(errors, "");
    } else if name.is_empty() {
        resource.required(errors, "");
    } else if !RESOURCES.contains(&name) && !huge_pages {
        resource.unsupported(errors, RESOURCES);
    }
    divisor(field, name, huge_pages, errors);
}

fn divisor(field: &Field<'_>, resource: &str, huge_pages: bool, errors: &mut FieldErrors) {
    let divisor = field.field("divisor");
    let Some(value) = divisor.quantity().filter(|value| !value.is_zero()) else { return };
    let sizes = ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
    let kind = match resource.split_once('.').map(|(_, kind)| kind) {
        Some("cpu") => "cpu",
        Some("memory") => "memory",
        Some("ephemeral-storage") => "local ephemeral storage",
        _ if huge_pages => "hugepages",
        _ => return,
    };
    let (allowed, list) = match kind {
        "cpu" => (&["1m", "1"][..], "1m and 1".to_owned()),
        _ => (&sizes[..], sizes.join(", ")),
    };
    if !allowed.contains(&value.to_string().as_str()) {
        let why = format!("only divisor's values {list} are supported with the {kind} resource");
        divisor.invalid_value(errors, resource, why);
    }
}
