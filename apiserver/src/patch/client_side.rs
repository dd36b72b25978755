//! From client-side apply to server-side apply: `kubectl` keeps what it applied in an annotation of the object. When it
//! applies at the server, that annotation tells which of the fields that others own are its own all the same.

use serde_json::Value;

use super::fields::{Comparison, FieldSet};
use super::managed::Manager;
use super::typed::Typed;

/// Where `kubectl apply` keeps what it applied.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The manager that takes over; any other name opts out, as upstream documents it.
const KUBECTL: &str = "kubectl";
/// Bytes of keys and values that the annotations of an object may have.
const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;

fn last_applied(object: &Value) -> Option<&str> {
    object["metadata"]["annotations"][LAST_APPLIED].as_str().filter(|text| !text.is_empty())
}

/// The fields that the manager may take without force: those it applied at the client, where the object still has them so.
pub(super) fn taken_over(live: &Value, manager: &Manager<'_>, typed: Typed<'_>) -> FieldSet {
    let of_kubectl = || {
        let before: Value = serde_json::from_str(last_applied(live)?).ok()?;
        (before["apiVersion"] == manager.api_version).then_some(before)
    };
    let Some(before) = (manager.name == KUBECTL).then(of_kubectl).flatten() else { return FieldSet::default() };
    let mut fields = FieldSet::of(&before, typed);
    let comparison = Comparison::of(Some(&before), Some(live), typed);
    fields.subtract(&comparison.set);
    fields.subtract(&comparison.removed);
    fields
}

/// Where an object has the annotation, it follows what `kubectl` applies at the server, so that client-side apply can go on.
pub(super) fn follow(object: &mut Value, config: &Value, manager: &Manager<'_>) {
    if manager.name != KUBECTL || last_applied(object).is_none() {
        return;
    }
    let mut config = config.clone();
    if let Some(annotations) = config.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove(LAST_APPLIED);
    }
    let Some(annotations) = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) else { return };
    annotations.insert(LAST_APPLIED.into(), format!("{config}\n").into());
    let bytes: usize = annotations.iter().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    if bytes > ANNOTATIONS_BYTES_MAX {
        annotations.remove(LAST_APPLIED);
    }
}

#[cfg(test)]
mod tests {
    use kubewright_api::schema;
    use serde_json::json;

    use super::super::apply::apply;
    use super::super::managed::{Operation, note_update};
    use super::*;
    use crate::object::typed::Schema;

    fn manager(name: &'static str, operation: Operation) -> Manager<'static> {
        let time = "2026-01-01T00:00:00Z";
        Manager { name, operation, subresource: "", api_version: "v1", time, status: true }
    }

    fn config(label: &str, image: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "labels": {"name": label}},
            "spec": {"containers": [{"name": "c", "image": image}]}})
    }

    /// A pod that kubectl applied at the client, and whose image somebody changed since then.
    fn live(applied: &Value, image: &str) -> Value {
        let schema: Schema = schema::of_kind("", "v1", "Pod").into();
        let mut first = applied.clone();
        first["metadata"]["annotations"] = json!({LAST_APPLIED: applied.to_string()});
        note_update(&mut first, None, &schema, &manager("kubectl-client-side-apply", Operation::Update));
        let mut second = first.clone();
        second["spec"]["containers"][0]["image"] = image.into();
        note_update(&mut second, Some(&first), &schema, &manager("other", Operation::Update));
        second
    }

    fn run(live: &Value, config: &Value, name: &'static str) -> Result<Value, kubewright_api::status::Status> {
        let schema: Schema = schema::of_kind("", "v1", "Pod").into();
        apply(Some(live), config, &schema, &manager(name, Operation::Apply), false)
    }

    #[test]
    fn kubectl_takes_over_what_it_applied_at_the_client() {
        let applied = config("before", "i:1");
        let live = live(&applied, "i:1");
        let taken = run(&live, &config("after", "i:1"), "kubectl").unwrap();
        assert_eq!(taken["metadata"]["labels"]["name"], "after");
        let kept: Value = serde_json::from_str(last_applied(&taken).unwrap()).unwrap();
        assert_eq!(kept, config("after", "i:1"), "the annotation follows");
        let refused = run(&live, &config("after", "i:1"), "not-kubectl").unwrap_err();
        assert!(refused.message.contains(".metadata.labels.name"), "{}", refused.message);
    }

    #[test]
    fn what_others_changed_since_is_a_conflict_still() {
        let applied = config("before", "i:1");
        let live = live(&applied, "i:2");
        let refused = run(&live, &config("after", "i:3"), "kubectl").unwrap_err();
        let path = ".spec.containers[name=\"c\"].image";
        let wanted = format!("conflict with \"other\" using v1 at 2026-01-01T00:00:00Z: {path}");
        assert!(refused.message.ends_with(&wanted), "{}", refused.message);
        assert!(!refused.message.contains("labels"), "{}", refused.message);
    }

    #[test]
    fn an_annotation_of_another_version_or_none_takes_nothing_over() {
        let schema: Schema = schema::of_kind("", "v1", "Pod").into();
        let typed = Typed::root(&schema);
        let kubectl = manager("kubectl", Operation::Apply);
        for annotation in [json!(""), json!("{"), json!("{\"apiVersion\":\"v2\",\"kind\":\"Pod\"}"), Value::Null] {
            let mut live = config("before", "i:1");
            live["metadata"]["annotations"] = json!({LAST_APPLIED: annotation});
            assert!(taken_over(&live, &kubectl, typed).is_empty(), "{annotation}");
        }
    }
}
