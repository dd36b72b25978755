//! Admission plugins that go by classes, case by case over the API.

use super::*;

const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";
const SCHEDULING: &str = "/apis/scheduling.k8s.io/v1/priorityclasses";
const STORAGE: &str = "/apis/storage.k8s.io/v1";

fn pod(spec: Value) -> Value {
    let mut pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    for (field, value) in spec.as_object().expect("an object") {
        pod["spec"][field] = value.clone();
    }
    pod
}

/// What becomes of a pod, or why it is refused.
async fn admitted(admin: &ApiServer, spec: Value) -> Result<Value, String> {
    let answer = send_json(admin, Method::POST, &format!("{PODS}?dryRun=All"), &pod(spec)).await;
    match answer.code.as_u16() {
        201 => Ok(answer.json()["spec"].clone()),
        403 => Err(answer.fault().2),
        other => panic!("{other}: {:?}", answer.bytes),
    }
}

async fn check(admin: &ApiServer, spec: Value, expected: Result<Value, &str>) {
    match (admitted(admin, spec.clone()).await, expected) {
        (Ok(found), Ok(expected)) => {
            for (field, value) in expected.as_object().expect("an object") {
                assert_eq!(found.get(field).unwrap_or(&Value::Null), value, "{spec}: {field}");
            }
        }
        (Err(found), Err(expected)) => assert!(found.contains(expected), "{spec}: {found}"),
        (found, expected) => panic!("{spec}: {found:?}, expected {expected:?}"),
    }
}

#[tokio::test]
async fn pods_have_the_priority_of_their_class() {
    let (server, admin) = servers().await;
    let policy = "PreemptLowerPriority";
    check(&admin, json!({}), Ok(json!({"priority": 0, "preemptionPolicy": policy, "priorityClassName": null}))).await;
    check(&admin, json!({"priority": 0}), Ok(json!({"priority": 0}))).await;
    check(
        &admin,
        json!({"priority": 1}),
        Err("the integer value of priority (1) must not be provided in pod spec; \
        priority admission controller computed 0 from the given PriorityClass name"),
    )
    .await;
    check(&admin, json!({"priorityClassName": "absent"}), Err("no PriorityClass with name absent was found")).await;
    let critical = json!({"priorityClassName": "system-node-critical"});
    check(&admin, critical, Ok(json!({"priority": 2_000_001_000, "preemptionPolicy": policy}))).await;
    made(&admin, SCHEDULING, json!({"metadata": {"name": "meek"}, "value": 5, "preemptionPolicy": "Never"})).await;
    check(&admin, json!({"priorityClassName": "meek"}), Ok(json!({"priority": 5, "preemptionPolicy": "Never"}))).await;
    check(
        &admin,
        json!({"priorityClassName": "meek", "priority": 5, "preemptionPolicy": "Never"}),
        Ok(json!({"priority": 5, "preemptionPolicy": "Never"})),
    )
    .await;
    check(
        &admin,
        json!({"priorityClassName": "meek", "preemptionPolicy": policy}),
        Err("the string value of PreemptionPolicy (PreemptLowerPriority) must not be provided in pod spec; priority \
            admission controller computed Never from the given PriorityClass name"),
    )
    .await;
    made(&admin, SCHEDULING, json!({"metadata": {"name": "usual"}, "value": 9, "globalDefault": true})).await;
    check(&admin, json!({}), Ok(json!({"priority": 9, "priorityClassName": "usual"}))).await;
    let second = json!({"metadata": {"name": "second"}, "value": 1, "globalDefault": true});
    let (code, _, message) = send_json(&admin, Method::POST, SCHEDULING, &second).await.fault();
    assert!(
        code == 403
            && message.ends_with("PriorityClass usual is already marked as default. Only one default can exist")
    );
    let again = json!({"metadata": {"name": "usual"}, "value": 9, "globalDefault": true, "description": "mine"});
    assert_eq!(send_json(&admin, Method::PUT, &format!("{SCHEDULING}/usual"), &again).await.code, 200);
    // What was computed stays when an update leaves it out.
    let made = made(&admin, PODS, pod(json!({"priorityClassName": "meek"}))).await;
    let mut update = made.clone();
    let spec = update["spec"].as_object_mut().expect("a spec");
    (_, _) = (spec.remove("priority"), spec.remove("preemptionPolicy"));
    let kept = send_json(&admin, Method::PUT, &format!("{PODS}/p"), &update).await.json();
    assert_eq!((&kept["spec"]["priority"], &kept["spec"]["preemptionPolicy"]), (&json!(5), &json!("Never")));
    server.shutdown().await;
}

