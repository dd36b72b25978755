//! Authentication and authorization by upstream's configurations and webhooks, over the API, with the webhooks in process.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use http::Response;
use kubewright_apiserver::authn::{AuthenticationConfig, StructuredAuthentication, TokenWebhookConfig};
use kubewright_apiserver::authz::StructuredAuthorization;
use kubewright_apiserver::environment::SystemEnvironment;
use kubewright_apiserver::remote::{Kubeconfig, Remote, RemoteError, Target};
use kubewright_apiserver::server::Builder;

use super::*;

type Answers = Box<dyn Fn(&Value) -> Value + Send + Sync>;

/// A webhook that gives reviews a status, and remembers who asked for what.
struct Webhook {
    answers: Answers,
    asked: Mutex<Vec<Value>>,
}

impl Webhook {
    fn new(answers: impl Fn(&Value) -> Value + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { answers: Box::new(answers), asked: Mutex::default() })
    }

    fn asked(&self) -> usize {
        self.asked.lock().expect("no panic").len()
    }
}

#[async_trait]
impl Remote for Webhook {
    async fn send(&self, _: &Target, request: Request<Bytes>) -> Result<Response<Bytes>, RemoteError> {
        let review: Value = serde_json::from_slice(request.body()).expect("a review");
        let answer = json!({"status": (self.answers)(&review["spec"])});
        self.asked.lock().expect("no panic").push(review);
        Ok(Response::new(answer.to_string().into()))
    }
}

const KUBECONFIG: &str = "{current-context: c, contexts: [{name: c, context: {cluster: k}}], clusters: [{name: k, cluster: \
                          {server: 'https://hook.test/review'}}]}";

async fn review_token(admin: &ApiServer, token: &str, audiences: Value) -> Value {
    let review = json!({"spec": {"token": token, "audiences": audiences}});
    made(admin, "/apis/authentication.k8s.io/v1/tokenreviews", review).await["status"].clone()
}

#[tokio::test]
async fn a_webhook_tells_whose_tokens_are_and_is_not_asked_twice() {
    let webhook = Webhook::new(|spec| match spec["token"].as_str() {
        Some("good") => json!({"authenticated": true, "user": {"username": "ann", "uid": "7", "groups": ["dev"],
            "extra": {"a.test/b": ["c"]}}}),
        Some("vault") => {
            json!({"authenticated": true, "user": {"username": "ann"}, "audiences": ["vault"]})
        }
        _ => json!({"authenticated": false, "error": "no such token"}),
    });
    let kubeconfig = Kubeconfig::parse(KUBECONFIG, Path::new("/")).expect("a sound kubeconfig");
    let builder = ApiServer::builder(Arc::new(MemoryStore::new())).remote(Arc::clone(&webhook) as _);
    let server = builder.token_webhook(TokenWebhookConfig::new(kubeconfig)).build().await.expect("a server");
    let admin = server.as_user(User::admin());
    let who = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    for _ in 0..3 {
        let request =
            Request::post(who).header("authorization", "Bearer good").header("content-type", "application/json");
        let answer = common::exchange(&server, request.body(Full::new("{}".into())).expect("a sound request")).await;
        let user = &answer.json()["status"]["userInfo"];
        assert_eq!(
            (&user["username"], &user["uid"], &user["extra"]),
            (&json!("ann"), &json!("7"), &json!({"a.test/b": ["c"]}))
        );
        assert_eq!(user["groups"], json!(["dev", "system:authenticated"]));
        assert_eq!(with_token(&server, "/api/v1/namespaces", "bad").await.code, 401);
    }
    // One question for each of the two.
    assert_eq!(webhook.asked(), 2);
    // The webhook's own audiences count; where it names none, the API server's.
    assert_eq!(with_token(&server, "/api/v1/namespaces", "vault").await.code, 401);
    let status = review_token(&admin, "vault", json!(["vault", "other"])).await;
    assert_eq!((&status["authenticated"], &status["audiences"]), (&json!(true), &json!(["vault"])));
    assert_eq!(review_token(&admin, "good", json!(["vault"])).await["authenticated"], Value::Null);
    let refused = review_token(&admin, "bad", json!([])).await;
    assert_eq!(refused["error"], json!("[invalid bearer token, no such token]"));
    server.shutdown().await;
}

