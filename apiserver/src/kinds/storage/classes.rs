//! StorageClasses and VolumeAttributesClasses.

use kubewright_api::field::{FieldError, FieldErrors};
use kubewright_api::names;
use serde_json::{Value, json};

use crate::kinds::edit::default_to;
use crate::kinds::kind::Kind;
use crate::kinds::read::Field;
use crate::kinds::validate::labels::label_name;
use crate::registry::Column;
use crate::table::{AGE, NAME, text, text_of};

/// StorageClasses.
pub(crate) static STORAGE_CLASSES: Kind = Kind {
    answers_deleted: true,
    default: |object| {
        default_to(object, "reclaimPolicy", "Delete");
        default_to(object, "volumeBindingMode", "Immediate");
    },
    validate: storage_class,
    validate_update: Some(|object, old, errors| {
        storage_class(object, errors);
        let (class, old) = (Field::of(object), Field::of(old));
        for name in ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"] {
            class.field(name).unchanged(errors, &old.field(name));
        }
    }),
    columns: &STORAGE_COLUMNS,
    ..Kind::PLAIN
};

fn storage_class(object: &Value, errors: &mut FieldErrors) {
    let class = Field::of(object);
    driver(&class.field("provisioner"), errors);
    parameters(&class.field("parameters"), true, errors);
    let policy = class.field("reclaimPolicy");
    if !policy.is_empty() {
        policy.one_of(errors, &["Delete", "Retain"]);
    }
    let mode = class.field("volumeBindingMode");
    if mode.is_set() {
        mode.one_of_if_set(errors, &["Immediate", "WaitForFirstConsumer"]);
    } else {
        mode.required(errors, "");
    }
    topologies(&class.field("allowedTopologies"), errors);
}

static STORAGE_COLUMNS: [Column; 6] = [
    Column {
        cell: |object, _| {
            let annotation = |key: &str| object["metadata"]["annotations"][key] == "true";
            let default = annotation("storageclass.kubernetes.io/is-default-class")
                || annotation("storageclass.beta.kubernetes.io/is-default-class");
            let mark = if default { " (default)" } else { "" };
            json!(format!("{}{mark}", text_of(&object["metadata"]["name"])))
        },
        ..NAME
    },
    text("Provisioner", "What makes its volumes.", |object, _| json!(text_of(&object["provisioner"]))),
    text("ReclaimPolicy", "What happens to a volume when its claim is gone.", |object, _| {
        json!(object["reclaimPolicy"].as_str().unwrap_or("Delete"))
    }),
    text("VolumeBindingMode", "When volumes are bound.", |object, _| {
        json!(object["volumeBindingMode"].as_str().unwrap_or("Immediate"))
    }),
    text("AllowVolumeExpansion", "Whether volumes can grow.", |object, _| {
        json!(object["allowVolumeExpansion"].as_bool().unwrap_or_default())
    }),
    AGE,
];

/// VolumeAttributesClasses.
pub(crate) static VOLUME_ATTRIBUTES_CLASSES: Kind = Kind {
    answers_deleted: true,
    validate: attributes,
    validate_update: Some(|object, old, errors| {
        let (class, before) = (Field::of(object), Field::of(old));
        for name in ["driverName", "parameters"] {
            if !class.field(name).same_as(&before.field(name)) {
                class.field(name).forbidden(errors, format!("updates to {name} are forbidden."));
            }
        }
        attributes(object, errors);
    }),
    columns: &ATTRIBUTES_COLUMNS,
    ..Kind::PLAIN
};

static ATTRIBUTES_COLUMNS: [Column; 3] =
    [NAME, text("DriverName", "The driver that it is for.", |object, _| json!(text_of(&object["driverName"]))), AGE];

fn attributes(object: &Value, errors: &mut FieldErrors) {
    let class = Field::of(object);
    driver(&class.field("driverName"), errors);
    parameters(&class.field("parameters"), false, errors);
}

fn driver(name: &Field<'_>, errors: &mut FieldErrors) {
    if name.require(errors) {
        for fault in names::qualified_name(&name.text().to_lowercase()) {
            name.invalid_value(errors, name.text().to_lowercase(), fault);
        }
    }
}

fn parameters(parameters: &Field<'_>, may_be_empty: bool, errors: &mut FieldErrors) {
    if parameters.len() > 512 {
        parameters.too_long(errors, 512);
        return;
    }
    let mut bytes = 0;
    for (key, value) in parameters.entries() {
        if key.is_empty() {
            parameters.invalid_value(errors, key, "field can not be empty.");
        }
        bytes += key.len() + value.text().len();
    }
    if bytes > 256 << 10 {
        parameters.too_long(errors, 256 << 10);
    }
    if !may_be_empty && parameters.is_empty() {
        parameters.required(errors, "must contain at least one key/value pair");
    }
}

fn topologies(list: &Field<'_>, errors: &mut FieldErrors) {
    let mut terms: Vec<Field<'_>> = Vec::new();
    for term in list.items() {
        let expressions = term.field("matchLabelExpressions");
        let mut keys = Vec::new();
        for expression in expressions.items() {
            let values = expression.field("values");
            values.require(errors);
            let mut seen = Vec::new();
            for value in values.items() {
                if seen.contains(&value.text()) {
                    value.duplicate(errors);
                }
                seen.push(value.text());
            }
            let key = expression.field("key");
            label_name(&key, errors);
            if keys.contains(&key.text()) {
                key.duplicate(errors);
            }
            keys.push(key.text());
        }
        // Upstream compares with as many empty terms as there are terms, and then with those before.
        let empty = if expressions.is_empty() { list.len() } else { 0 };
        let before = terms.iter().filter(|other| other.same_as(&expressions)).count();
        for _ in 0..empty + before {
            errors.push(FieldError::duplicate(&expressions.path(), ""));
        }
        terms.push(expressions);
    }
}
