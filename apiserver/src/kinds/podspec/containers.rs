//! Containers: what all have in common, and the rules for regular, init and ephemeral ones.

use std::collections::BTreeSet;

use kubewright_api::field::{FieldError, FieldErrors};
use kubewright_api::names;

use super::probes::probes_and_lifecycle;
use super::volumes::{Volumes, devices, mounts};
use super::{env, security};
use crate::kinds::read::Field;
use crate::kinds::validate::paths::protocol;
use crate::kinds::validate::resources::{container_resource_name, requirements};

/// What the rules for containers need to know of the pod.
pub(crate) struct Pod<'a> {
    /// The pod's spec.
    pub(crate) spec: Field<'a>,
    /// Its good volumes by name.
    pub(crate) volumes: Volumes<'a>,
    /// Names of its resource claims.
    pub(crate) claims: Vec<&'a str>,
    /// Seconds it gets to stop.
    pub(crate) grace: Option<i64>,
    /// Whether it shares the host's users.
    pub(crate) host_users: bool,
}

/// The regular containers.
pub(crate) fn containers(pod: &Pod<'_>, errors: &mut FieldErrors) {
    let list = pod.spec.field("containers");
    if !list.require(errors) {
        return;
    }
    let mut names_seen = BTreeSet::new();
    for container in list.items() {
        common(pod, &container, errors);
        let name = container.field("name");
        if !names_seen.insert(name.text()) {
            name.duplicate(errors);
        }
        probes_and_lifecycle(&container, pod.grace, &pod.spec.field("os"), errors);
        restart_policy(&container, errors);
    }
    unique_host_ports(list.items(), errors);
}

/// The init containers, sidecars among them.
pub(crate) fn init_containers(pod: &Pod<'_>, errors: &mut FieldErrors) {
    let mut names_seen: BTreeSet<&str> =
        pod.spec.field("containers").items().map(|container| container.field("name").text()).collect();
    for container in pod.spec.field("initContainers").items() {
        common(pod, &container, errors);
        let policy = container.field("restartPolicy");
        if policy.is_set() || !container.field("restartPolicyRules").is_empty() {
            restart_policy(&container, errors);
        }
        let name = container.field("name");
        if !name.is_empty() && !names_seen.insert(name.text()) {
            name.duplicate(errors);
        }
        unique_host_ports(std::iter::once(container.clone()), errors);
        if policy.text() == "Always" {
            probes_and_lifecycle(&container, pod.grace, &pod.spec.field("os"), errors);
            continue;
        }
        for name in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
            if container.field(name).is_set() {
                let why = "may not be set for init containers without restartPolicy=Always";
                container.field(name).forbidden(errors, why);
            }
        }
        for resize in container.field("resizePolicy").items() {
            let policy = resize.field("restartPolicy");
            if policy.text() == "RestartContainer" {
                policy.invalid(errors, "must not be set to 'RestartContainer' for non-sidecar initContainers");
            }
        }
    }
}

/// The containers that come while a pod runs.
pub(crate) fn ephemeral_containers(pod: &Pod<'_>, errors: &mut FieldErrors) {
    let lists = ["containers", "initContainers"];
    let others: BTreeSet<&str> =
        lists.iter().flat_map(|list| pod.spec.field(list).items()).map(|other| other.field("name").text()).collect();
    let mut names_seen = others.clone();
    for container in pod.spec.field("ephemeralContainers").items() {
        common(pod, &container, errors);
        image_is_trimmed(&container, errors);
        let name = container.field("name");
        if !names_seen.insert(name.text()) {
            name.duplicate(errors);
        }
        let target = container.field("targetContainerName");
        if !target.is_empty() && !others.contains(target.text()) {
            target.not_found(errors);
        }
        let refused =
            ["ports", "resources", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "resizePolicy"];
        for field in refused.into_iter().chain(["restartPolicy", "restartPolicyRules"]) {
            let field = container.field(field);
            let empty_struct = field.path().to_string().ends_with("resources") && field.is_empty();
            if field.is_set() && !empty_struct {
                field.forbidden(errors, "cannot be set for an Ephemeral Container");
            }
        }
        for mount in container.field("volumeMounts").items() {
            for field in ["subPath", "subPathExpr"] {
                if !mount.field(field).is_empty() {
                    mount.field(field).forbidden(errors, "cannot be set for an Ephemeral Container");
                }
            }
        }
    }
}

