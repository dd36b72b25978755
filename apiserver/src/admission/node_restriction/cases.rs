//! Every case of upstream's test of this plugin, by kind: pods, nodes, tokens, claims, leases, slices, requests.

use std::collections::BTreeMap;

use serde_json::json;

use super::pods::MIRROR_POD;
use super::*;
use crate::admission::Reinvocation;
use crate::authz::{Attributes, Decision};
use crate::objects::Observer;
use crate::request::{User, Warnings};

const SELF: &str = "mynode";

/// Objects by resource, namespace and name; nothing can be written.
#[derive(Default)]
struct Held(BTreeMap<(String, String, String), Value>);

impl Held {
    fn with(mut self, resource: &str, namespace: &str, name: &str, mut object: Value) -> Self {
        object["metadata"]["name"] = name.into();
        self.0.insert((resource.into(), namespace.into(), name.into()), object);
        self
    }
}

#[async_trait]
impl Objects for Held {
    fn cached(&self, resource: GroupResource<'_>, namespace: &str, name: &str) -> Option<Value> {
        self.0.get(&(resource.resource.into(), namespace.into(), name.into())).cloned()
    }

    fn cached_list(&self, resource: GroupResource<'_>, _: Option<&str>) -> Vec<Value> {
        let all = self.0.iter().filter(|((of, ..), _)| of == resource.resource);
        all.map(|(_, object)| object.clone()).collect()
    }

    fn observe(&self, _: GroupResource<'_>, _: Arc<dyn Observer>) {}

    async fn get(&self, resource: GroupResource<'_>, namespace: &str, name: &str) -> Result<Value, Status> {
        let found = self.cached(resource, namespace, name);
        found.ok_or_else(|| Status::not_found(resource.group, resource.resource, name))
    }

    async fn create(&self, _: GroupResource<'_>, _: Value) -> Result<Value, Status> {
        Err(Status::internal("read only"))
    }

    async fn update(&self, _: GroupResource<'_>, _: Value) -> Result<Value, Status> {
        Err(Status::internal("read only"))
    }

    async fn update_status(&self, _: GroupResource<'_>, _: Value) -> Result<Value, Status> {
        Err(Status::internal("read only"))
    }

    async fn delete(&self, _: GroupResource<'_>, _: &str, _: &str) -> Result<Value, Status> {
        Err(Status::internal("read only"))
    }
}

/// Gives one audience to one account.
struct Grants(&'static str, &'static str);

#[async_trait]
impl Authorizer for Grants {
    async fn authorize(&self, a: &Attributes) -> Decision {
        let asked = (a.verb.as_str(), a.resource.as_str(), a.name.as_str());
        if asked == ("request-serviceaccounts-token-audience", self.0, self.1) && a.user.name == "system:node:mynode" {
            return Decision::Allow(String::new());
        }
        Decision::NoOpinion(String::new())
    }
}

/// A request of a kubelet.
struct Asked<'a> {
    operation: Operation,
    /// `group/resource[/subresource]`, the core group is empty.
    target: &'a str,
    namespace: &'a str,
    name: &'a str,
    object: Value,
    old: Option<Value>,
}

/// What the plugin says to a node; nothing if it lets the request pass.
async fn says(held: Held, grants: Grants, asked: Asked<'_>) -> String {
    says_to("system:node:mynode", held, grants, asked).await
}

