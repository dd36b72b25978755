//! PersistentVolumeClaims.

use kubewright_api::field::{FieldError, FieldErrors, Path};
use serde_json::{Value, json};

use super::{class, phase, short_modes};
use crate::kinds::edit::{default_text, default_to, ensure, restore, set};
use crate::kinds::kind::{Kind, Part};
use crate::kinds::read::Field;
use crate::kinds::same::same;
use crate::kinds::validate::claims;
use crate::kinds::validate::resources::basic_amount;
use crate::registry::{Column, SelectableField};
use crate::table::{AGE, NAME, or_unset, text, text_of, wide};

const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

/// PersistentVolumeClaims.
pub(crate) static PERSISTENT_VOLUME_CLAIMS: Kind = Kind {
    answers_deleted: true,
    default: |object| {
        if let Some(status) = ensure(object, "status") {
            default_text(status, "phase", "Pending");
        }
        let Some(spec) = ensure(object, "spec") else { return };
        default_to(spec, "volumeMode", "Filesystem");
        same_source(spec);
    },
    status: Some(|| json!({"phase": "Pending"})),
    validate: |object, errors| claims::spec(&Field::of(object).field("spec"), errors),
    validate_update: Some(validate_update),
    subresources: &[("status", &STATUS)],
    selectable: &[SelectableField {
        path: "name",
        value: |object| object["metadata"]["name"].as_str().unwrap_or_default().into(),
    }],
    columns: &COLUMNS,
    ..Kind::PLAIN
};

static STATUS: Part = Part {
    validate: |object, _, errors| {
        for (_, amount) in Field::of(object).at("status.capacity").entries() {
            basic_amount(&amount, errors);
        }
    },
    ..Part::STATUS
};

/// `dataSource` and `dataSourceRef` say the same, unless the latter says more.
fn same_source(spec: &mut Value) {
    let (source, reference) = (spec["dataSource"].clone(), spec["dataSourceRef"].clone());
    if source.is_object() && reference.is_null() {
        set(spec, "dataSourceRef", source);
    } else if reference.is_object() && source.is_null() && text_of(&reference["namespace"]).is_empty() {
        let kind = (text_of(&reference["apiGroup"]), text_of(&reference["kind"]));
        let known = [("", "PersistentVolumeClaim"), ("snapshot.storage.k8s.io", "VolumeSnapshot")];
        if known.contains(&(kind.0.as_str(), kind.1.as_str())) {
            set(spec, "dataSource", reference);
        }
    }
}

fn validate_update(object: &Value, old: &Value, errors: &mut FieldErrors) {
    let (claim, before) = (Field::of(object), Field::of(old));
    claims::spec(&claim.field("spec"), errors);
    let annotation = |claim: &Field<'_>| claim.at("metadata.annotations").key(BETA_CLASS).text().to_owned();
    let mut now = object["spec"].clone();
    let old_spec = &old["spec"];
    if text_of(&old_spec["volumeName"]).is_empty() {
        restore(&mut now, "volumeName", old_spec);
    }
    let class = text_of(&now["storageClassName"]);
    let named_before = annotation(&before);
    if old_spec["storageClassName"].is_null() && (named_before.is_empty() || named_before == class) {
        restore(&mut now, "storageClassName", old_spec);
    }
    if annotation(&claim) != named_before && class != named_before {
        let path = Path::new("metadata").child("annotations").child(BETA_CLASS);
        errors.push(FieldError::invalid(&path, annotation(&claim), "field is immutable"));
    }
    if object["status"]["phase"] == "Bound" {
        restore(&mut now, "volumeAttributesClassName", old_spec);
        if let Some(requests) = now.get_mut("resources").and_then(|resources| resources.get_mut("requests")) {
            restore(requests, "storage", &old_spec["resources"]["requests"]);
        }
    }
    if !same(Some(&now), Some(old_spec)) {
        let why =
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
        let lines = crate::kinds::pods::difference(old_spec, &now);
        claim.field("spec").forbidden(errors, format!("{why}\n{lines}"));
    }
    size(&claim, &before, errors);
    let attributes = claim.at("spec.volumeAttributesClassName");
    let current = before.at("status.currentVolumeAttributesClassName");
    if current.is_set() && !attributes.same_as(&before.at("spec.volumeAttributesClassName")) && attributes.is_empty() {
        let what = if attributes.is_set() { "empty string" } else { "nil" };
        let when = "is forbidden when status.currentVolumeAttributesClassName is not nil";
        attributes.forbidden(errors, format!("update to {what} {when}"));
    }
}

fn size(claim: &Field<'_>, before: &Field<'_>, errors: &mut FieldErrors) {
    let wanted = claim.at("spec.resources.requests.storage");
    let had = before.at("status.capacity.storage").quantity().unwrap_or_default();
    if let (Some(now), Some(then)) = (wanted.quantity(), before.at("spec.resources.requests.storage").quantity())
        && now < then
        && now <= had
    {
        wanted.forbidden(errors, "field can not be less than status.capacity");
    }
    let (mode, old_mode) = (claim.at("spec.volumeMode"), before.at("spec.volumeMode"));
    if !mode.same_as(&old_mode) {
        errors.push(FieldError::invalid(&Path::new("volumeMode"), mode.raw(), "field is immutable"));
    }
}

static COLUMNS: [Column; 9] = [
    NAME,
    text("Status", "Whether it has a volume.", |object, _| phase(object)),
    text("Volume", "Its volume.", |object, _| json!(text_of(&object["spec"]["volumeName"]))),
    text("Capacity", "How large its volume is.", |object, _| {
        json!(if bound(object) { text_of(&object["status"]["capacity"]["storage"]) } else { String::new() })
    }),
    text("Access Modes", "How its volume may be mounted.", |object, _| {
        json!(if bound(object) { short_modes(&object["status"]["accessModes"]) } else { String::new() })
    }),
    text("StorageClass", "Its class.", |object, _| class(object)),
    text("VolumeAttributesClass", "The class of its volume's attributes.", |object, _| {
        or_unset(&object["spec"]["volumeAttributesClassName"])
    }),
    AGE,
    wide(text("VolumeMode", "Whether it is for files or a bare device.", |object, _| {
        or_unset(&object["spec"]["volumeMode"])
    })),
];

fn bound(object: &Value) -> bool {
    !text_of(&object["spec"]["volumeName"]).is_empty()
}
