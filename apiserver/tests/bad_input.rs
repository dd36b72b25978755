//! Bad input gets upstream's code, reason and words, and changes nothing.

mod common;
#[path = "bad_input/fuzz.rs"]
mod fuzz;
#[path = "bad_input/fuzz_config.rs"]
mod fuzz_config;
#[path = "bad_input/fuzz_gate.rs"]
mod fuzz_gate;

use common::{get, json, send, server};
use futures::StreamExt;
use http::Method;
use serde_json::{Value, json};

const CONFIGMAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

fn deployment(replicas: Value) -> Value {
    let pod = json!({ "containers": [{ "name": "c", "image": "i" }] });
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "d" },
        "spec": {
            "replicas": replicas, "selector": { "matchLabels": { "app": "d" } },
            "template": { "metadata": { "labels": { "app": "d" } }, "spec": pod },
        },
    })
}

#[tokio::test]
async fn bodies_that_are_no_objects() {
    let server = server().await;
    let too_long = format!("{{\"data\":{{\"a\":\"{}\"}}}}", "x".repeat(3 << 20));
    for (content_type, body, code, reason, message) in [
        (
            "application/json",
            "{\"metadata\":",
            400,
            "BadRequest",
            "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse \
             error: unexpected end of JSON input ({\"metadata\":)",
        ),
        (
            "application/json",
            "[]",
            400,
            "BadRequest",
            "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse \
             error: json: cannot unmarshal array into Go value of type struct { APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" } (5b5d)",
        ),
        (
            "application/json",
            "{\"apiVersion\":\"apps/v1\",\"kind\":\"ConfigMap\"}",
            400,
            "BadRequest",
            "the API version in the data (apps/v1) does not match the expected API version (v1)",
        ),
        (
            "text/plain",
            "{}",
            415,
            "UnsupportedMediaType",
            "the body of the request was in an unknown format - accepted media types include: application/json, \
             application/yaml",
        ),
        (
            "application/json",
            too_long.as_str(),
            413,
            "RequestEntityTooLarge",
            "Request entity too large: limit is 3145728",
        ),
    ] {
        let answer = send(&server, Method::POST, CONFIGMAPS, content_type, body.to_owned()).await;
        assert_eq!(answer.fault(), (code, reason.to_owned(), message.to_owned()));
    }
    let answer = send(&server, Method::POST, CONFIGMAPS, "application/yaml", "a: [").await;
    assert_eq!(answer.fault().0, 400);
    assert_eq!(get(&server, CONFIGMAPS).await.json()["items"], json!([]));
    let yaml = "metadata:\n  name: a\ndata:\n  k: v\n";
    assert_eq!(send(&server, Method::POST, CONFIGMAPS, "application/yaml", yaml).await.code, 201);
}

