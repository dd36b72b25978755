//! Resource names, amounts, requests and limits.

use kubewright_api::field::{FieldError, FieldErrors};
use kubewright_api::names;
use kubewright_api::quantity::Quantity;

use crate::kinds::read::Field;

const CONTAINER: &[&str] = &["cpu", "memory", "ephemeral-storage"];
const COUNTED: &[&str] = &[
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];
const QUOTA_COMPUTE: &[&str] = &[
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
];

/// Whether it is a resource of huge pages.
pub(crate) fn is_huge_page(name: &str) -> bool {
    name.starts_with("hugepages-")
}

fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Whether it is a resource that a cluster adds, such as `example.com/gpu`.
pub(crate) fn is_extended(name: &str) -> bool {
    !is_native(name) && !name.starts_with("requests.") && names::qualified_name(&format!("requests.{name}")).is_empty()
}

/// Whether requests may be less than limits.
pub(crate) fn may_overcommit(name: &str) -> bool {
    is_native(name) && !is_huge_page(name)
}

/// Whether a pod as a whole can ask for it.
pub(crate) fn is_pod_level(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || is_huge_page(name)
}

/// Whether a quota knows it.
pub(crate) fn is_quota_resource(name: &str) -> bool {
    QUOTA_COMPUTE.contains(&name)
        || COUNTED.contains(&name)
        || is_huge_page(name)
        || name.starts_with("requests.hugepages-")
}

fn resource_name(field: &Field<'_>, name: &str, errors: &mut FieldErrors) -> bool {
    let faults = names::qualified_name(name);
    let good = faults.is_empty();
    for fault in faults {
        field.invalid_value(errors, name, fault);
    }
    if good && !name.contains('/') && !is_quota_resource(name) && name != "storage" {
        field.invalid_value(errors, name, "must be a standard resource type or fully qualified");
        return false;
    }
    good
}

/// The name of a resource that a container asks for.
pub(crate) fn container_resource_name(field: &Field<'_>, name: &str, errors: &mut FieldErrors) {
    resource_name(field, name, errors);
    if !name.contains('/') {
        if !CONTAINER.contains(&name) && !is_huge_page(name) {
            field.invalid_value(errors, name, "must be a standard resource for containers");
        }
    } else if !is_native(name) && !is_extended(name) {
        field.invalid_value(errors, name, "doesn't follow extended resource name standard");
    }
}

/// The name of any resource.
pub(crate) fn any_resource_name(field: &Field<'_>, name: &str, errors: &mut FieldErrors) {
    resource_name(field, name, errors);
}

/// The name of a resource that a pod asks for as a whole.
pub(crate) fn pod_resource_name(field: &Field<'_>, name: &str, errors: &mut FieldErrors) {
    if resource_name(field, name, errors) && !is_pod_level(name) {
        errors.push(FieldError::not_supported_in_order(&field.path(), name, &["cpu", "hugepages-", "memory"]));
    }
}

/// The name of a resource in a quota.
pub(crate) fn quota_resource_name(field: &Field<'_>, name: &str, errors: &mut FieldErrors) {
    resource_name(field, name, errors);
    if !name.contains('/') && !is_quota_resource(name) {
        field.invalid_value(errors, name, "must be a standard resource for quota");
    }
}

/// An amount of that resource.
pub(crate) fn amount(field: &Field<'_>, name: &str, errors: &mut FieldErrors) {
    let Some(value) = field.quantity() else { return };
    if value < Quantity::ZERO {
        field.invalid_value(errors, value.to_string(), "must be greater than or equal to 0");
    }
    if (COUNTED.contains(&name) || is_extended(name)) && value.millis() % 1000 != 0 {
        field.invalid_value(errors, value.to_string(), "must be an integer");
    }
}

/// A whole amount that is not negative.
pub(crate) fn basic_amount(field: &Field<'_>, errors: &mut FieldErrors) {
    if let Some(value) = field.quantity()
        && value.value() < 0
    {
        field.invalid_value(errors, value.value(), "must be a valid resource quantity");
    }
}

