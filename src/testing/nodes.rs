//! Nodes that only say what nodes say: their pods start at once, and end as they are told to.

use futures::StreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

use super::{Clock, Error};

/// A pod with this annotation ends as soon as it runs, with the exit code that it says.
pub const EXIT_CODE: &str = "testing.kubewright.dev/exit-code";
/// How often nodes say that they live, as kubelets do.
const HEARTBEAT: Duration = Duration::from_secs(10);

fn name_of(number: usize) -> String {
    format!("node-{number}")
}

/// Makes nodes `node-1`, `node-2`, …
pub(super) async fn create(client: &Client, count: usize, now: Timestamp) -> Result<(), Error> {
    let nodes: Api<Node> = Api::all(client.clone());
    for number in 1..=count {
        let name = name_of(number);
        let labels =
            json!({"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"});
        let node = object(json!({"metadata": {"name": name, "labels": labels}}));
        let doing = || Error::request(format!("making node {name:?}"));
        nodes.create(&PostParams::default(), &node).await.map_err(doing())?;
        let amounts = json!({"cpu": "32", "memory": "128Gi", "pods": "110", "ephemeral-storage": "500Gi"});
        let ready = json!([{"type": "Ready", "status": "True", "reason": "KubeletReady", "lastHeartbeatTime": now,
            "lastTransitionTime": now, "message": "a simulated node"}]);
        let status = json!({"status": {"capacity": amounts, "allocatable": amounts, "conditions": ready,
            "addresses": [{"type": "Hostname", "address": name}]}});
        nodes.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await.map_err(doing())?;
        // Every node begins with a taint that it is not ready; a controller takes it away, if there is one.
        let untainted = Patch::Merge(json!({"spec": {"taints": null}}));
        nodes.patch(&name, &PatchParams::default(), &untainted).await.map_err(doing())?;
        beat(client, number, now).await;
    }
    Ok(())
}

/// Runs the pods of the nodes until cancelled; places them too, in turn, where there is no scheduler.
pub(super) async fn run(client: Client, count: usize, places: bool, clock: Clock, cancel: CancellationToken) {
    let beats = async {
        loop {
            tokio::time::sleep(HEARTBEAT).await;
            for number in 1..=count {
                beat(&client, number, clock.now()).await;
            }
        }
    };
    let pods = Pods { client: client.clone(), count, places, clock, started: 0 };
    let both = futures::future::join(beats, pods.follow());
    cancel.run_until_cancelled(both).await;
}

/// What a heartbeat misses, the next one makes up for.
async fn beat(client: &Client, number: usize, now: Timestamp) {
    let leases: Api<Lease> = Api::namespaced(client.clone(), "kube-node-lease");
    let name = name_of(number);
    let spec = json!({"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": format!("{now:.6}")});
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": spec});
    _ = leases.patch(&name, &PatchParams::apply("kubelet").force(), &Patch::Apply(lease)).await;
}

struct Pods {
    client: Client,
    count: usize,
    places: bool,
    clock: Clock,
    started: u32,
}

impl Pods {
    async fn follow(mut self) {
        let all: Api<Pod> = Api::all(self.client.clone());
        let mut pods = watcher(all, watcher::Config::default()).default_backoff().applied_objects().boxed();
        while let Some(pod) = pods.next().await {
            // Races end in conflicts and missing objects, and the next event brings the pod again.
            if let Ok(pod) = pod {
                _ = self.look(&pod).await;
            }
        }
    }

    async fn look(&mut self, pod: &Pod) -> kube::Result<()> {
        let (name, namespace) = (pod.name_any(), pod.namespace().unwrap_or_default());
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &namespace);
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending");
        match node {
            None if self.places && pod.metadata.deletion_timestamp.is_none() => {
                let node = wanted_node(pod).unwrap_or_else(|| name_of(self.started as usize % self.count + 1));
                self.started += 1;
                let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name},
                    "target": {"kind": "Node", "name": node}});
                api.create_subresource::<Value, Value>("binding", &name, &PostParams::default(), &binding).await?;
            }
            Some(node) if !(1..=self.count).any(|number| name_of(number) == node) => {}
            Some(_) if pod.metadata.deletion_timestamp.is_some() => {
                api.delete(&name, &DeleteParams::default().grace_period(0)).await?;
            }
            Some(_) if phase == "Pending" || (phase == "Running" && exit_code(pod).is_some()) => {
                let status = self.status(pod, phase == "Running");
                api.patch_status(&name, &PatchParams::default(), &Patch::Merge(json!({"status": status}))).await?;
            }
            _ => {}
        }
        Ok(())
    }

    /// What a kubelet says of a pod that started or ended.
    fn status(&self, pod: &Pod, ends: bool) -> Value {
        let now = super::clock::seconds(self.clock.now());
        let code = exit_code(pod).filter(|_| ends);
        let state = match code {
            None => json!({"running": {"startedAt": now}}),
            Some(code) => json!({"running": null, "terminated": {"exitCode": code, "startedAt": now, "finishedAt": now,
                "reason": if code == 0 { "Completed" } else { "Error" }}}),
        };
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers).map(|container| {
            json!({"name": container.name, "image": container.image, "imageID": container.image, "ready": code.is_none(),
                "started": code.is_none(), "restartCount": 0, "state": state})
        });
        let ready = if code.is_none() { "True" } else { "False" };
        let conditions = ["PodScheduled", "Initialized", "ContainersReady", "Ready"].map(|kind| {
            let holds = if matches!(kind, "ContainersReady" | "Ready") { ready } else { "True" };
            json!({"type": kind, "status": holds, "lastTransitionTime": now})
        });
        let phase = match code {
            None => "Running",
            Some(0) => "Succeeded",
            Some(_) => "Failed",
        };
        // One address a pod, told from its UID: different enough for a test, and the same when asked again.
        let seed =
            pod.uid().unwrap_or_default().bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31) + u32::from(byte));
        let address = format!("10.{}.{}.{}", 64 + (seed >> 16) % 64, (seed >> 8) % 256, seed % 254 + 1);
        json!({"phase": phase, "conditions": conditions, "containerStatuses": containers.collect::<Vec<_>>(),
            "startTime": now, "podIP": address, "podIPs": [{"ip": address}], "hostIP": "192.0.2.1"})
    }
}

fn exit_code(pod: &Pod) -> Option<i32> {
    pod.annotations().get(EXIT_CODE)?.parse().ok()
}

/// The node that a daemon's pod is meant for.
fn wanted_node(pod: &Pod) -> Option<String> {
    let affinity = pod.spec.as_ref()?.affinity.as_ref()?.node_affinity.as_ref()?;
    let terms = &affinity.required_during_scheduling_ignored_during_execution.as_ref()?.node_selector_terms;
    terms.first()?.match_fields.as_ref()?.first()?.values.as_ref()?.first().cloned()
}

fn object<K: serde::de::DeserializeOwned>(value: Value) -> K {
    // Every value that is given here is written above, with the types at hand.
    serde_json::from_value(value).expect("a sound object")
}
