//! PersistentVolumes.

use jiff::Timestamp;
use kubewright_api::field::{FieldError, FieldErrors, Path};
use kubewright_api::names;
use serde_json::{Value, json};

use super::{class, phase, short_modes};
use crate::environment::time;
use crate::kinds::edit::{default_text, default_to, ensure, set, with};
use crate::kinds::kind::{Kind, Part};
use crate::kinds::podspec::{network_volume, round_up};
use crate::kinds::read::Field;
use crate::kinds::validate::claims::access_modes;
use crate::kinds::validate::resources::{basic_amount, positive_amount};
use crate::kinds::validate::scheduling::node_selector;
use crate::kinds::validate::sources;
use crate::registry::{Column, SelectableField};
use crate::table::{AGE, NAME, or_unset, text, text_of, wide};

/// PersistentVolumes.
pub(crate) static PERSISTENT_VOLUMES: Kind = Kind {
    answers_deleted: true,
    default: |object| {
        if let Some(status) = ensure(object, "status") {
            default_text(status, "phase", "Pending");
        }
        let Some(spec) = ensure(object, "spec") else { return };
        default_text(spec, "persistentVolumeReclaimPolicy", "Retain");
        default_to(spec, "volumeMode", "Filesystem");
        with(spec, "hostPath", |path| default_to(path, "type", ""));
        with(spec, "capacity", round_up);
        network_volume(spec);
    },
    status: Some(|| json!({"phase": "Pending"})),
    validate: |object, errors| spec(&Field::of(object).field("spec"), errors),
    create: |context, object| note_phase(object, context.now),
    validate_update: Some(validate_update),
    subresources: &[("status", &VOLUME_STATUS)],
    selectable: &[SelectableField {
        path: "name",
        value: |object| object["metadata"]["name"].as_str().unwrap_or_default().into(),
    }],
    columns: &COLUMNS,
    ..Kind::PLAIN
};

static VOLUME_STATUS: Part = Part {
    update: |context, object, old| {
        let (status, before) = (&object["status"], &old["status"]);
        let (time, was) = (&status[PHASE_TIME], &before[PHASE_TIME]);
        if status["phase"] != before["phase"] {
            if time.is_null() || time == was {
                note_phase(object, context.now);
            }
        } else if time.is_null() && !was.is_null() {
            let was = was.clone();
            with(object, "status", |status| set(status, PHASE_TIME, was));
        }
    },
    ..Part::STATUS
};

/// When a volume came into its phase.
const PHASE_TIME: &str = "lastPhaseTransitionTime";

fn note_phase(object: &mut Value, now: Timestamp) {
    with(object, "status", |status| set(status, PHASE_TIME, time(now)));
}

const SOURCES: &[&str] = &[
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "scaleIO",
    "local",
    "storageos",
    "csi",
];

/// The rules for a volume that an attachment spells out.
pub(super) fn inline_spec(spec: &Field<'_>, errors: &mut FieldErrors) {
    let inline = "in the context of inline volumes";
    for name in ["claimRef", "capacity"] {
        if !spec.field(name).is_empty() {
            spec.field(name).forbidden(errors, format!("may not be specified {inline}"));
        }
    }
    if !spec.field("csi").is_set() {
        spec.field("csi").required(errors, &format!("has to be specified {inline}"));
    }
    modes(spec, errors);
    let reclaim = spec.field("persistentVolumeReclaimPolicy");
    if !reclaim.is_empty() && reclaim.text() != "Retain" {
        reclaim.forbidden(errors, format!("may only be Retain {inline}"));
    }
    if spec.field("nodeAffinity").is_set() {
        spec.field("nodeAffinity").forbidden(errors, format!("may not be specified {inline}"));
    }
    source(spec, errors);
    if !spec.field("storageClassName").is_empty() {
        spec.field("storageClassName").forbidden(errors, format!("may not be specified {inline}"));
    }
    let mode = spec.field("volumeMode");
    if mode.is_set() && mode.text() != "Filesystem" {
        mode.forbidden(errors, format!("may not specify volumeMode other than Filesystem {inline}"));
    }
}

fn modes(spec: &Field<'_>, errors: &mut FieldErrors) {
    let modes = spec.field("accessModes");
    modes.require(errors);
    access_modes(&modes, errors);
}

