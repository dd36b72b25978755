//! ConfigMaps, Secrets, ServiceAccounts, Leases.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kubewright_api::field::{FieldError, FieldErrors, Path};
use kubewright_api::names;
use serde_json::{Value, json};

use super::edit::{default_text, ensure, remove, set};
use super::kind::Kind;
use super::read::Field;
use crate::registry::{Column, SelectableField};
use crate::table::{AGE, NAME, text, text_of};

/// How many bytes the values of a ConfigMap or a Secret may take together.
const BYTES_MAX: usize = 1 << 20;

/// ConfigMaps.
pub(crate) static CONFIG_MAPS: Kind = Kind {
    validate: config_map,
    validate_update: Some(|object, old, errors| {
        stays_immutable(object, old, &["data", "binaryData"], errors);
        config_map(object, errors);
    }),
    columns: &CONFIG_MAP_COLUMNS,
    ..Kind::PLAIN
};

static CONFIG_MAP_COLUMNS: [Column; 3] = [
    NAME,
    text("Data", "How many entries it has.", |object, _| {
        let count = |name: &str| object[name].as_object().map_or(0, serde_json::Map::len);
        json!(count("data") + count("binaryData"))
    }),
    AGE,
];

fn decoded_len(text: &str) -> usize {
    text.len() / 4 * 3 - text.bytes().rev().take(2).filter(|byte| *byte == b'=').count().min(text.len() / 4 * 3)
}

fn config_map(object: &Value, errors: &mut FieldErrors) {
    let map = Field::of(object);
    let (data, binary) = (map.field("data"), map.field("binaryData"));
    let mut bytes = 0;
    for (key, value) in data.entries() {
        key_faults(&value, key, errors);
        if binary.key(key).is_set() {
            value.invalid_value(errors, key, "duplicate of key present in binaryData");
        }
        bytes += value.text().len();
    }
    for (key, value) in binary.entries() {
        key_faults(&value, key, errors);
        bytes += decoded_len(value.text());
    }
    if bytes > BYTES_MAX {
        errors.push(FieldError::too_long(&Path::new(""), BYTES_MAX));
    }
}

fn key_faults(value: &Field<'_>, key: &str, errors: &mut FieldErrors) {
    for fault in names::config_key(key) {
        value.invalid_value(errors, key, fault);
    }
}

fn stays_immutable(object: &Value, old: &Value, parts: &[&'static str], errors: &mut FieldErrors) {
    let (object, old) = (Field::of(object), Field::of(old));
    if !old.field("immutable").flag() {
        return;
    }
    let why = "field is immutable when `immutable` is set";
    if !object.field("immutable").flag() {
        object.field("immutable").forbidden(errors, why);
    }
    for part in parts {
        if !object.field(part).same_as(&old.field(part)) {
            object.field(part).forbidden(errors, why);
        }
    }
}

/// Secrets.
pub(crate) static SECRETS: Kind = Kind {
    default: |object| {
        default_text(object, "type", "Opaque");
        merge_string_data(object);
    },
    validate: secret,
    validate_update: Some(|object, old, errors| {
        Field::of(object).field("type").unchanged(errors, &Field::of(old).field("type"));
        stays_immutable(object, old, &["data"], errors);
        secret(object, errors);
    }),
    selectable: &[SelectableField { path: "type", value: |object| object["type"].as_str().unwrap_or_default().into() }],
    columns: &SECRET_COLUMNS,
    ..Kind::PLAIN
};

static SECRET_COLUMNS: [Column; 4] = [
    NAME,
    text("Type", "What kind of secret it is.", |object, _| json!(text_of(&object["type"]))),
    text("Data", "How many entries it has.", |object, _| {
        json!(object["data"].as_object().map_or(0, serde_json::Map::len))
    }),
    AGE,
];

/// `stringData` is for writing only: its entries become those of `data`.
fn merge_string_data(object: &mut Value) {
    let Some(Value::Object(entries)) = remove(object, "stringData") else { return };
    let Some(data) = ensure(object, "data") else { return };
    for (key, value) in entries {
        set(data, &key, STANDARD.encode(value.as_str().unwrap_or_default()));
    }
}

fn secret(object: &Value, errors: &mut FieldErrors) {
    let secret = Field::of(object);
    let data = secret.field("data");
    let mut bytes = 0;
    for (key, value) in data.entries() {
        key_faults(&value, key, errors);
        bytes += decoded_len(value.text());
    }
    if bytes > BYTES_MAX {
        data.too_long(errors, BYTES_MAX);
    }
    let has = |key: &'static str| data.key(key).is_set();
    match secret.field("type").text() {
        "kubernetes.io/service-account-token" => {
            secret.at("metadata.annotations").key("kubernetes.io/service-account.name").require(errors);
        }
        "kubernetes.io/dockercfg" => json_entry(&data, ".dockercfg", errors),
        "kubernetes.io/dockerconfigjson" => json_entry(&data, ".dockerconfigjson", errors),
        "kubernetes.io/basic-auth" if !has("username") && !has("password") => {
            data.key("username").required(errors, "");
            data.key("password").required(errors, "");
        }
        "kubernetes.io/ssh-auth" => {
            data.key("ssh-privatekey").require(errors);
        }
        "kubernetes.io/tls" => {
            for key in ["tls.crt", "tls.key"] {
                if !has(key) {
                    data.key(key).required(errors, "");
                }
            }
        }
        _ => {}
    }
}

fn json_entry(data: &Field<'_>, key: &'static str, errors: &mut FieldErrors) {
    let entry = data.key(key);
    if !entry.is_set() {
        entry.required(errors, "");
        return;
    }
    let bytes = STANDARD.decode(entry.text()).unwrap_or_default();
    if let Err(error) = serde_json::from_slice::<serde_json::Map<String, Value>>(&bytes) {
        let why = if error.is_eof() { "unexpected end of JSON input".to_owned() } else { error.to_string() };
        entry.invalid_value(errors, "<secret contents redacted>", why);
    }
}

/// ServiceAccounts.
pub(crate) static SERVICE_ACCOUNTS: Kind = Kind {
    create: |_, object| name_secrets(object),
    update: |_, object, _| name_secrets(object),
    answers_deleted: true,
    columns: &[NAME, AGE],
    ..Kind::PLAIN
};

/// An account's secrets are known by their names alone.
fn name_secrets(object: &mut Value) {
    let secrets = object.get_mut("secrets").and_then(Value::as_array_mut);
    for secret in secrets.into_iter().flatten().filter_map(Value::as_object_mut) {
        secret.retain(|name, _| name == "name");
    }
}

/// Drops what only coordinated leader election means, which is off upstream, unless it is there already.
fn drop_coordination(object: &mut Value, old: Option<&Value>) {
    for name in ["strategy", "preferredHolder"] {
        let known = old.is_some_and(|old| !old["spec"][name].is_null());
        if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut).filter(|_| !known) {
            spec.remove(name);
        }
    }
}

