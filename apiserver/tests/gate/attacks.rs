//! Attacks, each refused: forged tokens, tricks with paths and headers, claims of being someone else, climbing.

use base64::Engine;

use super::*;

fn encode(text: &str) -> String {
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
}

fn decode(text: &str) -> Value {
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).expect("base64");
    serde_json::from_slice(&bytes).expect("JSON")
}

#[tokio::test]
async fn forged_tokens() {
    let (server, admin) = servers().await;
    made(&admin, "/api/v1/namespaces/default/serviceaccounts", json!({"metadata": {"name": "bot"}})).await;
    let good = token(&admin, "bot", json!({})).await;
    assert_eq!(with_token(&server, PODS, &good).await.code, 403, "known, and not allowed");
    let parts: Vec<&str> = good.split('.').collect();
    let [head, claims, signature] = parts.as_slice() else { panic!("a token has three parts") };
    let mut other = decode(claims);
    other["sub"] = "system:serviceaccount:kube-system:default".into();
    let mut later = decode(claims);
    later["exp"] = (later["exp"].as_i64().unwrap_or_default() + 1_000_000).into();
    let keys: Value = get(&admin, "/openid/v1/jwks").await.json();
    let public = keys["keys"][0].to_string();
    let none = encode(r#"{"alg":"none","typ":"JWT"}"#);
    // Signed with the public key as if it were a shared secret.
    let confused_head = encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    let shared = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, public.as_bytes());
    let tag = ring::hmac::sign(&shared, format!("{confused_head}.{claims}").as_bytes());
    let tag = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(tag.as_ref());
    let mut own_key = decode(head);
    own_key["jwk"] = keys["keys"][0].clone();
    own_key["kid"] = "another".into();
    for (what, forged) in [
        ("alg none", format!("{none}.{claims}.")),
        ("alg none with a signature", format!("{none}.{claims}.{signature}")),
        ("key confusion", format!("{confused_head}.{claims}.{tag}")),
        ("another subject", format!("{head}.{}.{signature}", encode(&other.to_string()))),
        ("a longer life", format!("{head}.{}.{signature}", encode(&later.to_string()))),
        ("no signature", format!("{head}.{claims}.")),
        ("cut", good[..good.len() - 4].to_owned()),
        ("a key of its own", format!("{}.{claims}.{signature}", encode(&own_key.to_string()))),
        ("not base64", format!("{head}.{claims}!.{signature}")),
        ("four parts", format!("{good}.{signature}")),
        ("nothing", "..".to_owned()),
        ("huge", "a".repeat(60_000)),
    ] {
        assert_eq!(with_token(&server, PODS, &forged).await.code, 401, "{what}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn tricks_with_paths() {
    let (server, admin) = servers().await;
    bind(&admin, "readers", "view", "alice").await;
    let alice = server.as_user(alice());
    assert_eq!(get(&alice, PODS).await.code, 200);
    for path in [
        "/api/v1/namespaces/default/../kube-system/secrets",
        "/api/v1/namespaces/default/pods/../../kube-system/secrets",
        "/api/v1/namespaces/default/pods/..%2f..%2fkube-system%2fsecrets",
        "/api/v1/namespaces/default%2f..%2fkube-system/secrets",
        "/api/v1/namespaces//kube-system/secrets",
        "//api/v1/namespaces/kube-system/secrets",
        "/api//v1/namespaces/kube-system/secrets",
        "/api/v1/namespaces/kube-system/secrets/",
        "/API/v1/namespaces/kube-system/secrets",
        "/api/v1/namespaces/kube-system/Secrets",
        "/api/v1/namespaces/kube-system/secrets?namespace=default",
        "/api/v1/./namespaces/kube-system/secrets",
        "/api/v1/namespaces/kube-system/secrets;x=y",
        "/livez/../api/v1/namespaces/kube-system/secrets",
        "/api/v1/watch/namespaces/kube-system/secrets",
    ] {
        let code = get(&alice, path).await.code.as_u16();
        assert!(matches!(code, 400 | 401 | 403 | 404), "{path}: {code}");
    }
    // Nobody without credentials gets anywhere by them.
    for path in ["/livez/../api/v1/pods", "//livez", "/livez/..%2fapi", "/healthz/../version"] {
        assert_eq!(get(&server, path).await.code, 401, "{path}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn claims_of_being_someone_else() {
    let (server, admin) = servers().await;
    let masters = [("x-remote-user", "admin"), ("x-remote-group", "system:masters")];
    assert_eq!(with_headers(&server, PODS, &masters).await.code, 401);
    assert_eq!(with_headers(&server.as_user(alice()), PODS, &masters).await.code, 403);
    let twice = [("authorization", "Bearer a"), ("authorization", "Bearer b")];
    assert_eq!(with_headers(&server, PODS, &twice).await.code, 401);
    for headers in [
        &[("impersonate-user", "kubernetes-admin"), ("impersonate-group", "system:masters")][..],
        &[("impersonate-user", "system:node:a"), ("impersonate-group", "system:nodes")],
        &[("impersonate-user", "system:serviceaccount:kube-system:default")],
        &[("impersonate-user", "alice"), ("impersonate-uid", "1")],
        &[("impersonate-user", "alice"), ("impersonate-extra-scopes", "all")],
    ] {
        assert_eq!(with_headers(&server.as_user(alice()), PODS, headers).await.code, 403, "{headers:?}");
    }
    drop(admin);
    server.shutdown().await;
}

#[tokio::test]
async fn climbing() {
    let (server, admin) = servers().await;
    bind(&admin, "editors", "edit", "alice").await;
    bind(&admin, "admins", "admin", "carol").await;
    let (alice, carol) = (server.as_user(alice()), server.as_user(User::new("carol", &["system:authenticated"])));
    let role = json!({"metadata": {"name": "r"}, "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]});
    let binding = json!({"metadata": {"name": "b"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "carol"}]});
    let signing = json!({"metadata": {"name": "c"}, "spec": {"request": "", "usages": ["client auth"],
        "signerName": "kubernetes.io/kube-apiserver-client"}});
    let node = json!({"metadata": {"name": "n"}});
    for (who, uri, object) in [
        (&carol, format!("{RBAC}/namespaces/default/roles"), &role),
        (&carol, format!("{RBAC}/clusterroles"), &role),
        (&carol, format!("{RBAC}/namespaces/default/rolebindings"), &binding),
        (&carol, format!("{RBAC}/clusterrolebindings"), &binding),
        (&carol, "/apis/certificates.k8s.io/v1/certificatesigningrequests".into(), &signing),
        (&alice, "/api/v1/nodes".into(), &node),
        (&alice, "/api/v1/namespaces".into(), &node),
        (&alice, "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations".into(), &node),
    ] {
        assert_eq!(send_json(who, Method::POST, &uri, object).await.code, 403, "{uri}");
    }
    // An editor may get tokens of the accounts of the namespace, and of no other.
    for (namespace, expected) in [("default", 201), ("kube-system", 403)] {
        let accounts = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
        made(&admin, &accounts, json!({"metadata": {"name": "bot"}})).await;
        let asked = send_json(&alice, Method::POST, &format!("{accounts}/bot/token"), &json!({"spec": {}})).await;
        assert_eq!(asked.code, expected, "{namespace}");
    }
    // Into a hardened namespace no container slips beside the others.
    let labels = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline"}}});
    let merge = "application/merge-patch+json";
    common::send(&admin, Method::PATCH, "/api/v1/namespaces/default", merge, labels.to_string()).await;
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    made(&admin, PODS, pod).await;
    let slipped = json!({"spec": {"ephemeralContainers": [
        {"name": "e", "image": "i", "securityContext": {"privileged": true}}]}});
    let strategic = "application/strategic-merge-patch+json";
    let uri = format!("{PODS}/p/ephemeralcontainers");
    let answer = common::send(&admin, Method::PATCH, &uri, strategic, slipped.to_string()).await;
    let (code, _, message) = answer.fault();
    assert_eq!(code, 403, "{message}");
    assert!(message.contains("violates PodSecurity"), "{message}");
    server.shutdown().await;
}

#[tokio::test]
async fn bootstrap_tokens_join_and_no_more() {
    let builder = ApiServer::builder(Arc::new(MemoryStore::new())).bootstrap_tokens();
    let server = builder.build().await.expect("a server");
    let admin = server.as_user(User::admin());
    let secret = |id: &str, more: Value| {
        let mut secret = json!({"metadata": {"name": format!("bootstrap-token-{id}")},
            "type": "bootstrap.kubernetes.io/token", "stringData": {"token-id": id,
            "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true"}});
        for (key, value) in more.as_object().expect("an object") {
            secret["stringData"][key] = value.clone();
        }
        secret
    };
    let secrets = "/api/v1/namespaces/kube-system/secrets";
    let whoami = "/apis/authentication.k8s.io/v1/tokenreviews";
    for (id, more, expected) in [
        ("goodid", json!({}), true),
        ("oldone", json!({"expiration": "2020-01-01T00:00:00Z"}), false),
        ("unused", json!({"usage-bootstrap-authentication": "false"}), false),
        ("greedy", json!({"auth-extra-groups": "system:masters"}), false),
    ] {
        made(&admin, secrets, secret(id, more)).await;
        let review = json!({"spec": {"token": format!("{id}.0123456789abcdef")}});
        let status = made(&admin, whoami, review).await["status"].clone();
        assert_eq!(status["authenticated"] == true, expected, "{id}: {status}");
        if expected {
            assert_eq!(status["user"]["username"], "system:bootstrap:goodid");
        }
    }
    assert_eq!(with_token(&server, PODS, "goodid.0123456789abcdef").await.code, 403);
    assert_eq!(with_token(&server, PODS, "goodid.ffffffffffffffff").await.code, 401);
    server.shutdown().await;
}
