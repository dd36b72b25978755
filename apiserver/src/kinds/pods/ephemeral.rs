//! Adding ephemeral containers to running pods.

use kubewright_api::field::{FieldError, FieldErrors, Path};
use serde_json::Value;

use super::create::metadata_and_spec;
use super::update::{annotations_update, difference};
use crate::kinds::edit::{restore, set};
use crate::kinds::kind::{METADATA, Part};
use crate::kinds::podspec::annotations::MIRROR;
use crate::kinds::read::Field;
use crate::registry::StrategyContext;

/// `pods/ephemeralcontainers`.
pub(crate) static EPHEMERAL_CONTAINERS: Part = Part { fields: &["spec"], keeps: METADATA, update: prepare, validate };

fn prepare(_: &StrategyContext<'_>, pod: &mut Value, old: &Value) {
    let added = pod["spec"]["ephemeralContainers"].clone();
    restore(pod, "spec", old);
    if let Some(spec) = pod.get_mut("spec")
        && !added.is_null()
    {
        set(spec, "ephemeralContainers", added);
    }
}

fn validate(pod: &Value, old: &Value, errors: &mut FieldErrors) {
    let (pod, old) = (Field::of(pod), Field::of(old));
    if old.field("metadata").field("annotations").key(MIRROR).is_set() {
        let why = "static pods do not support ephemeral containers";
        errors.push(FieldError::forbidden(&Path::new(""), why));
        return;
    }
    metadata_and_spec(&pod, errors);
    annotations_update(&pod, &old, errors);
    let list = pod.at("spec.ephemeralContainers");
    for before in old.at("spec.ephemeralContainers").items() {
        let name = before.field("name").text();
        match list.items().find(|container| container.field("name").text() == name) {
            None => list.forbidden(errors, format!("existing ephemeral containers {name:?} may not be removed\n")),
            Some(now) if !now.same_as(&before) => {
                let lines = difference(&before.raw(), &now.raw());
                list.forbidden(errors, format!("existing ephemeral containers {name:?} may not be changed\n{lines}"));
            }
            Some(_) => {}
        }
    }
}
