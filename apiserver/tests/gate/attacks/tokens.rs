//! Tokens that somebody made up, changed, kept too long or carried elsewhere.

use std::sync::atomic::{AtomicI64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use kubewright_apiserver::environment::Environment;

use super::*;

const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";

fn encode(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

fn decode(text: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).expect("base64")).expect("JSON")
}

#[tokio::test]
async fn forged() {
    let mut gate = Gate::open().await;
    let server = gate.server.clone();
    made(&gate.admin, ACCOUNTS, json!({"metadata": {"name": "bot"}})).await;
    let good = token(&gate.admin, "bot", json!({})).await;
    assert_eq!(with_token(&server, PODS, &good).await.code, 403, "known, and not allowed");
    let parts: Vec<&str> = good.split('.').collect();
    let [head, claims, signature] = parts.as_slice() else { panic!("a token has three parts") };
    let changed = |field: &str, value: Value| {
        let mut claims = decode(claims);
        claims[field] = value;
        format!("{head}.{}.{signature}", encode(&claims.to_string()))
    };
    let later = decode(claims)["exp"].as_i64().unwrap_or_default() + 1_000_000;
    let keys: Value = get(&gate.admin, "/openid/v1/jwks").await.json();
    let public = &keys["keys"][0];
    let with_head = |change: Value| {
        let mut head = decode(head);
        for (field, value) in change.as_object().expect("an object") {
            head[field] = value.clone();
        }
        format!("{}.{claims}.{signature}", encode(&head.to_string()))
    };
    let none = encode(r#"{"alg":"none","typ":"JWT"}"#);
    // Signed with the public key as if it were a shared secret.
    let confused_head = encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    let shared = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, public.to_string().as_bytes());
    let tag = ring::hmac::sign(&shared, format!("{confused_head}.{claims}").as_bytes());
    let tag = URL_SAFE_NO_PAD.encode(tag.as_ref());
    for (attack, forged) in [
        ("token-alg-none", format!("{none}.{claims}.")),
        ("token-alg-none-signed", format!("{none}.{claims}.{signature}")),
        ("token-alg-none-by-case", format!("{}.{claims}.", encode(r#"{"alg":"nOnE","typ":"JWT"}"#))),
        ("token-key-confusion", format!("{confused_head}.{claims}.{tag}")),
        ("token-other-algorithm", with_head(json!({"alg": "RS256"}))),
        ("token-brings-its-key", with_head(json!({"jwk": public, "kid": "another"}))),
        ("token-names-a-key-elsewhere", with_head(json!({"jku": "https://evil.example/jwks", "kid": "another"}))),
        ("token-key-by-path", with_head(json!({"kid": "../../dev/null"}))),
        ("token-critical-extension", with_head(json!({"crit": ["b64"], "b64": false}))),
        ("token-other-subject", changed("sub", "system:serviceaccount:kube-system:default".into())),
        ("token-longer-life", changed("exp", later.into())),
        ("token-other-audience", changed("aud", json!(["everybody"]))),
        ("token-other-issuer", changed("iss", "https://evil.example".into())),
        ("token-no-signature", format!("{head}.{claims}.")),
        ("token-cut", good[..good.len() - 4].to_owned()),
        ("token-not-base64", format!("{head}.{claims}!.{signature}")),
        ("token-four-parts", format!("{good}.{signature}")),
        ("token-nothing", "..".to_owned()),
        ("token-huge", "a".repeat(60_000)),
    ] {
        gate.refuses(attack, &[401], &server, Tried::get(PODS).bearer(&forged)).await;
    }
    gate.close().await;
}

/// A clock that is set.
struct Clock(AtomicI64);

impl Environment for Clock {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.0.load(Ordering::SeqCst)).expect("in range")
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        kubewright_apiserver::environment::SystemEnvironment.fill_random(bytes);
    }
}

#[tokio::test]
async fn expired_and_meant_for_others() {
    let clock = Arc::new(Clock(AtomicI64::new(1_800_000_000)));
    let environment: Arc<dyn Environment> = clock.clone();
    let mut gate = Gate::with(|builder| builder.environment(environment)).await;
    let server = gate.server.clone();
    made(&gate.admin, ACCOUNTS, json!({"metadata": {"name": "bot"}})).await;
    let other = token(&gate.admin, "bot", json!({"audiences": ["vault"]})).await;
    gate.refuses("token-wrong-audience", &[401], &server, Tried::get(PODS).bearer(&other)).await;
    let short = token(&gate.admin, "bot", json!({"expirationSeconds": 600})).await;
    assert_eq!(with_token(&server, PODS, &short).await.code, 403, "known, and not allowed");
    // Clocks may differ by a minute.
    clock.0.fetch_add(661, Ordering::SeqCst);
    gate.refuses("token-expired", &[401], &server, Tried::get(PODS).bearer(&short)).await;
    clock.0.fetch_sub(1801, Ordering::SeqCst);
    gate.refuses("token-of-the-future", &[401], &server, Tried::get(PODS).bearer(&short)).await;
    gate.close().await;
}

#[tokio::test]
async fn of_what_is_gone() {
    let mut gate = Gate::open().await;
    let (server, admin) = (gate.server.clone(), gate.admin.clone());
    made(&admin, ACCOUNTS, json!({"metadata": {"name": "bot"}})).await;
    let pod = json!({"metadata": {"name": "p"}, "spec": {"serviceAccountName": "bot", "containers": [
        {"name": "c", "image": "i"}]}});
    let pod = made(&admin, PODS, pod).await;
    let reference = json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": pod["metadata"]["uid"]});
    let bound = token(&admin, "bot", json!({"boundObjectRef": reference})).await;
    let free = token(&admin, "bot", json!({})).await;
    common::send(&admin, Method::DELETE, &format!("{PODS}/p?gracePeriodSeconds=0"), "", "").await;
    gate.refuses("token-of-a-gone-pod", &[401], &server, Tried::get(PODS).bearer(&bound)).await;
    common::send(&admin, Method::DELETE, &format!("{ACCOUNTS}/bot"), "", "").await;
    gate.refuses("token-of-a-gone-account", &[401], &server, Tried::get(PODS).bearer(&free)).await;
    made(&admin, ACCOUNTS, json!({"metadata": {"name": "bot"}})).await;
    gate.refuses("token-of-a-namesake", &[401], &server, Tried::get(PODS).bearer(&free)).await;
    gate.close().await;
}

#[tokio::test]
async fn bootstrap_tokens_join_and_no_more() {
    let mut gate = Gate::with(Builder::bootstrap_tokens).await;
    let (server, admin) = (gate.server.clone(), gate.admin.clone());
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
    for (id, more, code) in [
        ("goodid", json!({}), 403),
        ("oldone", json!({"expiration": "2020-01-01T00:00:00Z"}), 401),
        ("unused", json!({"usage-bootstrap-authentication": "false"}), 401),
        ("greedy", json!({"auth-extra-groups": "system:masters"}), 401),
    ] {
        made(&admin, secrets, secret(id, more)).await;
        let bearer = format!("{id}.0123456789abcdef");
        gate.refuses(&format!("bootstrap-{id}"), &[code], &server, Tried::get(PODS).bearer(&bearer)).await;
    }
    let guessed = Tried::get(PODS).bearer("goodid.ffffffffffffffff");
    gate.refuses("bootstrap-guessed", &[401], &server, guessed).await;
    gate.close().await;
}
