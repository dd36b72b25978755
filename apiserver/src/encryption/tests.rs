//! A server over encrypted stores: what lies in the store, what comes out, and what happens when keys change.

mod lost_keys;

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kubewright_store::{KeyRange, MemoryStore, RangeOptions, StoreExt};
use tokio::net::UnixListener;

use super::*;
use crate::environment::SystemEnvironment;
use crate::request::User;
use crate::server::ApiServer;

const KEY_A: &str = "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXoxMjM0NTY=";
const KEY_B: &str = "YmJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXoxMjM0NTY=";
const AT: &str = "/registry/core/secrets/default/color";

fn config(resources: &str, providers: &[String]) -> EncryptionConfig {
    EncryptionConfig::parse(&text(resources, providers)).expect("a configuration")
}

fn text(resources: &str, providers: &[String]) -> String {
    let head = "kind: EncryptionConfiguration\napiVersion: apiserver.config.k8s.io/v1";
    format!("{head}\nresources: [{{resources: [{resources}], providers: [{}]}}]\n", providers.join(", "))
}

fn keys(provider: &str, keys: &[(&str, &str)]) -> String {
    let keys: Vec<String> = keys.iter().map(|(name, secret)| format!("{{name: {name}, secret: {secret}}}")).collect();
    format!("{{{provider}: {{keys: [{}]}}}}", keys.join(", "))
}

fn identity() -> String {
    "{identity: {}}".into()
}

fn kms(socket: &Path) -> String {
    format!("{{kms: {{apiVersion: v2, name: mine, endpoint: 'unix://{}', timeout: 60s}}}}", socket.display())
}

async fn encryption(config: &EncryptionConfig) -> Encryption {
    Encryption::new(config, Arc::new(SystemEnvironment)).await.expect("keys")
}

async fn serve(store: &Arc<MemoryStore>, encryption: Option<Encryption>) -> (ApiServer, Api<Secret>) {
    let mut builder = ApiServer::builder(Arc::clone(store) as Arc<dyn Store>).allow_all();
    if let Some(encryption) = encryption {
        builder = builder.encryption(encryption);
    }
    let server = builder.build().await.expect("a server");
    let client = kube::Client::new(server.as_user(User::admin()), "default");
    (server, Api::default_namespaced(client))
}

fn secret() -> Secret {
    serde_json::from_value(serde_json::json!({"metadata": {"name": "color"}, "stringData": {"color": "green"}}))
        .expect("a secret")
}

fn color(secret: &Secret) -> String {
    let data = secret.data.as_ref().and_then(|data| data.get("color"));
    String::from_utf8(data.map(|data| data.0.clone()).unwrap_or_default()).expect("text")
}

async fn raw(store: &MemoryStore) -> Vec<u8> {
    let page = store.range(KeyRange::key(AT), RangeOptions::latest()).await.expect("a page");
    page.entries.first().map(|entry| entry.value.to_vec()).unwrap_or_default()
}

fn begins(value: &[u8], start: &str) -> bool {
    value.starts_with(start.as_bytes())
}

