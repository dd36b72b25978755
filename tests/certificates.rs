//! Signing requests from end to end: asked for, approved, signed by the controllers, used to log in over TLS, and each
//! step only by who may.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::ByteString;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use kube::runtime::{WatchStreamExt, watcher};
use kubewright::apiserver::pki::{Certificate, Pki, PkiConfig, kubeconfig};
use kubewright::apiserver::request::User;
use kubewright::apiserver::serve::{Listener, Tls};
use kubewright::apiserver::server::ApiServer;
use kubewright::controllers::certificates::{API_SERVER_CLIENT, API_SERVER_CLIENT_KUBELET, Authority, Signing};
use kubewright::controllers::{Manager, grant_access};
use kubewright::store::MemoryStore;
use rcgen::{CertificateParams, DnType, KeyPair};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const LIMIT: Duration = Duration::from_secs(60);

struct Cluster {
    server: ApiServer,
    pki: Pki,
    url: String,
    cancel: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    _directory: tempfile::TempDir,
}

impl Cluster {
    async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let pki = Pki::load_or_create(directory.path(), &PkiConfig::default(), Timestamp::now()).expect("certificates");
        let authority = pki.authority.certificate_pem();
        let builder = ApiServer::builder(Arc::new(MemoryStore::new())).client_authorities(authority);
        let server = builder.build().await.expect("a server");
        let tls = Tls::new(&pki.serving.certificate, &pki.serving.key, authority).expect("certificates");
        let listener = Listener::bind("127.0.0.1:0".parse().expect("an address"), tls).await.expect("a port");
        let url = format!("https://localhost:{}", listener.local_address().port());
        let cancel = CancellationToken::new();
        let admin = Client::new(server.as_user(User::admin()), "default");
        grant_access(&admin).await.expect("roles for controllers");
        let own = server.clone();
        let account = move |account: &str| {
            let groups = ["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"];
            let user = User::new(&format!("system:serviceaccount:kube-system:{account}"), &groups);
            Client::new(own.as_user(user), "default")
        };
        let reader = server.as_user(User::new("system:kube-controller-manager", &["system:authenticated"]));
        let signing = Signing::by(Authority::from_pem(authority, &pki.authority.key_pem()).expect("an authority"));
        let manager = Manager::builder(Client::new(reader, "default"))
            .client_of_account(account)
            .with_all()
            .configure(|config| config.signing = signing)
            .build()
            .expect("controllers");
        let tasks = vec![
            tokio::spawn(listener.serve(server.clone(), cancel.clone())),
            tokio::spawn(manager.run(cancel.clone())),
        ];
        Self { server, pki, url, cancel, tasks, _directory: directory }
    }

    fn as_user(&self, name: &str, groups: &[&str]) -> Client {
        Client::new(self.server.as_user(User::new(name, groups)), "default")
    }

    fn admin(&self) -> Client {
        Client::new(self.server.as_user(User::admin()), "default")
    }

    /// A client over the network with that certificate and nothing else.
    async fn with_certificate(&self, certificate: &str, key: &KeyPair) -> Client {
        let client = Certificate { certificate: certificate.to_owned(), key: key.serialize_pem() };
        let text = kubeconfig("test", "test", &self.url, self.pki.authority.certificate_pem(), &client);
        let read = Kubeconfig::from_yaml(&text).expect("a kubeconfig");
        let config =
            Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await.expect("a configuration");
        Client::try_from(config).expect("a client")
    }

    async fn stop(self) {
        self.server.drain();
        self.cancel.cancel();
        for task in self.tasks {
            task.await.expect("it ends by itself");
        }
        self.server.shutdown().await;
    }
}

/// A key, and a request for it under that name.
fn request(name: &str, common_name: &str, group: &str, signer: &str) -> (KeyPair, CertificateSigningRequest) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::OrganizationName, group);
    params.distinguished_name.push(DnType::CommonName, common_name);
    let pem = params.serialize_request(&key).and_then(|request| request.pem()).expect("a request");
    let spec = CertificateSigningRequestSpec {
        request: ByteString(pem.into_bytes()),
        signer_name: signer.into(),
        usages: Some(vec!["client auth".into(), "digital signature".into()]),
        expiration_seconds: Some(3600),
        ..CertificateSigningRequestSpec::default()
    };
    let metadata = ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() };
    (key, CertificateSigningRequest { metadata, spec, status: None })
}

/// Waits until a request has that, and gives it.
async fn until<T>(client: &Client, name: &str, see: impl Fn(&CertificateSigningRequest) -> Option<T>) -> T {
    let api = Api::<CertificateSigningRequest>::all(client.clone());
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut changes = std::pin::pin!(watcher(api, config).default_backoff().applied_objects());
    let look = async {
        loop {
            let Some(Ok(request)) = changes.next().await else { continue };
            if let Some(seen) = see(&request) {
                return seen;
            }
        }
    };
    tokio::time::timeout(LIMIT, look).await.unwrap_or_else(|_| panic!("nothing happens to {name}"))
}