fn spec(spec: &Field<'_>, errors: &mut FieldErrors) {
    modes(spec, errors);
    let capacity = spec.field("capacity");
    capacity.require(errors);
    if !capacity.key("storage").is_set() || capacity.len() > 1 {
        errors.push(FieldError::not_supported_in_order(&capacity.path(), capacity.raw(), &["storage"]));
    }
    for (_, amount) in capacity.entries() {
        basic_amount(&amount, errors);
        positive_amount(&amount, errors);
    }
    let reclaim = spec.field("persistentVolumeReclaimPolicy");
    reclaim.one_of_if_set(errors, &["Delete", "Recycle", "Retain"]);
    let affinity = spec.field("nodeAffinity");
    if affinity.is_set() {
        if affinity.field("required").is_set() {
            node_selector(&affinity.field("required"), errors);
        } else {
            affinity.field("required").required(errors, "must specify required node constraints");
        }
    }
    source(spec, errors);
    let path = spec.at("hostPath.path").text();
    if !path.is_empty() && path.trim_matches('/').is_empty() && reclaim.text() == "Recycle" {
        reclaim.forbidden(errors, "may not be 'recycle' for a hostPath mount of '/'");
    }
    spec.field("storageClassName").check_if_set(errors, names::dns1123_subdomain);
    spec.field("volumeMode").one_of_if_set(errors, &["Block", "Filesystem"]);
    let attributes = spec.field("volumeAttributesClassName");
    if attributes.is_set() {
        if attributes.is_empty() {
            attributes.required(errors, "an empty string is disallowed");
        } else {
            attributes.check(errors, names::dns1123_subdomain);
        }
        if !spec.field("csi").is_set() {
            spec.field("csi").required(errors, "has to be specified when using volumeAttributesClassName");
        }
    }
}

fn source(spec: &Field<'_>, errors: &mut FieldErrors) {
    let mut found = false;
    for kind in SOURCES {
        let field = spec.field(kind);
        if !field.is_set() {
            continue;
        }
        if found {
            field.forbidden(errors, "may not specify more than 1 volume type");
            continue;
        }
        found = true;
        sources::validate(spec, &field, kind, errors);
        match *kind {
            "local" if !spec.field("nodeAffinity").is_set() => {
                spec.field("nodeAffinity").required(errors, "Local volume requires node affinity");
            }
            "csi" => {
                field.field("volumeHandle").require(errors);
                for name in [
                    "controllerPublishSecretRef",
                    "controllerExpandSecretRef",
                    "nodePublishSecretRef",
                    "nodeExpandSecretRef",
                ] {
                    let secret = field.field(name);
                    if secret.is_set() {
                        secret.field("name").require_and_check(errors, names::dns1123_subdomain);
                        secret.field("namespace").require_and_check(errors, names::dns1123_label);
                    }
                }
            }
            _ => {}
        }
    }
    if !found {
        spec.required(errors, "must specify a volume type");
    }
}

fn validate_update(object: &Value, old: &Value, errors: &mut FieldErrors) {
    let (now, before) = (Field::of(object).field("spec"), Field::of(old).field("spec"));
    spec(&now, errors);
    if SOURCES.iter().any(|kind| !now.field(kind).same_as(&before.field(kind))) {
        let path = Path::new("spec").child("persistentvolumesource");
        errors.push(FieldError::forbidden(&path, "spec.persistentvolumesource is immutable after creation"));
    }
    if !now.field("volumeMode").same_as(&before.field("volumeMode")) {
        let value = now.field("volumeMode").raw();
        errors.push(FieldError::invalid(&Path::new("volumeMode"), value, "field is immutable"));
    }
    let affinity = before.field("nodeAffinity");
    if affinity.is_set() && !now.field("nodeAffinity").same_as(&affinity) {
        let why = "field is immutable, except for updating from beta label to GA";
        errors.push(FieldError::invalid(&Path::new("nodeAffinity"), now.field("nodeAffinity").raw(), why));
    }
    let class = now.field("volumeAttributesClassName");
    if before.field("volumeAttributesClassName").is_set() && !class.is_set() {
        class.forbidden(errors, "update from non-nil value to nil is forbidden");
    }
}

static COLUMNS: [Column; 11] = [
    NAME,
    text("Capacity", "How large it is.", |object, _| {
        json!(match text_of(&object["spec"]["capacity"]["storage"]) {
            size if size.is_empty() => "0".to_owned(),
            size => size,
        })
    }),
    text("Access Modes", "How it may be mounted.", |object, _| json!(short_modes(&object["spec"]["accessModes"]))),
    text("Reclaim Policy", "What happens when its claim is gone.", |object, _| {
        json!(text_of(&object["spec"]["persistentVolumeReclaimPolicy"]))
    }),
    text("Status", "Whether it is free, bound or released.", |object, _| phase(object)),
    text("Claim", "The claim that has it.", |object, _| {
        let claim = &object["spec"]["claimRef"];
        json!(if claim.is_null() {
            String::new()
        } else {
            format!("{}/{}", text_of(&claim["namespace"]), text_of(&claim["name"]))
        })
    }),
    text("StorageClass", "Its class.", |object, _| class(object)),
    text("VolumeAttributesClass", "The class of its attributes.", |object, _| {
        or_unset(&object["spec"]["volumeAttributesClassName"])
    }),
    text("Reason", "Why it failed.", |object, _| json!(text_of(&object["status"]["reason"]))),
    AGE,
    wide(text("VolumeMode", "Whether it holds files or is a bare device.", |object, _| {
        or_unset(&object["spec"]["volumeMode"])
    })),
];
