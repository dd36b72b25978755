//! PriorityLevelConfigurations.

use kubewright_api::field::{FieldError, FieldErrors};
use serde_json::{Value, json};

use super::fixed;
use crate::kinds::edit::{default_number, default_to, with};
use crate::kinds::kind::{Kind, Part, empty_status};
use crate::kinds::read::Field;
use crate::registry::Column;
use crate::table::{AGE, NAME, text, text_of};

/// PriorityLevelConfigurations.
pub(crate) static PRIORITY_LEVELS: Kind = Kind {
    default: |object| {
        with(object, "spec.exempt", |exempt| {
            default_to(exempt, "nominalConcurrencyShares", 0);
            default_to(exempt, "lendablePercent", 0);
        });
        with(object, "spec.limited", |limited| {
            default_to(limited, "nominalConcurrencyShares", 30);
            default_to(limited, "lendablePercent", 0);
            with(limited, "limitResponse.queuing", |queuing| {
                default_number(queuing, "handSize", 8);
                default_number(queuing, "queues", 64);
                default_number(queuing, "queueLengthLimit", 50);
            });
        });
    },
    status: Some(empty_status),
    validate: level,
    subresources: &[("status", &Part::STATUS)],
    columns: &LEVEL_COLUMNS,
    generation: true,
    ..Kind::PLAIN
};

pub(super) fn level(object: &Value, errors: &mut FieldErrors) {
    let level = Field::of(object);
    let spec = level.field("spec");
    let (kind, exempt, limited) = (spec.field("type"), spec.field("exempt"), spec.field("limited"));
    if (level.at("metadata.name").text() == "exempt") != (kind.text() == "Exempt") {
        kind.invalid_value(errors, kind.text(), "must be 'Exempt' if and only if `name` is 'exempt'");
    }
    fixed(&level, level_that_must_be, errors);
    match kind.text() {
        "Exempt" => {
            if limited.is_set() {
                limited.forbidden(errors, "must be nil if the type is not Limited");
            }
            exempt.field("nominalConcurrencyShares").not_negative(errors);
            percent(&exempt.field("lendablePercent"), errors);
        }
        "Limited" => {
            if exempt.is_set() {
                exempt.forbidden(errors, "must be nil if the type is Limited");
            }
            if limited.is_set() {
                limits(&limited, errors);
            } else {
                limited.required(errors, "must not be empty when type is Limited");
            }
        }
        _ => errors.push(FieldError::not_supported_in_order(&kind.path(), kind.text(), &["Exempt", "Limited"])),
    }
}

/// The one spec that a level of that name may have, if there is one.
pub(super) fn level_that_must_be(name: &str) -> Option<Value> {
    let limited = json!({
        "nominalConcurrencyShares": 5, "lendablePercent": 0, "limitResponse": {"type": "Reject"},
    });
    (name == "catch-all").then(|| json!({"type": "Limited", "limited": limited}))
}

fn percent(field: &Field<'_>, errors: &mut FieldErrors) {
    if field.opt_int().is_some_and(|percent| !(0..=100).contains(&percent)) {
        field.invalid(errors, "must be between 0 and 100, inclusive");
    }
}

fn limits(limited: &Field<'_>, errors: &mut FieldErrors) {
    let shares = limited.field("nominalConcurrencyShares");
    if shares.int() < 0 {
        shares.invalid(errors, "must be a non-negative integer");
    }
    let response = limited.field("limitResponse");
    let (kind, queuing) = (response.field("type"), response.field("queuing"));
    match kind.text() {
        "Reject" if queuing.is_set() => {
            queuing.forbidden(errors, "must be nil if limited.limitResponse.type is not Limited")
        }
        "Reject" => {}
        "Queue" if !queuing.is_set() => {
            queuing.required(errors, "must not be empty if limited.limitResponse.type is Limited");
        }
        "Queue" => queues(&queuing, errors),
        _ => errors.push(FieldError::not_supported_in_order(&kind.path(), kind.text(), &["Queue", "Reject"])),
    }
    percent(&limited.field("lendablePercent"), errors);
    let borrowing = limited.field("borrowingLimitPercent");
    if borrowing.int() < 0 {
        borrowing.invalid(errors, "if specified, must be a non-negative integer");
    }
}

/// How many bits of a flow's hash it takes to deal a hand of so many out of so many queues.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "both are small")]
fn entropy_bits(queues: i64, hand: i64) -> i64 {
    ((queues as f64).log2() * hand as f64).ceil() as i64
}

/// How many bits a flow's hash is good for.
const HASH_BITS_MAX: i64 = 60;

fn queues(queuing: &Field<'_>, errors: &mut FieldErrors) {
    let (length, queues, hand) =
        (queuing.field("queueLengthLimit"), queuing.field("queues"), queuing.field("handSize"));
    for field in [&length, &queues] {
        if field.int() <= 0 {
            field.invalid_value(errors, field.int(), "must be positive");
        }
    }
    if queues.int() > 10_000_000 {
        queues.invalid(errors, "must not be greater than 10000000");
    }
    let (all, some) = (queues.int(), hand.int());
    if some <= 0 {
        hand.invalid_value(errors, some, "must be positive");
    } else if some > all {
        hand.invalid(errors, format!("should not be greater than queues ({all})"));
    } else if entropy_bits(all, some) > HASH_BITS_MAX {
        let why = format!("required entropy bits of deckSize {all} and handSize {some} should not be greater than");
        hand.invalid(errors, format!("{why} {HASH_BITS_MAX}"));
    }
}

static LEVEL_COLUMNS: [Column; 7] = [
    NAME,
    text("Type", "Whether it is limited.", |object, _| json!(text_of(&object["spec"]["type"]))),
    text("NominalConcurrencyShares", "Its share of what runs at once.", |object, _| {
        limited(object, |limited| &limited["nominalConcurrencyShares"])
    }),
    text("Queues", "How many queues it has.", |object, _| {
        limited(object, |limited| &limited["limitResponse"]["queuing"]["queues"])
    }),
    text("HandSize", "How many queues a flow may use.", |object, _| {
        limited(object, |limited| &limited["limitResponse"]["queuing"]["handSize"])
    }),
    text("QueueLengthLimit", "How long a queue may get.", |object, _| {
        limited(object, |limited| &limited["limitResponse"]["queuing"]["queueLengthLimit"])
    }),
    AGE,
];

fn limited(object: &Value, of: fn(&Value) -> &Value) -> Value {
    match of(&object["spec"]["limited"]) {
        Value::Null => json!("<none>"),
        value => value.clone(),
    }
}
