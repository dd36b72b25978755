use std::fs;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kubewright_runtime_shim::RuntimeCondition;
use serde_json::{Map, Value, json};

use super::capacity::capacity;
use super::{Context, Pressures};
use crate::objects::api_time;

#[cfg(feature = "server")]
pub(crate) use super::capacity::disk as disk_of;

/// What changes of a node's status without a restart.
pub(super) struct Found {
    /// Why the runtime is not ready; `None` when it is.
    pub(super) not_ready: Option<String>,
    pub(super) pressures: Pressures,
    pub(super) runtime_version: String,
    pub(super) images: Vec<Value>,
    pub(super) port: u16,
}

/// How many images a node reports.
const IMAGES_MAX: usize = 50;
/// How long the runtime may take to answer before the node is taken for unwell.
const RUNTIME_TIMEOUT: Duration = Duration::from_secs(10);

/// Asks the runtime how it is.
pub(super) async fn find(node: &Context, pressures: Pressures, port: u16) -> Found {
    let asked = async {
        let (status, version) = (node.runtime.status().await, node.runtime.version().await);
        (status, version, node.runtime.list_images().await.unwrap_or_default())
    };
    let Ok((status, version, images)) = tokio::time::timeout(RUNTIME_TIMEOUT, asked).await else {
        let not_ready = Some("container runtime is down".to_owned());
        return Found { not_ready, pressures, runtime_version: String::new(), images: vec![], port };
    };
    let not_ready = match status {
        Err(error) => Some(format!("container runtime is down: {error}")),
        Ok(status) => {
            let unwell = |kind: &str| {
                let found = status.conditions.iter().find(|condition| condition.kind == kind && !condition.status)?;
                Some((found.reason.clone(), found.message.clone()))
            };
            let runtime = unwell(RuntimeCondition::RUNTIME_READY);
            let runtime = runtime.map(|(why, what)| {
                format!("container runtime not ready: RuntimeReady=false reason:{why} message:{what}")
            });
            let network = unwell(RuntimeCondition::NETWORK_READY);
            let network = network.map(|(why, what)| {
                format!("container runtime network not ready: NetworkReady=false reason:{why} message:{what}")
            });
            runtime.or(network)
        }
    };
    let mut images = images;
    images.sort_by_key(|image| std::cmp::Reverse(image.size));
    let images = images.iter().take(IMAGES_MAX).map(|image| {
        let names: Vec<_> = image.repo_digests.iter().chain(&image.repo_tags).take(5).collect();
        json!({"names": names, "sizeBytes": image.size})
    });
    let runtime_version =
        version.map_or_else(|_| String::new(), |v| format!("{}://{}", v.runtime_name, v.runtime_version));
    Found { not_ready, pressures, runtime_version, images: images.collect(), port }
}

/// The status of the node, but for what others put there.
pub(super) fn node_status(node: &Context, found: &Found, before: &Value, now: Timestamp) -> Value {
    let config = &node.config;
    let (capacity, allocatable) = capacity(config);
    let mut addresses: Vec<_> =
        config.node_ips.iter().map(|ip| json!({"type": "InternalIP", "address": ip.to_string()})).collect();
    addresses.push(json!({"type": "Hostname", "address": config.node_name}));
    // Says to an API server that streams may come over WebSocket, with no SPDY in between.
    let features: &[&str] = if found.port == 0 { &[] } else { &["ExtendWebSocketsToKubelet"] };
    json!({
        "declaredFeatures": features,
        "capacity": capacity,
        "allocatable": allocatable,
        "addresses": addresses,
        "conditions": conditions(found, before, now),
        "daemonEndpoints": {"kubeletEndpoint": {"Port": found.port}},
        "nodeInfo": node_info(config, found),
        "images": found.images,
    })
}

fn node_info(config: &crate::KubeletConfig, found: &Found) -> Value {
    let read = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
    let os = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let pretty = os.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or("Linux").trim_matches('"');
    json!({
        "machineID": read("/etc/machine-id"),
        "systemUUID": read("/etc/machine-id"),
        "bootID": read("/proc/sys/kernel/random/boot_id"),
        "kernelVersion": read("/proc/sys/kernel/osrelease"),
        "osImage": pretty,
        "containerRuntimeVersion": found.runtime_version,
        "kubeletVersion": config.version,
        // Deprecated and still required.
        "kubeProxyVersion": "",
        "operatingSystem": "linux",
        "architecture": architecture(),
    })
}

/// The machine's architecture as Go calls it.
pub(super) const fn architecture() -> &'static str {
    if cfg!(target_arch = "x86_64") {
        "amd64"
    } else if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        std::env::consts::ARCH
    }
}

