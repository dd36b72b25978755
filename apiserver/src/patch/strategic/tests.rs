//! Patches with and without directives, and those that make no sense.

use kubewright_api::schema;
use serde_json::json;

use super::*;

#[track_caller]
fn check(object: Value, patch: Value, expected: Value) {
    let ty = schema::of_kind("", "v1", "Pod").unwrap();
    assert_eq!(strategic(&object, &patch, ty).unwrap(), expected);
}

fn containers(list: Value) -> Value {
    json!({"spec": {"containers": list}})
}

#[test]
fn containers_merge_by_name_and_new_ones_come_first() {
    check(
        containers(json!([{"name": "a", "image": "1"}, {"name": "b", "image": "1"}])),
        containers(json!([{"name": "b", "image": "2"}, {"name": "c", "image": "3"}])),
        containers(json!([{"name": "a", "image": "1"}, {"name": "b", "image": "2"}, {"name": "c", "image": "3"}])),
    );
    check(
        containers(json!([{"name": "a"}])),
        containers(json!([{"name": "b"}])),
        containers(json!([{"name": "b"}, {"name": "a"}])),
    );
}

#[test]
fn elements_are_deleted_and_lists_replaced_by_directive() {
    let two = containers(json!([{"name": "a"}, {"name": "b"}]));
    check(two.clone(), containers(json!([{"name": "a", "$patch": "delete"}])), containers(json!([{"name": "b"}])));
    check(two, containers(json!([{"$patch": "replace"}, {"name": "c"}])), containers(json!([{"name": "c"}])));
}

#[test]
fn lists_without_a_strategy_are_replaced() {
    check(
        containers(json!([{"name": "a", "command": ["x", "y"]}])),
        containers(json!([{"name": "a", "command": ["z"]}])),
        containers(json!([{"name": "a", "command": ["z"]}])),
    );
}

#[test]
fn scalars_merge_as_a_set() {
    check(
        json!({"metadata": {"finalizers": ["a", "b"]}}),
        json!({"metadata": {"finalizers": ["c"], "$deleteFromPrimitiveList/finalizers": ["a"]}}),
        json!({"metadata": {"finalizers": ["c", "b"]}}),
    );
}

#[test]
fn nulls_delete_and_maps_are_replaced_or_retained() {
    let object = json!({"metadata": {"labels": {"a": "1", "b": "2"}, "annotations": {"x": "y"}}});
    check(
        object.clone(),
        json!({"metadata": {"labels": {"a": null, "c": "3"}, "annotations": null}}),
        json!({"metadata": {"labels": {"b": "2", "c": "3"}}}),
    );
    check(
        object,
        json!({"metadata": {"labels": {"$patch": "replace", "c": "3"}}}),
        json!({"metadata": {"labels": {"c": "3"}, "annotations": {"x": "y"}}}),
    );
    check(
        json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}),
        json!({"spec": {"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}]}}),
        json!({"spec": {"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]}}),
    );
}

#[test]
fn element_order_is_set_by_directive() {
    check(
        containers(json!([{"name": "a"}, {"name": "b"}, {"name": "c"}])),
        json!({"spec": {"$setElementOrder/containers": [{"name": "c"}, {"name": "a"}], "containers": [{"name": "a", "image": "1"}]}}),
        containers(json!([{"name": "b"}, {"name": "c"}, {"name": "a", "image": "1"}])),
    );
}

#[test]
fn what_makes_no_sense_is_refused() {
    let ty = schema::of_kind("", "v1", "Pod").unwrap();
    let ordered = |order: Value| json!({"spec": {"$setElementOrder/containers": order, "containers": [{"name": "a"}]}});
    for (patch, code, message) in [
        (json!([]), 400, "a strategic merge patch must be an object"),
        (json!({"$patch": "bogus"}), 500, "unknown patch type: bogus in map: map[$patch:bogus]"),
        (json!({"$retainKeys": "x"}), 400, "invalid patch format of retainKeys"),
        (json!({"$retainKeys": ["x"], "spec": {}}), 400, "invalid patch format of retainKeys"),
        (containers(json!([{"image": "x"}])), 500, "map: map[image:x] does not contain declared merge key: name"),
        (containers(json!(["x"])), 500, "list element types are not identical: [[map[name:a]] [x]]"),
        (ordered(json!({})), 400, "invalid patch format of setElementOrder list"),
        (
            ordered(json!([{"name": "b"}])),
            500,
            "The order in patch list:\n[map[name:a]]\n doesn't match $setElementOrder list:\n[map[name:b]]\n",
        ),
    ] {
        let object = containers(json!([{"name": "a"}]));
        let status = strategic(&object, &patch, ty).unwrap_err();
        assert_eq!((status.code, status.message.as_str()), (code, message), "{patch}");
    }
}

/// By looking through the lists for each element these would take minutes.
#[test]
fn long_lists_merge_at_once() {
    let many: Vec<String> = (0..100_000).map(|n| format!("example.com/{n}")).collect();
    let (old, new) = (&many[..60_000], &many[40_000..]);
    let ty = schema::of_kind("", "v1", "Pod").unwrap();
    let object = json!({"metadata": {"finalizers": old}});
    let patch = json!({"metadata": {"finalizers": new, "$deleteFromPrimitiveList/finalizers": old[..50_000]}});
    let merged = strategic(&object, &patch, ty).unwrap();
    assert_eq!(merged["metadata"]["finalizers"].as_array().unwrap().len(), 60_000);
    let named = |names: &[String]| containers(names.iter().map(|name| json!({"name": name})).collect());
    let merged = strategic(&named(old), &named(new), ty).unwrap();
    assert_eq!(merged["spec"]["containers"].as_array().unwrap().len(), 100_000);
}