#[tokio::test]
async fn pods_have_overhead_and_places_of_their_runtime_class() {
    let (server, admin) = servers().await;
    let uri = "/apis/node.k8s.io/v1/runtimeclasses";
    made(&admin, uri, json!({"metadata": {"name": "plain"}, "handler": "h"})).await;
    made(
        &admin,
        uri,
        json!({"metadata": {"name": "heavy"}, "handler": "h",
        "overhead": {"podFixed": {"cpu": "250m", "memory": "10Mi"}},
        "scheduling": {"nodeSelector": {"kind": "big"}, "tolerations": [{"key": "big", "operator": "Exists"}]}}),
    )
    .await;
    let overhead = json!({"cpu": "250m", "memory": "10Mi"});
    let class = |name: &str, more: Value| {
        let mut spec = json!({"runtimeClassName": name});
        for (field, value) in more.as_object().expect("an object") {
            spec[field] = value.clone();
        }
        spec
    };
    let mismatch = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";
    let alone = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
    for (spec, expected) in [
        (json!({}), Ok(json!({"overhead": null, "nodeSelector": null}))),
        (json!({"overhead": {"cpu": "1"}}), Err(alone)),
        (class("absent", json!({})), Err("pod rejected: RuntimeClass \"absent\" not found")),
        (class("plain", json!({})), Ok(json!({"overhead": null, "nodeSelector": null}))),
        (class("plain", json!({"overhead": {"cpu": "1"}})), Err(alone)),
        (class("heavy", json!({})), Ok(json!({"overhead": overhead, "nodeSelector": {"kind": "big"}}))),
        (class("heavy", json!({"overhead": overhead})), Ok(json!({"overhead": overhead}))),
        (class("heavy", json!({"overhead": {"cpu": "0.25", "memory": "10Mi"}})), Ok(json!({"overhead": overhead}))),
        (class("heavy", json!({"overhead": {"cpu": "1", "memory": "10Mi"}})), Err(mismatch)),
        (class("heavy", json!({"overhead": {"cpu": "250m"}})), Err(mismatch)),
        (
            class("heavy", json!({"nodeSelector": {"disk": "fast", "kind": "big"}})),
            Ok(json!({"nodeSelector": {"disk": "fast", "kind": "big"}})),
        ),
        (
            class("heavy", json!({"nodeSelector": {"kind": "small"}})),
            Err("conflict: runtimeClass.scheduling.nodeSelector[kind] = big; pod.spec.nodeSelector[kind] = small"),
        ),
    ] {
        check(&admin, spec, expected).await;
    }
    let spec = class("heavy", json!({"tolerations": [{"key": "big", "operator": "Equal", "value": "1"}]}));
    let found = admitted(&admin, spec).await.expect("it is let in");
    let big: Vec<&Value> =
        found["tolerations"].as_array().into_iter().flatten().filter(|toleration| toleration["key"] == "big").collect();
    assert_eq!(big, [&json!({"key": "big", "operator": "Exists"})]);
    server.shutdown().await;
}

