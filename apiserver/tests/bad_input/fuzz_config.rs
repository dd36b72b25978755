//! What the gate reads, broken in all ways: tokens, certificates, configurations. Nothing panics, nothing false gets in.

use std::path::Path;
use std::sync::Arc;

use kubewright_apiserver::admission::AdmissionConfig;
use kubewright_apiserver::audit::AuditPolicy;
use kubewright_apiserver::authn::token::{Claims, SigningKey, VerifyingKey, sign, verify};
use kubewright_apiserver::authn::{AuthenticationConfig, StructuredAuthentication, TokenAuthenticator};
use kubewright_apiserver::authz::AuthorizationConfig;
use kubewright_apiserver::environment::SystemEnvironment;
use kubewright_apiserver::remote::{Kubeconfig, NoRemote};

use super::fuzz::Random;

const AUTHENTICATION: &str = r#"apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
jwt:
- issuer: {url: 'https://id.test', discoveryURL: 'https://other.test/d', audiences: [a, b], audienceMatchPolicy: MatchAny}
  claimValidationRules:
  - {claim: hd, requiredValue: corp}
  - {expression: 'claims.exp - claims.nbf <= 86400', message: too long}
  claimMappings:
    username: {expression: 'claims.email_verified ? claims.email : ""'}
    groups: {claim: roles, prefix: 'x:'}
    uid: {claim: sub}
    extra: [{key: id.test/tier, valueExpression: claims.tier}]
  userValidationRules: [{expression: "!user.username.startsWith('system:')", message: reserved}]
anonymous: {enabled: true, conditions: [{path: /livez}]}
"#;

const AUTHORIZATION: &str = r#"apiVersion: apiserver.config.k8s.io/v1
kind: AuthorizationConfiguration
authorizers:
- {type: Node, name: node}
- type: Webhook
  name: hook
  webhook:
    timeout: 3s
    authorizedTTL: 5m
    subjectAccessReviewVersion: v1
    matchConditionSubjectAccessReviewVersion: v1
    failurePolicy: Deny
    connectionInfo: {type: KubeConfigFile, kubeConfigFile: /nowhere}
    matchConditions: [{expression: "request.user != 'a' || has(request.resourceAttributes)"}]
- {type: RBAC, name: rbac}
"#;

const AUDIT: &str = r#"apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: None, users: ["system:kube-proxy"], verbs: [watch], resources: [{group: "", resources: [endpoints]}]}
- {level: Metadata, nonResourceURLs: ["/api*"], omitManagedFields: true}
- {level: RequestResponse, namespaces: [kube-system], userGroups: [a]}
"#;

const ADMISSION: &str = r#"apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- name: PodSecurity
  configuration: {apiVersion: pod-security.admission.config.k8s.io/v1, kind: PodSecurityConfiguration, defaults: {enforce: baseline}}
- name: ResourceQuota
  configuration:
    apiVersion: apiserver.config.k8s.io/v1
    kind: ResourceQuotaConfiguration
    limitedResources:
    - {resource: pods, matchContains: [cpu], matchScopes: [{scopeName: PriorityClass, operator: In, values: [a]}]}
- {name: ValidatingAdmissionWebhook, configuration: {apiVersion: apiserver.config.k8s.io/v1, kind: WebhookAdmissionConfiguration}}
"#;

const KUBECONFIG: &str = r#"{current-context: c, contexts: [{name: c, context: {cluster: k, user: u}}],
clusters: [{name: k, cluster: {server: 'https://h.test/x', certificate-authority-data: eA==}}],
users: [{name: u, user: {token: t, client-certificate-data: eA==, client-key-data: eA==}}]}"#;

/// Every one of them, changed a few thousand times.
fn broken(seed: u64, text: &str, mut read: impl FnMut(&str)) {
    let mut random = Random(seed);
    read(text);
    for _ in 0..1500 {
        let mutated = random.mutate(text.as_bytes());
        if let Ok(mutated) = std::str::from_utf8(&mutated) {
            read(mutated);
        }
    }
}

