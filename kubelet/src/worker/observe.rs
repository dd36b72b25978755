use std::collections::BTreeMap;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use kubewright_runtime_shim::{
    ContainerFilter, ContainerState, ContainerStatus, PodSandboxFilter, PodSandboxState, labels, logs::LogLine,
};

use super::Worker;
use super::configs::HASH_ANNOTATION;
use crate::clock::timestamp;
use crate::decide::{ContainerView, RuntimePod, SandboxView, Verdict, Verdicts};
use crate::objects::Container;
use crate::probe::Observation;

/// How much of what a container left behind is reported, in bytes.
const TERMINATION_BYTES_MAX: u64 = 4096;
/// How much of a log stands in for it, in bytes and lines.
const FALLBACK_BYTES_MAX: u64 = 2048;
const FALLBACK_LINES_MAX: usize = 80;

/// What the runtime shows of a container.
pub(super) fn view_of(status: ContainerStatus) -> ContainerView {
    let container = status.container;
    let name = container.labels.get(labels::CONTAINER_NAME).cloned().unwrap_or(container.metadata.name);
    let image_id = if container.image_ref.0.is_empty() { container.image.image.clone() } else { container.image_ref.0 };
    ContainerView {
        id: container.id,
        sandbox_id: container.sandbox_id,
        name,
        attempt: container.metadata.attempt,
        state: container.state,
        created_at: timestamp(container.created_at),
        started_at: status.started_at.map(timestamp),
        finished_at: status.finished_at.map(timestamp),
        exit_code: status.exit_code,
        reason: status.reason,
        message: status.message,
        image: if container.image.user_specified_image.is_empty() {
            container.image.image
        } else {
            container.image.user_specified_image
        },
        image_id,
        hash: container.annotations.get(HASH_ANNOTATION).cloned(),
    }
}

impl Worker {
    /// Reads the runtime's state of the pod, and tells the probes.
    pub(super) async fn observe(&mut self) -> Result<(), String> {
        let runtime = self.node.runtime.clone();
        let uid = self.pod.uid();
        let failed = |what: &str, error: kubewright_runtime_shim::Error| format!("cannot read {what}: {error}");
        let listed = runtime.list_pod_sandboxes(&PodSandboxFilter::pod_uid(uid)).await;
        let mut sandboxes = Vec::new();
        for sandbox in listed.map_err(|error| failed("sandboxes", error))? {
            let mut view = SandboxView {
                id: sandbox.id.clone(),
                attempt: sandbox.metadata.attempt,
                ready: sandbox.state == PodSandboxState::Ready,
                host_network: self.pod.spec.host_network,
                ips: vec![],
                created_at: timestamp(sandbox.created_at),
            };
            if view.ready {
                match runtime.pod_sandbox_status(&sandbox.id).await {
                    Ok(status) => {
                        view.ready = status.sandbox.state == PodSandboxState::Ready;
                        view.ips = status.ips;
                    }
                    Err(error) if error.is_not_found() => continue,
                    Err(error) => return Err(failed("sandbox", error)),
                }
            }
            sandboxes.push(view);
        }
        sandboxes.sort_by_key(|sandbox| std::cmp::Reverse((sandbox.attempt, sandbox.created_at)));
        let listed = runtime.list_containers(&ContainerFilter::pod_uid(uid)).await;
        let mut containers = Vec::new();
        for container in listed.map_err(|error| failed("containers", error))? {
            if let Some(view) = self.ended.get(&container.id) {
                containers.push(view.clone());
                continue;
            }
            let sandbox_id = container.sandbox_id.clone();
            let status = match runtime.container_status(&container.id).await {
                Ok(status) => status,
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(failed("container", error)),
            };
            let log = status.log_path.clone();
            let mut view = ContainerView { sandbox_id, ..view_of(status) };
            if view.state == ContainerState::Exited {
                self.add_termination_message(&mut view, log.as_deref());
                self.ended.insert(view.id.clone(), view.clone());
            }
            containers.push(view);
        }
        containers.sort_by_key(|view| std::cmp::Reverse((view.attempt, view.created_at)));
        self.ended.retain(|id, _| containers.iter().any(|view| view.id == *id));
        self.runtime = RuntimePod { sandboxes, containers };
        self.keep_attached().await;
        self.tell_probes();
        Ok(())
    }

