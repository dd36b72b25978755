//! What guards the gate is configured by people and fed by strangers: whatever they write is read or refused.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use kubewright_apiserver::admission::PodSecurityConfig;
use kubewright_apiserver::audit::AuditPolicy;
use kubewright_apiserver::request::User;
use kubewright_apiserver::server::ApiServer;
use kubewright_store::MemoryStore;
use serde_json::json;
use std::sync::Arc;

use super::common::json as send_json;
use super::fuzz::Random;

#[test]
fn any_audit_policy_is_read_or_refused() {
    let sources = [
        "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n- level: Metadata\n",
        "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- {level: None, users: [a], verbs: [get], omitStages: [Panic]}\n\
         - {level: RequestResponse, resources: [{group: apps, resources: ['*/scale'], resourceNames: [a]}]}\n\
         - {level: Request, nonResourceURLs: ['/healthz*', '*'], omitManagedFields: true}\n",
    ];
    let mut random = Random(0x5eed_0101);
    let mut read = 0;
    for _ in 0..4000 {
        let seed = random.pick(&sources);
        let mutated = random.mutate(seed.as_bytes());
        match AuditPolicy::parse(&String::from_utf8_lossy(&mutated)) {
            Ok(_) => read += 1,
            Err(fault) => assert!(fault.to_string().starts_with("audit policy: "), "{fault}"),
        }
    }
    assert!(read > 0, "some changes leave a policy whole");
}

#[test]
fn any_admission_configuration_is_read_or_refused() {
    let source = "apiVersion: pod-security.admission.config.k8s.io/v1\nkind: PodSecurityConfiguration\n\
                  defaults: {enforce: baseline, enforce-version: latest, audit: restricted, warn: restricted, \
                  warn-version: v1.30}\nexemptions: {usernames: [a], runtimeClasses: [b], namespaces: [kube-system]}\n";
    PodSecurityConfig::parse(source).expect("the source is sound");
    let mut random = Random(0x5eed_0102);
    let mut read = 0;
    for _ in 0..4000 {
        let mutated = random.mutate(source.as_bytes());
        match PodSecurityConfig::parse(&String::from_utf8_lossy(&mutated)) {
            Ok(_) => read += 1,
            Err(fault) => assert!(!fault.is_empty()),
        }
    }
    assert!(read > 0, "some changes leave it whole");
}

#[cfg(feature = "encryption")]
#[test]
fn any_encryption_configuration_is_read_or_refused() {
    use kubewright_apiserver::encryption::EncryptionConfig;
    let source = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n\
                  - resources: [secrets, 'configmaps.']\n  providers:\n  - aesgcm: {keys: [{name: a, secret: \
                  MDEyMzQ1Njc4OWFiY2RlZg==}]}\n  - secretbox: {keys: [{name: b, secret: \
                  MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}]}\n  - identity: {}\n";
    let mut random = Random(0x5eed_0103);
    for _ in 0..4000 {
        let mutated = random.mutate(source.as_bytes());
        if let Err(fault) = EncryptionConfig::parse(&String::from_utf8_lossy(&mutated)) {
            assert!(!fault.to_string().contains("MDEyMzQ1Njc4OWFiY2RlZg"), "a key in a message: {fault}");
        }
    }
}

async fn standard() -> ApiServer {
    let server = ApiServer::builder(Arc::new(MemoryStore::new())).build().await.expect("an empty store can be read");
    server.as_user(User::admin())
}

#[tokio::test]
async fn any_labels_of_pod_security_are_taken_or_refused() {
    let server = standard().await;
    let mut random = Random(0x5eed_0104);
    let levels = ["privileged", "baseline", "restricted", "Restricted", "", "very", "restricted "];
    let versions =
        ["latest", "v1.0", "v1.36", "v1.99", "v2.0", "v1", "1.30", "v1.-1", "v1.99999999999999999999", "vlatest"];
    for round in 0..150 {
        let mut labels = serde_json::Map::new();
        for mode in ["enforce", "audit", "warn"] {
            if random.below(3) > 0 {
                labels.insert(format!("pod-security.kubernetes.io/{mode}"), random.pick(&levels).into());
            }
            if random.below(2) > 0 {
                labels.insert(format!("pod-security.kubernetes.io/{mode}-version"), random.pick(&versions).into());
            }
        }
        let name = format!("n{round}");
        let namespace = json!({"metadata": {"name": name, "labels": labels}});
        let made = send_json(&server, Method::POST, "/api/v1/namespaces", &namespace).await;
        assert!([201, 422].contains(&made.code.as_u16()), "{namespace}: {:?}", made.bytes);
        if made.code == 422 {
            continue;
        }
        let account = json!({"metadata": {"name": "default"}});
        send_json(&server, Method::POST, &format!("/api/v1/namespaces/{name}/serviceaccounts"), &account).await;
        let pod =
            json!({"metadata": {"name": "p"}, "spec": {"hostPID": true, "containers": [{"name": "c", "image": "i"}]}});
        let answer = send_json(&server, Method::POST, &format!("/api/v1/namespaces/{name}/pods"), &pod).await;
        let enforced = namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"].as_str();
        let expected = if matches!(enforced, Some("baseline" | "restricted")) { 403 } else { 201 };
        assert_eq!(answer.code, expected, "{namespace}: {:?}", answer.bytes);
    }
    server.shutdown().await;
}

#[tokio::test]
async fn any_signing_request_is_taken_or_refused() {
    // O=system:masters, CN=jane, an Ed25519 key of sevens; nobody signed it, but it reads well.
    let der = STANDARD.decode(
        "MIGnMFsCAQAwKDEXMBUGA1UECgwOc3lzdGVtOm1hc3RlcnMxDTALBgNVBAMMBGphbmUwKjAFBgMrZXADIQAHBwcHBwcHBwcHBwcHBwcHBwcHBw\
         cHBwcHBwcHBwcHB6AAMAUGAytlcANBAAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH\
         BwcHBwc=",
    );
    let der = der.expect("base64");
    let server = standard().await;
    let uri = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let mut random = Random(0x5eed_0105);
    for round in 0..400 {
        let mutated = if round == 0 { der.clone() } else { random.mutate(&der) };
        let label = random.pick(&["CERTIFICATE REQUEST", "CERTIFICATE REQUEST", "CERTIFICATE", ""]);
        let pem = format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(&mutated));
        let object = json!({"metadata": {"name": format!("r{round}")}, "spec": {"request": STANDARD.encode(pem),
            "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"]}});
        let answer = send_json(&server, Method::POST, uri, &object).await;
        assert!([201, 403, 422].contains(&answer.code.as_u16()), "round {round}: {:?}", answer.bytes);
        // Damage must not hide whom it names.
        let names = mutated.windows(14).any(|bytes| bytes == b"system:masters") && mutated.len() == der.len();
        assert!(!(names && round == 0 && answer.code == 201), "round {round}: {:?}", answer.bytes);
    }
    server.shutdown().await;
}
