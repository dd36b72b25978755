//! Rules for the metadata that every object has. The registry calls these for every kind.

use kubewright_api::field::FieldErrors;
use kubewright_api::names;
use serde_json::Value;

use super::labels::{annotations, labels};
use crate::kinds::read::Field;

/// The rules for a new object's metadata. `name_rule` is the kind's rule for names.
#[must_use]
pub fn object_meta(object: &Value, namespaced: bool, name_rule: fn(&str) -> Vec<String>) -> FieldErrors {
    let meta = Field::of(object).field("metadata");
    let mut errors = FieldErrors::new();
    meta.field("generateName").check_if_set(&mut errors, |prefix| name_rule(&mask_trailing_dash(prefix)));
    match meta.field("name") {
        name if name.is_empty() => name.required(&mut errors, "name or generateName is required"),
        name => name.check(&mut errors, name_rule),
    }
    common(&meta, namespaced, &mut errors);
    errors
}

/// What a generated name may end in is for the generator to say.
fn mask_trailing_dash(prefix: &str) -> String {
    match prefix.strip_suffix('-') {
        Some(stem) if !stem.is_empty() => {
            let mut stem = stem.to_owned();
            stem.pop();
            stem + "a"
        }
        _ => prefix.to_owned(),
    }
}

fn common(meta: &Field<'_>, namespaced: bool, errors: &mut FieldErrors) {
    let namespace = meta.field("namespace");
    if namespaced {
        namespace.require_and_check(errors, names::dns1123_label);
    } else if !namespace.is_empty() {
        namespace.forbidden(errors, "not allowed on this type");
    }
    meta.field("generation").not_negative(errors);
    labels(&meta.field("labels"), errors);
    annotations(&meta.field("annotations"), errors);
    owner_references(&meta.field("ownerReferences"), errors);
    finalizers(&meta.field("finalizers"), errors);
}

fn owner_references(references: &Field<'_>, errors: &mut FieldErrors) {
    let mut controller = String::new();
    for reference in references.items() {
        // Upstream reports these on the list as a whole.
        let part = |name| {
            let field = reference.field(name);
            (field.text(), references.as_child(name))
        };
        let (api_version, path) = part("apiVersion");
        if api_version.rsplit('/').next().unwrap_or_default().is_empty() {
            path.invalid_value(errors, api_version, "version must not be empty");
        }
        for name in ["kind", "name", "uid"] {
            let (text, path) = part(name);
            if text.is_empty() {
                path.invalid_value(errors, text, "must not be empty");
            }
        }
        let kind = reference.field("kind").text();
        if api_version == "v1" && kind == "Event" {
            let why = "/v1, Kind=Event is disallowed from being an owner";
            references.invalid_value(errors, reference.raw(), why);
        }
        if reference.field("controller").flag() {
            let this = format!("{kind}/{}", reference.field("name").text());
            if controller.is_empty() {
                controller = this;
            } else {
                let why = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {controller} \
                     and {this}"
                );
                references.invalid(errors, why);
            }
        }
    }
}

fn finalizers(finalizers: &Field<'_>, errors: &mut FieldErrors) {
    for finalizer in finalizers.items() {
        for fault in names::qualified_name(finalizer.text()) {
            finalizers.invalid_value(errors, finalizer.text(), fault);
        }
    }
    if finalizers.has("orphan") && finalizers.has("foregroundDeletion") {
        finalizers.invalid(errors, "finalizer orphan and foregroundDeletion cannot be both set");
    }
}

/// The rule for finalizers of new objects whose kinds are built in: those that name no domain are known ones. Custom
/// resources and definitions may have any.
#[must_use]
pub fn standard_finalizers(object: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    for finalizer in Field::of(object).field("metadata").field("finalizers").items() {
        let known = ["kubernetes", "orphan", "foregroundDeletion"];
        let text = finalizer.text();
        if !text.contains('/') && !known.contains(&text) {
            finalizer.invalid(&mut errors, "name is neither a standard finalizer name nor is it fully qualified");
        }
    }
    errors
}

