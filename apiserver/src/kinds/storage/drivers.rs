//! CSIDrivers, CSINodes, CSIStorageCapacities, VolumeAttachments.

use kubewright_api::field::{FieldError, FieldErrors};
use kubewright_api::names;
use kubewright_api::quantity::Quantity;
use serde_json::{Value, json};

use super::volumes::inline_spec;
use crate::kinds::edit::{default_to, ensure, remove, set, with};
use crate::kinds::kind::{Kind, Part};
use crate::kinds::read::Field;
use crate::kinds::same::same;
use crate::kinds::validate::labels::label_selector;
use crate::kinds::validate::sources::csi_driver_name;
use crate::registry::Column;
use crate::table::{AGE, NAME, boolean, integer, or_none, text, text_of};

/// CSIDrivers.
pub(crate) static CSI_DRIVERS: Kind = Kind {
    answers_deleted: true,
    default: |object| {
        let Some(spec) = ensure(object, "spec") else { return };
        default_to(spec, "attachRequired", true);
        for name in ["podInfoOnMount", "storageCapacity", "requiresRepublish", "seLinuxMount"] {
            default_to(spec, name, false);
        }
        default_to(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
        if spec["volumeLifecycleModes"].as_array().is_none_or(Vec::is_empty) {
            set(spec, "volumeLifecycleModes", json!(["Persistent"]));
        }
    },
    validate: driver,
    validate_update: Some(|object, old, errors| {
        driver(object, errors);
        let (spec, old) = (Field::of(object).field("spec"), Field::of(old).field("spec"));
        let attach = spec.field("attachRequired");
        if attach.opt_flag() != old.field("attachRequired").opt_flag() {
            errors.push(FieldError::invalid(
                &spec.field("attachedRequired").path(),
                attach.raw(),
                "field is immutable",
            ));
        }
        spec.field("volumeLifecycleModes").unchanged(errors, &old.field("volumeLifecycleModes"));
    }),
    // Upstream counts changes of a driver, but not its creation.
    create: |_, object| {
        with(object, "metadata", |metadata| drop(remove(metadata, "generation")));
        drop_disabled(object, None);
    },
    update: |_, object, old| drop_disabled(object, Some(old)),
    warnings: |object, old| {
        let (spec, requests) = (&object["spec"], &object["spec"]["tokenRequests"]);
        let changed = old.is_none_or(|old| !same(Some(&old["spec"]["tokenRequests"]), Some(requests)));
        if !changed || !spec["serviceAccountTokenInSecrets"].is_null() || requests.as_array().is_none_or(Vec::is_empty)
        {
            return Vec::new();
        }
        let advice =
            "if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes";
        vec![format!("spec.serviceAccountTokenInSecrets is unset; {advice}")]
    },
    columns: &DRIVER_COLUMNS,
    generation: true,
    unconditional_update: false,
    ..Kind::PLAIN
};

/// Drops what belongs to a feature that is off upstream, unless it is there already.
fn drop_disabled(object: &mut Value, old: Option<&Value>) {
    const FIELD: &str = "preventPodSchedulingIfMissing";
    if old.is_none_or(|old| old["spec"][FIELD].is_null()) {
        with(object, "spec", |spec| drop(remove(spec, FIELD)));
    }
}

fn driver(object: &Value, errors: &mut FieldErrors) {
    let spec = Field::of(object).field("spec");
    spec.field("fsGroupPolicy").one_of_if_set(errors, &["File", "None", "ReadWriteOnceWithFSType"]);
    let requests = spec.field("tokenRequests");
    let mut audiences = Vec::new();
    for request in requests.items() {
        let audience = request.field("audience");
        if audiences.contains(&audience.text()) {
            errors.push(FieldError::duplicate(&audience.path(), audience.text()));
            continue;
        }
        audiences.push(audience.text());
        let seconds = request.field("expirationSeconds");
        match seconds.opt_int() {
            Some(value) if value < 600 => seconds.invalid(errors, "may not specify a duration less than 10 minutes"),
            Some(value) if value > 1 << 32 => {
                seconds.invalid(errors, "may not specify a duration larger than 2^32 seconds");
            }
            _ => {}
        }
    }
    let modes = spec.field("volumeLifecycleModes");
    for mode in modes.texts() {
        if !["Persistent", "Ephemeral"].contains(&mode) {
            errors.push(FieldError::not_supported_in_order(&modes.path(), mode, &["Persistent", "Ephemeral"]));
        }
    }
    let period = spec.field("nodeAllocatableUpdatePeriodSeconds");
    if period.opt_int().is_some_and(|seconds| seconds < 10) {
        period.invalid(errors, "must be greater than or equal to 10 seconds");
    }
    let secrets = spec.field("serviceAccountTokenInSecrets");
    if secrets.is_set() && requests.is_empty() {
        secrets.invalid(errors, "serviceAccountTokenInSecrets is set but no tokenRequests are specified");
    }
}

static DRIVER_COLUMNS: [Column; 8] = [
    NAME,
    boolean("AttachRequired", "Whether volumes are attached first.", |object, _| {
        json!(object["spec"]["attachRequired"].as_bool().unwrap_or(true))
    }),
    boolean("PodInfoOnMount", "Whether it is told of the pod.", |object, _| flag(object, "podInfoOnMount")),
    boolean("StorageCapacity", "Whether the scheduler asks for room.", |object, _| flag(object, "storageCapacity")),
    text("TokenRequests", "Audiences of the tokens it is given.", |object, _| {
        match object["spec"]["tokenRequests"].as_array() {
            Some(requests) => {
                json!(requests.iter().map(|request| text_of(&request["audience"])).collect::<Vec<_>>().join(","))
            }
            None => json!("<unset>"),
        }
    }),
    boolean("RequiresRepublish", "Whether it is told again and again.", |object, _| flag(object, "requiresRepublish")),
    text("Modes", "How long its volumes live.", |object, _| {
        let modes = object["spec"]["volumeLifecycleModes"].as_array().into_iter().flatten();
        or_none(modes.map(text_of).collect::<Vec<_>>().join(","))
    }),
    AGE,
];

fn flag(object: &Value, name: &str) -> Value {
    json!(object["spec"][name].as_bool().unwrap_or_default())
}

/// CSINodes.
pub(crate) static CSI_NODES: Kind = Kind {
    answers_deleted: true,
    validate: node,
    validate_update: Some(|object, old, errors| {
        node(object, errors);
        let (drivers, before) = (Field::of(object).at("spec.drivers"), Field::of(old).at("spec.drivers"));
        for driver in drivers.items() {
            let name = driver.field("name").text();
            let Some(old) = before.items().find(|other| other.field("name").text() == name) else { continue };
            let without_count = |driver: &Field<'_>| {
                let mut driver = driver.raw();
                remove(&mut driver, "allocatable");
                driver
            };
            if !same(Some(&without_count(&driver)), Some(&without_count(&old))) {
                drivers.invalid_value(errors, driver.raw(), "field is immutable");
            }
        }
    }),
    columns: &[
        NAME,
        integer("Drivers", "How many drivers it has.", |object, _| {
            json!(object["spec"]["drivers"].as_array().map_or(0, Vec::len))
        }),
        AGE,
    ],
    unconditional_update: false,
    ..Kind::PLAIN
};

