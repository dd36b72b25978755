//! Managers that share an object: whose fields stay, go, and are in each other's way.

use kubewright_api::schema;
use serde_json::json;

use super::*;

fn manager(name: &'static str) -> Manager<'static> {
    Manager {
        name,
        operation: Operation::Apply,
        subresource: "",
        api_version: "apps/v1",
        time: "2026-01-01T00:00:00Z",
        status: true,
    }
}

fn ty() -> Schema {
    schema::of_kind("apps", "v1", "Deployment").into()
}

fn config(replicas: Option<i64>, image: &str, labels: &[&str]) -> Value {
    let labels: Map<String, Value> = labels.iter().map(|label| ((*label).to_owned(), "x".into())).collect();
    let mut config = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "labels": labels},
        "spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}});
    if let Some(replicas) = replicas {
        config["spec"]["replicas"] = replicas.into();
    }
    config
}

fn run(current: Option<&Value>, config: &Value, name: &'static str, force: bool) -> Result<Value, Status> {
    apply(current, config, &ty(), &manager(name), force)
}

#[test]
fn applying_twice_changes_nothing() {
    let config = config(Some(3), "i", &["a"]);
    let once = run(None, &config, "m", false).unwrap();
    assert_eq!(run(Some(&once), &config, "m", false).unwrap(), once);
}

#[test]
fn what_is_no_longer_applied_goes() {
    let once = run(None, &config(Some(3), "i", &["a", "b"]), "m", false).unwrap();
    let twice = run(Some(&once), &config(None, "i", &["a"]), "m", false).unwrap();
    assert!(twice["spec"].get("replicas").is_none());
    assert_eq!(twice["metadata"]["labels"], json!({"a": "x"}));
    let third = run(Some(&twice), &config(None, "i", &[]), "m", false).unwrap();
    assert_eq!(third["metadata"]["labels"], json!({}), "an empty map is applied as one");
}

#[test]
fn others_fields_are_conflicts_unless_forced() {
    let once = run(None, &config(Some(3), "i", &["a"]), "one", false).unwrap();
    let refused = run(Some(&once), &config(Some(5), "i", &["a"]), "two", false).unwrap_err();
    assert_eq!((refused.code, refused.reason.as_str()), (409, "Conflict"));
    assert_eq!(refused.message, "Apply failed with 1 conflict: conflict with \"one\": .spec.replicas");
    let cause = &refused.details.as_ref().unwrap().causes[0];
    assert_eq!((cause.reason.as_str(), cause.field.as_str()), ("FieldManagerConflict", ".spec.replicas"));
    let forced = run(Some(&once), &config(Some(5), "i", &["a"]), "two", true).unwrap();
    assert_eq!(forced["spec"]["replicas"], 5);
    let back = run(Some(&forced), &config(None, "i", &["a"]), "one", false).unwrap();
    assert_eq!(back["spec"]["replicas"], 5, "one no longer owns replicas, so dropping them changes nothing");
}

#[test]
fn equal_values_are_shared() {
    let once = run(None, &config(Some(3), "i", &["a"]), "one", false).unwrap();
    let shared = run(Some(&once), &config(Some(3), "i", &["b"]), "two", false).unwrap();
    assert_eq!(shared["metadata"]["labels"], json!({"a": "x", "b": "x"}));
    let dropped = run(Some(&shared), &config(None, "i", &["a"]), "one", false).unwrap();
    assert_eq!(dropped["spec"]["replicas"], 3, "two still owns them");
}