    fn add_termination_message(&self, view: &mut ContainerView, log: Option<&Path>) {
        let Some(spec) = self.pod.spec.container(&view.name) else {
            return;
        };
        let path = self.dirs.termination_log(&view.name, view.attempt);
        let mut message = read_tail(&path, TERMINATION_BYTES_MAX).unwrap_or_default();
        let falls_back = spec.termination_message_policy == "FallbackToLogsOnError" && view.exit_code != 0;
        if message.is_empty()
            && falls_back
            && let Some(log) = log
        {
            message = log_tail(log);
        }
        if !message.is_empty() {
            view.message = if view.message.is_empty() { message } else { format!("{}: {message}", view.message) };
        }
    }

    fn tell_probes(&mut self) {
        let pod_ip = self.pod_ip();
        let mut verdicts = self.probes.verdicts();
        if !self.adopted {
            self.adopted = true;
            self.adopt_verdicts(&mut verdicts);
        }
        let started = |container: &Container, view: &ContainerView| {
            let startup = verdicts.get(&view.id).and_then(|verdicts| verdicts.startup);
            container.startup_probe.is_none() || startup == Some(Verdict::Success)
        };
        let spec = &self.pod.spec;
        let mut seen = BTreeMap::new();
        for container in spec.containers.iter().chain(&spec.init_containers) {
            if let Some(view) = self.runtime.container(&container.name) {
                let observation = Observation {
                    id: view.id.clone(),
                    running: view.is_running(),
                    started: started(container, view),
                    started_at: view.started_at.unwrap_or(view.created_at),
                    pod_ip,
                };
                seen.insert(container.name.clone(), observation);
            }
        }
        let pod = self.pod.clone();
        self.probes.observe(&pod, seen);
    }

    /// What the last kubelet reported of containers that still run holds until their probes say otherwise.
    fn adopt_verdicts(&self, verdicts: &mut BTreeMap<kubewright_runtime_shim::ContainerId, Verdicts>) {
        for view in self.runtime.containers.iter().filter(|view| view.is_running()) {
            let id = format!("{}://{}", self.node.runtime_name, view.id);
            let reported = self.pod.status.container(&view.name).filter(|status| status.container_id == id);
            let Some(reported) = reported else {
                continue;
            };
            let known = Verdicts {
                liveness: None,
                readiness: reported.ready.then_some(Verdict::Success),
                startup: (reported.started == Some(true)).then_some(Verdict::Success),
            };
            self.probes.adopt(&view.id, known);
            verdicts.insert(view.id.clone(), known);
        }
    }

    /// The pod's primary address.
    pub(super) fn pod_ip(&self) -> Option<std::net::IpAddr> {
        self.pod_ips().first().copied()
    }

    /// The pod's addresses: the node's with its network.
    pub(super) fn pod_ips(&self) -> Vec<std::net::IpAddr> {
        if self.pod.spec.host_network {
            return self.node.config.node_ips.clone();
        }
        self.runtime.ready_sandbox().map(|sandbox| sandbox.ips.clone()).unwrap_or_default()
    }
}

/// The last bytes of a file, as text.
fn read_tail(path: &Path, bytes_max: u64) -> Option<String> {
    let mut file = std::fs::File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(bytes_max))).ok()?;
    let mut bytes = Vec::new();
    file.take(bytes_max).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The last lines that a container wrote.
fn log_tail(path: &Path) -> String {
    let raw = read_tail(path, FALLBACK_BYTES_MAX * 2).unwrap_or_default();
    let lines: Vec<&str> = raw.lines().collect();
    let last = lines[lines.len().saturating_sub(FALLBACK_LINES_MAX)..].iter();
    let parsed = last.filter_map(|line| LogLine::parse(line.as_bytes()));
    let mut text = String::new();
    for line in parsed {
        text.push_str(&String::from_utf8_lossy(line.text));
        if !line.partial {
            text.push('\n');
        }
    }
    let keep = usize::try_from(FALLBACK_BYTES_MAX).unwrap_or(usize::MAX);
    let start = (text.len().saturating_sub(keep)..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.split_off(start)
}