#[tokio::test]
async fn the_authentication_configuration_says_who_comes_without_credentials() {
    let config = AuthenticationConfig::parse(
        "{apiVersion: apiserver.config.k8s.io/v1, kind: AuthenticationConfiguration, anonymous: {enabled: true, \
         conditions: [{path: /livez}]}}",
    );
    let remote: Arc<dyn Remote> = Webhook::new(|_| json!({}));
    let authentication =
        StructuredAuthentication::new(config.expect("sound"), Arc::clone(&remote), Arc::new(SystemEnvironment));
    let store = || Arc::new(MemoryStore::new());
    let server = ApiServer::builder(store()).authentication(authentication).build().await.expect("a server");
    assert_eq!(get(&server, "/livez").await.code, 200);
    for path in ["/readyz", "/healthz", "/livez/ping", "/livez/", "/api"] {
        assert_eq!(get(&server, path).await.code, 401, "{path}");
    }
    server.shutdown().await;
    // Nobody else speaks for the issuer of service account tokens.
    let config = AuthenticationConfig::parse(
        "{apiVersion: apiserver.config.k8s.io/v1, kind: AuthenticationConfiguration, jwt: [{issuer: {url: \
         'https://kubernetes.default.svc.cluster.local', audiences: [a]}, claimMappings: {username: {claim: sub, prefix: ''}}}]}",
    );
    let authentication = StructuredAuthentication::new(config.expect("sound"), remote, Arc::new(SystemEnvironment));
    let Err(error) = ApiServer::builder(store()).authentication(authentication).build().await else {
        panic!("it is refused")
    };
    assert!(error.to_string().contains("URL must not overlap with disallowed issuers"), "{error}");
}

/// A server whose chain is a webhook with these fields, then RBAC.
async fn with_chain(webhook: &Arc<Webhook>, fields: &str) -> (ApiServer, ApiServer, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let (kubeconfig, file) = (directory.path().join("hook.kubeconfig"), directory.path().join("authz.yaml"));
    std::fs::write(&kubeconfig, KUBECONFIG).expect("a file");
    let text = format!(
        "{{apiVersion: apiserver.config.k8s.io/v1, kind: AuthorizationConfiguration, authorizers: [{{type: Webhook, name: \
         hook, webhook: {{timeout: 3s, subjectAccessReviewVersion: v1, matchConditionSubjectAccessReviewVersion: v1, \
         connectionInfo: {{type: KubeConfigFile, kubeConfigFile: '{}'}}, {fields}}}}}, {{type: RBAC, name: rbac}}]}}",
        kubeconfig.display()
    );
    std::fs::write(&file, text).expect("a file");
    let remote: Arc<dyn Remote> = Arc::clone(webhook) as _;
    let chain = StructuredAuthorization::from_file(file, remote, Arc::new(SystemEnvironment)).await;
    let builder = ApiServer::builder(Arc::new(MemoryStore::new()));
    let tokens = [("ann".to_owned(), User::new("ann", &[])), ("bob".to_owned(), User::new("bob", &[]))];
    let builder = builder.static_tokens(tokens).authorization(chain.expect("a sound configuration"));
    let server = builder.build().await.expect("a server");
    let admin = server.as_user(User::admin());
    (server, admin, directory)
}