/// No white space around an image's name.
pub(crate) fn image_is_trimmed(container: &Field<'_>, errors: &mut FieldErrors) {
    let image = container.field("image");
    if image.text().trim() != image.text() {
        image.invalid(errors, "must not have leading or trailing whitespace");
    }
}

fn common(pod: &Pod<'_>, container: &Field<'_>, errors: &mut FieldErrors) {
    container.field("name").require_and_check(errors, names::dns1123_label);
    container.field("image").require(errors);
    container.field("terminationMessagePolicy").one_of(errors, &["File", "FallbackToLogsOnError"]);
    ports(&container.field("ports"), errors);
    env::env(container, errors);
    mounts(container, &pod.volumes, errors);
    devices(container, &pod.volumes, errors);
    container.field("imagePullPolicy").one_of(errors, &["Always", "IfNotPresent", "Never"]);
    requirements(&container.field("resources"), container_resource_name, &pod.claims, errors);
    resize_policy(pod, &container.field("resizePolicy"), errors);
    security::container(&container.field("securityContext"), pod.host_users, errors);
}

fn ports(ports: &Field<'_>, errors: &mut FieldErrors) {
    let mut names_seen = BTreeSet::new();
    for port in ports.items() {
        let name = port.field("name");
        if !name.is_empty() {
            let faults = names::port_name(name.text());
            if faults.is_empty() && !names_seen.insert(name.text()) {
                name.duplicate(errors);
            }
            name.check(errors, |_| faults.clone());
        }
        for (field, required) in [("containerPort", true), ("hostPort", false)] {
            let field = port.field(field);
            if field.int() != 0 {
                for fault in names::port_number(field.int()) {
                    field.invalid(errors, fault);
                }
            } else if required {
                field.required(errors, "");
            }
        }
        protocol(&port.field("protocol"), errors);
    }
}

fn unique_host_ports<'a>(containers: impl Iterator<Item = Field<'a>>, errors: &mut FieldErrors) {
    let mut seen = BTreeSet::new();
    for container in containers {
        for port in container.field("ports").items() {
            let number = port.field("hostPort").int();
            let key = format!("{}/{}/{number}", port.field("protocol").text(), port.field("hostIP").text());
            if number != 0 && !seen.insert(key.clone()) {
                errors.push(FieldError::duplicate(&port.field("hostPort").path(), key));
            }
        }
    }
}

fn resize_policy(pod: &Pod<'_>, list: &Field<'_>, errors: &mut FieldErrors) {
    let never = pod.spec.field("restartPolicy").text() == "Never";
    let mut seen = BTreeSet::new();
    for item in list.items() {
        let (name, policy) = (item.field("resourceName").text(), item.field("restartPolicy").text());
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&item.path(), name));
        }
        for (value, allowed) in [(name, &["cpu", "memory"]), (policy, &["NotRequired", "RestartContainer"])] {
            match value {
                "" => list.required(errors, ""),
                _ if allowed.contains(&value) => {}
                _ => errors.push(FieldError::not_supported_in_order(&list.path(), value, allowed)),
            }
        }
        if never && policy != "NotRequired" {
            list.invalid_value(errors, policy, "must be 'NotRequired' when pod `restartPolicy` is 'Never'");
        }
    }
}

fn restart_policy(container: &Field<'_>, errors: &mut FieldErrors) {
    let (policy, rules) = (container.field("restartPolicy"), container.field("restartPolicyRules"));
    if !policy.is_set() {
        if !rules.is_empty() {
            policy.required(errors, "must specify restartPolicy when restart rules are used");
        }
    } else {
        policy.one_of_if_set(errors, &["Always", "Never", "OnFailure"]);
    }
    if rules.len() > 20 {
        errors.push(FieldError::too_many(&rules.path(), rules.len(), 20));
    }
    for rule in rules.items() {
        let action = rule.field("action");
        if !["Restart", "RestartAllContainers"].contains(&action.text()) {
            action.unsupported(errors, &["Restart", "RestartAllContainers"]);
        }
        let codes = rule.field("exitCodes");
        if !codes.is_set() {
            codes.required(errors, "must be specified");
            continue;
        }
        let operator = codes.field("operator");
        if !["In", "NotIn"].contains(&operator.text()) {
            operator.unsupported(errors, &["In", "NotIn"]);
        }
        let values = codes.field("values");
        if values.len() > 255 {
            errors.push(FieldError::too_many(&values.path(), values.len(), 255));
        }
    }
}
