//! The demonstration: apply the manifest, show the rollout, send requests through the Service.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use futures::StreamExt;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::pinned_kind;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use serde::Deserialize;

use crate::stages::Stages;

const MANIFEST: &str = include_str!("../manifests/hello.yaml");
const NAMESPACE: &str = "default";
const NAME: &str = "hello";
const REQUESTS: usize = 12;
const ROLLOUT_LIMIT: Duration = Duration::from_secs(120);
const REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// Runs it; `answers` says whether the pods really answer requests.
pub(crate) async fn run(client: &kube::Client, stages: Stages, answers: bool) -> anyhow::Result<()> {
    for object in apply(client).await? {
        stages.note("applied", &object);
    }
    let rollout = tokio::time::timeout(ROLLOUT_LIMIT, follow(client, stages)).await;
    let replicas =
        rollout.with_context(|| format!("the rollout did not finish within {} s", ROLLOUT_LIMIT.as_secs()))??;
    stages.ready("rolled out", "deployment/hello: all replicas are available");
    if !answers {
        stages.note("requests", "not sent: nothing answers under this runtime or without a data plane");
        return Ok(());
    }
    let (address, tally) = ask(client, replicas).await?;
    stages.ready("service", &format!("{REQUESTS} requests to http://{address}/ were answered by:"));
    for (pod, count) in &tally {
        stages.note("", &format!("{pod}  {}", "■".repeat(*count)));
    }
    Ok(())
}

/// Applies every document of the manifest, server-side.
async fn apply(client: &kube::Client) -> anyhow::Result<Vec<String>> {
    let mut applied = Vec::new();
    for document in serde_yaml_ng::Deserializer::from_str(MANIFEST) {
        let object = DynamicObject::deserialize(document).context("examples/manifests/hello.yaml")?;
        let types = object.types.clone().context("a document lacks apiVersion or kind")?;
        let name = object.metadata.name.clone().context("a document lacks metadata.name")?;
        let kind = GroupVersionKind::try_from(&types)?;
        let (resource, _) = pinned_kind(client, &kind).await?;
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), NAMESPACE, &resource);
        let params = PatchParams::apply("kubewright-demo").force();
        api.patch(&name, &params, &Patch::Apply(&object))
            .await
            .with_context(|| format!("cannot apply {}/{name}", types.kind))?;
        applied.push(format!("{}/{name}", types.kind.to_lowercase()));
    }
    Ok(applied)
}

/// Prints what happens to the pods until the deployment is complete; tells how many replicas it has.
async fn follow(client: &kube::Client, stages: Stages) -> anyhow::Result<usize> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    let mut pods = watcher::watcher(pods, watcher::Config::default().labels("app=hello")).default_backoff().boxed();
    let named = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
    let mut deployments = watcher::watcher(deployments, named).default_backoff().boxed();
    let mut shown = BTreeMap::new();
    loop {
        tokio::select! {
            Some(event) = pods.next() => {
                if let Ok(Event::Apply(pod) | Event::InitApply(pod)) = event {
                    show(&pod, &mut shown, stages);
                }
            }
            Some(event) = deployments.next() => {
                if let Ok(Event::Apply(deployment) | Event::InitApply(deployment)) = event && complete(&deployment) {
                    return Ok(deployment.status.and_then(|status| status.replicas).unwrap_or_default().try_into()?);
                }
            }
        }
    }
}

fn complete(deployment: &Deployment) -> bool {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    deployment.status.as_ref().is_some_and(|status| {
        status.observed_generation == deployment.metadata.generation
            && status.updated_replicas == Some(wanted)
            && status.available_replicas == Some(wanted)
            && status.replicas == Some(wanted)
    })
}

fn show(pod: &Pod, shown: &mut BTreeMap<String, String>, stages: Stages) {
    let name = pod.metadata.name.clone().unwrap_or_default();
    let state = describe(pod);
    if shown.get(&name) != Some(&state) {
        stages.note("pod", &format!("{name}  {state}"));
        shown.insert(name, state);
    }
}

fn describe(pod: &Pod) -> String {
    if pod.metadata.deletion_timestamp.is_some() {
        return "is ending".into();
    }
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    let status = pod.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let ready = conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let address = status.and_then(|status| status.pod_ip.as_deref()).unwrap_or("no address yet");
    let phase = status.and_then(|status| status.phase.as_deref()).unwrap_or("Pending");
    let waiting = status.and_then(|status| status.container_statuses.as_deref()).unwrap_or_default().iter();
    let waiting = waiting.filter_map(|container| container.state.as_ref()?.waiting.as_ref()?.reason.clone()).next();
    match (node, phase, ready, waiting) {
        (None, ..) => "waits for a node".into(),
        (Some(node), "Running", true, _) => format!("is ready on {node} at {address}"),
        (Some(node), "Running", false, _) => format!("runs on {node}, not ready yet"),
        (Some(node), phase, _, Some(reason)) => format!("is {phase} on {node}: {reason}"),
        (Some(node), phase, _, None) => format!("is {phase} on {node}"),
    }
}

/// Sends requests through the Service and counts which pod answered.
async fn ask(client: &kube::Client, replicas: usize) -> anyhow::Result<(SocketAddr, BTreeMap<String, usize>)> {
    let services: Api<Service> = Api::namespaced(client.clone(), NAMESPACE);
    let spec = services.get(NAME).await?.spec.context("service/hello has no spec")?;
    let port = spec.ports.unwrap_or_default().first().map(|port| port.port).context("service/hello has no port")?;
    let ip = spec.cluster_ip.context("service/hello has no cluster IP")?;
    let address: SocketAddr = format!("{ip}:{port}").parse()?;
    await_answers(address, replicas).await?;
    let mut tally = BTreeMap::new();
    for _ in 0..REQUESTS {
        *tally.entry(request(address).await?).or_default() += 1;
    }
    Ok((address, tally))
}

/// Asks until every replica has answered: the data plane follows the endpoints a moment after the rollout.
async fn await_answers(address: SocketAddr, replicas: usize) -> anyhow::Result<()> {
    let deadline = tokio::time::Instant::now() + REQUEST_LIMIT;
    let mut answered = BTreeSet::new();
    while answered.len() < replicas {
        let answer = request(address).await;
        let late = tokio::time::Instant::now() > deadline;
        match answer {
            Ok(pod) => {
                answered.insert(pod);
            }
            Err(error) if late => return Err(error.context(format!("no answer from http://{address}/"))),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
        ensure!(!late, "only {} of {replicas} pods answer at http://{address}/", answered.len());
    }
    Ok(())
}

async fn request(address: SocketAddr) -> anyhow::Result<String> {
    let stream = tokio::time::timeout(Duration::from_secs(2), tokio::net::TcpStream::connect(address)).await??;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = http::Request::get("/")
        .header("host", address.to_string())
        .header("accept", "application/json")
        .header("connection", "close");
    let response = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
    if response.status() != 200 {
        bail!("it answered {}", response.status());
    }
    let body = response.into_body().collect().await?.to_bytes();
    drop(sender);
    connection.abort();
    let answer: Answer = serde_json::from_slice(&body).context("the answer isn't what hello sends")?;
    Ok(format!("{} on {}", answer.pod, answer.node))
}

/// What `kubewright.dev/hello` answers.
#[derive(Deserialize)]
struct Answer {
    pod: String,
    node: String,
}