/// How long the name that a driver has for a node may be.
const NODE_ID_BYTES_MAX: usize = 256;

fn node(object: &Value, errors: &mut FieldErrors) {
    let mut seen = Vec::new();
    for driver in Field::of(object).at("spec.drivers").items() {
        let (name, id) = (driver.field("name"), driver.field("nodeID"));
        csi_driver_name(&name, errors);
        id.require(errors);
        if id.text().len() > NODE_ID_BYTES_MAX {
            id.invalid(errors, format!("must be {NODE_ID_BYTES_MAX} characters or less"));
        }
        driver.at("allocatable.count").not_negative(errors);
        if seen.contains(&name.text()) {
            errors.push(FieldError::duplicate(&name.path(), name.text()));
        }
        seen.push(name.text());
        let mut keys = Vec::new();
        for key in driver.field("topologyKeys").texts() {
            if keys.contains(&key) {
                errors.push(FieldError::duplicate(&driver.path(), key));
            }
            keys.push(key);
            if key.is_empty() {
                driver.required(errors, "");
            }
            for fault in names::qualified_name(key) {
                driver.invalid_value(errors, key, fault);
            }
        }
    }
}

/// CSIStorageCapacities.
pub(crate) static CSI_STORAGE_CAPACITIES: Kind = Kind {
    validate: |object, errors| {
        let capacity = Field::of(object);
        label_selector(&capacity.field("nodeTopology"), errors);
        capacity.field("storageClassName").check(errors, names::dns1123_subdomain);
        let amount = capacity.field("capacity");
        if amount.quantity().is_some_and(|amount| amount < Quantity::ZERO) {
            amount.invalid(errors, "must be greater than or equal to 0");
        }
    },
    validate_update: Some(|object, old, errors| {
        let (capacity, old) = (Field::of(object), Field::of(old));
        for name in ["nodeTopology", "storageClassName"] {
            capacity.field(name).unchanged(errors, &old.field(name));
        }
    }),
    unconditional_update: false,
    ..Kind::PLAIN
};

