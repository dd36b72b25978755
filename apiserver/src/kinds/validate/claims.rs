//! Claims for storage, on their own and as templates in pods and stateful sets.

use kubewright_api::field::{FieldError, FieldErrors};
use kubewright_api::names;

use super::labels::{annotations, label_selector, labels};
use super::resources::{amount, positive_amount};
use crate::kinds::read::Field;

const MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

/// The access modes of a claim or a volume.
pub(crate) fn access_modes(list: &Field<'_>, errors: &mut FieldErrors) {
    let modes = list.texts();
    for mode in modes.iter().filter(|mode| !MODES.contains(mode)) {
        errors.push(FieldError::not_supported_in_order(&list.path(), *mode, MODES));
    }
    let others = modes.iter().any(|mode| *mode != "ReadWriteOncePod" && MODES.contains(mode));
    if modes.contains(&"ReadWriteOncePod") && others {
        list.forbidden(errors, "may not use ReadWriteOncePod with other access modes");
    }
}

/// A claim's spec.
pub(crate) fn spec(spec: &Field<'_>, errors: &mut FieldErrors) {
    let modes = spec.field("accessModes");
    if modes.is_empty() {
        modes.required(errors, "at least 1 access mode is required");
    }
    label_selector(&spec.field("selector"), errors);
    access_modes(&modes, errors);
    let wanted = spec.at("resources.requests.storage");
    let reported = spec.field("resources").key("storage");
    if wanted.is_set() {
        let mut faults = FieldErrors::new();
        if positive_amount(&wanted, &mut faults) {
            amount(&wanted, "storage", &mut faults);
        }
        errors.extend(faults.into_iter().map(|fault| FieldError { path: reported.path(), ..fault }));
    } else {
        reported.required(errors, "");
    }
    for name in ["storageClassName", "volumeAttributesClassName"] {
        spec.field(name).check_if_set(errors, names::dns1123_subdomain);
    }
    spec.field("volumeMode").one_of_if_set(errors, &["Block", "Filesystem"]);
    sources(spec, errors);
}

fn sources(spec: &Field<'_>, errors: &mut FieldErrors) {
    let (source, reference) = (spec.field("dataSource"), spec.field("dataSourceRef"));
    for field in [&source, &reference].into_iter().filter(|field| field.is_set()) {
        field.field("name").require(errors);
        field.field("kind").require(errors);
        let (group, kind) = (field.field("apiGroup"), field.field("kind").text());
        if group.is_empty() && kind != "PersistentVolumeClaim" {
            let why = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
            field.invalid_value(errors, kind, why);
        }
        group.check_if_set(errors, names::dns1123_subdomain);
        field.field("namespace").check_if_set(errors, names::dns1123_label);
    }
    if !source.is_set() || !reference.is_set() {
        return;
    }
    let path = source.path().to_string();
    if !reference.field("namespace").is_empty() {
        spec.invalid_value(errors, path, "may not be specified when dataSourceRef.namespace is specified");
    } else if ["apiGroup", "kind", "name"].iter().any(|name| !source.field(name).same_as(&reference.field(name))) {
        spec.invalid_value(errors, path, "must match dataSourceRef");
    }
}

/// A template of a claim in a pod's volume.
pub(crate) fn template(template: &Field<'_>, errors: &mut FieldErrors) {
    let metadata = template.field("metadata");
    annotations(&metadata.field("annotations"), errors);
    labels(&metadata.field("labels"), errors);
    for (name, _) in metadata.entries() {
        if name != "annotations" && name != "labels" && !metadata.field(name).is_empty() {
            metadata.field(name).forbidden(errors, "cannot be set");
        }
    }
    spec(&template.field("spec"), errors);
}
