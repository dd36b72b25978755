//! Pods from their creation to their end, on a node of a simulated runtime.

mod common;

use std::time::Duration;

use common::{Node, condition};
use kubewright_runtime_shim::sim::{Operation, SimConfig};
use kubewright_runtime_shim::{
    ContainerFilter, ContainerState, Containers as _, Error, ExecOutput, PodSandboxFilter, PodSandboxes as _,
};
use serde_json::json;

async fn containers(node: &Node) -> Vec<kubewright_runtime_shim::Container> {
    node.runtime.list_containers(&ContainerFilter::all()).await.unwrap()
}

/// Nothing is left of any pod.
async fn assert_clean(node: &Node) {
    assert_eq!(containers(node).await, []);
    assert_eq!(node.runtime.list_pod_sandboxes(&PodSandboxFilter::all()).await.unwrap(), []);
    for directory in ["pods", "logs"] {
        let left: Vec<_> = std::fs::read_dir(node.dir.path().join(directory)).unwrap().collect();
        assert!(left.is_empty(), "{directory}: {left:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_runs_and_goes_and_leaves_nothing() {
    let mut node = Node::start().await;
    node.pod("web", json!({"containers": [{"name": "c", "image": "web:1"}]}));
    node.until("running", |node| node.phase("web") == "Running" && node.ready("web")).await;
    let pod = node.get("web").unwrap();
    assert_eq!(pod["status"]["qosClass"], "BestEffort");
    assert_eq!(pod["status"]["hostIP"], "192.0.2.1");
    assert!(pod["status"]["podIP"].is_string());
    assert!(node.container("web")["containerID"].as_str().unwrap().contains("://"));
    for kind in ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"] {
        assert_eq!(condition(&pod, kind)["status"], "True", "{kind}");
    }
    node.until("events", |node| node.has_event("web", "Started")).await;
    let events: Vec<_> = node.events("web").into_iter().map(|(reason, _)| reason).collect();
    assert_eq!(events, ["Pulling", "Pulled", "Created", "Started"]);

    node.api.delete("pods", "default", "web", None);
    node.until("deleted", |node| node.get("web").is_none()).await;
    node.stop().await;
    assert_clean(&node).await;
}

#[tokio::test(start_paused = true)]
async fn the_node_is_registered_and_stays_alive() {
    let mut node = Node::start().await;
    node.until("ready", |node| {
        node.api.get("nodes", "", "n1").is_some_and(|n| condition(&n, "Ready")["status"] == "True")
    })
    .await;
    let object = node.api.get("nodes", "", "n1").unwrap();
    assert_eq!(object["metadata"]["labels"]["kubernetes.io/hostname"], "n1");
    assert_eq!(object["status"]["capacity"]["cpu"], "4");
    assert_eq!(object["status"]["addresses"][0], json!({"type": "InternalIP", "address": "192.0.2.1"}));
    assert!(object["status"]["nodeInfo"]["kubeletVersion"].as_str().unwrap().starts_with("v1.36."));
    let renewed = |node: &Node| {
        let lease = node.api.get("leases", "kube-node-lease", "n1")?;
        Some(lease["spec"]["renewTime"].as_str()?.to_owned())
    };
    node.until("lease", |node| renewed(node).is_some()).await;
    let first = renewed(&node).unwrap();
    node.until("renewal", |node| renewed(node).unwrap() > first).await;
    // A node to which nothing happens is not talked about.
    tokio::time::sleep(Duration::from_secs(20)).await;
    node.api.take_requests();
    tokio::time::sleep(Duration::from_secs(120)).await;
    let mut requests = node.api.take_requests();
    requests.retain(|request| !request.contains("/leases/"));
    assert_eq!(requests, [] as [&str; 0]);
    // Somebody deletes the node: it comes back.
    node.api.delete("nodes", "", "n1", None);
    node.until("return", |node| node.api.get("nodes", "", "n1").is_some()).await;
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_crashing_container_is_restarted_ever_more_slowly() {
    let mut node = Node::start().await;
    let container = json!({"name": "c", "image": "web:1", "command": ["sh", "-c", "exit 3"]});
    node.pod("crash", json!({"restartPolicy": "Always", "containers": [container]}));
    node.until("back-off", |node| node.container("crash")["state"]["waiting"]["reason"] == "CrashLoopBackOff").await;
    let status = node.container("crash");
    assert_eq!(status["lastState"]["terminated"]["exitCode"], 3);
    let message = status["state"]["waiting"]["message"].as_str().unwrap();
    assert!(message.starts_with("back-off 10s restarting failed container=c pod=crash_default("), "{message}");
    let begin = tokio::time::Instant::now();
    node.until("restarts", |node| node.container("crash")["restartCount"].as_i64() == Some(4)).await;
    let passed = begin.elapsed().as_secs();
    assert!((68..80).contains(&passed), "10 + 20 + 40 s, not {passed}");
    assert_eq!(node.phase("crash"), "Running");
    assert!(node.has_event("crash", "BackOff"));
    assert!(containers(&node).await.len() <= 3, "old containers are removed");
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_job_runs_once_and_stays_to_be_looked_at() {
    let mut node = Node::start().await;
    let spec = |command: &str| {
        json!({"restartPolicy": "Never", "containers": [
            {"name": "c", "image": "web:1", "command": ["sh", "-c", command]}]})
    };
    node.pod("good", spec("echo hello; exit 0"));
    node.pod("bad", spec("exit 7"));
    node.until("good", |node| node.phase("good") == "Succeeded").await;
    node.until("bad", |node| node.phase("bad") == "Failed").await;
    assert_eq!(node.container("good")["state"]["terminated"]["reason"], "Completed");
    assert_eq!(node.container("bad")["state"]["terminated"]["exitCode"], 7);
    assert_eq!(condition(&node.get("good").unwrap(), "Ready")["reason"], "PodCompleted");
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(containers(&node).await.len(), 2, "their logs can be read");
    assert!(std::fs::read_dir(node.dir.path().join("pods")).unwrap().next().is_none(), "their volumes are gone");
    for name in ["good", "bad"] {
        node.api.delete("pods", "default", name, None);
    }
    node.until("deleted", |node| node.api.list("pods").is_empty()).await;
    node.stop().await;
    assert_clean(&node).await;
}

#[tokio::test(start_paused = true)]
async fn init_containers_and_sidecars_come_first() {
    let mut node = Node::start().await;
    let sleep = |name: &str| json!({"name": name, "image": "web:1", "command": ["sleep", "5"]});
    let sidecar = json!({"name": "side", "image": "web:1", "restartPolicy": "Always"});
    node.pod(
        "p",
        json!({"initContainers": [sleep("one"), sidecar, sleep("two")],
        "containers": [{"name": "c", "image": "web:1"}]}),
    );
    node.until("ready", |node| node.ready("p")).await;
    let pod = node.get("p").unwrap();
    let init = pod["status"]["initContainerStatuses"].as_array().unwrap();
    assert_eq!(init[0]["state"]["terminated"]["exitCode"], 0);
    assert!(init[1]["state"]["running"].is_object());
    let started = |status: &serde_json::Value| {
        let state = &status["state"];
        let how = if state["running"].is_object() { "running" } else { "terminated" };
        state[how]["startedAt"].as_str().unwrap().to_owned()
    };
    assert!(started(&init[0]) < started(&init[1]));
    assert!(started(&init[2]) < started(&node.container("p")));
    let failing = json!({"name": "i", "image": "web:1", "command": ["false"]});
    let spec =
        json!({"restartPolicy": "Never", "initContainers": [failing], "containers": [{"name": "c", "image": "x:1"}]});
    node.pod("never", spec);
    node.until("failed", |node| node.phase("never") == "Failed").await;
    assert_eq!(condition(&node.get("never").unwrap(), "Initialized")["status"], "False");
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn volumes_and_variables_follow_their_objects() {
    let mut node = Node::start().await;
    node.pod(
        "p",
        json!({
        "containers": [{"name": "c", "image": "web:1", "volumeMounts": [{"name": "v", "mountPath": "/etc/v"}],
            "env": [{"name": "COLOR", "valueFrom": {"configMapKeyRef": {"name": "env", "key": "color"}}}]}],
        "volumes": [{"name": "v", "projected": {"sources": [
            {"configMap": {"name": "files"}}, {"serviceAccountToken": {"path": "token"}}]}}]}),
    );
    node.until("no volume", |node| node.has_event("p", "FailedMount")).await;
    let (_, message) = node.events("p").into_iter().find(|(reason, _)| reason == "FailedMount").unwrap();
    assert_eq!(message, "MountVolume.SetUp failed for volume \"v\" : configmap \"files\" not found");
    node.api.put("configmaps", "default", "files", json!({"data": {"a": "1"}}));
    let waits = |node: &Node| node.container("p")["state"]["waiting"].clone();
    node.until("no variable", |node| waits(node)["reason"] == "CreateContainerConfigError").await;
    assert_eq!(waits(&node)["message"], "configmap \"env\" not found");
    node.api.put("configmaps", "default", "env", json!({"data": {"color": "red"}}));
    node.until("ready", |node| node.ready("p")).await;

    let uid = node.get("p").unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
    let volume = node.dir.path().join("pods").join(uid).join("volumes/kubernetes.io~projected/v");
    assert_eq!(std::fs::read_to_string(volume.join("token")).unwrap(), "token-1");
    node.api.put("configmaps", "default", "files", json!({"data": {"a": "2"}}));
    node.until("update", |_| std::fs::read_to_string(volume.join("a")).unwrap() == "2").await;
    assert_eq!(node.container("p")["restartCount"], 0);
    assert_eq!(node.api.watches("configmaps"), 2, "only what is referred to is watched");
    node.api.delete("pods", "default", "p", Some(1));
    node.until("unwatched", |node| node.get("p").is_none() && node.api.watches("configmaps") == 0).await;
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn images_that_cannot_be_pulled_are_tried_again() {
    let mut node = Node::start().await;
    let error = Error::ImagePull { image: "web:1".into(), message: "no such host".into() };
    node.runtime.fail_always(Operation::PullImage, error);
    node.pod("p", json!({"containers": [{"name": "c", "image": "web:1"}]}));
    let waits = |node: &Node| node.container("p")["state"]["waiting"]["reason"].as_str().unwrap_or_default().to_owned();
    node.until("failure", |node| waits(node) == "ErrImagePull").await;
    node.until("back-off", |node| waits(node) == "ImagePullBackOff").await;
    assert_eq!(node.phase("p"), "Pending");
    node.runtime.heal();
    node.until("ready", |node| node.ready("p")).await;
    let never = json!({"containers": [{"name": "c", "image": "other:1", "imagePullPolicy": "Never"}]});
    node.pod("never", never);
    let reason = |node: &Node| node.container("never")["state"]["waiting"]["reason"].clone();
    node.until("never", |node| reason(node) == "ErrImageNeverPull").await;
    node.stop().await;
}

/// A runtime in whose containers `check NAME` fails while a file of that name is there.
fn checked(dir: &std::path::Path) -> SimConfig {
    let dir = dir.to_owned();
    let mut config = SimConfig::default();
    config.exec = Some(std::sync::Arc::new(move |_, command| match command {
        [check, name] if check == "check" => {
            let fails = dir.join(name).exists();
            Some(ExecOutput::new(b"so it says".to_vec(), vec![], i32::from(fails)))
        }
        _ => None,
    }));
    config
}

#[tokio::test(start_paused = true)]
async fn probes_decide_on_readiness_and_life() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start_with(checked(dir.path())).await;
    let probe = |name: &str| json!({"exec": {"command": ["check", name]}, "periodSeconds": 2, "failureThreshold": 2});
    std::fs::write(dir.path().join("startup"), "").unwrap();
    let startup = json!({"exec": {"command": ["check", "startup"]}, "periodSeconds": 1, "failureThreshold": 100});
    node.pod(
        "p",
        json!({"containers": [{"name": "c", "image": "web:1",
        "startupProbe": startup, "readinessProbe": probe("ready"), "livenessProbe": probe("live")}]}),
    );
    node.until("running", |node| node.phase("p") == "Running").await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!((node.container("p")["started"].clone(), node.ready("p")), (json!(false), false));
    std::fs::remove_file(dir.path().join("startup")).unwrap();
    node.until("ready", |node| node.ready("p")).await;
    assert_eq!(node.container("p")["started"], true);

    std::fs::write(dir.path().join("ready"), "").unwrap();
    node.until("not ready", |node| !node.ready("p")).await;
    let message = condition(&node.get("p").unwrap(), "Ready")["message"].clone();
    assert_eq!(message, "containers with unready status: [c]");
    std::fs::remove_file(dir.path().join("ready")).unwrap();
    node.until("ready again", |node| node.ready("p")).await;
    assert_eq!(node.container("p")["restartCount"], 0);

    std::fs::write(dir.path().join("live"), "").unwrap();
    node.until("killed", |node| node.container("p")["restartCount"] == 1).await;
    std::fs::remove_file(dir.path().join("live")).unwrap();
    node.until("ready after the restart", |node| node.ready("p")).await;
    let events = node.events("p");
    let said = |reason: &str, text: &str| events.iter().any(|(own, message)| own == reason && message == text);
    assert!(said("Unhealthy", "Liveness probe failed: so it says"), "{events:?}");
    assert!(said("Killing", "Container c failed liveness probe, will be restarted"), "{events:?}");
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_new_kubelet_takes_over_what_runs() {
    let mut node = Node::start().await;
    let crashes = json!({"name": "c", "image": "web:1", "command": ["sh", "-c", "sleep 30; exit 1"]});
    node.pod("p", json!({"containers": [crashes]}));
    node.until("one restart", |node| {
        node.container("p")["restartCount"] == 1 && node.container("p")["state"]["running"].is_object()
    })
    .await;
    let before = node.container("p")["containerID"].clone();
    node.stop().await;
    let count = containers(&node).await.len();
    node.begin().await;
    node.until("known", |node| node.ready("p")).await;
    assert_eq!(node.container("p")["containerID"], before, "it is the same container");
    assert_eq!(containers(&node).await.len(), count, "nothing was started twice");
    node.until("next restart", |node| node.container("p")["restartCount"] == 2).await;
    // A pod that is deleted while no kubelet is there goes when the next one comes.
    node.pod("q", json!({"containers": [{"name": "c", "image": "web:1"}]}));
    node.until("q", |node| node.ready("q")).await;
    node.stop().await;
    node.api.delete("pods", "default", "p", Some(0));
    node.api.delete("pods", "default", "q", None);
    node.begin().await;
    node.until("gone", |node| node.api.list("pods").is_empty()).await;
    node.stop().await;
    assert_clean(&node).await;
}

#[tokio::test(start_paused = true)]
async fn what_the_node_cannot_take_is_refused() {
    let mut node = Node::start().await;
    let cpu = |amount: &str| json!({"containers": [{"name": "c", "image": "web:1", "resources": {"requests": {"cpu": amount}}}]});
    node.pod("first", cpu("3"));
    node.until("first", |node| node.ready("first")).await;
    node.pod("second", cpu("2"));
    node.until("refusal", |node| node.phase("second") == "Failed").await;
    let status = node.get("second").unwrap()["status"].clone();
    assert_eq!(status["reason"], "OutOfcpu");
    assert_eq!(
        status["message"],
        "Pod was rejected: Node didn't have enough resource: cpu, requested: 2000, used: 3000, capacity: 4000"
    );
    node.api.delete("pods", "default", "second", None);
    node.until("gone", |node| node.get("second").is_none()).await;
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn deadlines_end_pods() {
    let mut node = Node::start().await;
    node.pod("p", json!({"activeDeadlineSeconds": 20, "containers": [{"name": "c", "image": "web:1"}]}));
    node.until("ready", |node| node.ready("p")).await;
    node.until("failed", |node| node.phase("p") == "Failed").await;
    let status = node.get("p").unwrap()["status"].clone();
    assert_eq!(status["reason"], "DeadlineExceeded");
    assert!(containers(&node).await.iter().all(|container| container.state == ContainerState::Exited));
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn grace_is_kept_and_can_be_shortened() {
    let mut node = Node::start().await;
    let stubborn = json!({"name": "c", "image": "web:1", "command": ["sh", "-c", "trap '' TERM; sleep 9999"]});
    let spec = json!({"terminationGracePeriodSeconds": 40, "containers": [stubborn]});
    for name in ["slow", "hurried"] {
        node.pod(name, spec.clone());
        node.until("ready", |node| node.ready(name)).await;
    }
    let begin = tokio::time::Instant::now();
    node.api.delete("pods", "default", "slow", None);
    node.until("slow is gone", |node| node.get("slow").is_none()).await;
    let passed = begin.elapsed().as_secs();
    assert!((40..44).contains(&passed), "{passed}");
    let begin = tokio::time::Instant::now();
    node.api.delete("pods", "default", "hurried", None);
    node.until("being stopped", |node| node.has_event("hurried", "Killing")).await;
    node.api.delete("pods", "default", "hurried", Some(3));
    node.until("hurried is gone", |node| node.get("hurried").is_none()).await;
    assert!(begin.elapsed().as_secs() < 10);
    // Deleted by force: the API forgets it at once, the node soon after.
    node.pod("forced", spec);
    node.until("ready", |node| node.ready("forced")).await;
    node.api.delete("pods", "default", "forced", Some(0));
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    node.stop().await;
    assert_clean(&node).await;
}

#[tokio::test(start_paused = true)]
async fn pods_run_on_while_the_api_is_away() {
    let mut node = Node::start().await;
    let container = json!({"name": "c", "image": "web:1", "command": ["sh", "-c", "sleep 20; exit 1"]});
    node.pod("p", json!({"containers": [container]}));
    node.until("ready", |node| node.ready("p")).await;
    node.api.set_down(true);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let attempts: Vec<_> = containers(&node).await.into_iter().map(|container| container.metadata.attempt).collect();
    assert!(attempts.iter().max().unwrap() >= &1, "it was restarted: {attempts:?}");
    node.api.set_down(false);
    node.until("reported", |node| node.container("p")["restartCount"].as_i64() >= Some(1)).await;
    node.api.delete("pods", "default", "p", Some(1));
    node.until("gone", |node| node.get("p").is_none()).await;
    node.stop().await;
    assert_clean(&node).await;
}

#[tokio::test(start_paused = true)]
async fn a_kubelet_that_cannot_ask_the_api_kills_nothing() {
    let mut node = Node::start().await;
    node.pod("p", json!({"containers": [{"name": "c", "image": "web:1"}]}));
    node.until("ready", |node| node.ready("p")).await;
    let before = node.container("p")["containerID"].clone();
    node.stop().await;
    node.api.set_down(true);
    node.begin().await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(containers(&node).await.iter().all(|container| container.state == ContainerState::Running));
    node.api.set_down(false);
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!((node.ready("p"), &node.container("p")["containerID"]), (true, &before));
    // What the API has forgotten meanwhile goes.
    node.stop().await;
    node.api.delete("pods", "default", "p", Some(0));
    node.begin().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    node.stop().await;
    assert_clean(&node).await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_sandbox_is_replaced() {
    let mut node = Node::start().await;
    node.pod("p", json!({"containers": [{"name": "c", "image": "web:1"}]}));
    node.until("ready", |node| node.ready("p")).await;
    let sandboxes = node.runtime.list_pod_sandboxes(&PodSandboxFilter::all()).await.unwrap();
    node.runtime.crash_pod_sandbox(&sandboxes[0].id);
    node.until("restarted", |node| node.container("p")["restartCount"] == 1 && node.ready("p")).await;
    assert!(node.has_event("p", "SandboxChanged"));
    node.stop().await;
}
