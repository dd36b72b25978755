//! How many pods are bound in a second through the API: the API server, its store and the scheduler's driver in this
//! process, real watches and real bindings. `cargo bench --bench scheduling -- [NODES] [PODS] [KIND]`.
#![allow(clippy::print_stdout, reason = "a measurement prints")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::scheduling::v1::PriorityClass;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kubewright::apiserver::request::User;
use kubewright::apiserver::server::ApiServer;
use kubewright::scheduler::driver::{Driver, DriverConfig, SystemClock};
use kubewright::scheduler::plugins::default_profile;
use kubewright::store::MemoryStore;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const KINDS: [&str; 6] = ["basic", "node-affinity", "spreading", "affinity", "anti-affinity", "preemption"];
/// How many objects are created at a time.
const WRITERS: usize = 64;

fn node(number: usize) -> Value {
    let (name, zone) = (format!("node-{number}"), format!("zone-{}", number % 10));
    let capacity = json!({"cpu": "4", "memory": "32Gi", "pods": "110"});
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": zone}},
        "status": {"capacity": capacity, "allocatable": capacity,
            "conditions": [{"type": "Ready", "status": "True"}]},
    })
}

fn pod(kind: &str, name: &str, class: Option<&str>) -> Value {
    let (zone, host) = ("topology.kubernetes.io/zone", "kubernetes.io/hostname");
    let term = |key: &str| json!([{"topologyKey": key, "labelSelector": {"matchLabels": {"app": "measured"}}}]);
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let cpu = if kind == "preemption" { "900m" } else { "100m" };
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": "measured"}},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "pause", "image": "pause",
            "resources": {"requests": {"cpu": cpu, "memory": "500Mi"}}}]},
    });
    let spec = &mut pod["spec"];
    if let Some(class) = class {
        spec["priorityClassName"] = json!(class);
    }
    match kind {
        "node-affinity" => {
            spec["affinity"] = json!({"nodeAffinity": {required: {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": zone, "operator": "In", "values": ["zone-1", "zone-2"]}]}]}}});
        }
        "spreading" => {
            spec["topologySpreadConstraints"] = json!([{"maxSkew": 5, "topologyKey": zone,
                "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "measured"}}}]);
        }
        "affinity" => spec["affinity"] = json!({"podAffinity": {required: term(zone)}}),
        "anti-affinity" => spec["affinity"] = json!({"podAntiAffinity": {required: term(host)}}),
        _ => {}
    }
    pod
}

async fn create<K>(api: &Api<K>, objects: impl Iterator<Item = Value>) -> anyhow::Result<()>
where
    K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
{
    let made = futures::stream::iter(objects.map(|object| async move {
        let object: K = serde_json::from_value(object)?;
        api.create(&PostParams::default(), &object).await?;
        anyhow::Ok(())
    }));
    made.buffer_unordered(WRITERS).try_for_each(|()| async { Ok(()) }).await
}

/// Takes off the taint that every new node has until a controller finds it ready.
async fn open_nodes(client: &kube::Client, nodes: usize) -> anyhow::Result<()> {
    let api: Api<Node> = Api::all(client.clone());
    let patch = Patch::Merge(json!({"spec": {"taints": null}}));
    let opened = futures::stream::iter((0..nodes).map(|number| {
        let (api, patch) = (&api, &patch);
        async move { api.patch(&format!("node-{number}"), &PatchParams::default(), patch).await.map(drop) }
    }));
    Ok(opened.buffer_unordered(WRITERS).try_for_each(|()| async { Ok(()) }).await?)
}

struct Bound {
    rate: f64,
    seconds: f64,
}

async fn measure(kind: &str, nodes: usize, pods: usize) -> anyhow::Result<Bound> {
    let server = ApiServer::builder(Arc::new(MemoryStore::new())).build().await?;
    let client = kube::Client::new(server.as_user(User::admin()), "default");
    create(&Api::<Node>::all(client.clone()), (0..nodes).map(node)).await.context("nodes")?;
    open_nodes(&client, nodes).await?;
    let profile = default_profile("default-scheduler").build()?;
    let driver = Driver::new(client.clone(), Arc::new(SystemClock), DriverConfig::default(), vec![profile])?;
    let mut progress = driver.progress();
    let stop = CancellationToken::new();
    let running = tokio::spawn(driver.run(stop.clone()));
    let api: Api<Pod> = Api::default_namespaced(client.clone());
    progress.wait_for(|progress| progress.synced).await?;
    if kind == "preemption" {
        let class = json!({"metadata": {"name": "high"}, "value": 1000});
        create(&Api::<PriorityClass>::all(client.clone()), std::iter::once(class)).await.context("a priority")?;
        create(&api, (0..nodes * 4).map(|n| pod(kind, &format!("low-{n}"), None))).await.context("lesser pods")?;
        progress.wait_for(|progress| progress.bound >= nodes as u64 * 4).await?;
    }
    let before = progress.borrow().bound;
    let start = Instant::now();
    let class = (kind == "preemption").then_some("high");
    let names = (0..pods).map(|n| pod(kind, &format!("pod-{n}"), class));
    let (made, bound) = tokio::join!(create(&api, names), async {
        let all = progress.wait_for(|progress| progress.bound >= before + pods as u64);
        tokio::time::timeout(Duration::from_mins(2), all).await.map(|found| found.map(|_| ()))
    });
    made.context("pods")?;
    bound.context("not all pods were bound")??;
    let seconds = start.elapsed().as_secs_f64();
    stop.cancel();
    running.await??;
    server.shutdown().await;
    #[allow(clippy::cast_precision_loss, reason = "a rate")]
    Ok(Bound { rate: pods as f64 / seconds, seconds })
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let number = |at: usize, default| arguments.get(at).and_then(|text| text.parse().ok()).unwrap_or(default);
    let (nodes, pods) = (number(0, 500), number(1, 1_000));
    for kind in KINDS.into_iter().filter(|kind| arguments.get(2).is_none_or(|wanted| wanted == kind)) {
        let pods = if kind == "anti-affinity" { pods.min(nodes) } else { pods };
        let Bound { rate, seconds } = measure(kind, nodes, pods).await.with_context(|| kind.to_owned())?;
        println!("{kind}: {pods} pods on {nodes} nodes in {seconds:.2} s, {rate:.0} a second");
    }
    Ok(())
}
