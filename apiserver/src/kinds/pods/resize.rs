//! Changing what a running pod's containers may use.

use kubewright_api::field::{FieldError, FieldErrors, Path};
use serde_json::Value;

use super::create::metadata_and_spec;
use super::qos_class;
use crate::kinds::edit::{restore, set};
use crate::kinds::kind::{METADATA, Part};
use crate::kinds::podspec::annotations::MIRROR;
use crate::kinds::read::Field;
use crate::kinds::same::same;
use crate::registry::StrategyContext;

/// `pods/resize`.
pub(crate) static RESIZE: Part = Part { fields: &["spec"], keeps: METADATA, update: prepare, validate };

const LISTS: [&str; 2] = ["containers", "initContainers"];

/// Keeps resources and resize policies of the containers, and the pod's own resources; the rest stays as it was.
fn prepare(_: &StrategyContext<'_>, pod: &mut Value, old: &Value) {
    let spec = pod["spec"].clone();
    let comparable = LISTS.iter().all(|list| {
        let names = |spec: &Value| -> Vec<Value> {
            spec[*list].as_array().into_iter().flatten().map(|container| container["name"].clone()).collect()
        };
        names(&spec) == names(&old["spec"])
    });
    if !comparable {
        return;
    }
    let mut kept = old["spec"].clone();
    restore(&mut kept, "resources", &spec);
    for list in LISTS {
        let asked = spec[list].as_array().into_iter().flatten();
        let Some(containers) = kept.get_mut(list).and_then(Value::as_array_mut) else { continue };
        for (container, asked) in containers.iter_mut().zip(asked) {
            restore(container, "resources", asked);
            restore(container, "resizePolicy", asked);
        }
    }
    set(pod, "spec", kept);
}

fn validate(pod: &Value, old: &Value, errors: &mut FieldErrors) {
    let (new_pod, old_pod) = (Field::of(pod), Field::of(old));
    let refused = |why: &str, errors: &mut FieldErrors| errors.push(FieldError::forbidden(&Path::new(""), why));
    if old_pod.field("metadata").field("annotations").key(MIRROR).is_set() {
        return refused("static pods cannot be resized", errors);
    }
    if old_pod.at("spec.os.name").text() == "windows" {
        return refused("windows pods cannot be resized", errors);
    }
    metadata_and_spec(&new_pod, errors);
    let (spec, before) = (new_pod.field("spec"), old_pod.field("spec"));
    let class = old_pod.at("status.qosClass").opt_text().unwrap_or_else(|| qos_class(old));
    if class != qos_class(pod) {
        spec.invalid_value(
            errors,
            new_pod.at("status.qosClass").text(),
            "Pod QOS Class may not change as a result of resizing",
        );
    }
    if !on_able_node(&old_pod) {
        spec.forbidden(errors, "Pod running on node without support for resize");
    }
    if !same_containers(&spec, &before, errors) {
        return;
    }
    kept(&spec.field("resources"), &before.field("resources"), "pod-level resource", errors);
    for list in LISTS {
        for (container, old) in spec.field(list).items().zip(before.field(list).items()) {
            kept(&container.field("resources"), &old.field("resources"), "resource", errors);
        }
    }
    if errors.is_empty() && !same(Some(&without_compute(&spec)), Some(&without_compute(&before))) {
        spec.forbidden(errors, "only cpu and memory resources are mutable");
    }
}

fn on_able_node(pod: &Field<'_>) -> bool {
    let mut running = pod.at("status.containerStatuses").items().filter(|status| status.at("state.running").is_set());
    running.next().is_none_or(|status| status.field("resources").is_set())
}

fn same_containers(spec: &Field<'_>, old: &Field<'_>, errors: &mut FieldErrors) -> bool {
    let before = errors.len();
    for list in LISTS {
        let (now, then) = (spec.field(list), old.field(list));
        if now.len() != then.len() {
            now.forbidden(errors, format!("{list} may not be added or removed on resize"));
            continue;
        }
        for (container, old) in now.items().zip(then.items()) {
            if container.field("name").text() != old.field("name").text() {
                let why = format!("{list} may not be renamed or reordered on resize");
                container.field("name").forbidden(errors, why);
            }
        }
    }
    errors.len() == before
}

fn kept(resources: &Field<'_>, old: &Field<'_>, what: &str, errors: &mut FieldErrors) {
    for list in ["requests", "limits"] {
        let (now, then) = (resources.field(list), old.field(list));
        if then.entries().any(|(name, _)| !now.key(name).is_set()) {
            now.forbidden(errors, format!("{what} {list} cannot be removed"));
        }
    }
}

/// The spec without what a resize may change.
fn without_compute(spec: &Field<'_>) -> Value {
    let mut spec = spec.raw();
    let strip = |owner: &mut Value| {
        for list in ["requests", "limits"] {
            let resources = owner.get_mut("resources");
            if let Some(amounts) = resources.and_then(|lists| lists.get_mut(list)).and_then(Value::as_object_mut) {
                amounts.remove("cpu");
                amounts.remove("memory");
            }
        }
    };
    if spec.is_object() {
        strip(&mut spec);
    }
    for list in LISTS {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(entries) = container.as_object_mut() {
                entries.remove("resizePolicy");
                strip(container);
            }
        }
    }
    spec
}
