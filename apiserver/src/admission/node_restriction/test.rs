//! Cases of NodeRestriction that need no other objects.

use serde_json::json;

use super::node::may_set_label;
use super::pods::MIRROR_POD;
use super::*;
use crate::request::{User, Warnings};

fn attributes<'a>(
    target: (&'a str, &'a str, &'a str),
    name: &'a str,
    object: Value,
    old: Option<&'a Value>,
    with: &'a (User, Value, Warnings),
) -> AdmissionAttributes<'a> {
    let (group, resource, subresource) = target;
    AdmissionAttributes {
        operation: if old.is_some() { Operation::Update } else { Operation::Create },
        group,
        version: "v1",
        resource,
        subresource,
        kind: "",
        namespace: "",
        name,
        object,
        old,
        options: &with.1,
        dry_run: false,
        user: &with.0,
        now: jiff::Timestamp::UNIX_EPOCH,
        warnings: &with.2,
        completion: None,
        reinvocation: super::super::Reinvocation::default(),
    }
}

fn with() -> (User, Value, Warnings) {
    (User::new("system:node:a", &["system:nodes"]), Value::Null, Warnings::default())
}

fn node_create(name: &str, object: Value) -> Result<(), Status> {
    let with = with();
    check_node("a", &attributes(("", "nodes", ""), name, object, None, &with))
}

fn node_update(object: Value, old: &Value) -> Result<(), Status> {
    let with = with();
    check_node("a", &attributes(("", "nodes", ""), "a", object, Some(old), &with))
}

#[test]
fn labels_that_a_kubelet_may_set() {
    for (label, allowed) in [
        ("mine", true),
        ("example.com/x", true),
        ("kubernetes.io/hostname", true),
        ("topology.kubernetes.io/zone", true),
        ("node.kubernetes.io/anything", true),
        ("sub.kubelet.kubernetes.io/x", true),
        ("node-role.kubernetes.io/control-plane", false),
        ("kubernetes.io/other", false),
        ("x.k8s.io/y", false),
        ("node-restriction.kubernetes.io/x", false),
        ("sub.node-restriction.kubernetes.io/x", false),
        ("notkubernetes.io/x", true),
    ] {
        assert_eq!(may_set_label(label), allowed, "{label}");
        let created = node_create("a", json!({"metadata": {"name": "a", "labels": {label: "v"}}}));
        assert_eq!(created.is_ok(), allowed, "{label}");
        let old = json!({"metadata": {"name": "a", "labels": {label: "v"}}});
        assert!(node_update(old.clone(), &old).is_ok());
        assert_eq!(node_update(json!({"metadata": {"name": "a"}}), &old).is_ok(), allowed, "{label} removed");
    }
}