#[test]
fn broken_configurations_are_refused_or_taken_and_never_panic() {
    assert!(AuthenticationConfig::parse(AUTHENTICATION).is_ok());
    assert!(AuditPolicy::parse(AUDIT).is_ok());
    let admission = |text: &str| AdmissionConfig::parse(text, Path::new("/nowhere"));
    assert!(admission(ADMISSION).is_ok());
    assert!(Kubeconfig::parse(KUBECONFIG, Path::new("/nowhere")).is_ok());
    let error = AuthorizationConfig::parse(AUTHORIZATION).expect_err("its kubeconfig is nowhere").to_string();
    assert!(error.contains("kubeConfigFile"), "{error}");
    broken(1, AUTHENTICATION, |text| drop(AuthenticationConfig::parse(text)));
    broken(2, AUTHORIZATION, |text| drop(AuthorizationConfig::parse(text)));
    broken(3, AUDIT, |text| drop(AuditPolicy::parse(text)));
    broken(6, ADMISSION, |text| drop(admission(text)));
    broken(4, KUBECONFIG, |text| drop(Kubeconfig::parse(text, Path::new("/nowhere"))));
    // Texts that unfold to far more than they are.
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let inner = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{inner}]\n"));
    }
    assert!(AuthenticationConfig::parse(&bomb).is_err());
    assert!(AuthorizationConfig::parse(&bomb).is_err());
    assert!(AuditPolicy::parse(&bomb).is_err());
    let nested = "plugins: [{name: PodSecurity, configuration: *a11}]";
    assert!(admission(&format!("{bomb}{nested}\n")).is_err());
    let deep = format!("jwt: {}", "[".repeat(50_000));
    assert!(AuthenticationConfig::parse(&deep).is_err());
}

#[tokio::test]
async fn a_changed_token_is_nobodys() {
    let key = SigningKey::generate().expect("randomness");
    let keys = vec![key.verifying_key().clone()];
    let claims = Claims {
        audiences: vec!["api".into()],
        issuer: "https://us.test".into(),
        expires: i64::MAX,
        subject: "system:serviceaccount:a:b".into(),
        ..Claims::default()
    };
    let token = sign(&claims, &key).expect("it signs");
    let issuers = [claims.issuer.clone()];
    let config = AuthenticationConfig::parse(AUTHENTICATION).expect("sound");
    let others = StructuredAuthentication::new(config, Arc::new(NoRemote), Arc::new(SystemEnvironment));
    assert_eq!(verify(&token, &issuers, &keys).expect("sound"), claims);
    let mut random = Random(5);
    for _ in 0..3000 {
        let mutated = random.mutate(token.as_bytes());
        let Ok(mutated) = std::str::from_utf8(&mutated) else { continue };
        assert!(mutated == token || verify(mutated, &issuers, &keys).is_err(), "{mutated}");
        let asked = others.authenticate_token(mutated, &["api".into()]).await;
        assert!(!matches!(asked, Ok(Some(_))), "{mutated}");
    }
    for _ in 0..500 {
        let noise: String = (0..random.below(200)).map(|_| char::from(random.next().to_le_bytes()[0] & 0x7f)).collect();
        assert!(verify(&noise, &issuers, &keys).is_err());
        drop(VerifyingKey::from_pem(&noise));
        drop(SigningKey::from_pem(&noise));
    }
}

#[cfg(all(feature = "serve", feature = "pki"))]
#[tokio::test]
async fn a_changed_certificate_is_nobodys() {
    use kubewright_apiserver::authn::{Authenticator, ClientAuthorities, ClientCertificates, PeerCertificates};
    use kubewright_apiserver::pki::{Pki, PkiConfig};
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject;

    let directory = tempfile::tempdir().expect("a directory");
    let pki = Pki::load_or_create(directory.path(), &PkiConfig::default(), jiff::Timestamp::now()).expect("keys");
    let authorities = ClientAuthorities::new(pki.authority.certificate_pem()).expect("an authority");
    let certificates = ClientCertificates::new(authorities, Arc::new(SystemEnvironment));
    let sound = CertificateDer::from_pem_slice(pki.kubelet_client.certificate.as_bytes()).expect("a certificate");
    let identify = async |der: Vec<u8>| {
        let peer = PeerCertificates::new(Some(&[CertificateDer::from(der)])).expect("one certificate");
        let mut parts = http::Request::new(()).into_parts().0;
        parts.extensions.insert(peer);
        certificates.authenticate(&parts).await
    };
    assert!(identify(sound.to_vec()).await.expect("it is believed").is_some());
    let mut random = Random(6);
    for _ in 0..1000 {
        let mutated = random.mutate(&sound);
        if mutated != *sound {
            assert!(!matches!(identify(mutated).await, Ok(Some(_))));
        }
    }
}

#[cfg(feature = "encryption")]
#[test]
fn a_broken_encryption_configuration_never_panics() {
    use kubewright_apiserver::encryption::EncryptionConfig;

    const ENCRYPTION: &str = r#"apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets, '*.apps']
  providers:
  - aesgcm: {keys: [{name: one, secret: YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXoxMjM0NTY=}]}
  - kms: {apiVersion: v2, name: k, endpoint: 'unix:///run/kms.sock', timeout: 3s}
  - identity: {}
"#;
    assert!(EncryptionConfig::parse(ENCRYPTION).is_ok());
    broken(7, ENCRYPTION, |text| drop(EncryptionConfig::parse(text)));
}
