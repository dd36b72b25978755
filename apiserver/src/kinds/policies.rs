//! PodDisruptionBudgets, PriorityClasses, RuntimeClasses.

use kubewright_api::field::{FieldError, FieldErrors};
use kubewright_api::names;
use serde_json::{Value, json};

use super::edit::default_to;
use super::kind::{Kind, Part};
use super::podspec::round_up;
use super::read::Field;
use super::validate::labels::{label_selector, labels};
use super::validate::resources::overhead;
use super::validate::scheduling::tolerations;
use super::workloads::{at_most_all, count_or_percent, counters};
use crate::registry::Column;
use crate::table::{AGE, NAME, boolean, integer, text, text_of};

/// PodDisruptionBudgets.
pub(crate) static POD_DISRUPTION_BUDGETS: Kind = Kind {
    status: Some(|| json!({"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0})),
    validate: budget,
    subresources: &[("status", &BUDGET_STATUS)],
    columns: &BUDGET_COLUMNS,
    generation: true,
    unconditional_update: false,
    ..Kind::PLAIN
};

static BUDGET_STATUS: Part = Part {
    validate: |object, _, errors| {
        let names = ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"];
        counters(&Field::of(object).field("status"), &names, &[], errors);
    },
    ..Part::STATUS
};

static BUDGET_COLUMNS: [Column; 5] = [
    NAME,
    text("Min Available", "How many pods must stay.", |object, _| or_na(&object["spec"]["minAvailable"])),
    text("Max Unavailable", "How many pods may be gone.", |object, _| or_na(&object["spec"]["maxUnavailable"])),
    integer("Allowed Disruptions", "How many pods may go now.", |object, _| {
        json!(object["status"]["disruptionsAllowed"].as_i64().unwrap_or_default())
    }),
    AGE,
];

fn or_na(value: &Value) -> Value {
    json!(if value.is_null() { "N/A".to_owned() } else { text_of(value) })
}

fn budget(object: &Value, errors: &mut FieldErrors) {
    let spec = Field::of(object).field("spec");
    let (least, most) = (spec.field("minAvailable"), spec.field("maxUnavailable"));
    if least.is_set() && most.is_set() {
        spec.invalid(errors, "minAvailable and maxUnavailable cannot be both set");
    }
    for field in [least, most].iter().filter(|field| field.is_set()) {
        count_or_percent(field, errors);
        at_most_all(field, errors);
    }
    label_selector(&spec.field("selector"), errors);
    spec.field("unhealthyPodEvictionPolicy").one_of_if_set(errors, &["AlwaysAllow", "IfHealthyBudget"]);
}

/// PriorityClasses.
pub(crate) static PRIORITY_CLASSES: Kind = Kind {
    default: |object| default_to(object, "preemptionPolicy", "PreemptLowerPriority"),
    validate: priority_class,
    validate_update: Some(|object, old, errors| {
        let (object, old) = (Field::of(object), Field::of(old));
        if object.field("value").int() != old.field("value").int() {
            object.field("value").forbidden(errors, "may not be changed in an update.");
        }
        object.field("preemptionPolicy").unchanged(errors, &old.field("preemptionPolicy"));
    }),
    // Its generation is that of its creation: nothing that counts changes afterwards.
    create: |_, object| {
        super::edit::with(object, "metadata", |metadata| super::edit::set(metadata, "generation", 1));
    },
    columns: &PRIORITY_COLUMNS,
    ..Kind::PLAIN
};

static PRIORITY_COLUMNS: [Column; 5] = [
    NAME,
    integer("Value", "The priority that pods of it get.", |object, _| {
        json!(object["value"].as_i64().unwrap_or_default())
    }),
    boolean("Global-Default", "Whether pods without a class get it.", |object, _| {
        json!(object["globalDefault"].as_bool().unwrap_or_default())
    }),
    AGE,
    text("PreemptionPolicy", "Whether its pods may push out others.", |object, _| {
        json!(text_of(&object["preemptionPolicy"]))
    }),
];

/// The classes of the system: name and value.
const SYSTEM_CLASSES: [(&str, i64); 2] =
    [("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];

fn priority_class(object: &Value, errors: &mut FieldErrors) {
    let class = Field::of(object);
    let (name, value) = (class.at("metadata.name"), class.field("value"));
    if name.text().starts_with("system-") {
        let known = SYSTEM_CLASSES.iter().find(|(known, _)| *known == name.text());
        let why = match known {
            None => format!("{} is not a known system priority class", name.text()),
            Some((_, expected)) if *expected != value.int() => {
                format!("value of {} PriorityClass must be {expected}", name.text())
            }
            Some(_) if class.field("globalDefault").flag() => {
                format!("globalDefault of {} PriorityClass must be false", name.text())
            }
            Some(_) => String::new(),
        };
        if !why.is_empty() {
            let rule = "priority class names with 'system-' prefix are reserved for system use only. error:";
            name.forbidden(errors, format!("{rule} {why}"));
        }
    } else if value.int() > 1_000_000_000 {
        value.forbidden(errors, "maximum allowed value of a user defined priority is 1000000000");
    }
    let preemption = class.field("preemptionPolicy");
    let policies = ["PreemptLowerPriority", "Never"];
    if preemption.is_set() && !policies.contains(&preemption.text()) {
        errors.push(FieldError::not_supported_in_order(&preemption.path(), preemption.text(), &policies));
    }
}

/// RuntimeClasses.
pub(crate) static RUNTIME_CLASSES: Kind = Kind {
    default: |object| {
        super::edit::with(object, "overhead.podFixed", round_up);
    },
    validate: |object, errors| {
        let class = Field::of(object);
        class.field("handler").require_and_check(errors, names::dns1123_label);
        overhead(&class.field("overhead"), errors);
        labels(&class.at("scheduling.nodeSelector"), errors);
        let list = class.at("scheduling.tolerations");
        tolerations(&list, errors);
        let key = |of: &Field<'_>| ["key", "operator", "value", "effect"].map(|name| of.field(name).text().to_owned());
        let mut seen = Vec::new();
        for toleration in list.items() {
            if seen.contains(&key(&toleration)) {
                errors.push(FieldError::duplicate(&toleration.path(), toleration.raw()));
            }
            seen.push(key(&toleration));
        }
    },
    validate_update: Some(|object, old, errors| {
        Field::of(object).field("handler").unchanged(errors, &Field::of(old).field("handler"));
    }),
    columns: &RUNTIME_COLUMNS,
    create_on_update: true,
    unconditional_update: false,
    ..Kind::PLAIN
};

static RUNTIME_COLUMNS: [Column; 3] =
    [NAME, text("Handler", "What runs the pods of it.", |object, _| json!(text_of(&object["handler"]))), AGE];