#[tokio::test]
async fn unknown_fields() {
    let server = server().await;
    let mut object = deployment(json!(1));
    object["spec"]["foo"] = json!(1);
    object["spec"]["template"]["spec"]["containers"][0]["imagee"] = json!("x");
    let faults = "unknown field \"spec.foo\", unknown field \"spec.template.spec.containers[0].imagee\"";
    let strict = json(&server, Method::POST, &format!("{DEPLOYMENTS}?fieldValidation=Strict"), &object).await;
    let message =
        format!("Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: {faults}");
    assert_eq!(strict.fault(), (400, "BadRequest".into(), message));
    let warned = json(&server, Method::POST, DEPLOYMENTS, &object).await;
    assert_eq!(warned.code, 201);
    let warnings: Vec<_> = warned.headers.get_all("warning").iter().map(|w| w.to_str().unwrap()).collect();
    assert_eq!(warnings.len(), 2);
    assert_eq!(warnings[0], "299 - \"unknown field \\\"spec.foo\\\"\"");
    assert!(warned.json()["spec"].get("foo").is_none());
    object["metadata"]["name"] = json!("e");
    let ignored = json(&server, Method::POST, &format!("{DEPLOYMENTS}?fieldValidation=Ignore"), &object).await;
    assert_eq!((ignored.code.as_u16(), ignored.headers.get("warning")), (201, None));
    let other = json(&server, Method::POST, &format!("{DEPLOYMENTS}?fieldValidation=Maybe"), &object).await;
    assert_eq!((other.fault().0, other.fault().1.as_str()), (422, "Invalid"));
    // A duplicate field.
    let twice = r#"{"metadata":{"name":"x","name":"y"}}"#;
    let uri = format!("{CONFIGMAPS}?fieldValidation=Strict");
    let answer = send(&server, Method::POST, &uri, "application/json", twice).await;
    assert!(answer.fault().2.ends_with("strict decoding error: duplicate field \"metadata.name\""));
    // A patch is held to the same.
    let patch = json!({ "spec": { "bar": 1 } }).to_string();
    let uri = format!("{DEPLOYMENTS}/d?fieldValidation=Strict");
    let answer = send(&server, Method::PATCH, &uri, "application/merge-patch+json", patch).await;
    assert!(answer.fault().2.ends_with("strict decoding error: unknown field \"spec.bar\""), "{:?}", answer.fault());
}

#[tokio::test]
async fn wrong_values() {
    let server = server().await;
    let answer = json(&server, Method::POST, DEPLOYMENTS, &deployment(json!("3"))).await;
    let message = "Deployment in version \"v1\" cannot be handled as a Deployment: json: cannot unmarshal string into \
                   Go struct field DeploymentSpec.spec.replicas of type int32";
    assert_eq!(answer.fault(), (400, "BadRequest".into(), message.into()));
    let answer = json(&server, Method::POST, DEPLOYMENTS, &deployment(json!(-1))).await;
    assert_eq!(answer.fault().0, 422);
    assert_eq!(answer.json()["details"]["causes"][0]["field"], "spec.replicas");
    let name = "x".repeat(254);
    let answer = json(&server, Method::POST, CONFIGMAPS, &json!({ "metadata": { "name": name } })).await;
    let message = format!(
        "ConfigMap \"{name}\" is invalid: metadata.name: Invalid value: \"{name}\": must be no more than 253 characters"
    );
    assert_eq!(answer.fault(), (422, "Invalid".into(), message));
    let answer = json(&server, Method::POST, CONFIGMAPS, &json!({ "metadata": {} })).await;
    let message = "ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is required";
    assert_eq!(answer.fault(), (422, "Invalid".into(), message.into()));
    let object = json!({ "metadata": { "name": "a", "namespace": "other" } });
    let answer = json(&server, Method::POST, CONFIGMAPS, &object).await;
    let message = "the namespace of the provided object does not match the namespace sent on the request";
    assert_eq!(answer.fault(), (400, "BadRequest".into(), message.into()));
    assert_eq!(get(&server, DEPLOYMENTS).await.json()["items"], json!([]));
}

#[tokio::test]
async fn bad_queries() {
    let server = server().await;
    for (query, code, reason, message) in [
        ("labelSelector=a%3Db%3Dc", 400, "BadRequest", ""),
        ("fieldSelector=a", 400, "BadRequest", "invalid selector: 'a'; can't understand 'a'"),
        (
            "fieldSelector=spec.foo%3Dx",
            400,
            "BadRequest",
            "\"spec.foo\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
        ),
        ("resourceVersion=abc", 400, "BadRequest", ""),
        ("continue=%25%25", 400, "BadRequest", ""),
        (
            "resourceVersionMatch=Exact",
            422,
            "Invalid",
            "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is \
             forbidden unless resourceVersion is provided",
        ),
    ] {
        let (found_code, found_reason, found) = get(&server, &format!("{CONFIGMAPS}?{query}")).await.fault();
        assert_eq!((found_code, found_reason.as_str()), (code, reason), "{query}: {found}");
        assert!(message.is_empty() || found == message, "{query}: {found}");
    }
}

