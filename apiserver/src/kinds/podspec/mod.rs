//! Pod specs, in pods and in the templates that workloads make pods from: defaults and rules.

pub(crate) mod annotations;
mod containers;
mod defaults;
mod env;
mod image;
mod pod_level;
mod probes;
mod projected;
mod security;
mod volumes;
mod warnings;

use std::collections::BTreeSet;

use kubewright_api::field::{FieldError, FieldErrors};
use kubewright_api::names;

pub(crate) use containers::image_is_trimmed;
pub(crate) use defaults::{network_volume, pod_only, pod_spec, round_up, service_account, template};
pub(crate) use warnings::warnings;

use super::read::Field;
use super::validate::addresses::ip;
use super::validate::labels;
use super::validate::resources::{container_resource_name, requirements};
use super::validate::scheduling::{affinity, tolerations, topology_spread};

/// Shows every container of a spec: init, regular, ephemeral.
pub(crate) fn visit_containers<'a>(spec: &Field<'a>, mut visit: impl FnMut(Field<'a>)) {
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        spec.field(list).items().for_each(&mut visit);
    }
}

/// The rules for a pod template.
pub(crate) fn validate_template(template: &Field<'_>, errors: &mut FieldErrors) {
    // Upstream leaves `metadata` out of these paths.
    let metadata = template.field("metadata");
    let spec = template.field("spec");
    let mut faults = FieldErrors::new();
    labels::labels(&metadata.field("labels"), &mut faults);
    labels::annotations(&metadata.field("annotations"), &mut faults);
    annotations::validate(&metadata.field("annotations"), &spec, &mut faults);
    let (from, to) = (metadata.path().to_string(), template.path());
    errors.extend(faults.into_iter().map(|mut fault| {
        let text = fault.path.to_string();
        if let Some(below) = text.strip_prefix(&from) {
            fault.path = to.child(below.trim_start_matches('.'));
        }
        fault
    }));
    validate_spec(&spec, None, errors);
    annotations::match_fields(&metadata.field("annotations"), &spec, errors);
    if !spec.field("ephemeralContainers").is_empty() {
        let why = "ephemeral containers not allowed in pod template";
        spec.field("ephemeralContainers").forbidden(errors, why);
    }
}