#[test]
fn a_kubelet_has_one_node() {
    let refused = node_create("b", json!({"metadata": {"name": "b"}})).unwrap_err();
    assert_eq!(refused.message, r#"nodes "b" is forbidden: node "a" is not allowed to modify node "b""#);
    assert!(node_create("", json!({"metadata": {"name": "a"}})).is_ok());
    assert!(node_create("", json!({"metadata": {"name": "b"}})).is_err());
}

#[test]
fn taints_and_owners_are_not_a_kubelets() {
    let old = json!({"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}});
    assert!(node_update(json!({"spec": {}}), &old).is_err());
    assert!(node_update(old.clone(), &old).is_ok());
    assert!(node_update(json!({"spec": {"taints": []}}), &json!({"spec": {}})).is_ok());
    assert!(node_update(json!({"metadata": {"ownerReferences": [{}]}}), &json!({})).is_err());
    let source = json!({"spec": {"configSource": {"configMap": {}}}});
    assert!(node_update(source.clone(), &json!({"spec": {}})).is_err());
    assert!(node_update(source.clone(), &source).is_ok());
    assert!(node_create("a", source).is_err());
}

fn mirror_pod() -> Value {
    json!({
        "metadata": {"name": "p", "annotations": {MIRROR_POD: "x"}, "ownerReferences": [
            {"apiVersion": "v1", "kind": "Node", "name": "a", "uid": "u", "controller": true},
        ]},
        "spec": {"nodeName": "a", "containers": []},
    })
}

fn pod_create(change: impl FnOnce(&mut Value)) -> Result<(), String> {
    let with = with();
    let mut pod = mirror_pod();
    change(&mut pod);
    let attributes = attributes(("", "pods", ""), "", pod, None, &with);
    check_mirror_pod("a", &attributes).map_err(|status| status.message)?;
    api_reference(&attributes.object).map_or(Ok(()), |what| Err(what.to_owned()))
}

#[test]
fn kubelets_make_mirror_pods_of_their_own_only() {
    assert_eq!(pod_create(|_| {}), Ok(()));
    assert!(pod_create(|pod| pod["metadata"]["annotations"] = json!({})).unwrap_err().contains("mirror pods"));
    assert!(pod_create(|pod| pod["spec"]["nodeName"] = "b".into()).is_err());
    assert!(pod_create(|pod| pod["metadata"]["ownerReferences"] = json!([])).is_err());
    assert!(pod_create(|pod| pod["metadata"]["ownerReferences"][0]["name"] = "b".into()).is_err());
    assert!(pod_create(|pod| pod["metadata"]["ownerReferences"][0]["controller"] = false.into()).is_err());
    assert!(pod_create(|pod| pod["metadata"]["ownerReferences"][0]["blockOwnerDeletion"] = true.into()).is_err());
}

#[test]
fn mirror_pods_refer_to_nothing() {
    for (field, value, what) in [
        ("serviceAccountName", json!("x"), "serviceaccounts"),
        ("imagePullSecrets", json!([{"name": "x"}]), "secrets"),
        ("volumes", json!([{"configMap": {"name": "x"}}]), "configmaps"),
        ("volumes", json!([{"csi": {"driver": "x"}}]), "csidrivers (via CSI volumes)"),
        ("volumes", json!([{"persistentVolumeClaim": {"claimName": "x"}}]), "persistentvolumeclaims"),
        (
            "volumes",
            json!([{"projected": {"sources": [{"serviceAccountToken": {"path": "x"}}]}}]),
            "serviceaccounts (via projected volumes)",
        ),
        ("resourceClaims", json!([{"name": "x"}]), "resourceclaims"),
        ("volumes", json!([{"somethingNew": {}}]), "volumes of an unknown kind"),
    ] {
        assert_eq!(pod_create(|pod| pod["spec"][field] = value), Err(what.to_owned()), "{field}");
    }
    let harmless =
        json!([{"hostPath": {"path": "/"}}, {"emptyDir": {}}, {"projected": {"sources": [{"downwardAPI": {}}]}}]);
    assert_eq!(pod_create(|pod| pod["spec"]["volumes"] = harmless), Ok(()));
}

#[test]
fn a_pods_status_changes_without_its_labels() {
    let with = with();
    let check = |object: Value, old: &Value| {
        check_pod_status("a", &attributes(("", "pods", "status"), "p", object, Some(old), &with)).is_ok()
    };
    let old = json!({"metadata": {"labels": {"x": "1"}}, "spec": {"nodeName": "a"}});
    let mut new = old.clone();
    new["status"] = json!({"phase": "Running"});
    assert!(check(new.clone(), &old));
    new["metadata"]["labels"]["x"] = "2".into();
    assert!(!check(new, &old));
    let elsewhere = json!({"spec": {"nodeName": "b"}});
    assert!(!check(elsewhere.clone(), &elsewhere));
}

#[test]
fn leases_are_named_after_nodes() {
    let with = with();
    let lease = |name: &str| json!({"metadata": {"name": name}});
    let target = ("coordination.k8s.io", "leases", "");
    assert!(check_named_after("a", "node lease", &attributes(target, "", lease("a"), None, &with)).is_ok());
    assert!(check_named_after("a", "node lease", &attributes(target, "", lease("b"), None, &with)).is_err());
    let old = lease("b");
    assert!(check_named_after("a", "node lease", &attributes(target, "b", lease("b"), Some(&old), &with)).is_err());
}