#[tokio::test]
async fn secrets_are_encrypted_in_the_store_and_plain_outside() {
    for (provider, prefix) in [
        ("aesgcm", "k8s:enc:aesgcm:v1:a:"),
        ("aescbc", "k8s:enc:aescbc:v1:a:"),
        ("secretbox", "k8s:enc:secretbox:v1:a:"),
    ] {
        let store = Arc::new(MemoryStore::new());
        let config = config("secrets", &[keys(provider, &[("a", KEY_A)])]);
        let (server, secrets) = serve(&store, Some(encryption(&config).await)).await;
        assert_eq!(color(&secrets.create(&PostParams::default(), &secret()).await.unwrap()), "green");
        assert!(begins(&raw(&store).await, prefix));
        assert_eq!(color(&secrets.get("color").await.unwrap()), "green");
        let list = secrets.list(&ListParams::default()).await.unwrap();
        assert_eq!(color(&list.items[0]), "green");
        let change = serde_json::json!({"stringData": {"color": "blue"}});
        secrets.patch("color", &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
        assert_eq!(color(&secrets.get("color").await.unwrap()), "blue");
        assert!(begins(&raw(&store).await, prefix));
        server.shutdown().await;
        // The next server finds it too.
        let (server, secrets) = serve(&store, Some(encryption(&config).await)).await;
        assert_eq!(color(&secrets.list(&ListParams::default()).await.unwrap().items[0]), "blue");
        server.shutdown().await;
    }
}

#[tokio::test]
async fn keys_are_rotated_by_writing_what_there_is_again() {
    let store = Arc::new(MemoryStore::new());
    let (server, secrets) = serve(&store, None).await;
    secrets.create(&PostParams::default(), &secret()).await.unwrap();
    server.shutdown().await;
    let steps = [
        (vec![keys("aesgcm", &[("a", KEY_A)]), identity()], "k8s:enc:aesgcm:v1:a:"),
        (vec![keys("aesgcm", &[("b", KEY_B), ("a", KEY_A)])], "k8s:enc:aesgcm:v1:b:"),
        (vec![keys("secretbox", &[("a", KEY_A)]), keys("aesgcm", &[("b", KEY_B)])], "k8s:enc:secretbox:v1:a:"),
        (vec![identity(), keys("secretbox", &[("a", KEY_A)])], "{\"apiVersion\":\"v1\",\"kind\":\"Secret\""),
    ];
    let keyring = encryption(&config("secrets", &steps[0].0)).await;
    let (server, secrets) = serve(&store, Some(keyring.clone())).await;
    for (providers, prefix) in steps {
        keyring.replace(&config("'*.*'", &providers)).await.unwrap();
        assert!(!begins(&raw(&store).await, prefix));
        // An update that changes nothing, as `kubectl get secrets -o json | kubectl replace -f -` does.
        let found = secrets.get("color").await.unwrap();
        assert_eq!(color(&found), "green");
        secrets.replace("color", &PostParams::default(), &found).await.unwrap();
        let value = raw(&store).await;
        assert!(begins(&value, prefix), "{}", String::from_utf8_lossy(&value));
        // What is fresh is left alone.
        secrets.replace("color", &PostParams::default(), &secrets.get("color").await.unwrap()).await.unwrap();
        assert_eq!(raw(&store).await, value);
    }
    server.shutdown().await;
}

#[tokio::test]
async fn what_cannot_be_read_is_an_error_and_nobody_elses_value() {
    let store = Arc::new(MemoryStore::new());
    let first = encryption(&config("secrets", &[keys("aesgcm", &[("a", KEY_A)])])).await;
    let (server, secrets) = serve(&store, Some(first)).await;
    secrets.create(&PostParams::default(), &secret()).await.unwrap();
    server.shutdown().await;
    let stolen = raw(&store).await;
    store.put("/registry/core/secrets/default/stolen", stolen).await.unwrap();
    for (providers, names) in [
        (vec![keys("aesgcm", &[("a", KEY_B)])], ["color", "stolen"].as_slice()),
        (vec![identity()], &["color", "stolen"]),
        // Moved under another name, it is not what was encrypted there.
        (vec![keys("aesgcm", &[("a", KEY_A)])], &["stolen"]),
    ] {
        let (server, secrets) = serve(&store, Some(encryption(&config("secrets", &providers)).await)).await;
        for name in names {
            let refused = secrets.get(name).await.unwrap_err().to_string();
            let key = format!("unable to transform key \"/registry/core/secrets/default/{name}\": ");
            assert!(refused.contains(&key), "{refused}");
        }
        server.shutdown().await;
    }
    // Nor is a plain value taken where only encrypted ones may be.
    store.put(AT, r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"color"}}"#).await.unwrap();
    let strict = encryption(&config("secrets", &[keys("aesgcm", &[("a", KEY_A)])])).await;
    let (server, secrets) = serve(&store, Some(strict)).await;
    assert!(secrets.get("color").await.unwrap_err().to_string().contains("no matching prefix found"));
    server.shutdown().await;
}