async fn says_to(user: &str, held: Held, grants: Grants, asked: Asked<'_>) -> String {
    let plugin = NodeRestriction::new(Arc::new(held), Arc::new(grants));
    let mut parts = asked.target.split('/');
    let mut next = || parts.next().unwrap_or_default();
    let (group, resource, subresource) = (next(), next(), next());
    let groups: &[&str] = if user.starts_with("system:node:") { &["system:nodes"] } else { &[] };
    let (user, options, warnings) = (User::new(user, groups), Value::Null, Warnings::default());
    let mut attributes = AdmissionAttributes {
        operation: asked.operation,
        group,
        version: "v1",
        resource,
        subresource,
        kind: "",
        namespace: asked.namespace,
        name: asked.name,
        object: asked.object,
        old: asked.old.as_ref(),
        options: &options,
        dry_run: false,
        user: &user,
        now: jiff::Timestamp::UNIX_EPOCH,
        warnings: &warnings,
        completion: None,
        reinvocation: Reinvocation::default(),
    };
    if !plugin.handles(&attributes) {
        return String::new();
    }
    plugin.admit(&mut attributes).await.err().map(|status| status.message).unwrap_or_default()
}

fn pod(mirror: bool, node: &str) -> Value {
    let mut pod = json!({"metadata": {"namespace": "ns", "name": "p", "uid": "pod-uid"}, "spec": {}});
    if !node.is_empty() {
        pod["spec"]["nodeName"] = node.into();
    }
    if mirror {
        pod["metadata"]["annotations"] = json!({MIRROR_POD: "true"});
        pod["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "Node", "name": node, "uid": format!("{node}-uid"), "controller": true}]);
    }
    pod
}

fn nodes() -> Held {
    Held::default().with("nodes", "", SELF, json!({"metadata": {"uid": "mynode-uid"}}))
}

#[tokio::test]
async fn pods() {
    const WAYS: [(Operation, &str, &str); 10] = [
        (Operation::Create, "/pods", "p"),
        (Operation::Update, "/pods", "p"),
        (Operation::Delete, "/pods", "p"),
        (Operation::Create, "/pods/status", "p"),
        (Operation::Update, "/pods/status", "p"),
        (Operation::Delete, "/pods/status", "p"),
        (Operation::Create, "/pods/eviction", "p"),
        (Operation::Update, "/pods/eviction", "p"),
        (Operation::Delete, "/pods/eviction", "p"),
        // Only the body names the pod.
        (Operation::Create, "/pods/eviction", ""),
    ];
    for (mirror, node, allowed) in [
        (true, SELF, "y.y.y.y..y"),
        (true, "other", ".........."),
        (true, "", ".........."),
        (false, SELF, "..y.y.y..y"),
        (false, "other", ".........."),
        (false, "", ".........."),
    ] {
        for ((operation, target, name), mark) in WAYS.into_iter().zip(allowed.chars()) {
            let body =
                if target.ends_with("eviction") { json!({"metadata": {"name": "p"}}) } else { pod(mirror, node) };
            let old = (operation == Operation::Update).then(|| pod(mirror, node));
            let object = if operation == Operation::Delete { Value::Null } else { body };
            let held = nodes().with("pods", "ns", "p", pod(mirror, node));
            let asked = Asked { operation, target, namespace: "ns", name, object, old };
            let told = says(held, Grants("", ""), asked).await;
            assert_eq!(
                told.is_empty(),
                mark == 'y',
                "{operation:?} {target} {name:?} mirror={mirror} {node:?}: {told}"
            );
        }
    }
}

#[tokio::test]
async fn unknown_pods_and_other_subresources() {
    for (operation, target, name, body) in [
        (Operation::Delete, "/pods", "p", Value::Null),
        (Operation::Create, "/pods/eviction", "p", json!({"metadata": {"name": "p"}})),
        (Operation::Update, "/pods/eviction", "p", json!({"metadata": {"name": "p"}})),
        (Operation::Delete, "/pods/eviction", "p", Value::Null),
        (Operation::Create, "/pods/eviction", "", json!({"metadata": {"name": "p"}})),
        (Operation::Create, "/pods/eviction", "", json!({"metadata": {}})),
        (Operation::Create, "/pods/binding", "p", json!({})),
        (Operation::Update, "/pods/ephemeralcontainers", "p", json!({})),
        (Operation::Update, "/pods/resize", "p", json!({})),
    ] {
        let asked = Asked { operation, target, namespace: "ns", name, object: body, old: Some(json!({})) };
        assert!(!says(nodes(), Grants("", ""), asked).await.is_empty(), "{operation:?} {target}");
    }
}

#[tokio::test]
async fn owners_of_mirror_pods() {
    let node = || json!({"apiVersion": "v1", "kind": "Node", "name": SELF, "uid": "mynode-uid", "controller": true});
    let with = |field: &str, value: Value| {
        let mut owner = node();
        owner[field] = value;
        json!([owner])
    };
    let one = "can only create pods with an owner reference set to itself";
    for (owners, expected) in [
        (json!([]), one),
        (json!([node()]), ""),
        (json!([node(), node()]), "can only create pods with a single owner reference set to itself"),
        (with("name", "other".into()), one),
        (with("uid", "wrong".into()), "UID mismatch: expected wrong got mynode-uid"),
        (with("apiVersion", "v2".into()), one),
        (with("kind", "Pod".into()), one),
        (with("controller", Value::Null), "can only create pods with a controller owner reference set to itself"),
        (with("controller", false.into()), "can only create pods with a controller owner reference set to itself"),
        (with("blockOwnerDeletion", true.into()), "must not set blockOwnerDeletion on an owner reference"),
        (with("blockOwnerDeletion", false.into()), ""),
    ] {
        let mut object = pod(true, SELF);
        object["metadata"]["ownerReferences"] = owners.clone();
        let asked =
            Asked { operation: Operation::Create, target: "/pods", namespace: "ns", name: "p", object, old: None };
        let told = says(nodes(), Grants("", ""), asked).await;
        assert_eq!((told.is_empty(), told.contains(expected)), (expected.is_empty(), true), "{owners}: {told}");
    }
    let object = pod(true, SELF);
    let asked = Asked { operation: Operation::Create, target: "/pods", namespace: "ns", name: "p", object, old: None };
    let told = says(Held::default(), Grants("", ""), asked).await;
    assert_eq!(told, r#"nodes "mynode" not found"#);
}

#[tokio::test]
async fn what_mirror_pods_refer_to_and_status_may_not_change() {
    for (field, value, what) in [
        ("serviceAccountName", json!("a"), "serviceaccounts"),
        ("volumes", json!([{"secret": {"secretName": "a"}}]), "secrets"),
        ("volumes", json!([{"configMap": {"name": "a"}}]), "configmaps"),
        ("volumes", json!([{"projected": {"sources": [{"clusterTrustBundle": {"name": "a"}}]}}]), "objects"),
        ("volumes", json!([{"persistentVolumeClaim": {"claimName": "a"}}]), "persistentvolumeclaims"),
        ("resourceClaims", json!([{"name": "a"}]), "resourceclaims"),
    ] {
        let mut object = pod(true, SELF);
        object["spec"][field] = value;
        let asked =
            Asked { operation: Operation::Create, target: "/pods", namespace: "ns", name: "p", object, old: None };
        let told = says(nodes(), Grants("", ""), asked).await;
        assert!(told.contains("can not create pods that reference") && told.contains(what), "{what}: {told}");
    }
    let labels = |labels: Value| {
        let mut pod = pod(false, SELF);
        pod["metadata"]["labels"] = labels;
        pod
    };
    let claims = |field: &str, value: Value| {
        let mut pod = pod(false, SELF);
        pod["status"][field] = value;
        pod
    };
    for (old, new, refused) in [
        (labels(json!({"a": "1"})), labels(json!({"a": "1", "b": "2"})), true),
        (labels(json!({"a": "1", "b": "2"})), labels(json!({"a": "1"})), true),
        (labels(json!({"a": "1"})), labels(json!({})), true),
        (labels(Value::Null), labels(json!({"a": "1"})), true),
        (labels(Value::Null), labels(json!({})), false),
        (labels(json!({"a": "1"})), labels(json!({"a": "1"})), false),
        (pod(false, SELF), claims("resourceClaimStatuses", json!([{"name": "a", "resourceClaimName": "b"}])), true),
        (pod(false, SELF), claims("extendedResourceClaimStatus", json!({"resourceClaimName": "b"})), true),
    ] {
        let asked = Asked {
            operation: Operation::Update,
            target: "/pods/status",
            namespace: "ns",
            name: "p",
            object: new,
            old: Some(old),
        };
        let told = says(nodes(), Grants("", ""), asked).await;
        assert_eq!(!told.is_empty(), refused, "{told}");
    }
}

#[tokio::test]
async fn nodes_change_themselves_only() {
    let node = |change: Value| {
        let mut node = json!({"metadata": {"name": SELF}, "spec": {}});
        for (pointer, value) in change.as_object().into_iter().flatten() {
            let (outer, inner) = pointer.split_once('.').expect("two fields");
            node[outer][inner] = value.clone();
        }
        node
    };
    let taint = |value: &str| json!([{"key": "k", "value": value, "effect": "NoSchedule"}]);
    let owner = |name: &str| json!([{"kind": "A", "name": name}]);
    let source = |name: &str| json!({"configMap": {"name": name}});
    let label = |text: &str| json!({text: "1"});
    for (what, old, new, refused) in [
        ("register", None, node(json!({})), false),
        ("register with taints", None, node(json!({"spec.taints": taint("1")})), false),
        ("register with labels", None, node(json!({"metadata.labels": label("kubernetes.io/os")})), false),
        ("register with others", None, node(json!({"metadata.labels": label("other.kubernetes.io/a")})), true),
        ("register with a source", None, node(json!({"spec.configSource": source("a")})), true),
        ("no change", Some(json!({})), node(json!({})), false),
        ("a source", Some(json!({})), node(json!({"spec.configSource": source("a")})), true),
        (
            "another source",
            Some(json!({"spec.configSource": source("a")})),
            node(json!({"spec.configSource": source("b")})),
            true,
        ),
        (
            "the same source",
            Some(json!({"spec.configSource": source("a")})),
            node(json!({"spec.configSource": source("a")})),
            false,
        ),
        ("no source any more", Some(json!({"spec.configSource": source("a")})), node(json!({})), false),
        ("the same taints", Some(json!({"spec.taints": taint("1")})), node(json!({"spec.taints": taint("1")})), false),
        ("taints", Some(json!({})), node(json!({"spec.taints": taint("1")})), true),
        ("no taints", Some(json!({"spec.taints": taint("1")})), node(json!({})), true),
        ("other taints", Some(json!({"spec.taints": taint("1")})), node(json!({"spec.taints": taint("2")})), true),
        ("own labels", Some(json!({})), node(json!({"metadata.labels": label("kubernetes.io/os")})), false),
        ("own labels gone", Some(json!({"metadata.labels": label("kubernetes.io/os")})), node(json!({})), false),
        (
            "own labels beside others",
            Some(json!({"metadata.labels": {"other.k8s.io/a": "1"}})),
            node(json!({"metadata.labels": {"other.k8s.io/a": "1", "kubernetes.io/os": "1"}})),
            false,
        ),
        ("others' labels", Some(json!({})), node(json!({"metadata.labels": label("other.k8s.io/a")})), true),
        ("others' labels gone", Some(json!({"metadata.labels": label("other.k8s.io/a")})), node(json!({})), true),
        (
            "others' labels changed",
            Some(json!({"metadata.labels": {"other.k8s.io/a": "1"}})),
            node(json!({"metadata.labels": {"other.k8s.io/a": "2"}})),
            true,
        ),
        ("an owner", Some(json!({})), node(json!({"metadata.ownerReferences": owner("a")})), true),
        ("no owner", Some(json!({"metadata.ownerReferences": owner("a")})), node(json!({})), true),
        (
            "another owner",
            Some(json!({"metadata.ownerReferences": owner("a")})),
            node(json!({"metadata.ownerReferences": owner("b")})),
            true,
        ),
    ] {
        let old = old.map(node);
        let operation = if old.is_some() { Operation::Update } else { Operation::Create };
        for target in ["/nodes", "/nodes/status"] {
            let asked = Asked { operation, target, namespace: "", name: SELF, object: new.clone(), old: old.clone() };
            let told = says(nodes(), Grants("", ""), asked).await;
            assert_eq!(!told.is_empty(), refused, "{what} {target}: {told}");
        }
    }
    for (operation, name, object_name, refused) in [
        (Operation::Create, "", SELF, false),
        (Operation::Delete, SELF, SELF, false),
        (Operation::Create, "other", "other", true),
        (Operation::Create, "", "other", true),
        (Operation::Update, "other", "other", true),
        (Operation::Delete, "other", "other", true),
    ] {
        let object = json!({"metadata": {"name": object_name}});
        let old = (operation == Operation::Update).then(|| object.clone());
        let asked = Asked { operation, target: "/nodes", namespace: "", name, object, old };
        assert_eq!(
            !says(nodes(), Grants("", ""), asked).await.is_empty(),
            refused,
            "{operation:?} {name} {object_name}"
        );
    }
    let object = json!({"metadata": {"generateName": SELF}});
    let asked = Asked { operation: Operation::Create, target: "/nodes", namespace: "", name: "", object, old: None };
    assert!(says(nodes(), Grants("", ""), asked).await.contains("is not allowed to modify node \"\""));
}

/// A request for a token, in a world where pod `p` has that volume.
async fn token(volume: Value, reference: Value, audiences: &[&str], grants: Grants) -> String {
    let mut running = pod(false, SELF);
    running["spec"]["volumes"] = json!([volume]);
    let csi = |driver: &str| json!({"spec": {"csi": {"driver": driver}}});
    let claim = |volume: &str| json!({"spec": {"volumeName": volume}});
    let held = nodes()
        .with("pods", "ns", "p", running)
        .with("pods", "ns", "elsewhere", pod(false, "other"))
        .with("persistentvolumeclaims", "ns", "claim", claim("pv"))
        .with("persistentvolumeclaims", "ns", "p-scratch", claim("pv"))
        .with("persistentvolumeclaims", "ns", "old", claim("intree"))
        .with("persistentvolumeclaims", "ns", "unbound", claim("ghost"))
        .with("persistentvolumeclaims", "ns", "odd", claim("odd"))
        .with("persistentvolumes", "", "pv", csi("driver"))
        .with("persistentvolumes", "", "odd", csi("ghost"))
        .with("persistentvolumes", "", "intree", json!({"spec": {"azureFile": {"secretName": "s", "shareName": "x"}}}))
        .with("csidrivers", "", "driver", json!({"spec": {"tokenRequests": [{"audience": "wanted"}]}}))
        .with("csidrivers", "", "file.csi.azure.com", json!({"spec": {"tokenRequests": [{"audience": "wanted"}]}}));
    let object = json!({"spec": {"boundObjectRef": reference, "audiences": audiences}});
    let (operation, target) = (Operation::Create, "/serviceaccounts/token");
    says(held, grants, Asked { operation, target, namespace: "ns", name: "account", object, old: None }).await
}

#[tokio::test]
async fn tokens_are_for_pods_of_the_node() {
    let projected = || json!({"projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}});
    let to = |name: &str, uid: &str| json!({"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid});
    for (reference, expected) in [
        (to("p", "pod-uid"), ""),
        (Value::Null, "node requested token not bound to a pod"),
        (json!({"apiVersion": "v1", "kind": "Secret", "name": "p", "uid": "u"}), "not bound to a pod"),
        (to("", "u"), "not bound to a pod"),
        (to("p", ""), "node requested token with a pod binding without a uid"),
        (to("ghost", "u"), "pods \"ghost\" not found"),
        (to("p", "another"), "the UID in the bound object reference (another) does not match"),
        (to("elsewhere", "pod-uid"), "node requested token bound to a pod scheduled on a different node"),
    ] {
        let told = token(projected(), reference.clone(), &[], Grants("", "")).await;
        assert_eq!((told.is_empty(), told.contains(expected)), (expected.is_empty(), true), "{reference}: {told}");
    }
}

#[tokio::test]
async fn tokens_are_for_audiences_that_volumes_name() {
    let reference = || json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "pod-uid"});
    let projected =
        |audience: &str| json!({"projected": {"sources": [{"serviceAccountToken": {"audience": audience}}]}});
    let claim = |name: &str| json!({"persistentVolumeClaim": {"claimName": name}});
    let missing = "not found in pod spec volume, system:node:mynode is not authorized to request tokens";
    for (volume, audiences, expected) in [
        (projected("wanted"), &["wanted"][..], ""),
        (projected(""), &[], ""),
        (projected("wanted"), &["wanted", "other"], "node may only request 0 or 1 audiences"),
        (projected("other"), &["wanted"], missing),
        (json!({"emptyDir": {}}), &["wanted"], missing),
        (json!({"csi": {"driver": "driver"}}), &["wanted"], ""),
        (json!({"csi": {"driver": "driver"}}), &["other"], missing),
        (json!({"csi": {"driver": "ghost"}}), &["wanted"], "csidriver.storage.k8s.io \"ghost\" not found"),
        (claim("claim"), &["wanted"], ""),
        (claim("claim"), &["other"], missing),
        (claim("ghost"), &["wanted"], "persistentvolumeclaim \"ghost\" not found"),
        (claim("unbound"), &["wanted"], "persistentvolume \"ghost\" not found"),
        (claim("odd"), &["wanted"], "csidriver.storage.k8s.io \"ghost\" not found"),
        (claim("old"), &["wanted"], ""),
        (json!({"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}}), &["wanted"], ""),
        (json!({"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}}), &["other"], missing),
        (json!({"azureFile": {"secretName": "s", "shareName": "x"}}), &["wanted"], ""),
    ] {
        let told = token(volume.clone(), reference(), audiences, Grants("", "")).await;
        let fits = if expected.is_empty() { told.is_empty() } else { told.contains(expected) };
        assert!(fits, "{volume} {audiences:?}: {told}");
    }
    let none = || json!({"emptyDir": {}});
    assert_eq!(token(none(), reference(), &["given"], Grants("given", "account")).await, "");
    for grants in [Grants("other", "account"), Grants("given", "other")] {
        assert!(token(none(), reference(), &["given"], grants).await.contains(missing));
    }
}

#[tokio::test]
async fn claims_grow() {
    let old = || {
        json!({"metadata": {"name": "c", "resourceVersion": "1"}, "spec": {"volumeName": "v"},
            "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}})
    };
    for (pointer, value, refused) in [
        ("/status/capacity/storage", json!("2Gi"), false),
        ("/status/conditions", json!([{"type": "Resizing"}]), false),
        ("/status/allocatedResources", json!({"storage": "2Gi"}), false),
        ("/status/allocatedResourceStatuses", json!({"storage": "NodeResizePending"}), false),
        ("/metadata/resourceVersion", json!(""), false),
        ("/status/phase", json!("Lost"), true),
        ("/spec/volumeName", json!("w"), true),
        ("/metadata/labels", json!({"a": "1"}), true),
        ("/metadata/finalizers", json!(["a/b"]), true),
    ] {
        let mut object = old();
        let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
        object.pointer_mut(parent).expect("the parent is there")[field] = value;
        let target = "/persistentvolumeclaims/status";
        let asked =
            Asked { operation: Operation::Update, target, namespace: "ns", name: "c", object, old: Some(old()) };
        assert_eq!(!says(nodes(), Grants("", ""), asked).await.is_empty(), refused, "{pointer}");
    }
    for (operation, target) in
        [(Operation::Update, "/persistentvolumeclaims"), (Operation::Create, "/persistentvolumeclaims/status")]
    {
        let asked = Asked { operation, target, namespace: "ns", name: "c", object: old(), old: Some(old()) };
        assert!(!says(nodes(), Grants("", ""), asked).await.is_empty(), "{target}");
    }
}

#[tokio::test]
async fn leases_csinodes_and_slices_are_the_nodes_own() {
    let (create, update, delete) = (Operation::Create, Operation::Update, Operation::Delete);
    for (operation, target, namespace, name, refused) in [
        (create, "coordination.k8s.io/leases", "foo", SELF, true),
        (update, "coordination.k8s.io/leases", "foo", SELF, true),
        (delete, "coordination.k8s.io/leases", "foo", SELF, true),
        (create, "coordination.k8s.io/leases", "kube-node-lease", "other", true),
        (update, "coordination.k8s.io/leases", "kube-node-lease", "other", true),
        (delete, "coordination.k8s.io/leases", "kube-node-lease", "other", true),
        (create, "coordination.k8s.io/leases", "kube-node-lease", SELF, false),
        (update, "coordination.k8s.io/leases", "kube-node-lease", SELF, false),
        (delete, "coordination.k8s.io/leases", "kube-node-lease", SELF, false),
        (create, "storage.k8s.io/csinodes", "", "other", true),
        (update, "storage.k8s.io/csinodes", "", "other", true),
        (delete, "storage.k8s.io/csinodes", "", "other", true),
        (create, "storage.k8s.io/csinodes", "", SELF, false),
        (update, "storage.k8s.io/csinodes", "", SELF, false),
        (delete, "storage.k8s.io/csinodes", "", SELF, false),
    ] {
        let object = json!({"metadata": {"name": name}});
        let old = (operation != create).then(|| object.clone());
        let asked = Asked { operation, target, namespace, name, object, old };
        assert_eq!(!says(nodes(), Grants("", ""), asked).await.is_empty(), refused, "{operation:?} {target} {name}");
    }
    let slice = |node: &str| json!({"metadata": {"name": "s"}, "spec": {"nodeName": node}});
    for (operation, node, refused) in [
        (create, SELF, false),
        (create, "other", true),
        (create, "", true),
        (delete, SELF, false),
        (delete, "other", true),
    ] {
        let old = (operation == delete).then(|| slice(node));
        let target = "resource.k8s.io/resourceslices";
        let asked = Asked { operation, target, namespace: "", name: "s", object: slice(node), old };
        assert_eq!(!says(nodes(), Grants("", ""), asked).await.is_empty(), refused, "{operation:?} {node}");
    }
}

#[tokio::test]
async fn others_and_other_things_are_left_alone() {
    for (operation, target) in [
        (Operation::Create, "example.com/foos"),
        (Operation::Update, "example.com/foos"),
        (Operation::Delete, "example.com/foos"),
    ] {
        let asked = Asked { operation, target, namespace: "ns", name: "a", object: json!({}), old: Some(json!({})) };
        assert_eq!(says(nodes(), Grants("", ""), asked).await, "");
    }
    for target in ["/pods", "/pods/status"] {
        for operation in [Operation::Create, Operation::Update, Operation::Delete] {
            let object = pod(false, "");
            let asked = || Asked { operation, target, namespace: "ns", name: "p", object: object.clone(), old: None };
            assert_eq!(says_to("bob", nodes(), Grants("", ""), asked()).await, "", "a user");
            let told = says_to("system:node:", nodes(), Grants("", ""), asked()).await;
            assert!(told.contains("could not determine node from user \"system:node:\""), "{told}");
        }
    }
}
