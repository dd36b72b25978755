//! CertificateSigningRequests.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kubewright_api::field::{FieldError, FieldErrors};
use kubewright_api::names;
use serde_json::{Map, Value, json};

use super::edit::{each, ensure, remove, restore, set};
use super::kind::{Kind, Part, empty_status};
use super::read::Field;
use super::validate::signers::signer_name;
use crate::der::subject_of_request_pem;
use crate::environment;
use crate::registry::{Column, SelectableField, StrategyContext};
use crate::table::{AGE, NAME, human_duration, or_none, text, text_of};

/// CertificateSigningRequests. Who asks is what the server knows of the caller, never what the request says.
pub(crate) static CERTIFICATE_SIGNING_REQUESTS: Kind = Kind {
    status: Some(empty_status),
    create: requestor,
    update: |_, object, old| restore(object, "spec", old),
    validate: |object, errors| validate(object, None, errors),
    validate_update: Some(|object, old, errors| validate_update(object, old, Allowed::Nothing, errors)),
    subresources: &[("status", &STATUS), ("approval", &APPROVAL)],
    name: names::dns1123_subdomain,
    selectable: &[SelectableField {
        path: "spec.signerName",
        value: |object| object["spec"]["signerName"].as_str().unwrap_or_default().into(),
    }],
    columns: &COLUMNS,
    ..Kind::PLAIN
};

static STATUS: Part = Part {
    update: |context, object, old| {
        for kind in ["Approved", "Denied"] {
            keep_conditions(object, old, kind);
        }
        times(context, object, old);
    },
    validate: |object, old, errors| validate_update(object, old, Allowed::Certificate, errors),
    ..Part::STATUS
};

static APPROVAL: Part = Part {
    update: |context, object, old| {
        times(context, object, old);
        if let Some(status) = ensure(object, "status") {
            restore(status, "certificate", &old["status"]);
        }
    },
    validate: |object, old, errors| validate_update(object, old, Allowed::Approval, errors),
    ..Part::STATUS
};

/// What an update may change of the status.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Allowed {
    Nothing,
    Certificate,
    Approval,
}

fn requestor(context: &StrategyContext<'_>, object: &mut Value) {
    let Some(spec) = ensure(object, "spec") else { return };
    for name in ["username", "uid", "groups", "extra"] {
        remove(spec, name);
    }
    let user = context.user;
    set(spec, "username", user.name.clone());
    if !user.uid.is_empty() {
        set(spec, "uid", user.uid.clone());
    }
    if !user.groups.is_empty() {
        set(spec, "groups", user.groups.clone());
    }
    let extra: Map<String, Value> = user.extra.iter().map(|(key, values)| (key.clone(), json!(values))).collect();
    if !extra.is_empty() {
        set(spec, "extra", extra);
    }
}

fn of_type<'a>(object: &'a Value, kind: &str) -> Vec<&'a Value> {
    object["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|condition| condition["type"] == kind)
        .collect()
}

fn keep_conditions(object: &mut Value, old: &Value, kind: &str) {
    let before: Vec<Value> = of_type(old, kind).into_iter().cloned().collect();
    if of_type(object, kind).len() == before.len() {
        let mut before = before.into_iter();
        for condition in each(object, "status.conditions").filter(|condition| condition["type"] == kind) {
            if let Some(old) = before.next() {
                *condition = old;
            }
        }
    }
}

fn times(context: &StrategyContext<'_>, object: &mut Value, old: &Value) {
    let now = environment::time(context.now);
    let before = old["status"]["conditions"].as_array().cloned().unwrap_or_default();
    for condition in each(object, "status.conditions") {
        if condition["lastUpdateTime"].is_null() {
            set(condition, "lastUpdateTime", now.clone());
        }
        if condition["lastTransitionTime"].is_null() {
            let same = before.iter().find(|other| {
                other["type"] == condition["type"]
                    && other["status"] == condition["status"]
                    && other["lastTransitionTime"].is_string()
            });
            set(
                condition,
                "lastTransitionTime",
                same.map_or_else(|| json!(now), |other| other["lastTransitionTime"].clone()),
            );
        }
    }
}