#[tokio::test]
async fn the_file_is_followed_and_a_bad_one_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("encryption.yaml");
    let write = |text: String| std::fs::write(&path, text).unwrap();
    write(text("secrets", &[keys("aesgcm", &[("a", KEY_A)])]));
    let keyring = Encryption::from_file(path.clone(), Arc::new(SystemEnvironment)).await.unwrap();
    let (key, plain) = (AT.as_bytes(), Bytes::from("x"));
    assert!(!keyring.reload().await.unwrap());
    for bad in ["nonsense".to_owned(), text("secrets", &[kms(&directory.path().join("nobody"))])] {
        write(bad);
        assert!(keyring.reload().await.is_err());
        assert!(begins(&keyring.seal(key, &plain).await.unwrap(), "k8s:enc:aesgcm:v1:a:"));
    }
    write(text("secrets", &[keys("aesgcm", &[("b", KEY_B)])]));
    assert!(keyring.reload().await.unwrap());
    assert!(begins(&keyring.seal(key, &plain).await.unwrap(), "k8s:enc:aesgcm:v1:b:"));
    assert!(Encryption::from_file(directory.path().join("none"), Arc::new(SystemEnvironment)).await.is_err());
}

#[tokio::test]
async fn earlier_rules_may_not_mask_later_ones() {
    let rules = "kind: EncryptionConfiguration\napiVersion: apiserver.config.k8s.io/v1\nresources:\n\
                 - {resources: ['*.apps'], providers: [{identity: {}}]}\n\
                 - {resources: [deployments.apps], providers: [{identity: {}}]}\n";
    let config = EncryptionConfig::parse(rules).unwrap();
    let refused = Encryption::new(&config, Arc::new(SystemEnvironment)).await.unwrap_err();
    assert!(refused.problem.contains(r#"resource "deployments.apps" is masked by earlier rule "*.apps""#), "{refused}");
}

/// A service that "wraps" a key by turning its bits over, and says which key id it uses.
struct FakeService {
    key_id: Mutex<String>,
    calls: Mutex<Vec<String>>,
    health: Mutex<String>,
}

impl FakeService {
    fn listen(socket: PathBuf) -> (Arc<Self>, tokio::task::JoinHandle<()>) {
        let text = |text: &str| Mutex::new(text.to_owned());
        let fake = Arc::new(Self { key_id: text("1"), calls: Mutex::new(Vec::new()), health: text("ok") });
        let listener = UnixListener::bind(socket).expect("a socket");
        let service = Arc::clone(&fake);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = Arc::clone(&service);
                let answer = service_fn(move |request| Arc::clone(&service).answer(request));
                let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                tokio::spawn(connection.serve_connection(TokioIo::new(stream), answer));
            }
        });
        (fake, task)
    }

    fn calls(&self, method: &str) -> usize {
        self.calls.lock().unwrap().iter().filter(|call| *call == method).count()
    }

    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<
        Response<StreamBody<futures::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>>,
        Infallible,
    > {
        let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        let body = request.into_body().collect().await.expect("a body").to_bytes();
        self.calls.lock().unwrap().push(method.clone());
        // The first field of both requests is the key: a tag, a length below 128, the bytes.
        let key: Vec<u8> = body[5..].iter().skip(2).take(32).map(|byte| !byte).collect();
        let field = |number: u8, bytes: &[u8]| [&[number << 3 | 2, bytes.len() as u8][..], bytes].concat();
        let key_id = self.key_id.lock().unwrap().clone();
        let message = match method.as_str() {
            "Status" => {
                [field(1, b"v2"), field(2, self.health.lock().unwrap().as_bytes()), field(3, key_id.as_bytes())]
                    .concat()
            }
            "Encrypt" => [field(1, &key), field(2, key_id.as_bytes())].concat(),
            _ => field(1, &key),
        };
        let frame = [&[0, 0, 0, 0, message.len() as u8][..], &message].concat();
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
        let frames = vec![Ok(Frame::data(Bytes::from(frame))), Ok(Frame::trailers(trailers))];
        Ok(Response::new(StreamBody::new(futures::stream::iter(frames))))
    }
}

