//! An API server behind another.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::jiff::Timestamp;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::api::{Api, ApiResource, DynamicObject, PostParams, WatchEvent, WatchParams};
use kube::core::GroupVersionKind;
use kubewright::apiserver::pki::{Authority, Profile};
use kubewright::apiserver::registry::{OwnResource, ResourceInfo, Strategy, StrategyContext};
use kubewright::apiserver::serve::{Listener, Tls};
use kubewright::apiserver::server::ApiServer;
use kubewright::store::MemoryStore;
use kubewright::testing::TestCluster;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

struct Lamps;

impl Strategy for Lamps {
    fn prepare_for_create(&self, context: &StrategyContext<'_>, lamp: &mut Value) {
        lamp["spec"] = json!({"owner": context.user.name, "groups": context.user.groups});
    }
}

/// A server of lamps on a port, that believes the front proxy.
struct Behind {
    server: ApiServer,
    port: u16,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
}

impl Behind {
    async fn start(serving: &Authority, proxies: &Authority) -> Self {
        let profile = Profile::server("lamps", vec!["lamps.default.svc".into()]);
        let certificate = serving.issue(&profile, Timestamp::now()).expect("a certificate");
        let lamps = OwnResource::new(ResourceInfo::new("home.example.com", "v1", "Lamp"), Arc::new(Lamps));
        let server = ApiServer::builder(Arc::new(MemoryStore::new()))
            .only_resources([])
            .resource(lamps)
            .front_proxy(proxies.certificate_pem(), vec!["front-proxy-client".into()])
            .allow_all()
            .build()
            .await
            .expect("a server");
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = socket.local_addr().expect("it is bound").port();
        let tls = Tls::new(&certificate.certificate, &certificate.key, proxies.certificate_pem()).expect("TLS");
        let shutdown = CancellationToken::new();
        let listener = Listener::from_socket(socket, tls).expect("a listener");
        let serving = tokio::spawn(listener.serve(server.clone(), shutdown.clone()));
        Self { server, port, shutdown, serving }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.server.shutdown().await;
        self.serving.await.expect("it does not panic");
    }
}

fn holds(status: &'static str, reason: &'static str) -> impl Fn(Option<&APIService>) -> bool {
    move |service| {
        let conditions = service.and_then(|service| service.status.as_ref()?.conditions.as_ref());
        let held = |c: &&k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIServiceCondition| {
            c.type_ == "Available" && c.status == status && c.reason.as_deref() == Some(reason)
        };
        conditions.is_some_and(|all| all.iter().any(|condition| held(&condition)))
    }
}

#[tokio::test]
async fn another_server_answers_for_its_group() {
    let now = Timestamp::now();
    let serving = Authority::generate("serving", now).unwrap();
    let proxies = Authority::generate("front-proxy", now).unwrap();
    let behind = Behind::start(&serving, &proxies).await;
    let identity = proxies.issue(&Profile::client("front-proxy-client", &[]), now).unwrap();
    let front = move |builder: kubewright::apiserver::server::Builder| {
        builder.front_proxy_client(&identity.certificate, &identity.key)
    };
    let cluster = TestCluster::builder().patience(Duration::from_secs(600)).customize(front).start().await.unwrap();

    let registration = format!(
        "{{apiVersion: apiregistration.k8s.io/v1, kind: APIService, metadata: {{name: v1.home.example.com}}, spec: \
         {{group: home.example.com, version: v1, groupPriorityMinimum: 1000, versionPriority: 10, caBundle: {}, \
         service: {{namespace: default, name: lamps, port: {}}}}}}}",
        STANDARD.encode(serving.certificate_pem()),
        behind.port,
    );
    cluster.apply(&registration).await.unwrap();
    let registrations: Api<APIService> = Api::all(cluster.client());
    cluster.until(&registrations, "v1.home.example.com", holds("False", "ServiceNotFound")).await.unwrap();
    let alice = cluster.client_as("alice", &["people"]);
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("home.example.com", "v1", "Lamp"));
    let lamps: Api<DynamicObject> = Api::default_namespaced_with(alice.clone(), &kind);
    assert!(lamps.get("desk").await.unwrap_err().to_string().contains("service unavailable"));

    let service =
        "{apiVersion: v1, kind: Service, metadata: {name: lamps}, spec: {type: ExternalName, externalName: localhost}}";
    cluster.apply(service).await.unwrap();
    cluster.until(&registrations, "v1.home.example.com", holds("True", "Passed")).await.unwrap();
    let made = lamps.create(&PostParams::default(), &DynamicObject::new("desk", &kind)).await.unwrap();
    assert_eq!(made.data["spec"], json!({"owner": "alice", "groups": ["people", "system:authenticated"]}));

    // What it serves is shown beside what is served here, in every form.
    let discovery = kube::Discovery::new(alice.clone()).run_aggregated().await.unwrap();
    assert!(discovery.has_group("home.example.com") && discovery.has_group("apps"));
    let (found, _) = discovery.resolve_gvk(&GroupVersionKind::gvk("home.example.com", "v1", "Lamp")).unwrap();
    assert_eq!(found.plural, "lamps");
    assert!(kube::Discovery::new(alice.clone()).run().await.unwrap().has_group("home.example.com"));
    let get = async |path: &str| {
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        alice.request::<Value>(request).await.unwrap()
    };
    let index = get("/openapi/v3").await;
    assert_eq!(index["paths"]["apis/home.example.com/v1"]["serverRelativeURL"], "/openapi/v3/apis/home.example.com/v1");
    assert!(get("/openapi/v3/apis/home.example.com/v1").await["paths"].is_object());
    let described = async {
        while !get("/openapi/v2").await["paths"]["/apis/home.example.com/v1/namespaces/{namespace}/lamps"].is_object() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(600), described).await.expect("its paths are in the one document");

    // Watches are streams through both.
    let mut watch = lamps.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    for name in ["desk", "floor"] {
        if name == "floor" {
            lamps.create(&PostParams::default(), &DynamicObject::new(name, &kind)).await.unwrap();
        }
        let event = watch.try_next().await.unwrap().unwrap();
        assert!(matches!(&event, WatchEvent::Added(lamp) if lamp.metadata.name.as_deref() == Some(name)), "{event:?}");
    }
    drop(watch);

    // Nobody is believed without the front proxy's certificate.
    behind.stop().await;
    cluster.apply(&registration.replace("versionPriority: 10", "versionPriority: 11")).await.unwrap();
    cluster.until(&registrations, "v1.home.example.com", holds("False", "FailedDiscoveryCheck")).await.unwrap();
    assert!(lamps.get("desk").await.unwrap_err().to_string().contains("service unavailable"));
    cluster.stop().await;
}
