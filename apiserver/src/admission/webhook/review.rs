//! `AdmissionReview`: what a webhook is asked, and whether its answer is one.

use base64::Engine;
use kubewright_api::status::Status;
use serde::Deserialize;
use serde_json::{Value, json};

use super::hook::Hook;
use crate::admission::AdmissionAttributes;
use crate::admission::matching::{Seen, namespace, operation_name};
use crate::authz::reviews::user_info;
use crate::objects::Objects;

/// The `request` of a review, without its UID: what policies see too.
pub(in crate::admission) fn request(a: &AdmissionAttributes<'_>, seen: &Seen) -> Value {
    let mut request = json!({
        "kind": {"group": seen.group, "version": seen.version, "kind": seen.kind},
        "resource": {"group": seen.group, "version": seen.version, "resource": a.resource},
        "requestKind": {"group": a.group, "version": a.version, "kind": a.kind},
        "requestResource": {"group": a.group, "version": a.version, "resource": a.resource},
        "name": a.name,
        "namespace": namespace(a),
        "operation": operation_name(a.operation),
        "userInfo": user_info(a.user),
        "dryRun": a.dry_run,
        "options": a.options,
    });
    if !a.subresource.is_empty() {
        request["subResource"] = a.subresource.into();
        request["requestSubResource"] = a.subresource.into();
    }
    for field in ["name", "namespace"] {
        if request[field] == "" {
            request.as_object_mut().map(|request| request.remove(field));
        }
    }
    request
}

/// The version of reviews to send: the first of the webhook's that is known.
pub(super) fn version(hook: &Hook) -> Option<&'static str> {
    let known = |version: &String| match version.as_str() {
        "v1" => Some("v1"),
        "v1beta1" => Some("v1beta1"),
        _ => None,
    };
    hook.review_versions.iter().find_map(known)
}

/// A review to send, in that version.
///
/// # Errors
/// The webhook that converts between the versions of a custom resource does not.
pub(super) async fn ask(
    a: &AdmissionAttributes<'_>,
    seen: &Seen,
    version: &str,
    uid: &str,
    objects: &dyn Objects,
) -> Result<Value, Status> {
    let mut request = request(a, seen);
    request["uid"] = uid.into();
    request["object"] = seen.convert(a, &a.object, objects).await?;
    request["oldObject"] = match a.old {
        Some(old) => seen.convert(a, old, objects).await?,
        None => Value::Null,
    };
    Ok(json!({"kind": "AdmissionReview", "apiVersion": format!("admission.k8s.io/{version}"), "request": request}))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    response: Option<Response>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    #[serde(default)]
    uid: String,
    #[serde(default)]
    allowed: bool,
    status: Option<Value>,
    patch: Option<String>,
    patch_type: Option<String>,
    audit_annotations: Option<std::collections::BTreeMap<String, String>>,
    warnings: Option<Vec<String>>,
}

/// What a webhook said.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    pub(super) allowed: bool,
    pub(super) status: Option<Value>,
    /// As it was sent.
    patch: Option<Vec<u8>>,
    pub(super) annotations: Vec<(String, String)>,
    pub(super) warnings: Vec<String>,
}

impl Verdict {
    /// The patch, if there is one that does anything.
    ///
    /// # Errors
    /// What was sent is none.
    pub(super) fn patch(&self) -> Result<Option<json_patch::Patch>, String> {
        let Some(patch) = &self.patch else { return Ok(None) };
        let patch: json_patch::Patch = serde_json::from_slice(patch)
            .map_err(|error| format!("received undecodable patch in webhook response: {error}"))?;
        Ok(Some(patch).filter(|patch| !patch.0.is_empty()))
    }
}