static ATTACHMENT_STATUS: Part = Part { validate: |object, _, errors| attachment(object, errors), ..Part::STATUS_ONLY };

/// VolumeAttachments.
pub(crate) static VOLUME_ATTACHMENTS: Kind = Kind {
    answers_deleted: true,
    status: Some(|| json!({"attached": false})),
    validate: attachment,
    validate_update: Some(|object, old, errors| {
        attachment(object, errors);
        Field::of(object).field("spec").unchanged(errors, &Field::of(old).field("spec"));
    }),
    subresources: &[("status", &ATTACHMENT_STATUS)],
    columns: &[
        NAME,
        Column {
            format: "name",
            ..text("Attacher", "The driver that attaches it.", |object, _| json!(text_of(&object["spec"]["attacher"])))
        },
        text("PV", "The volume.", |object, _| json!(text_of(&object["spec"]["source"]["persistentVolumeName"]))),
        text("Node", "The node.", |object, _| json!(text_of(&object["spec"]["nodeName"]))),
        boolean("Attached", "Whether it is attached.", |object, _| {
            json!(object["status"]["attached"].as_bool().unwrap_or_default())
        }),
        AGE,
    ],
    unconditional_update: false,
    ..Kind::PLAIN
};

/// How many bytes what a driver tells of an attachment may take, and how many the message of a fault.
const ATTACHED_BYTES_MAX: usize = 256 * 1024;
const ERROR_BYTES_MAX: usize = 1024;

fn attachment(object: &Value, errors: &mut FieldErrors) {
    let spec = Field::of(object).field("spec");
    csi_driver_name(&spec.field("attacher"), errors);
    let source = spec.field("source");
    let (inline, name) = (source.field("inlineVolumeSpec"), source.field("persistentVolumeName"));
    let why = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    match (inline.is_set(), name.is_set()) {
        (false, false) => source.required(errors, why),
        (true, true) => source.forbidden(errors, why),
        (false, true) if name.is_empty() => name.required(errors, "must specify non empty persistentVolumeName"),
        (false, true) => {}
        (true, false) => inline_spec(&inline, errors),
    }
    spec.field("nodeName").check(errors, names::dns1123_subdomain);
    let status = Field::of(object).field("status");
    let metadata = status.field("attachmentMetadata");
    if metadata.entries().map(|(key, value)| key.len() + value.text().len()).sum::<usize>() > ATTACHED_BYTES_MAX {
        metadata.too_long(errors, ATTACHED_BYTES_MAX);
    }
    for error in ["attachError", "detachError"] {
        let error = status.field(error);
        if error.field("message").text().len() > ERROR_BYTES_MAX {
            // Upstream tells another limit than the one it holds to.
            error.field("message").too_long(errors, ATTACHED_BYTES_MAX);
        }
        if error.field("errorCode").int() < 0 {
            error.field("errorCode").invalid(errors, "must be between 0 and 2147483647, inclusive");
        }
    }
    if name.is_set() {
        name.check(errors, names::dns1123_subdomain);
    }
}
