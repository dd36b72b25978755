//! The kit itself.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Node, Pod, Secret};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::{Client, ResourceExt};
use kubewright::testing::{self, EXIT_CODE, Error, Fault, TestCluster};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

fn map(name: &str) -> ConfigMap {
    of(json!({"metadata": {"name": name}}))
}

fn of<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).expect("a sound object")
}

fn maps(client: Client) -> Api<ConfigMap> {
    Api::default_namespaced(client)
}

fn code(error: &kube::Error) -> u16 {
    if let kube::Error::Api(status) = error { status.code } else { 0 }
}

#[tokio::test(start_paused = true)]
async fn a_hundred_clusters_share_nothing() {
    let clusters = (0..100).map(|number| async move {
        let maps = maps(testing::client().await);
        maps.create(&PostParams::default(), &map(&format!("own-{number}"))).await.unwrap();
        maps
    });
    let clusters: Vec<_> = futures::future::join_all(clusters).await;
    for (number, maps) in clusters.iter().enumerate() {
        let names: Vec<_> =
            maps.list(&ListParams::default()).await.unwrap().iter().map(ResourceExt::name_any).collect();
        assert_eq!(names, [format!("own-{number}")]);
    }
}

#[tokio::test(start_paused = true)]
async fn everyone_may_what_roles_say() {
    let cluster = TestCluster::builder().rbac().start().await.unwrap();
    cluster
        .apply(
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: dev, namespace: default}, \
             roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: edit}, \
             subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: dev}]}",
        )
        .await
        .unwrap();
    let jane = maps(cluster.client_as("jane", &["dev"]));
    jane.create(&PostParams::default(), &map("mine")).await.unwrap();
    let nobody = maps(cluster.client_as("nobody", &[])).list(&ListParams::default()).await.unwrap_err();
    assert_eq!(code(&nobody), 403);
    assert!(nobody.to_string().contains("User \"nobody\" cannot list resource"), "{nobody}");
    let elsewhere: Api<Secret> = Api::namespaced(cluster.client_as("jane", &["dev"]), "kube-system");
    assert_eq!(code(&elsewhere.list(&ListParams::default()).await.unwrap_err()), 403);
    let users: Vec<_> = cluster.take_requests().into_iter().map(|request| (request.user, request.code)).collect();
    assert_eq!(users, [("jane".into(), Some(201)), ("nobody".into(), Some(403)), ("jane".into(), Some(403))]);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_goes_wrong_goes_wrong_as_told() {
    let cluster = TestCluster::start().await;
    let maps = maps(cluster.client());
    let mut own = maps.create(&PostParams::default(), &map("own")).await.unwrap();

    cluster.inject(Fault::conflict());
    own.data = Some([("k".into(), "v".into())].into());
    let error = maps.replace("own", &PostParams::default(), &own).await.unwrap_err();
    assert!(code(&error) == 409 && error.to_string().contains("the object has been modified"), "{error}");
    maps.replace("own", &PostParams::default(), &own).await.unwrap();

    cluster.inject(Fault::lost_request().verb("create"));
    maps.create(&PostParams::default(), &map("lost")).await.unwrap_err();
    assert!(maps.get_opt("lost").await.unwrap().is_none(), "it never came");
    cluster.inject(Fault::lost_answer().verb("create"));
    maps.create(&PostParams::default(), &map("done")).await.unwrap_err();
    assert!(maps.get_opt("done").await.unwrap().is_some(), "it was done");

    cluster.inject(Fault::delay(Duration::from_secs(90)).named("own"));
    let before = cluster.clock().now();
    maps.get("own").await.unwrap();
    assert!(cluster.clock().now().duration_since(before).as_secs() >= 90);

    cluster.inject(Fault::too_many_requests(7).verb("list"));
    assert_eq!(code(&maps.list(&ListParams::default()).await.unwrap_err()), 429);
    let stale = cluster.inject(Fault::stale_list().resource("configmaps"));
    maps.delete("done", &DeleteParams::default()).await.unwrap();
    let names = |list: Vec<ConfigMap>| list.iter().map(ResourceExt::name_any).collect::<Vec<_>>();
    assert_eq!(names(maps.list(&ListParams::default()).await.unwrap().items), ["done", "own"]);
    assert_eq!(names(maps.list(&ListParams::default()).await.unwrap().items), ["own"]);
    assert!(stale.is_over());
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn watches_break_and_expire() {
    let cluster = TestCluster::start().await;
    let maps = maps(cluster.client());
    for name in ["a", "b", "c"] {
        maps.create(&PostParams::default(), &map(name)).await.unwrap();
    }
    let watch = async || maps.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    cluster.inject(Fault::broken_watch(2));
    assert_eq!(watch().await.try_collect::<Vec<_>>().await.unwrap().len(), 2);
    cluster.inject(Fault::expired_watch(1));
    let events: Vec<_> = watch().await.collect().await;
    let gone = |event: &kube::Result<WatchEvent<ConfigMap>>| matches!(event, Ok(WatchEvent::Error(status)) if status.code == 410);
    assert!(events.len() == 2 && gone(&events[1]), "{events:?}");

    let mut open = watch().await;
    for _ in 0..3 {
        open.next().await.unwrap().unwrap();
    }
    cluster.break_watches();
    assert!(open.next().await.is_none(), "it was under way");
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_cron_job_runs_when_its_hour_comes() {
    let cluster = TestCluster::builder()
        .controllers([
            "cronjob-controller",
            "job-controller",
            "ttl-after-finished-controller",
            "garbage-collector-controller",
        ])
        .nodes(1)
        .starts_at("2026-06-01T02:00:00Z".parse().unwrap())
        .start()
        .await
        .unwrap();
    let cron: CronJob = of(json!({"metadata": {"name": "backup"}, "spec": {"schedule": "0 3 * * *", "jobTemplate": {
        "spec": {"ttlSecondsAfterFinished": 600, "template": {
            "metadata": {"annotations": {EXIT_CODE: "0"}},
            "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}}}}));
    let crons: Api<CronJob> = Api::default_namespaced(cluster.client());
    crons.create(&PostParams::default(), &cron).await.unwrap();
    let jobs: Api<Job> = Api::default_namespaced(cluster.client());
    cluster.advance(Duration::from_secs(59 * 60)).await;
    assert!(jobs.list(&ListParams::default()).await.unwrap().items.is_empty(), "it is not three yet");
    cluster.advance(Duration::from_secs(120)).await;
    let ran = jobs.list(&ListParams::default()).await.unwrap().items;
    assert_eq!(ran.len(), 1);
    let succeeded = |job: Option<&Job>| job.is_some_and(|job| job.status.as_ref().and_then(|s| s.succeeded) == Some(1));
    cluster.until(&jobs, &ran[0].name_any(), succeeded).await.unwrap();
    cluster.advance(Duration::from_secs(700)).await;
    assert!(jobs.list(&ListParams::default()).await.unwrap().items.is_empty(), "it was cleaned up after ten minutes");
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn events_are_forgotten_after_an_hour() {
    let cluster = TestCluster::start().await;
    let events: Api<Event> = Api::default_namespaced(cluster.client());
    let involved = json!({"kind": "Pod", "namespace": "default", "name": "p"});
    let event: Event =
        of(json!({"metadata": {"name": "e"}, "involvedObject": involved, "reason": "R", "type": "Normal"}));
    events.create(&PostParams::default(), &event).await.unwrap();
    cluster.advance(Duration::from_secs(3000)).await;
    assert!(events.get_opt("e").await.unwrap().is_some());
    // Counted up, it lives for another hour.
    let again = Patch::Merge(json!({"count": 2}));
    events.patch("e", &PatchParams::default(), &again).await.unwrap();
    cluster.advance(Duration::from_secs(3000)).await;
    assert!(events.get_opt("e").await.unwrap().is_some());
    cluster.advance(Duration::from_secs(1200)).await;
    assert!(events.get_opt("e").await.unwrap().is_none());
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_scheduler_places_what_fits() {
    let cluster = TestCluster::builder().nodes(2).scheduler().start().await.unwrap();
    let pod = |name: &str, cpu: &str| -> Pod {
        let container = json!({"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}});
        of(json!({"metadata": {"name": name}, "spec": {"containers": [container]}}))
    };
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    pods.create(&PostParams::default(), &pod("small", "1")).await.unwrap();
    pods.create(&PostParams::default(), &pod("huge", "64")).await.unwrap();
    let phase = |pod: Option<&Pod>, wanted: &str| {
        pod.and_then(|pod| pod.status.as_ref()?.phase.as_deref()).is_some_and(|phase| phase == wanted)
    };
    cluster.until(&pods, "small", |pod| phase(pod, "Running")).await.unwrap();
    let unschedulable = |pod: Option<&Pod>| {
        let conditions = pod.and_then(|pod| pod.status.as_ref()?.conditions.as_ref());
        conditions.into_iter().flatten().any(|held| held.reason.as_deref() == Some("Unschedulable"))
    };
    cluster.until(&pods, "huge", unschedulable).await.unwrap();
    let nodes: Api<Node> = Api::all(cluster.client());
    assert_eq!(nodes.list(&ListParams::default()).await.unwrap().items.len(), 2);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_wait_in_vain_says_what_it_saw() {
    let cluster = TestCluster::builder().patience(Duration::from_secs(5)).start().await.unwrap();
    let maps = maps(cluster.client());
    maps.create(&PostParams::default(), &map("here")).await.unwrap();
    let error = cluster.until(&maps, "here", |found| found.is_none()).await.unwrap_err();
    assert!(matches!(&error, Error::Timeout { .. }) && error.to_string().contains("\"name\":\"here\""), "{error}");
    let error = cluster.until(&maps, "gone", |found| found.is_some()).await.unwrap_err();
    assert!(error.to_string().starts_with("ConfigMap \"gone\" did not become as wanted"), "{error}");
    assert!(error.to_string().ends_with("absent"), "{error}");

    let error = cluster.apply("{apiVersion: v1, kind: ConfigMap}").await.unwrap_err();
    assert_eq!(error.to_string(), "document 1 of the manifests: it has no metadata.name");
    let error = TestCluster::builder().controllers(["no-such-controller"]).start().await.unwrap_err();
    assert!(error.to_string().contains("no-such-controller"), "{error}");
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_dropped_cluster_is_gone() {
    let cluster = TestCluster::builder().all_controllers().nodes(1).start().await.unwrap();
    let maps = maps(cluster.client());
    let mut watch = maps.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    drop(cluster);
    let end = tokio::time::timeout(Duration::from_secs(60), async { while watch.next().await.is_some() {} });
    end.await.expect("watches end");
}