#[tokio::test]
async fn a_key_management_service_wraps_seeds_and_its_key_may_change() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("kms.sock");
    let (service, task) = FakeService::listen(socket.clone());
    let store = Arc::new(MemoryStore::new());
    let config = config("secrets", &[kms(&socket)]);
    let keyring = encryption(&config).await;
    let (server, secrets) = serve(&store, Some(keyring.clone())).await;
    secrets.create(&PostParams::default(), &secret()).await.unwrap();
    let first = raw(&store).await;
    assert!(begins(&first, "k8s:enc:kms:v2:mine:"));
    assert_eq!(color(&secrets.get("color").await.unwrap()), "green");
    // One seed was wrapped, and none had to be unwrapped.
    assert_eq!((service.calls("Encrypt"), service.calls("Decrypt")), (1, 0));
    // Another key: what there is is written anew.
    *service.key_id.lock().unwrap() = "2".into();
    for kms in &keyring.table().services {
        kms.probe(&SystemEnvironment).await.unwrap();
    }
    assert_eq!(service.calls("Encrypt"), 2);
    let found = secrets.get("color").await.unwrap();
    secrets.replace("color", &PostParams::default(), &found).await.unwrap();
    assert_ne!(raw(&store).await, first);
    // An unwell service is told of, and opens and seals for a while yet.
    *service.health.lock().unwrap() = "not ok".into();
    for kms in &keyring.table().services {
        kms.probe(&SystemEnvironment).await.unwrap_err();
    }
    assert!(keyring.check().await.unwrap_err().contains("got unexpected healthz status: not ok"));
    assert_eq!(color(&secrets.get("color").await.unwrap()), "green");
    server.shutdown().await;
    // A new process has the seed unwrapped, once.
    *service.health.lock().unwrap() = "ok".into();
    let (server, secrets) = serve(&store, Some(encryption(&config).await)).await;
    for _ in 0..3 {
        assert_eq!(color(&secrets.get("color").await.unwrap()), "green");
    }
    assert_eq!(service.calls("Decrypt"), 1);
    server.shutdown().await;
    task.abort();
    let _ = task.await;
}

#[tokio::test]
async fn without_its_service_nothing_is_written_in_the_clear() {
    let directory = tempfile::tempdir().unwrap();
    let nobody = encryption(&config("secrets", &[kms(&directory.path().join("nobody"))])).await;
    assert!(nobody.check().await.is_err());
    let refused = nobody.seal(AT.as_bytes(), &Bytes::from("x")).await.unwrap_err();
    assert!(matches!(refused, Fault::Unavailable(_)), "{refused:?}");
}

/// Everything that a store promises holds through this wrapper, too.
mod as_a_store {
    use kubewright_store::ManualClock;
    use kubewright_store::conformance::Fixture;

    use super::*;

    async fn fresh() -> Fixture {
        let clock = ManualClock::new();
        let inner: Arc<dyn Store> = Arc::new(MemoryStore::with_clock(Arc::new(clock.clone())));
        let encryption = encryption(&config("secrets", &[keys("secretbox", &[("first", KEY_A)])])).await;
        let store: Arc<dyn Store> = Arc::new(store::EncryptedStore::new(inner, encryption));
        Fixture::new(store).clock(clock)
    }
    kubewright_store::conformance_suite!(fresh);
}

#[tokio::test]
async fn what_is_encrypted_differently_each_time_cannot_be_compared() {
    use kubewright_store::{Compare, CompareOp, CompareTarget, Error, Op, Txn};

    let encryption = encryption(&config("secrets", &[keys("secretbox", &[("first", KEY_A)])])).await;
    let store = store::EncryptedStore::new(Arc::new(MemoryStore::new()), encryption);
    store.put(AT, "red").await.unwrap();
    let is_red =
        |key: &'static str| Compare::new(KeyRange::key(key), CompareOp::Equal, CompareTarget::Value("red".into()));
    let within = Op::Txn(Txn::new().when(is_red(AT)));
    for txn in [Txn::new().when(is_red(AT)), Txn::new().then(within)] {
        let refused = store.commit(txn.then(Op::put("other", "1"))).await;
        assert!(matches!(&refused, Err(Error::InvalidRequest { reason }) if reason.contains(AT)), "{refused:?}");
    }
    store.put("/registry/core/configmaps/default/color", "red").await.unwrap();
    let open = Txn::new().when(is_red("/registry/core/configmaps/default/color"));
    assert!(store.commit(open).await.unwrap().succeeded);
}