const USAGES: &[&str] = &[
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

/// Whether the base64 text holds PEM blocks of requests, each with a DER sequence in it.
fn is_pem(text: &str) -> bool {
    let Ok(bytes) = STANDARD.decode(text) else { return false };
    let Ok(pem) = String::from_utf8(bytes) else { return false };
    let (begin, end) = ("-----BEGIN CERTIFICATE REQUEST-----", "-----END CERTIFICATE REQUEST-----");
    let mut rest = pem.as_str();
    let mut blocks = 0;
    while let Some((_, after)) = rest.split_once(begin) {
        let Some((body, after)) = after.split_once(end) else { return false };
        let body: String = body.split_whitespace().collect();
        if STANDARD.decode(body).map_or(true, |der| der.first() != Some(&0x30)) {
            return false;
        }
        blocks += 1;
        rest = after;
    }
    blocks > 0
}

/// What is wrong with the certificates that a base64 text holds in PEM form.
fn certificates_fault(text: &str) -> Option<String> {
    let pem = STANDARD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
    let mut rest = pem.as_str();
    let mut blocks = 0;
    while let Some((_, after)) = rest.split_once("-----BEGIN ") {
        let Some((label, after)) = after.split_once("-----") else { break };
        let Some((body, after)) = after.split_once(&format!("-----END {label}-----")) else { break };
        if label != "CERTIFICATE" {
            return Some(format!("only CERTIFICATE PEM blocks are allowed, found {label:?}"));
        }
        if body.contains(':') {
            return Some("no PEM block headers are permitted".into());
        }
        let body: String = body.split_whitespace().collect();
        if STANDARD.decode(body).map_or(true, |der| der.first() != Some(&0x30)) {
            return Some("x509: malformed certificate".into());
        }
        blocks += 1;
        rest = after;
    }
    (blocks == 0).then(|| "must contain at least one CERTIFICATE PEM block".into())
}

/// Whether the base64 text holds a single PEM block with a request that names somebody.
fn is_request(text: &str) -> bool {
    let pem = STANDARD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    pem.is_some_and(|pem| subject_of_request_pem(&pem).is_some())
}

fn validate(object: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
    let csr = Field::of(object);
    let spec = csr.field("spec");
    let request = spec.field("request");
    if old.is_none() {
        if !is_pem(request.text()) {
            request.invalid(errors, "PEM block type must be CERTIFICATE REQUEST");
        } else if !is_request(request.text()) {
            request.invalid(errors, "must be one certificate request (PKCS #10)");
        }
    }
    let usages = spec.field("usages");
    usages.require(errors);
    let mut seen = Vec::new();
    for usage in usages.items() {
        usage.one_of_if_set(errors, USAGES);
        if seen.contains(&usage.text()) {
            usage.duplicate(errors);
        }
        seen.push(usage.text());
    }
    let signer = spec.field("signerName");
    if signer.text() == "kubernetes.io/legacy-unknown" {
        signer.invalid(errors, "the legacy signerName is not allowed via this API version");
    } else {
        signer_name(&signer, errors);
    }
    let seconds = spec.field("expirationSeconds");
    if seconds.opt_int().is_some_and(|seconds| seconds < 600) {
        seconds.invalid(errors, "may not specify a duration less than 600 seconds (10 minutes)");
    }
    conditions(&csr.at("status.conditions"), errors);
}

fn conditions(list: &Field<'_>, errors: &mut FieldErrors) {
    let mut seen = Vec::new();
    for condition in list.items() {
        let kind = condition.field("type");
        kind.require(errors);
        let fixed = ["Approved", "Denied", "Failed"].contains(&kind.text());
        let allowed: &[&str] = if fixed { &["True"] } else { &["False", "True", "Unknown"] };
        condition.field("status").one_of(errors, allowed);
        let opposite = match kind.text() {
            "Approved" => "Denied",
            "Denied" => "Approved",
            _ => "",
        };
        if !opposite.is_empty() && seen.contains(&opposite) {
            list.invalid_value(errors, kind.text(), "Approved and Denied conditions are mutually exclusive");
        }
        if seen.contains(&kind.text()) {
            kind.duplicate(errors);
        }
        seen.push(kind.text());
    }
}

fn validate_update(object: &Value, old: &Value, allowed: Allowed, errors: &mut FieldErrors) {
    validate(object, Some(old), errors);
    let status = Field::of(object).field("status");
    let list = status.field("conditions");
    for kind in ["Approved", "Denied", "Failed"] {
        let (now, before) = (of_type(object, kind), of_type(old, kind));
        if now.len() < before.len() {
            list.forbidden(errors, format!("updates may not remove a condition of type {kind:?}"));
        } else if kind != "Failed" && allowed != Allowed::Approval && now != before {
            let what = if now.len() > before.len() { "add" } else { "modify" };
            list.forbidden(errors, format!("updates may not {what} a condition of type {kind:?}"));
        }
    }
    let (certificate, before) = (status.field("certificate"), Field::of(old).at("status.certificate"));
    if !certificate.same_as(&before) {
        if allowed != Allowed::Certificate {
            certificate.forbidden(errors, "updates may not set certificate content");
        } else if !before.is_empty() {
            certificate.forbidden(errors, "updates may not modify existing certificate content");
        } else if let Some(why) = certificates_fault(certificate.text()) {
            errors.push(FieldError::invalid(&certificate.path(), "<certificate data>", why));
        }
    }
}

static COLUMNS: [Column; 6] = [
    NAME,
    AGE,
    text("SignerName", "Who shall sign it.", |object, _| or_none(text_of(&object["spec"]["signerName"]))),
    text("Requestor", "Who asks for it.", |object, _| json!(text_of(&object["spec"]["username"]))),
    text("RequestedDuration", "How long it shall be good.", |object, _| {
        json!(object["spec"]["expirationSeconds"].as_i64().map_or_else(|| "<none>".to_owned(), human_duration))
    }),
    text("Condition", "How far it has come.", |object, _| json!(condition(object))),
];

fn condition(object: &Value) -> String {
    let has = |kind: &str| !of_type(object, kind).is_empty();
    let mut shown = if has("Denied") {
        "Denied"
    } else if has("Approved") {
        "Approved"
    } else {
        "Pending"
    }
    .to_owned();
    if has("Failed") {
        shown.push_str(",Failed");
    }
    if !text_of(&object["status"]["certificate"]).is_empty() {
        shown.push_str(",Issued");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_pem_and_nothing_else() {
        let block = |label: &str, body: &str| format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
        let one = block("CERTIFICATE", "MAA=");
        for (pem, expected) in [
            (one.clone(), None),
            (format!("a comment\n{one}{one}"), None),
            ("x".to_owned(), Some("must contain at least one CERTIFICATE PEM block")),
            (
                format!("{one}{}", block("EC PRIVATE KEY", "MAA=")),
                Some("only CERTIFICATE PEM blocks are allowed, found \"EC PRIVATE KEY\""),
            ),
            (block("CERTIFICATE", "a: b\n\nMAA="), Some("no PEM block headers are permitted")),
            (block("CERTIFICATE", "eA=="), Some("x509: malformed certificate")),
        ] {
            assert_eq!(certificates_fault(&STANDARD.encode(&pem)).as_deref(), expected, "{pem}");
        }
    }
}