fn conditions(found: &Found, before: &Value, now: Timestamp) -> Vec<Value> {
    let pressure = |kind: &str, pressed: bool, words: [(&str, &str); 2]| {
        let (reason, message) = words[usize::from(pressed)];
        (kind.to_owned(), pressed, reason.to_owned(), message.to_owned())
    };
    let memory = [
        ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
    ];
    let disk = [
        ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("KubeletHasDiskPressure", "kubelet has disk pressure"),
    ];
    let pids = [
        ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
    ];
    let ready = match &found.not_ready {
        None => ("Ready".to_owned(), true, "KubeletReady".to_owned(), "kubelet is posting ready status".to_owned()),
        Some(why) => ("Ready".to_owned(), false, "KubeletNotReady".to_owned(), why.clone()),
    };
    let all = [
        pressure("MemoryPressure", found.pressures.memory, memory),
        pressure("DiskPressure", found.pressures.disk, disk),
        pressure("PIDPressure", false, pids),
        ready,
    ];
    let dated = |(kind, status, reason, message): (String, bool, String, String)| {
        let status = if status { "True" } else { "False" };
        let earlier = before["conditions"].as_array().into_iter().flatten();
        let earlier = earlier.into_iter().find(|c| c["type"] == kind.as_str() && c["status"] == status);
        let since = earlier.map(|c| c["lastTransitionTime"].clone()).filter(|time| !time.is_null());
        json!({
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message,
            "lastHeartbeatTime": api_time(now),
            "lastTransitionTime": since.unwrap_or_else(|| json!(api_time(now))),
        })
    };
    all.into_iter().map(dated).collect()
}

/// The patch from one status to another; `None` when nothing but the heartbeat differs and that is not due.
pub(super) fn status_patch(
    before: &Value,
    after: &Value,
    reported: Option<Timestamp>,
    now: Timestamp,
    interval: Duration,
) -> Option<Value> {
    let quiet = |status: &Value| {
        let mut status = status.clone();
        for condition in status["conditions"].as_array_mut().into_iter().flatten() {
            condition.as_object_mut().map(|condition| condition.remove("lastHeartbeatTime"));
        }
        status
    };
    let (old, new) = (quiet(before), quiet(after));
    let own = |status: &Value, key: &str| match key {
        // Conditions of others stay, and do not count.
        "conditions" => {
            let all = status[key].as_array().cloned().unwrap_or_default();
            let names = ["MemoryPressure", "DiskPressure", "PIDPressure", "Ready"];
            let mut own: Vec<_> = all.into_iter().filter(|c| names.iter().any(|name| c["type"] == *name)).collect();
            own.sort_by_key(|condition| condition["type"].to_string());
            Value::from(own)
        }
        // Nothing and an empty list are the same: API servers leave out the one or the other.
        _ => match &status[key] {
            Value::Array(list) if list.is_empty() => Value::Null,
            value => value.clone(),
        },
    };
    let keys = new.as_object().into_iter().flat_map(|object| object.keys());
    let changed: Vec<&String> = keys.filter(|key| own(&old, key) != own(&new, key)).collect();
    let due = SignedDuration::try_from(interval).unwrap_or(SignedDuration::MAX);
    let due = reported.is_none_or(|reported| now.duration_since(reported) >= due);
    if changed.is_empty() && !due {
        return None;
    }
    let mut patch: Map<String, Value> =
        changed.iter().map(|key| ((*key).clone(), after[key.as_str()].clone())).collect();
    patch.insert("conditions".to_owned(), after["conditions"].clone());
    if let Some(addresses) = patch.get_mut("addresses").and_then(Value::as_array_mut) {
        // Merged by type, of which there may be several: the whole list is given.
        addresses.push(json!({"$patch": "replace"}));
    }
    Some(json!({"status": patch}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(not_ready: Option<&str>) -> Found {
        Found {
            not_ready: not_ready.map(str::to_owned),
            pressures: Pressures::default(),
            runtime_version: String::new(),
            images: vec![],
            port: 10250,
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn only_changes_and_heartbeats_are_sent() {
        let status =
            |not_ready, before: &Value, now| json!({"conditions": conditions(&found(not_ready), before, at(now))});
        let first = status(None, &Value::Null, 0);
        let later = status(None, &first, 60);
        let patch = |before: &Value, after: &Value, now| {
            status_patch(before, after, Some(at(0)), at(now), Duration::from_secs(300))
        };
        assert_eq!(patch(&first, &later, 60), None);
        assert!(patch(&first, &later, 300).is_some());
        assert!(status_patch(&first, &later, None, at(1), Duration::from_secs(300)).is_some());
        let (without, empty) = (first.clone(), json!({"conditions": first["conditions"], "images": []}));
        assert_eq!(patch(&without, &empty, 60), None);
        let down = status(Some("gone"), &later, 70);
        let sent = patch(&later, &down, 70).unwrap();
        let ready = &sent["status"]["conditions"][3];
        assert_eq!(
            (&ready["type"], &ready["status"], &ready["message"]),
            (&json!("Ready"), &json!("False"), &json!("gone"))
        );
        assert_eq!(ready["lastTransitionTime"], json!("1970-01-01T00:01:10Z"));
        assert_eq!(sent["status"]["conditions"][0]["lastTransitionTime"], json!("1970-01-01T00:00:00Z"));
    }
}