fn certificate(request: &CertificateSigningRequest) -> Option<String> {
    let bytes = &request.status.as_ref()?.certificate.as_ref()?.0;
    Some(String::from_utf8(bytes.clone()).expect("PEM"))
}

async fn approve(client: &Client, name: &str) -> Result<(), kube::Error> {
    let conditions = serde_json::json!([{"type": "Approved", "status": "True", "reason": "KubectlApprove"}]);
    let patch = Patch::Merge(serde_json::json!({"status": {"conditions": conditions}}));
    let api = Api::<CertificateSigningRequest>::all(client.clone());
    api.patch_approval(name, &PatchParams::default(), &patch).await.map(drop)
}

async fn who(client: &Client) -> (String, Vec<String>) {
    let review = Api::<SelfSubjectReview>::all(client.clone());
    let answer = review.create(&PostParams::default(), &SelfSubjectReview::default()).await.expect("a review");
    let user = answer.status.and_then(|status| status.user_info).expect("a user");
    (user.username.unwrap_or_default(), user.groups.unwrap_or_default())
}

#[tokio::test]
async fn approved_requests_become_certificates_that_log_in() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let all = Api::<CertificateSigningRequest>::all(admin.clone());
    let (key, asked) = request("jane", "jane", "staff", API_SERVER_CLIENT);
    all.create(&PostParams::default(), &asked).await.expect("created");
    let stranger = cluster.as_user("stranger", &["system:authenticated"]);
    assert!(approve(&stranger, "jane").await.is_err(), "not everybody approves");
    approve(&admin, "jane").await.expect("approved");
    let pem = until(&admin, "jane", certificate).await;
    let client = cluster.with_certificate(&pem, &key).await;
    let (name, groups) = who(&client).await;
    assert_eq!(name, "jane");
    assert_eq!(groups, ["staff", "system:authenticated"]);
    let (_, asked) = request("wrong", "kubelet", "staff", API_SERVER_CLIENT_KUBELET);
    all.create(&PostParams::default(), &asked).await.expect("created");
    approve(&admin, "wrong").await.expect("approved");
    let why = until(&admin, "wrong", |request| {
        let conditions = request.status.as_ref()?.conditions.as_ref()?;
        let failed = conditions.iter().find(|condition| condition.type_ == "Failed")?;
        Some((failed.reason.clone().unwrap_or_default(), failed.message.clone().unwrap_or_default()))
    })
    .await;
    assert_eq!(why, ("SignerValidationFailure".into(), "subject organization is not system:nodes".into()));
    cluster.stop().await;
}

#[tokio::test]
async fn kubelets_are_approved_by_right_alone() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let nodes = "system:nodes";
    // A kubelet that joins: whoever has a bootstrap token may ask, and may be approved once that right is given.
    let joining = cluster.as_user("system:bootstrap:abcdef", &["system:bootstrappers", "system:authenticated"]);
    let binding = |name: &str, role: &str, group: &str| {
        serde_json::json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group}],
        })
    };
    let bind = async |name: &str, role: &str, group: &str| {
        let binding = serde_json::from_value(binding(name, role, group)).expect("a binding");
        let api = Api::<k8s_openapi::api::rbac::v1::ClusterRoleBinding>::all(admin.clone());
        api.create(&PostParams::default(), &binding).await.expect("bound");
    };
    bind("join", "system:node-bootstrapper", "system:bootstrappers").await;
    let own = Api::<CertificateSigningRequest>::all(joining);
    let (key, asked) = request("join", "system:node:n", nodes, API_SERVER_CLIENT_KUBELET);
    own.create(&PostParams::default(), &asked).await.expect("created");
    bind("approve", "system:certificates.k8s.io:certificatesigningrequests:nodeclient", "system:bootstrappers").await;
    let pem = until(&admin, "join", certificate).await;
    let kubelet = cluster.with_certificate(&pem, &key).await;
    assert_eq!(who(&kubelet).await.0, "system:node:n");
    let node = Node { metadata: ObjectMeta { name: Some("n".into()), ..ObjectMeta::default() }, ..Node::default() };
    Api::<Node>::all(kubelet.clone()).create(&PostParams::default(), &node).await.expect("it registers itself");

    // It renews its own, and nobody else's.
    let right = "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient";
    bind("renew", right, nodes).await;
    let own = Api::<CertificateSigningRequest>::all(kubelet);
    let (_, another) = request("another", "system:node:other", nodes, API_SERVER_CLIENT_KUBELET);
    assert!(own.create(&PostParams::default(), &another).await.is_err(), "another node's");
    let (_, asked) = request("renew", "system:node:n", nodes, API_SERVER_CLIENT_KUBELET);
    own.create(&PostParams::default(), &asked).await.expect("created");
    let message = until(&admin, "renew", |request| {
        certificate(request)?;
        request.status.as_ref()?.conditions.as_ref()?.first()?.message.clone()
    })
    .await;
    assert_eq!(message, "Auto approving self kubelet client certificate after SubjectAccessReview.");
    cluster.stop().await;
}
