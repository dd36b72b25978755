//! A key is taken away while there are objects under it, and given back: nobody is told that they were not there.

use futures::{StreamExt, TryStreamExt};
use kube::core::{Status, WatchEvent};
use serde_json::{Value, json};

use super::*;
use crate::objects::{GroupResource, Observer};

type Told = Arc<Mutex<Vec<(String, Option<String>)>>>;

/// Notes what an observer is told: the name, and what the object says of its color.
struct Notes(Told);

impl Observer for Notes {
    fn changed(&self, _: &str, name: &str, object: Option<&Value>) {
        let told = object.map(|object| object["metadata"]["labels"]["color"].as_str().unwrap_or_default().to_owned());
        self.0.lock().unwrap().push((name.to_owned(), told));
    }
}

/// Two servers over one store: what one of them reads depends on its keys, the other has always had the key.
struct Two {
    keyring: Encryption,
    server: ApiServer,
    other: ApiServer,
}

impl Two {
    async fn over(store: &Arc<MemoryStore>, resources: &str) -> Self {
        let with = config(resources, &[keys("aesgcm", &[("a", KEY_A)])]);
        let keyring = encryption(&with).await;
        let build = async |keyring: &Encryption| {
            let builder = ApiServer::builder(Arc::clone(store) as Arc<dyn Store>).encryption(keyring.clone());
            builder.build().await.expect("a server")
        };
        let other = build(&encryption(&with).await).await;
        Self { server: build(&keyring).await, keyring, other }
    }

    /// Has the first server read with these keys.
    async fn keys(&self, resources: &str, with: &[(&str, &str)]) {
        self.keyring.replace(&config(resources, &[keys("aesgcm", with)])).await.unwrap();
    }

    async fn shutdown(self) {
        self.server.shutdown().await;
        self.other.shutdown().await;
    }
}

fn client(server: &ApiServer) -> kube::Client {
    kube::Client::new(server.as_user(User::admin()), "default")
}

fn colored(name: &str, color: &str) -> Secret {
    serde_json::from_value(json!({"metadata": {"name": name, "labels": {"color": color}}})).unwrap()
}

fn refusal<T: std::fmt::Debug>(answer: Result<T, kube::Error>) -> Status {
    match answer {
        Err(kube::Error::Api(status)) => *status,
        other => panic!("{other:?}"),
    }
}