/// The rules for a change of an object's metadata.
#[must_use]
pub fn object_meta_update(object: &Value, old: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let (meta, old_meta) = (Field::of(object).field("metadata"), Field::of(old).field("metadata"));
    if old_meta.field("deletionTimestamp").is_set() {
        let before = old_meta.field("finalizers");
        let field = meta.field("finalizers");
        let mut extra: Vec<&str> = field.texts().into_iter().filter(|finalizer| !before.has(finalizer)).collect();
        extra.sort_unstable();
        if !extra.is_empty() {
            let list: Vec<String> = extra.iter().map(|finalizer| format!("{finalizer:?}")).collect();
            let why = "no new finalizers can be added if the object is being deleted, found new finalizers";
            field.forbidden(&mut errors, format!("{why} []string{{{}}}", list.join(", ")));
        }
    }
    if meta.field("generation").int() < old_meta.field("generation").int() {
        meta.field("generation").invalid(&mut errors, "must not be decremented");
    }
    for name in ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        meta.field(name).unchanged(&mut errors, &old_meta.field(name));
    }
    let namespaced = old_meta.field("namespace").is_set();
    if meta.field("namespace").is_set() == namespaced {
        common(&meta, namespaced, &mut errors);
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn texts(errors: FieldErrors) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn new_metadata() {
        let check = |meta: Value, namespaced: bool, expected: &[&str]| {
            let errors = texts(object_meta(&json!({"metadata": meta}), namespaced, names::dns1123_subdomain));
            assert_eq!(errors, expected, "{meta}");
        };
        check(json!({"name": "a", "namespace": "b"}), true, &[]);
        check(json!({"generateName": "a-", "name": "a-xyz12", "namespace": "b"}), true, &[]);
        check(json!({"namespace": "b"}), true, &["metadata.name: Required value: name or generateName is required"]);
        check(json!({"name": "a"}), true, &["metadata.namespace: Required value"]);
        check(
            json!({"name": "a", "namespace": "b"}),
            false,
            &["metadata.namespace: Forbidden: not allowed on this type"],
        );
        let conflicting = json!({"name": "a", "finalizers": ["orphan", "foregroundDeletion"]});
        let both = "metadata.finalizers: Invalid value: [\"orphan\",\"foregroundDeletion\"]: finalizer orphan and \
                    foregroundDeletion cannot be both set";
        check(conflicting, false, &[both]);
        let unqualified = "metadata.finalizers[0]: Invalid value: \"x\": name is neither a standard finalizer name nor \
                           is it fully qualified";
        check(json!({"name": "a", "finalizers": ["x"]}), false, &[]);
        let object = json!({"metadata": {"name": "a", "finalizers": ["x", "orphan", "a/b"]}});
        assert_eq!(texts(standard_finalizers(&object)), [unqualified]);
        let owner = json!([{"apiVersion": "v1", "kind": "Pod", "name": "p"}]);
        let no_uid = "metadata.ownerReferences.uid: Invalid value: \"\": must not be empty";
        check(json!({"name": "a", "ownerReferences": owner}), false, &[no_uid]);
    }

    #[test]
    fn changed_metadata() {
        let check = |meta: Value, old: Value, expected: &[&str]| {
            let errors = texts(object_meta_update(&json!({ "metadata": meta }), &json!({ "metadata": old })));
            assert_eq!(errors, expected, "{meta}");
        };
        check(json!({"name": "a", "labels": {"b": "c"}}), json!({"name": "a"}), &[]);
        let immutable = "metadata.uid: Invalid value: \"2\": field is immutable";
        check(json!({"name": "a", "uid": "2"}), json!({"name": "a", "uid": "1"}), &[immutable]);
        let deleted = json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["a/b"]});
        let more = json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["a/b", "a/c"]});
        let new = "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found \
                   new finalizers []string{\"a/c\"}";
        check(more, deleted, &[new]);
    }
}