/// Reads an answer; in `v1` it must be of the same kind and about the same request.
pub(super) fn read(bytes: &[u8], version: &str, uid: &str, mutating: bool) -> Result<Verdict, String> {
    let review: Review = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let response = review.response.ok_or("webhook response was absent")?;
    let strict = version == "v1";
    if strict && response.uid != uid {
        return Err(format!("expected response.uid={uid:?}, got {:?}", response.uid));
    }
    if strict && (review.api_version != "admission.k8s.io/v1" || review.kind != "AdmissionReview") {
        let (group, found) = review.api_version.split_once('/').unwrap_or(("", &review.api_version));
        let expected = "admission.k8s.io/v1, Kind=AdmissionReview";
        return Err(format!("expected webhook response of {expected}, got {group}/{found}, Kind={}", review.kind));
    }
    let patch = response.patch.filter(|patch| !patch.is_empty());
    if strict && mutating && patch.is_some() && response.patch_type.is_none() {
        return Err("webhook returned response.patch but not response.patchType".into());
    }
    if strict && mutating && patch.is_none() && response.patch_type.is_some() {
        return Err("webhook returned response.patchType but not response.patch".into());
    }
    if strict && !mutating && patch.is_some() {
        return Err("validating webhook may not return response.patch".into());
    }
    if strict && !mutating && response.patch_type.is_some() {
        return Err("validating webhook may not return response.patchType".into());
    }
    if let Some(kind) = response.patch_type.filter(|kind| kind != "JSONPatch" && strict) {
        return Err(format!("webhook returned invalid response.patchType of {kind:?}"));
    }
    let decode = |text: String| base64::engine::general_purpose::STANDARD.decode(text);
    let patch = patch.filter(|_| mutating && response.allowed).map(decode).transpose();
    let patch = patch.map_err(|error| format!("response.patch is no base64: {error}"))?;
    Ok(Verdict {
        allowed: response.allowed,
        status: response.status,
        patch,
        annotations: response.audit_annotations.unwrap_or_default().into_iter().collect(),
        warnings: response.warnings.unwrap_or_default(),
    })
}

/// The refusal that clients see: never a success, always with the webhook's name.
pub(super) fn refusal(webhook: &str, status: Option<Value>) -> Status {
    let given = status.unwrap_or_default();
    let text = |field: &str| given[field].as_str().unwrap_or_default();
    let code = given["code"].as_u64().and_then(|code| u16::try_from(code).ok()).filter(|code| *code >= 400);
    let denied = format!("admission webhook {webhook:?} denied the request");
    let message = match (text("message"), text("reason")) {
        ("", "") => format!("{denied} without explanation"),
        ("", why) | (why, _) => format!("{denied}: {why}"),
    };
    let mut refusal = Status::failure(code.unwrap_or(400), text("reason"), message);
    refusal.details = serde_json::from_value(given["details"].clone()).ok();
    refusal
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(response: Value) -> Vec<u8> {
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
            .to_string()
            .into_bytes()
    }

    #[test]
    fn answers_are_held_to_the_rules() {
        let patch = base64::engine::general_purpose::STANDARD.encode(r#"[{"op":"add","path":"/a","value":1}]"#);
        let ok =
            answer(json!({"uid": "u", "allowed": true, "patch": patch, "patchType": "JSONPatch", "warnings": ["w"]}));
        let verdict = read(&ok, "v1", "u", true).unwrap();
        assert!(verdict.allowed && verdict.patch().unwrap().is_some() && verdict.warnings == ["w"]);
        let broken = answer(json!({"uid": "u", "allowed": true, "patch": "e30=", "patchType": "JSONPatch"}));
        let broken = read(&broken, "v1", "u", true).unwrap().patch().unwrap_err();
        assert!(broken.starts_with("received undecodable patch"), "{broken}");
        for (bytes, mutating, expected) in [
            (answer(Value::Null), true, "webhook response was absent"),
            (ok.clone(), false, "validating webhook may not return response.patch"),
            (answer(json!({"uid": "other"})), true, "expected response.uid=\"u\", got \"other\""),
            (answer(json!({"uid": "u", "patch": "e30="})), true, "webhook returned response.patch but not"),
            (answer(json!({"uid": "u", "patchType": "JSONPatch"})), true, "webhook returned response.patchType but"),
            (
                answer(json!({"uid": "u", "allowed": true, "patch": "?", "patchType": "JSONPatch"})),
                true,
                "response.patch is no base64",
            ),
            (
                json!({"apiVersion": "v1", "kind": "Pod", "response": {"uid": "u"}}).to_string().into(),
                true,
                "expected webhook response of",
            ),
        ] {
            let fault = read(&bytes, "v1", "u", mutating).unwrap_err();
            assert!(fault.starts_with(expected), "{fault}");
        }
    }

    #[test]
    fn refusals_are_never_successes() {
        let status = refusal("a.b.c", Some(json!({"code": 200, "message": "no"})));
        assert_eq!((status.code, status.message.as_str()), (400, "admission webhook \"a.b.c\" denied the request: no"));
        let status = refusal("a", Some(json!({"code": 403, "reason": "Forbidden"})));
        assert_eq!(
            (status.code, status.message.as_str()),
            (403, "admission webhook \"a\" denied the request: Forbidden")
        );
        assert_eq!(refusal("a", None).message, "admission webhook \"a\" denied the request without explanation");
    }
}