/// Waits until something is so.
async fn until<T>(mut is_so: impl AsyncFnMut() -> Option<T>) -> T {
    let wait = async {
        loop {
            if let Some(found) = is_so().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("it comes to be so")
}

const WHY: &str = "Internal error occurred: unable to transform key \"/registry/core/secrets/default/color\": no matching \
                   key was found";

#[tokio::test]
async fn what_cannot_be_read_is_not_left_out_and_comes_back() {
    let store = Arc::new(MemoryStore::new());
    let two = Two::over(&store, "secrets").await;
    let secrets: Api<Secret> = Api::default_namespaced(client(&two.server));
    let others: Api<Secret> = Api::default_namespaced(client(&two.other));
    for name in ["color", "plain"] {
        others.create(&PostParams::default(), &colored(name, "green")).await.unwrap();
    }
    let before = secrets.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    let told = Told::default();
    two.server.objects().observe(GroupResource::core("secrets"), Arc::new(Notes(Arc::clone(&told))));
    let watch = secrets.watch(&kube::api::WatchParams::default(), &before).await.unwrap();
    let mut watch = watch.boxed();

    two.keys("secrets", &[("b", KEY_B)]).await;
    others
        .patch("color", &PatchParams::default(), &Patch::Merge(json!({"metadata": {"labels": {"color": "red"}}})))
        .await
        .unwrap();
    let Some(WatchEvent::Error(event)) = watch.try_next().await.unwrap() else { panic!("no error") };
    assert_eq!((event.code, event.reason.as_str(), event.message.as_str()), (500, "InternalError", WHY));
    assert!(watch.try_next().await.unwrap().is_none(), "the watch ends");
    let lists = [
        ListParams::default(),
        ListParams::default().limit(1),
        ListParams::default().labels("color=green"),
        ListParams::default().fields("metadata.name=color"),
        ListParams::default().at(&before).matching(kube::api::VersionMatch::NotOlderThan),
    ];
    for params in &lists {
        let refused = refusal(secrets.list(params).await);
        assert_eq!((refused.code, refused.message.as_str()), (500, WHY), "{params:?}");
    }
    assert_eq!(refusal(secrets.get("color").await).message, WHY);
    let watched = secrets.watch(&kube::api::WatchParams::default(), "0").await;
    assert_eq!(refusal(watched.map(drop)).message, WHY);
    let all = ListParams::default();
    let removed = secrets.delete_collection(&kube::api::DeleteParams::default(), &all).await;
    assert_eq!(refusal(removed.map(drop)).code, 500);
    // Everything else is as it was, and goes on.
    let elsewhere: Api<Secret> = Api::namespaced(client(&two.server), "kube-system");
    assert!(elsewhere.list(&ListParams::default()).await.unwrap().items.is_empty());
    let plain = secrets.list(&ListParams::default().fields("metadata.name=plain")).await.unwrap();
    assert_eq!(plain.items.len(), 1);
    secrets.create(&PostParams::default(), &colored("late", "blue")).await.unwrap();
    assert_eq!(told.lock().unwrap()[2..], [("color".to_owned(), None), ("late".to_owned(), Some("blue".to_owned()))]);

    two.keys("secrets", &[("b", KEY_B), ("a", KEY_A)]).await;
    let list = until(async || secrets.list(&ListParams::default()).await.ok()).await;
    let names: Vec<_> = list.items.iter().map(|secret| secret.metadata.name.clone().unwrap()).collect();
    assert_eq!(names, ["color", "late", "plain"]);
    assert_eq!(told.lock().unwrap().last(), Some(&("color".to_owned(), Some("red".to_owned()))));
    // Who saw it as it was before has to look anew.
    let mut watch = secrets.watch(&kube::api::WatchParams::default(), &before).await.unwrap().boxed();
    let Some(WatchEvent::Error(event)) = watch.try_next().await.unwrap() else { panic!("no error") };
    assert_eq!(event.code, 410);
    two.shutdown().await;
}

#[tokio::test]
async fn nobody_may_do_what_an_unreadable_binding_says() {
    let store = Arc::new(MemoryStore::new());
    let resources = "rolebindings.rbac.authorization.k8s.io";
    let two = Two::over(&store, resources).await;
    let binding = json!({"metadata": {"name": "alice"}, "subjects": [{"kind": "User", "name": "alice",
        "apiGroup": "rbac.authorization.k8s.io"}],
        "roleRef": {"kind": "ClusterRole", "name": "view", "apiGroup": "rbac.authorization.k8s.io"}});
    let binding: k8s_openapi::api::rbac::v1::RoleBinding = serde_json::from_value(binding).unwrap();
    let bindings: Api<k8s_openapi::api::rbac::v1::RoleBinding> = Api::default_namespaced(client(&two.other));
    bindings.create(&PostParams::default(), &binding).await.unwrap();
    let as_alice = || kube::Client::new(two.server.as_user(User::new("alice", &[])), "default");
    let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::default_namespaced(as_alice());
    until(async || pods.list(&ListParams::default()).await.ok()).await;
    two.keys(resources, &[("b", KEY_B)]).await;
    let change = json!({"metadata": {"labels": {"some": "change"}}});
    bindings.patch("alice", &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
    until(async || pods.list(&ListParams::default()).await.err()).await;
    assert_eq!(refusal(pods.list(&ListParams::default()).await).code, 403);
    two.keys(resources, &[("a", KEY_A)]).await;
    until(async || pods.list(&ListParams::default()).await.ok()).await;
    two.shutdown().await;
}

#[tokio::test]
async fn nothing_is_let_in_past_a_configuration_that_cannot_be_read() {
    let store = Arc::new(MemoryStore::new());
    let resources = "validatingwebhookconfigurations.admissionregistration.k8s.io, resourcequotas";
    let two = Two::over(&store, resources).await;
    let client_of = |server| client(server);
    let configurations: Api<k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration> =
        Api::all(client_of(&two.other));
    let empty = serde_json::from_value(json!({"metadata": {"name": "guard"}})).unwrap();
    configurations.create(&PostParams::default(), &empty).await.unwrap();
    two.shutdown().await;
    // A server that starts without the key has never read it.
    let keyring = encryption(&config(resources, &[keys("aesgcm", &[("b", KEY_B)])])).await;
    let builder = ApiServer::builder(Arc::clone(&store) as Arc<dyn Store>).encryption(keyring.clone());
    let server = builder.build().await.unwrap();
    let secrets: Api<Secret> = Api::default_namespaced(client(&server));
    let refused = refusal(secrets.create(&PostParams::default(), &secret()).await);
    assert_eq!(refused.code, 403);
    assert!(refused.message.ends_with("not yet ready to handle request"), "{}", refused.message);
    keyring.replace(&config(resources, &[keys("aesgcm", &[("a", KEY_A)])])).await.unwrap();
    until(async || secrets.create(&PostParams::default(), &secret()).await.ok()).await;
    server.shutdown().await;
}