/// An amount above zero.
pub(crate) fn positive_amount(field: &Field<'_>, errors: &mut FieldErrors) -> bool {
    match field.quantity() {
        Some(value) if value <= Quantity::ZERO => {
            field.invalid_value(errors, value.to_string(), "must be greater than zero");
            false
        }
        _ => true,
    }
}

type NameRule = fn(&Field<'_>, &str, &mut FieldErrors);

/// Requests and limits of a container, or of a pod as a whole, and the claims it uses.
pub(crate) fn requirements(field: &Field<'_>, name_rule: NameRule, claims: &[&str], errors: &mut FieldErrors) {
    amounts(field, &field.field("limits"), &field.field("requests"), name_rule, errors);
    claim_names(&field.field("claims"), claims, errors);
}

/// What pods of a class need beside what their containers ask for. Upstream reads it as limits, and says so in faults.
pub(crate) fn overhead(field: &Field<'_>, errors: &mut FieldErrors) {
    let limits = field.field("podFixed").shown_as("limits");
    amounts(field, &limits, &field.field("requests"), container_resource_name, errors);
}

fn amounts(field: &Field<'_>, limits: &Field<'_>, requests: &Field<'_>, name_rule: NameRule, errors: &mut FieldErrors) {
    let mut huge_pages = false;
    let mut compute = false;
    for (name, limit) in limits.entries() {
        one_amount(&limit, name, name_rule, errors);
        huge_pages |= is_huge_page(name);
        compute |= matches!(name, "cpu" | "memory");
    }
    for (name, request) in requests.entries() {
        one_amount(&request, name, name_rule, errors);
        huge_pages |= is_huge_page(name);
        compute |= matches!(name, "cpu" | "memory");
        match (request.quantity(), limits.key(name).quantity()) {
            (Some(asked), Some(limit)) if asked != limit && !may_overcommit(name) => {
                let why = format!("must be equal to {name} limit of {limit}");
                requests.invalid_value(errors, asked.to_string(), why);
            }
            (Some(asked), Some(limit)) if asked > limit => {
                let why = format!("must be less than or equal to {name} limit of {limit}");
                requests.invalid_value(errors, asked.to_string(), why);
            }
            (_, None) if !may_overcommit(name) => {
                limits.required(errors, "Limit must be set for non overcommitable resources");
            }
            _ => {}
        }
    }
    if huge_pages && !compute {
        field.forbidden(errors, "HugePages require cpu or memory");
    }
}

fn one_amount(field: &Field<'_>, name: &str, name_rule: NameRule, errors: &mut FieldErrors) {
    name_rule(field, name, errors);
    amount(field, name, errors);
    if is_huge_page(name)
        && let Some(value) = field.quantity()
        && !is_multiple(value, &name["hugepages-".len()..])
    {
        field.invalid_value(errors, value.to_string(), format!("{value} is not positive integer multiple of {name}"));
    }
}

fn is_multiple(value: Quantity, of: &str) -> bool {
    match of.parse::<Quantity>() {
        Ok(size) if size.value() > 0 => value.value() % size.value() == 0,
        _ => false,
    }
}

fn claim_names(claims: &Field<'_>, pod_claims: &[&str], errors: &mut FieldErrors) {
    let mut seen: Vec<String> = Vec::new();
    for claim in claims.items() {
        let name = claim.field("name").text();
        if name.is_empty() {
            claim.required(errors, "");
            continue;
        }
        let request = claim.field("request");
        request.check_if_set(errors, names::dns1123_label);
        let key = if request.is_empty() { name.to_owned() } else { format!("{name}/{}", request.text()) };
        let whole = request.is_empty() && seen.iter().any(|other| other.split('/').next() == Some(name));
        if seen.iter().any(|other| other == name || *other == key) || whole {
            errors.push(FieldError::duplicate(&claim.path(), key.clone()));
        }
        seen.push(key);
        if !pod_claims.contains(&name) {
            let mut error = FieldError::not_found(&claim.path(), name);
            let mut sorted = pod_claims.to_vec();
            sorted.sort_unstable();
            let list = if sorted.is_empty() { " which is empty".into() } else { format!(": {}", sorted.join(", ")) };
            error.detail = format!("must be one of the names in pod.spec.resourceClaims{list}");
            errors.push(error);
        }
    }
}
