//! An operator that copies Secrets into every namespace that asks for them, and its tests: it looks after what it made
//! in other namespaces by a finalizer, and must not miss a namespace whatever becomes of its watches.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::runtime::finalizer::{Error as FinalizerError, Event, finalizer};
use kube::runtime::{Controller, watcher};
use kube::{Client, ResourceExt};
use kubewright::testing::{Fault, TestCluster};

/// On a Secret that is to be copied, and on a namespace that wants copies.
const MIRROR: &str = "mirror.example.com/mirror";
/// On a copy.
const COPY: &str = "mirror.example.com/copy";
const FINALIZER: &str = "mirror.example.com/copies";

async fn reconcile(secret: Arc<Secret>, client: Arc<Client>) -> Result<Action, FinalizerError<kube::Error>> {
    let own: Api<Secret> = Api::namespaced((*client).clone(), &secret.namespace().unwrap_or_default());
    finalizer(&own, FINALIZER, secret, |event| async {
        match event {
            Event::Apply(secret) => copy(&secret, &client).await,
            Event::Cleanup(secret) => remove(&secret, &client).await,
        }
    })
    .await
}

async fn copy(secret: &Secret, client: &Client) -> Result<Action, kube::Error> {
    let wanting = Api::<Namespace>::all(client.clone()).list(&ListParams::default().labels(MIRROR)).await?;
    for namespace in wanting.iter().filter(|namespace| secret.namespace().as_ref() != Some(&namespace.name_any())) {
        let metadata = ObjectMeta {
            name: secret.metadata.name.clone(),
            labels: Some([(COPY.to_owned(), "true".to_owned())].into()),
            ..ObjectMeta::default()
        };
        let copy = Secret { metadata, data: secret.data.clone(), type_: secret.type_.clone(), ..Secret::default() };
        let copies: Api<Secret> = Api::namespaced(client.clone(), &namespace.name_any());
        copies.patch(&secret.name_any(), &PatchParams::apply("mirror").force(), &Patch::Apply(copy)).await?;
    }
    Ok(Action::await_change())
}

async fn remove(secret: &Secret, client: &Client) -> Result<Action, kube::Error> {
    let all: Api<Secret> = Api::all(client.clone());
    let selector = ListParams::default().labels(COPY).fields(&format!("metadata.name={}", secret.name_any()));
    for copy in all.list(&selector).await? {
        let copies: Api<Secret> = Api::namespaced(client.clone(), &copy.namespace().unwrap_or_default());
        match copies.delete(&copy.name_any(), &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            other => _ = other?,
        }
    }
    Ok(Action::await_change())
}

/// The operator.
async fn run(client: Client) {
    let secrets: Api<Secret> = Api::all(client.clone());
    let retry =
        |_: Arc<Secret>, _: &FinalizerError<kube::Error>, _: Arc<Client>| Action::requeue(Duration::from_secs(1));
    let controller = Controller::new(secrets, watcher::Config::default().labels(MIRROR));
    let known = controller.store();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    controller
        .watches(namespaces, watcher::Config::default().labels(MIRROR), move |_| {
            known
                .state()
                .into_iter()
                .map(|secret| kube::runtime::reflector::ObjectRef::from_obj(&*secret))
                .collect::<Vec<_>>()
        })
        .run(reconcile, retry, Arc::new(client))
        .for_each(|_| std::future::ready(()))
        .await;
}

const OBJECTS: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: team-a, labels: {mirror.example.com/mirror: "true"}}
---
apiVersion: v1
kind: Secret
metadata: {name: pull, labels: {mirror.example.com/mirror: "true"}}
stringData: {token: abc}
"#;

const TEAM_B: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: team-b, labels: {mirror.example.com/mirror: "true"}}
"#;

#[tokio::test(start_paused = true)]
async fn copies_come_and_go_with_their_secret() {
    let cluster = TestCluster::start().await;
    let operator = tokio::spawn(run(cluster.client()));
    cluster.apply(OBJECTS).await.unwrap();
    let of = |namespace: &str| Api::<Secret>::namespaced(cluster.client(), namespace);
    cluster.until(&of("team-a"), "pull", |copy| copy.is_some()).await.unwrap();
    cluster.apply(TEAM_B).await.unwrap();
    cluster.until(&of("team-b"), "pull", |copy| copy.is_some()).await.unwrap();

    // It is interrupted twice while it cleans up; the finalizer makes sure that it comes back to it.
    let interrupted = cluster.inject(Fault::lost_answer().verb("delete").namespace("team-a").times(1));
    let refused = cluster.inject(Fault::internal_error().verb("delete").namespace("team-b").times(1));
    of("default").delete("pull", &DeleteParams::default()).await.unwrap();
    cluster.until(&of("default"), "pull", |secret| secret.is_none()).await.unwrap();
    assert_eq!((interrupted.hits(), refused.hits()), (1, 1));
    for namespace in ["team-a", "team-b"] {
        assert!(of(namespace).get_opt("pull").await.unwrap().is_none(), "no copy is left in {namespace}");
    }
    operator.abort();
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn no_namespace_is_missed_when_watches_break_and_lists_lag() {
    let cluster = TestCluster::start().await;
    let operator = tokio::spawn(run(cluster.client()));
    cluster.apply(OBJECTS).await.unwrap();
    let of = |namespace: &str| Api::<Secret>::namespaced(cluster.spared_client(), namespace);
    cluster.until(&of("team-a"), "pull", |copy| copy.is_some()).await.unwrap();

    // Its watches break off. When team-b comes, the operator's next list does not show it yet, and nothing tells it so.
    let stale = cluster.inject(Fault::stale_list().resource("namespaces"));
    cluster.break_watches();
    cluster.apply(TEAM_B).await.unwrap();
    cluster.apply(&OBJECTS.replace("abc", "def")).await.unwrap();
    cluster.advance(Duration::from_secs(60)).await;
    let changed =
        |copy: Option<&Secret>| copy.is_some_and(|copy| copy.data.as_ref().is_some_and(|d| d["token"].0 == b"def"));
    cluster.until(&of("team-a"), "pull", changed).await.unwrap();
    assert_eq!(stale.hits(), 1);
    cluster.apply(&OBJECTS.replace("abc", "ghi")).await.unwrap();
    cluster.until(&of("team-b"), "pull", |copy| copy.is_some()).await.unwrap();
    operator.abort();
    cluster.stop().await;
}
