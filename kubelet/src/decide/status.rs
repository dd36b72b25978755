use std::net::IpAddr;

use jiff::Timestamp;

use super::RuntimePod;
use super::conditions::conditions;
use super::container_statuses::{Sort, Waiting, container_statuses};
use super::phase::phase;
use super::runtime_pod::AllVerdicts;
use super::sync::sandbox_is_needed;
use crate::objects::{Container, HostIp, Pod, PodIp, PodStatus, api_time};

/// Everything a pod's status follows from.
#[derive(Clone, Copy, Debug)]
pub struct StatusInput<'a> {
    /// The pod, with the status that the API has.
    pub pod: &'a Pod,
    /// The status as it was last computed here; the API's at first.
    pub before: &'a PodStatus,
    /// What the runtime shows.
    pub runtime: &'a RuntimePod,
    /// The runtime's name: what stands before `://` in container ids.
    pub runtime_name: &'a str,
    /// What probes found.
    pub verdicts: &'a AllVerdicts,
    /// Why containers could not be started.
    pub waiting: &'a Waiting,
    /// Nothing is started any more, for this is the pod's end.
    pub ended: bool,
    /// The kubelet itself decided that the pod fails, with this word and sentence.
    pub failure: Option<(&'a str, &'a str)>,
    /// The node's addresses.
    pub host_ips: &'a [IpAddr],
    /// The time.
    pub now: Timestamp,
}

/// The status to report.
#[must_use]
pub fn pod_status(input: &StatusInput<'_>) -> PodStatus {
    let (pod, before) = (input.pod, input.before);
    let init: Vec<&Container> = pod.spec.init_containers.iter().collect();
    let main: Vec<&Container> = pod.spec.containers.iter().collect();
    let ephemeral: Vec<&Container> = pod.spec.ephemeral_containers.iter().map(|e| &e.container).collect();
    let mut status = PodStatus {
        observed_generation: pod.metadata.generation,
        init_container_statuses: container_statuses(input, &init, Sort::Init),
        container_statuses: container_statuses(input, &main, Sort::Main),
        ephemeral_container_statuses: container_statuses(input, &ephemeral, Sort::Ephemeral),
        start_time: before.start_time.clone().or_else(|| Some(api_time(input.now))),
        qos_class: qos_class(pod),
        ..PodStatus::default()
    };
    status.container_statuses.sort_by(|a, b| a.name.cmp(&b.name));
    let mut all = status.container_statuses.clone();
    all.extend(status.init_container_statuses.iter().cloned());
    status.phase = next_phase(input, phase(pod, &all, input.ended, input.runtime.any_main_active(&pod.spec)));
    if status.phase == before.phase {
        status.reason.clone_from(&before.reason);
        status.message.clone_from(&before.message);
    }
    if let Some((reason, message)) = input.failure
        && status.phase == "Failed"
    {
        status.reason = reason.to_owned();
        status.message = message.to_owned();
    }
    let sandbox = sandbox_is_needed(pod, input.runtime).is_none();
    status.conditions = conditions(pod, before, &all, &status.phase, sandbox, input.now);
    addresses(input, &mut status);
    status
}

/// A pod that has ended stays ended, whatever its containers look like afterwards.
fn next_phase(input: &StatusInput<'_>, computed: &str) -> String {
    let terminal = |phase: &str| matches!(phase, "Succeeded" | "Failed");
    for earlier in [&input.pod.status.phase, &input.before.phase] {
        if terminal(earlier) {
            return earlier.clone();
        }
    }
    if input.failure.is_some() { "Failed".to_owned() } else { computed.to_owned() }
}

fn addresses(input: &StatusInput<'_>, status: &mut PodStatus) {
    status.host_ips = input.host_ips.iter().map(|ip| HostIp { ip: ip.to_string() }).collect();
    status.host_ip = status.host_ips.first().map(|host| host.ip.clone()).unwrap_or_default();
    let found: Vec<_> = if input.pod.spec.host_network {
        input.host_ips.to_vec()
    } else {
        input.runtime.ready_sandbox().map(|sandbox| sandbox.ips.clone()).unwrap_or_default()
    };
    status.pod_ips = found.iter().map(|ip| PodIp { ip: ip.to_string() }).collect();
    if status.pod_ips.is_empty() {
        // Without a sandbox the last known address stays, as it does upstream.
        status.pod_ips.clone_from(&input.before.pod_ips);
    }
    status.pod_ip = status.pod_ips.first().map(|pod| pod.ip.clone()).unwrap_or_default();
}

fn qos_class(pod: &Pod) -> String {
    if pod.status.qos_class.is_empty() {
        format!("{:?}", pod.resources().qos_class())
    } else {
        pod.status.qos_class.clone()
    }
}

/// The status of a pod that this node does not take.
#[must_use]
pub fn rejected_status(pod: &Pod, reason: &str, message: &str, now: Timestamp) -> PodStatus {
    PodStatus {
        observed_generation: pod.metadata.generation,
        phase: "Failed".to_owned(),
        reason: reason.to_owned(),
        message: format!("Pod was rejected: {message}"),
        start_time: pod.status.start_time.clone().or_else(|| Some(api_time(now))),
        qos_class: qos_class(pod),
        conditions: pod.status.conditions.clone(),
        ..PodStatus::default()
    }
}

#[cfg(test)]
#[path = "status_test.rs"]
mod tests;