#[test]
fn lists_of_objects_merge_by_key_in_the_order_applied() {
    let containers = |names: &[&str]| -> Value {
        let list: Vec<Value> = names.iter().map(|name| json!({"name": name, "image": "i"})).collect();
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}, "spec": {"template": {"spec": {"containers": list}}}})
    };
    let names = |object: &Value| -> Vec<String> {
        let list = object["spec"]["template"]["spec"]["containers"].as_array().unwrap();
        list.iter().map(|container| container["name"].as_str().unwrap().to_owned()).collect()
    };
    let one = run(None, &containers(&["a", "b", "c"]), "one", false).unwrap();
    let two = run(Some(&one), &containers(&["d", "c"]), "two", false).unwrap();
    assert_eq!(names(&two), ["a", "b", "d", "c"]);
    let three = run(Some(&two), &containers(&["c"]), "one", false).unwrap();
    assert_eq!(names(&three), ["d", "c"]);
    assert_eq!(run(None, &containers(&["a", "a"]), "one", false).unwrap_err().code, 500);
    for (live, applied, expected) in [
        (vec!["a"], vec!["b"], vec!["a", "b"]),
        (vec!["a", "x"], vec!["d", "a"], vec!["d", "a", "x"]),
        (vec!["b", "a", "x"], vec!["a", "b", "n"], vec!["a", "x", "b", "n"]),
        (vec!["x", "c", "b", "a"], vec!["a", "b", "c"], vec!["x", "a", "b", "c"]),
    ] {
        let one = run(None, &containers(&live), "one", false).unwrap();
        let two = run(Some(&one), &containers(&applied), "two", false).unwrap();
        assert_eq!(names(&two), expected, "{live:?} {applied:?}");
    }
}

#[test]
fn objects_that_nobody_managed_are_adopted() {
    let live = config(Some(3), "i", &["a"]);
    let refused = run(Some(&live), &config(Some(4), "i", &["a"]), "m", false).unwrap_err();
    assert!(refused.message.contains("before-first-apply"), "{}", refused.message);
}
#[test]
fn what_the_endpoint_sets_back_is_no_conflict() {
    let once = run(None, &config(Some(3), "i", &["a"]), "one", false).unwrap();
    let mut live = once.clone();
    live["status"] = json!({"replicas": 3, "readyReplicas": 3});
    let status = Manager { operation: Operation::Update, subresource: "status", ..manager("controller") };
    managed::note_update(&mut live, Some(&once), &ty(), &status);
    let mut again = config(Some(3), "i", &["a"]);
    again["status"] = json!({"replicas": 2, "conditions": []});
    for force in [false, true] {
        let applied = run(Some(&live), &again, "one", force).unwrap();
        let entries = applied["metadata"]["managedFields"].as_array().unwrap();
        let of = |name: &str| entries.iter().find(|entry| entry["manager"] == name).unwrap();
        assert_eq!(
            of("controller")["fieldsV1"]["f:status"],
            json!({"f:readyReplicas": {}, "f:replicas": {}}),
            "{force}"
        );
        assert!(of("one")["fieldsV1"].get("f:status").is_none());
    }
}

/// Of what is left nobody could tell which element it is.
#[test]
fn elements_go_whole_though_another_owns_a_part_of_them() {
    let containers = |list: Value| {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"},
            "spec": {"template": {"spec": {"containers": list}}}})
    };
    let both = containers(json!([{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]));
    let one = run(None, &both, "one", false).unwrap();
    let mut set = one.clone();
    set["spec"]["template"]["spec"]["containers"][1]["image"] = "2".into();
    let update = Manager { operation: Operation::Update, ..manager("two") };
    managed::note_update(&mut set, Some(&one), &ty(), &update);
    let left = run(Some(&set), &containers(json!([{"name": "a", "image": "1"}])), "one", false).unwrap();
    assert_eq!(left["spec"]["template"]["spec"]["containers"], json!([{"name": "a", "image": "1"}]));
    assert!(!left["metadata"]["managedFields"].to_string().contains("two"), "{left:#}");
    // Who applied the element, too, keeps it, as it is.
    let shared = run(Some(&one), &both, "three", false).unwrap();
    let kept = run(Some(&shared), &containers(json!([{"name": "a", "image": "1"}])), "one", false).unwrap();
    assert_eq!(kept["spec"]["template"]["spec"]["containers"][1], json!({"name": "b", "image": "1"}));
}

/// By looking through the lists for each element this would take minutes.
#[test]
fn long_lists_merge_at_once() {
    let set = |from: usize, to: usize| {
        let finalizers: Vec<String> = (from..to).map(|n| format!("example.com/{n}")).collect();
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "finalizers": finalizers}})
    };
    let one = run(None, &set(0, 30_000), "one", false).unwrap();
    let two = run(Some(&one), &set(20_000, 50_000), "two", false).unwrap();
    assert_eq!(two["metadata"]["finalizers"].as_array().unwrap().len(), 50_000);
}