#[tokio::test]
async fn patches_that_make_something_else() {
    let server = server().await;
    let created = json(&server, Method::POST, DEPLOYMENTS, &deployment(json!(1))).await;
    assert_eq!(created.code, 201);
    let uri = format!("{DEPLOYMENTS}/d");
    for (media, patch, error) in [
        (
            "merge",
            r#"{"spec":{"replicas":"3"}}"#,
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            "merge",
            r#"{"apiVersion":"v1","kind":"Pod"}"#,
            "converting (v1.Pod) to (apps.Deployment): unknown conversion",
        ),
        (
            "strategic-merge",
            r#"{"metadata":{"labels":"x"}}"#,
            "\"map[metadata:map[labels:x]]\": cannot restore map from string",
        ),
        (
            "strategic-merge",
            r#"{"spec":{"replicas":1.5}}"#,
            "\"map[spec:map[replicas:1.5]]\": cannot convert float64 to int32",
        ),
        ("json", r#"[{"op":"replace","path":"/spec/template","value":[]}]"#, "of type v1.PodTemplateSpec"),
    ] {
        let answer = send(&server, Method::PATCH, &uri, &format!("application/{media}-patch+json"), patch).await;
        let (code, reason, message) = answer.fault();
        assert_eq!((code, reason.as_str()), (422, "Invalid"), "{patch}: {message}");
        assert!(
            message.starts_with(" \"\" is invalid: patch: Invalid value: ") && message.ends_with(error),
            "{message}"
        );
        assert_eq!(answer.json()["details"]["causes"][0]["field"], "patch", "{patch}");
    }
    let strict = format!("{uri}?fieldValidation=Strict");
    let twice = r#"{"metadata":{"labels":{"a":"1","a":"2"}}}"#;
    for media in ["merge", "strategic-merge"] {
        let answer = send(&server, Method::PATCH, &strict, &format!("application/{media}-patch+json"), twice).await;
        let message = answer.fault().2;
        assert!(message.ends_with("strict decoding error: duplicate field \"metadata.labels.a\""), "{message}");
    }
    let apply = format!("{uri}?fieldManager=m");
    for (config, code, message) in [
        (r#"{"apiVersion":"v1","kind":"Pod"}"#, 400, "invalid object type: /v1, Kind=Pod"),
        (
            r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d"},"spec":{"replicas":"x","foo":1}}"#,
            500,
            "failed to create typed patch object (/d; apps/v1, Kind=Deployment): errors:\n  .spec.foo: field not declared in \
             schema\n  .spec.replicas: expected numeric (int or float), got &value.valueUnstructured{Value:\"x\"}",
        ),
    ] {
        let answer = send(&server, Method::PATCH, &apply, "application/apply-patch+yaml", config).await;
        assert_eq!((answer.fault().0, answer.fault().2.as_str()), (code, message));
    }
    let answer = send(&server, Method::PATCH, &uri, "application/json", "{}").await;
    assert_eq!(answer.fault(), (415, "UnsupportedMediaType".into(), "415: Unsupported Media Type".into()));
    assert_eq!(get(&server, &uri).await.json()["metadata"]["generation"], 1);
}

#[tokio::test]
async fn nothing_there() {
    let server = server().await;
    for path in ["/apis/nope/v1/things", "/apis/nope", "/nope"] {
        let answer = get(&server, path).await;
        assert_eq!((answer.code.as_u16(), &answer.bytes[..]), (404, &b"404 page not found\n"[..]), "{path}");
    }
    for path in ["/api/v1/nopes", "/apis/apps/v1/nopes", "/api/v1/namespaces/default/pods/a/nope"] {
        let message = "the server could not find the requested resource";
        assert_eq!(get(&server, path).await.fault(), (404, "NotFound".into(), message.into()), "{path}");
    }
    let answer = get(&server, "/apis/apps/v1/namespaces/default/deployments/a").await;
    assert_eq!(answer.fault(), (404, "NotFound".into(), "deployments.apps \"a\" not found".into()));
    let details = answer.json()["details"].clone();
    assert_eq!(details, json!({ "name": "a", "group": "apps", "kind": "deployments" }));
    for (method, path) in [(Method::POST, "/api/v1/configmaps"), (Method::PUT, CONFIGMAPS)] {
        let answer = json(&server, method, path, &json!({})).await;
        let message = "the server does not allow this method on the requested resource";
        assert_eq!(answer.fault(), (405, "MethodNotAllowed".into(), message.into()));
    }
}

#[tokio::test]
async fn stale_versions() {
    let server = server().await;
    let object = json!({ "metadata": { "name": "a" }, "data": { "k": "1" } });
    let created = json(&server, Method::POST, CONFIGMAPS, &object).await.json();
    let answer = json(&server, Method::POST, CONFIGMAPS, &created).await;
    let message = "resourceVersion should not be set on objects to be created";
    assert_eq!(answer.fault(), (400, "BadRequest".into(), message.into()));
    let uri = format!("{CONFIGMAPS}/a");
    let mut stale = created.clone();
    stale["metadata"]["resourceVersion"] = json!("1");
    let message = "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your \
                   changes to the latest version and try again";
    let answer = json(&server, Method::PUT, &uri, &stale).await;
    assert_eq!(answer.fault(), (409, "Conflict".into(), message.into()));
    let patch = json!({ "metadata": { "resourceVersion": "1" } }).to_string();
    let answer = send(&server, Method::PATCH, &uri, "application/merge-patch+json", patch).await;
    assert_eq!(answer.fault(), (409, "Conflict".into(), message.into()));
    let mut other = created.clone();
    other["metadata"]["uid"] = json!("nobody");
    let answer = json(&server, Method::PUT, &uri, &other).await;
    assert!(answer.fault().2.contains("Precondition failed: UID in precondition: nobody"));
    other["metadata"]["name"] = json!("b");
    let answer = json(&server, Method::PUT, &uri, &other).await;
    let message = "the name of the object (b) does not match the name on the URL (a)";
    assert_eq!(answer.fault(), (400, "BadRequest".into(), message.into()));
    assert_eq!(get(&server, &uri).await.json(), created);
}

#[tokio::test]
async fn documents_that_are_nested_too_deeply() {
    let server = server().await;
    let deep = |open: &str, close: &str| format!("{}1{}", open.repeat(10_000), close.repeat(10_000));
    for (content_type, body) in [
        ("application/json", format!(r#"{{"kind":"ConfigMap","data":{}}}"#, deep("[", "]"))),
        ("application/json", deep(r#"{"a":"#, "}")),
        ("application/yaml", format!("kind: ConfigMap\ndata: {}", deep("[", "]"))),
    ] {
        let answer = send(&server, Method::POST, "/api/v1/namespaces/default/configmaps", content_type, body).await;
        assert_eq!(answer.code, 400, "{:?}", answer.bytes);
    }
    server.shutdown().await;
}

#[tokio::test]
async fn bodies_without_end_are_refused_early() {
    let server = server().await;
    let sent = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&sent);
    let chunk = bytes::Bytes::from(vec![b' '; 1 << 20]);
    let chunks = futures::stream::iter(0..100).map(move |_| {
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok::<_, std::io::Error>(http_body::Frame::data(chunk.clone()))
    });
    let request = http::Request::post("/api/v1/namespaces/default/configmaps");
    let request = request.body(http_body_util::StreamBody::new(chunks)).unwrap();
    let response = tower::ServiceExt::oneshot(server.clone(), request).await.unwrap();
    assert_eq!(response.status(), 413);
    let sent = sent.load(std::sync::atomic::Ordering::Relaxed);
    assert!(sent < 10, "{sent} MiB were read");
    server.shutdown().await;
}