/// The rules for a pod's spec. `metadata` is the pod's; a template has none.
pub(crate) fn validate_spec(spec: &Field<'_>, metadata: Option<&Field<'_>>, errors: &mut FieldErrors) {
    let grace = spec.field("terminationGracePeriodSeconds");
    if !grace.is_set() {
        grace.required(errors, "");
    }
    let pod_name = metadata.map_or("", |metadata| metadata.field("name").text());
    let pod = containers::Pod {
        spec: spec.clone(),
        volumes: volumes::volumes(spec, pod_name, errors),
        claims: spec.field("resourceClaims").items().map(|claim| claim.field("name").text()).collect(),
        grace: grace.opt_int(),
        host_users: spec.field("hostUsers").opt_flag().unwrap_or(true),
    };
    resource_claims(spec, metadata, errors);
    containers::containers(&pod, errors);
    containers::init_containers(&pod, errors);
    containers::ephemeral_containers(&pod, errors);
    pod_level::validate(spec, &pod.claims, errors);
    host_network_ports(spec, metadata.is_some(), errors);
    spec.field("restartPolicy").one_of(errors, &["Always", "OnFailure", "Never"]);
    spec.field("dnsPolicy").one_of(errors, &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"]);
    labels::labels(&spec.field("nodeSelector"), errors);
    security::pod(spec, errors);
    affinity(&spec.field("affinity"), errors);
    dns_config(spec, errors);
    for gate in spec.field("readinessGates").items() {
        gate.field("conditionType").check(errors, names::qualified_name);
    }
    scheduling_gates(&spec.field("schedulingGates"), errors);
    topology_spread(&spec.field("topologySpreadConstraints"), errors);
    security::host_process(spec, errors);
    security::user_namespace(spec, errors);
    host_name(spec, errors);
    simple_fields(spec, errors);
    security::operating_system(spec, errors);
    file_key_volumes(spec, errors);
}

fn simple_fields(spec: &Field<'_>, errors: &mut FieldErrors) {
    for name in ["serviceAccountName", "nodeName", "priorityClassName"] {
        spec.field(name).check_if_set(errors, names::dns1123_subdomain);
    }
    spec.field("activeDeadlineSeconds").within(errors, 1, i64::from(i32::MAX));
    for name in ["hostname", "subdomain"] {
        spec.field(name).check_if_set(errors, names::dns1123_label);
    }
    tolerations(&spec.field("tolerations"), errors);
    for alias in spec.field("hostAliases").items() {
        ip(&alias.field("ip"), &[], errors);
        alias.field("hostnames").items().for_each(|name| name.check(errors, names::dns1123_subdomain));
    }
    let runtime = spec.field("runtimeClassName");
    if runtime.is_set() {
        runtime.check(errors, names::dns1123_subdomain);
    }
    let preemption = spec.field("preemptionPolicy");
    if preemption.is_set() {
        preemption.one_of(errors, &["PreemptLowerPriority", "Never"]);
    }
    overhead(&spec.field("overhead"), errors);
}

fn overhead(overhead: &Field<'_>, errors: &mut FieldErrors) {
    let Some(amounts) = overhead.value() else { return };
    let as_limits = serde_json::json!({ "limits": amounts });
    let mut faults = FieldErrors::new();
    requirements(&Field::of(&as_limits), container_resource_name, &[], &mut faults);
    let path = overhead.path();
    errors.extend(faults.into_iter().map(|mut fault| {
        fault.path = kubewright_api::field::Path::new(&format!("{path}.{}", fault.path));
        fault
    }));
}

fn resource_claims(spec: &Field<'_>, metadata: Option<&Field<'_>>, errors: &mut FieldErrors) {
    let mut seen = BTreeSet::new();
    for claim in spec.field("resourceClaims").items() {
        if metadata.is_some_and(|metadata| metadata.field("annotations").key(annotations::MIRROR).is_set()) {
            errors.push(FieldError::forbidden(
                &kubewright_api::field::Path::new(""),
                "static pods do not support resource claims",
            ));
            continue;
        }
        let name = claim.field("name");
        if name.is_empty() {
            name.required(errors, "");
        } else if !seen.insert(name.text()) {
            name.duplicate(errors);
        } else {
            name.check(errors, names::dns1123_label);
        }
        let (direct, template) = (claim.field("resourceClaimName"), claim.field("resourceClaimTemplateName"));
        match (direct.is_set(), template.is_set()) {
            (true, true) => {
                let why = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified";
                claim.invalid(errors, why);
            }
            (false, false) => {
                let why = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`";
                claim.invalid(errors, why);
            }
            _ => {}
        }
        for field in [direct, template].into_iter().filter(Field::is_set) {
            field.check(errors, names::dns1123_subdomain);
        }
    }
}

fn host_network_ports(spec: &Field<'_>, is_pod: bool, errors: &mut FieldErrors) {
    if !spec.field("hostNetwork").flag() {
        return;
    }
    for container in spec.field("containers").items() {
        for port in container.field("ports").items() {
            let (host, own) = (port.field("hostPort"), port.field("containerPort"));
            if (is_pod || host.int() != 0) && host.int() != own.int() {
                let why = "must match `containerPort` when `hostNetwork` is true";
                host.invalid_value(errors, host.int(), why);
            }
        }
    }
}

fn scheduling_gates(gates: &Field<'_>, errors: &mut FieldErrors) {
    let mut seen = BTreeSet::new();
    for gate in gates.items() {
        let name = gate.field("name").text();
        for fault in names::qualified_name(name) {
            gate.invalid_value(errors, name, fault);
        }
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&gate.path(), name));
        }
    }
}

fn dns_config(spec: &Field<'_>, errors: &mut FieldErrors) {
    let config = spec.field("dnsConfig");
    let servers = config.field("nameservers");
    if spec.field("dnsPolicy").text() == "None" {
        if !config.is_set() {
            config.required(errors, "must provide `dnsConfig` when `dnsPolicy` is None");
            return;
        }
        if servers.is_empty() {
            servers.required(errors, "must provide at least one DNS nameserver when `dnsPolicy` is None");
            return;
        }
    }
    if servers.len() > 3 {
        servers.invalid(errors, "must not have more than 3 nameservers");
    }
    servers.items().for_each(|server| ip(&server, &[], errors));
    let searches = config.field("searches");
    if searches.len() > 32 {
        searches.invalid(errors, "must not have more than 32 search paths");
    }
    if searches.texts().join(" ").len() > 2048 {
        let why = "must not have more than 2048 characters (including spaces) in the search list";
        searches.invalid(errors, why);
    }
    for search in searches.items().filter(|search| search.text() != ".") {
        let text = search.text().strip_suffix('.').unwrap_or_else(|| search.text());
        for fault in names::dns1123_subdomain_with_underscores(text) {
            search.invalid_value(errors, text, fault);
        }
    }
    for option in config.field("options").items().filter(|option| option.field("name").is_empty()) {
        option.required(errors, "must not be empty");
    }
}

fn host_name(spec: &Field<'_>, errors: &mut FieldErrors) {
    let name = spec.field("hostnameOverride");
    if !name.is_set() {
        return;
    }
    if spec.field("setHostnameAsFQDN").flag() {
        name.forbidden(errors, "may not be specified when setHostnameAsFQDN is true");
    }
    if spec.field("hostNetwork").flag() {
        name.forbidden(errors, "may not be specified when hostNetwork is true");
    }
    if name.text().len() > 64 {
        name.too_long(errors, 64);
    }
    name.check(errors, names::dns1123_subdomain);
}

/// Variables can be read from files of `emptyDir` volumes only.
fn file_key_volumes(spec: &Field<'_>, errors: &mut FieldErrors) {
    visit_containers(spec, |container| {
        for variable in container.field("env").items() {
            let reference = variable.at("valueFrom.fileKeyRef");
            if !reference.is_set() {
                continue;
            }
            let name = reference.field("volumeName");
            let mut volumes = spec.field("volumes").items();
            match volumes.find(|volume| volume.field("name").text() == name.text()) {
                None => errors.push(FieldError::not_found(&name.path(), name.text())),
                Some(volume) if !volume.field("emptyDir").is_set() => {
                    name.invalid_value(errors, name.text(), "referenced volume must be of type emptyDir");
                }
                Some(_) => {}
            }
        }
    });
}