#[tokio::test]
async fn claims_and_ingresses_have_the_newest_default_class() {
    let (server, admin) = servers().await;
    let claim = |more: Value, annotations: Value| {
        let mut claim = json!({"metadata": {"name": "a", "annotations": annotations}, "spec":
            {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
        for (field, value) in more.as_object().expect("an object") {
            claim["spec"][field] = value.clone();
        }
        claim
    };
    let class = async |name: &str, annotation: &str| {
        let class =
            json!({"metadata": {"name": name, "annotations": {annotation: "true"}}, "provisioner": "p.example.com"});
        made(&admin, &format!("{STORAGE}/storageclasses"), class).await;
    };
    let chosen = async |claim: Value| {
        made(&admin, &format!("{CLAIMS}?dryRun=All"), claim).await["spec"]["storageClassName"].clone()
    };
    class("other", "note").await;
    assert_eq!(chosen(claim(json!({}), json!({}))).await, Value::Null);
    class("b", "storageclass.beta.kubernetes.io/is-default-class").await;
    assert_eq!(chosen(claim(json!({}), json!({}))).await, "b");
    assert_eq!(chosen(claim(json!({"storageClassName": ""}), json!({}))).await, "");
    assert_eq!(chosen(claim(json!({"storageClassName": "mine"}), json!({}))).await, "mine");
    let annotated = json!({"volume.beta.kubernetes.io/storage-class": "mine"});
    assert_eq!(chosen(claim(json!({}), annotated)).await, Value::Null);
    // Of those that were made in the same second the first by name.
    class("a", "storageclass.kubernetes.io/is-default-class").await;
    let both = ["a", "b"].contains(&chosen(claim(json!({}), json!({}))).await.as_str().unwrap_or_default());
    assert!(both);

    let ingresses = "/apis/networking.k8s.io/v1/namespaces/default/ingresses?dryRun=All";
    let ingress = |annotations: Value, class: Value| {
        json!({"metadata": {"name": "i", "annotations": annotations}, "spec": {"ingressClassName": class,
            "defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}})
    };
    let of = async |ingress: Value| made(&admin, ingresses, ingress).await["spec"]["ingressClassName"].clone();
    assert_eq!(of(ingress(json!({}), Value::Null)).await, Value::Null);
    let class = json!({"metadata": {"name": "web", "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}},
        "spec": {"controller": "example.com/web"}});
    made(&admin, "/apis/networking.k8s.io/v1/ingressclasses", class).await;
    assert_eq!(of(ingress(json!({}), Value::Null)).await, "web");
    assert_eq!(of(ingress(json!({}), json!("mine"))).await, "mine");
    assert_eq!(of(ingress(json!({"kubernetes.io/ingress.class": "old"}), Value::Null)).await, Value::Null);
    server.shutdown().await;
}

#[tokio::test]
async fn claims_grow_where_their_class_lets_them() {
    let (server, admin) = servers().await;
    for (name, grows) in [("elastic", json!(true)), ("rigid", json!(false)), ("silent", Value::Null)] {
        let class = json!({"metadata": {"name": name}, "provisioner": "p.example.com", "allowVolumeExpansion": grows});
        made(&admin, &format!("{STORAGE}/storageclasses"), class).await;
    }
    let unsupported = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must \
                       support resize";
    for (name, class, bound, to, refused) in [
        ("grows", json!("elastic"), true, "2Gi", None),
        ("same", json!("rigid"), true, "1Gi", None),
        ("pending", json!("elastic"), false, "2Gi", Some("spec is immutable after creation except")),
        ("rigid", json!("rigid"), true, "2Gi", Some(unsupported)),
        ("silent", json!("silent"), true, "2Gi", Some(unsupported)),
        ("classless", json!(""), true, "2Gi", Some(unsupported)),
        ("gone", json!("gone"), true, "2Gi", Some(unsupported)),
    ] {
        let claim = json!({"metadata": {"name": name}, "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": class,
            "volumeName": "v", "resources": {"requests": {"storage": "1Gi"}}}});
        let claim = made(&admin, CLAIMS, claim).await;
        assert_eq!(claim["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
        let uri = format!("{CLAIMS}/{name}");
        if bound {
            let status = json!({"status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}}).to_string();
            let kind = "application/merge-patch+json";
            assert_eq!(common::send(&admin, Method::PATCH, &format!("{uri}/status"), kind, status).await.code, 200);
        }
        let grown = json!({"spec": {"resources": {"requests": {"storage": to}}}}).to_string();
        let answer = common::send(&admin, Method::PATCH, &uri, "application/merge-patch+json", grown).await;
        match refused {
            None => assert_eq!(answer.code, 200, "{name}: {:?}", answer.bytes),
            Some(why) => {
                assert!(answer.code.is_client_error() && answer.fault().2.contains(why), "{name}: {:?}", answer.bytes)
            }
        }
    }
    server.shutdown().await;
}

#[tokio::test]
async fn what_may_be_in_use_is_protected_once() {
    let (server, admin) = servers().await;
    let volume = json!({"metadata": {"name": "v"}, "spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"},
        "hostPath": {"path": "/x"}}});
    let claim = json!({"metadata": {"name": "c"}, "spec": {"accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}}}});
    let class = json!({"metadata": {"name": "a"}, "driverName": "d.example.com", "parameters": {"a": "b"}});
    let classes = format!("{STORAGE}/volumeattributesclasses");
    for (uri, object, finalizer) in [
        ("/api/v1/persistentvolumes", volume, "kubernetes.io/pv-protection"),
        (CLAIMS, claim, "kubernetes.io/pvc-protection"),
        (classes.as_str(), class, "kubernetes.io/vac-protection"),
    ] {
        for (given, expected) in [
            (json!([]), json!([finalizer])),
            (json!([finalizer]), json!([finalizer])),
            (json!(["example.com/mine"]), json!(["example.com/mine", finalizer])),
        ] {
            let mut object = object.clone();
            object["metadata"]["finalizers"] = given;
            let made = made(&admin, &format!("{uri}?dryRun=All"), object).await;
            assert_eq!(made["metadata"]["finalizers"], expected, "{uri}");
        }
    }
    server.shutdown().await;
}