#[tokio::test]
async fn a_webhook_decides_before_roles_do() {
    let webhook = Webhook::new(|spec| match (spec["user"].as_str(), spec["resourceAttributes"]["verb"].as_str()) {
        (Some("ann"), Some("list")) => json!({"allowed": true}),
        (Some("ann"), Some("delete")) => json!({"denied": true, "reason": "not ann"}),
        _ => json!({"allowed": false}),
    });
    let conditions = "failurePolicy: Deny, matchConditions: [{expression: \"!has(request.resourceAttributes) || \
                      request.resourceAttributes.namespace != 'kube-system'\"}]";
    let (server, admin, directory) = with_chain(&webhook, conditions).await;
    assert_eq!(with_token(&server, PODS, "ann").await.code, 200);
    assert_eq!(with_token(&server, PODS, "bob").await.code, 403);
    let asked = webhook.asked();
    // Remembered, and not asked about what its conditions leave out, nor about administrators.
    assert_eq!(with_token(&server, PODS, "ann").await.code, 200);
    assert_eq!(with_token(&server, "/api/v1/namespaces/kube-system/pods", "ann").await.code, 403);
    assert_eq!(get(&admin, PODS).await.code, 200);
    assert_eq!(webhook.asked(), asked);
    // A no ends the chain, whatever roles say.
    let binding = json!({
        "metadata": {"name": "all"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "ann"},
            {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "bob"}],
    });
    made(&admin, &format!("{RBAC}/clusterrolebindings"), binding).await;
    made(&admin, "/api/v1/namespaces/default/configmaps", json!({"metadata": {"name": "m"}})).await;
    let delete = |token: &'static str| {
        let request = Request::delete(format!("{PODS}/x")).header("authorization", format!("Bearer {token}"));
        let request = request.body(Full::new(Bytes::new())).expect("a sound request");
        let server = server.clone();
        async move { common::exchange(&server, request).await.fault() }
    };
    let (code, _, message) = delete("ann").await;
    assert!(code == 403 && message.ends_with(": not ann"), "{code} {message}");
    assert_eq!(delete("bob").await.0, 404);
    // What may be done cannot all be listed.
    let rules = json!({"spec": {"namespace": "default"}});
    let rules = made(&admin, "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", rules).await["status"].clone();
    assert_eq!(rules["incomplete"], json!(true));
    assert!(rules["evaluationError"].as_str().expect("a text").contains("webhook authorizer does not support"));
    let metrics = String::from_utf8(get(&admin, "/metrics").await.bytes.to_vec()).expect("text");
    for line in [
        "apiserver_authorization_webhook_evaluations_total{name=\"hook\",result=\"success\"}",
        "apiserver_authorization_match_condition_exclusions_total{type=\"Webhook\",name=\"hook\"}",
        "apiserver_authorization_decisions_total{type=\"Webhook\",name=\"hook\",decision=\"denied\"} 1",
        "authorization_attempts_total{result=\"allowed\"}",
        "apiserver_storage_objects{resource=\"clusterroles.rbac.authorization.k8s.io\"} ",
        "apiserver_storage_size_bytes{storage_cluster_id=\"etcd-0\"} ",
        "authentication_attempts{result=\"success\"}",
        "authenticated_user_requests{username=\"other\"}",
        "apiserver_admission_controller_admission_duration_seconds_count{name=\"NamespaceLifecycle\"",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    server.shutdown().await;
    drop(directory);
}