/// Leases.
pub(crate) static LEASES: Kind = Kind {
    create: |_, object| drop_coordination(object, None),
    update: |_, object, old| drop_coordination(object, Some(old)),
    validate: |object, errors| {
        let spec = Field::of(object).field("spec");
        let (seconds, transitions) = (spec.field("leaseDurationSeconds"), spec.field("leaseTransitions"));
        if seconds.opt_int().is_some_and(|seconds| seconds <= 0) {
            seconds.invalid(errors, "must be greater than 0");
        }
        transitions.not_negative(errors);
        if !spec.field("preferredHolder").is_empty() && spec.field("strategy").is_empty() {
            let why = "may only be specified if `strategy` is defined";
            spec.field("preferredHolder").forbidden(errors, why);
        }
    },
    columns: &LEASE_COLUMNS,
    create_on_update: true,
    unconditional_update: false,
    ..Kind::PLAIN
};

static LEASE_COLUMNS: [Column; 3] =
    [NAME, text("Holder", "Who holds it.", |object, _| json!(text_of(&object["spec"]["holderIdentity"]))), AGE];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Strategy;

    #[test]
    fn string_data_becomes_data() {
        let mut secret = json!({"stringData": {"a": "b"}, "data": {"a": "eA==", "c": "ZA=="}});
        SECRETS.default(&mut secret);
        assert_eq!(secret, json!({"type": "Opaque", "data": {"a": "Yg==", "c": "ZA=="}}));
    }

    #[test]
    fn rules() {
        let check = |kind: &Kind, object: Value, old: Option<Value>, expected: &[&str]| {
            let errors = match &old {
                Some(old) => kind.validate_update(&object, old),
                None => kind.validate(&object),
            };
            let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
            assert_eq!(texts, expected, "{object}");
        };
        check(&CONFIG_MAPS, json!({"data": {"a": "b"}}), None, &[]);
        let twice = json!({"data": {"a": "b"}, "binaryData": {"a": "Yg=="}});
        check(&CONFIG_MAPS, twice, None, &["data[a]: Invalid value: \"a\": duplicate of key present in binaryData"]);
        let fixed = json!({"immutable": true, "data": {"a": "b"}});
        let changed = json!({"immutable": true, "data": {"a": "c"}});
        let why = "data: Forbidden: field is immutable when `immutable` is set";
        check(&CONFIG_MAPS, changed, Some(fixed), &[why]);
        check(
            &SECRETS,
            json!({"type": "kubernetes.io/tls", "data": {"tls.crt": ""}}),
            None,
            &["data[tls.key]: Required value"],
        );
        let name = "metadata.annotations[kubernetes.io/service-account.name]: Required value";
        check(&SECRETS, json!({"type": "kubernetes.io/service-account-token"}), None, &[name]);
        let why = "type: Invalid value: \"b\": field is immutable";
        check(&SECRETS, json!({"type": "b"}), Some(json!({"type": "a"})), &[why]);
        check(
            &LEASES,
            json!({"spec": {"leaseDurationSeconds": 0}}),
            None,
            &["spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"],
        );
    }
}