#[tokio::test]
async fn a_chain_is_followed_and_types_stay() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("authz.yaml");
    let write = |authorizers: &str| {
        let head = "apiVersion: apiserver.config.k8s.io/v1, kind: AuthorizationConfiguration";
        std::fs::write(&file, format!("{{{head}, authorizers: [{authorizers}]}}")).expect("a file");
    };
    let open = || async {
        let remote: Arc<dyn Remote> = Webhook::new(|_| json!({}));
        let chain = StructuredAuthorization::from_file(file.clone(), remote, Arc::new(SystemEnvironment)).await;
        chain.expect("a sound configuration")
    };
    write("{type: RBAC, name: rbac}");
    // One that a server follows, and one that is read again by hand.
    let (followed, by_hand) = (open().await, open().await);
    let tokens = [("bob".to_owned(), User::new("bob", &[]))];
    let builder = ApiServer::builder(Arc::new(MemoryStore::new())).static_tokens(tokens);
    let server = builder.authorization(followed).build().await.expect("a server");
    let until = |code: u16| {
        let server = server.clone();
        async move {
            while with_token(&server, PODS, "bob").await.code != code {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    };
    let within = |wait| tokio::time::timeout(Duration::from_secs(120), wait);
    assert_eq!(with_token(&server, PODS, "bob").await.code, 403);
    assert_eq!(by_hand.reload().await, Ok(false));
    write("{type: RBAC, name: rbac}, {type: AlwaysAllow, name: alwaysallow}");
    assert_eq!(by_hand.reload().await, Ok(true));
    within(until(200)).await.expect("the file is followed");
    for (authorizers, why) in [
        ("{type: AlwaysAllow, name: alwaysallow}", "missing required types: [RBAC]"),
        ("{type: RBAC, name: rbac}, {type: Node, name: node}", "Node is not allowed if it was not enabled"),
        ("", "at least one authorization mode"),
    ] {
        write(authorizers);
        let error = by_hand.reload().await.expect_err("it is refused").to_string();
        assert!(error.contains(why), "{error}");
        assert_eq!(by_hand.reload().await, Ok(false), "the same text is told of once");
        assert_eq!(with_token(&server, PODS, "bob").await.code, 200);
    }
    write("{type: RBAC, name: rbac}");
    within(until(403)).await.expect("the file is followed");
    let metrics = get(&server.as_user(User::admin()), "/metrics").await;
    let metrics = String::from_utf8(metrics.bytes.to_vec()).expect("text");
    let reloads = "apiserver_authorization_config_controller_automatic_reloads_total{status=\"success\",";
    assert!(metrics.contains(reloads), "{metrics}");
    server.shutdown().await;
}

#[tokio::test]
async fn a_server_that_goes_down_is_not_ready_first() {
    let (server, admin) = servers().await;
    assert_eq!(get(&admin, "/readyz").await.code, 200);
    let going = tokio::spawn({
        let server = server.clone();
        async move { server.drain_after(Duration::from_millis(300)).await }
    });
    tokio::time::timeout(Duration::from_secs(30), async {
        while get(&admin, "/readyz").await.code == 200 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("it stops being ready");
    // Alive, and everything is answered meanwhile.
    assert_eq!(get(&admin, "/livez").await.code, 200);
    assert_eq!(get(&admin, PODS).await.code, 200);
    going.await.expect("no panic");
    let metrics = String::from_utf8(get(&admin, "/metrics/slis").await.bytes.to_vec()).expect("text");
    assert!(metrics.contains("kubernetes_healthcheck{name=\"shutdown\",type=\"readyz\"} 0"), "{metrics}");
    server.shutdown().await;
}

#[tokio::test]
async fn keys_and_names_of_before_are_taken_still() {
    use kubewright_apiserver::authn::token::{Issuer, SigningKey};

    let store = Arc::new(MemoryStore::new());
    let old_key = SigningKey::generate().expect("randomness");
    let old_verifying = old_key.verifying_key().clone();
    let first =
        ApiServer::builder(Arc::clone(&store) as _).service_account_issuer(Issuer::new("https://old.test", old_key));
    let first = first.build().await.expect("a server");
    let admin = first.as_user(User::admin());
    made(&admin, "/api/v1/namespaces/default/serviceaccounts", json!({"metadata": {"name": "bot"}})).await;
    let old = token(&admin, "bot", json!({})).await;
    first.shutdown().await;

    let mut issuer = Issuer::new("https://new.test", SigningKey::generate().expect("randomness"));
    issuer.verifying.push(old_verifying);
    issuer.accepted.push("https://old.test".into());
    issuer.audiences.push("https://old.test".into());
    let second = ApiServer::builder(store).service_account_issuer(issuer).build().await.expect("a server");
    let new = token(&second.as_user(User::admin()), "bot", json!({})).await;
    let who = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    for token in [&old, &new] {
        let request = Request::post(who).header("authorization", format!("Bearer {token}"));
        let request = request.header("content-type", "application/json").body(Full::new("{}".into()));
        let answer = common::exchange(&second, request.expect("a sound request")).await;
        let name = answer.json()["status"]["userInfo"]["username"].clone();
        assert_eq!(name, json!("system:serviceaccount:default:bot"));
    }
    let keys = get(&second.as_user(User::admin()), "/openid/v1/jwks").await.json();
    assert_eq!(keys["keys"].as_array().map(Vec::len), Some(2));
    second.shutdown().await;
}

/// Where the keys of service account tokens are is for the configuration to say, never for who asks.
#[tokio::test]
async fn keys_of_service_accounts_are_where_the_configuration_says() {
    const DOCUMENT: &str = "/.well-known/openid-configuration";
    let built = |configure: fn(Builder) -> Builder| configure(ApiServer::builder(Arc::new(MemoryStore::new()))).build();
    let elsewhere: fn(Builder) -> Builder = |builder| builder.service_account_jwks_uri("https://keys.example.com/jwks");
    let unsaid: fn(Builder) -> Builder = |builder| builder;
    for (configure, expected) in
        [(elsewhere, "https://keys.example.com/jwks"), (unsaid, "https://kubernetes.default.svc/openid/v1/jwks")]
    {
        let server = built(configure).await.expect("a server");
        let request = Request::get(DOCUMENT).header("host", "evil.example.com").body(Full::default());
        let answer = common::exchange(&server.as_user(User::admin()), request.expect("a sound request")).await;
        assert_eq!(answer.json()["jwks_uri"], expected);
        server.shutdown().await;
    }
    let plain = built(|builder| builder.service_account_jwks_uri("http://keys.example.com/jwks")).await;
    let error = plain.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains("must be an https URL"), "{error}");
}

/// Extension servers read in a ConfigMap whom to believe; it follows the files.
#[cfg(all(feature = "serve", feature = "pki"))]
#[tokio::test]
async fn extension_servers_are_told_whom_to_believe() {
    use kubewright_apiserver::pki::Authority;

    const MAP: &str = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
    let directory = tempfile::tempdir().expect("a directory");
    let [clients, proxies] = ["clients.crt", "proxies.crt"].map(|name| directory.path().join(name));
    let authority = |name: &str| {
        let authority = Authority::generate(name, jiff::Timestamp::now()).expect("an authority");
        authority.certificate_pem().to_owned()
    };
    let (old, new) = (authority("old"), authority("new"));
    let write = |path: &Path, pem: &str| std::fs::write(path, pem).expect("the directory is there");
    write(&clients, &old);
    write(&proxies, &old);
    let builder = ApiServer::builder(Arc::new(MemoryStore::new())).client_authorities_file(&clients);
    let server = builder.front_proxy_file(&proxies, vec!["front".into()]).build().await.expect("a server");
    let admin = server.as_user(User::admin());
    let data = async || get(&admin, MAP).await.json()["data"].clone();
    let told = data().await;
    assert_eq!((&told["client-ca-file"], &told["requestheader-client-ca-file"]), (&json!(old), &json!(old)));
    assert_eq!(told["requestheader-allowed-names"], "[\"front\"]");
    assert_eq!(told["requestheader-username-headers"], "[\"X-Remote-User\"]");
    let uri = "/api/v1/namespaces/kube-system/configmaps?watch=true&fieldSelector=metadata.name%3Dextension-apiserver-authentication";
    let mut events = common::Events::open(&admin, uri, "application/json").await;
    for (path, key) in [(&proxies, "requestheader-client-ca-file"), (&clients, "client-ca-file")] {
        write(path, &new);
        let follows =
            async { while events.next().await.expect("the watch goes on")["object"]["data"][key] != new.as_str() {} };
        tokio::time::timeout(Duration::from_secs(120), follows).await.expect("the file is followed");
    }
    drop(events);
    server.shutdown().await;
}
