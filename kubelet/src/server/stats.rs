//! What the node and its pods use, for `kubectl top` and those who watch.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use http::{Response, StatusCode};
use kubewright_runtime_shim::{CpuUsage, MemoryUsage, PodSandboxFilter, PodSandboxStats, labels};
use serde_json::{Map, Value, json};

use super::respond::{Body, text};
use crate::clock::timestamp;
use crate::node::{Context, disk_of};
use crate::objects::api_time;

fn cpu(usage: &CpuUsage) -> Value {
    let mut out = json!({
        "time": api_time(timestamp(usage.timestamp)),
        "usageCoreNanoSeconds": usage.usage_core_nano_seconds,
    });
    if let Some(now) = usage.usage_nano_cores {
        out["usageNanoCores"] = now.into();
    }
    out
}

fn memory(usage: &MemoryUsage) -> Value {
    let fields = [
        ("workingSetBytes", Some(usage.working_set_bytes)),
        ("availableBytes", usage.available_bytes),
        ("usageBytes", usage.usage_bytes),
        ("rssBytes", usage.rss_bytes),
        ("pageFaults", usage.page_faults),
        ("majorPageFaults", usage.major_page_faults),
    ];
    let known = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into())));
    let mut out: Map<String, Value> = known.collect();
    out.insert("time".to_owned(), json!(api_time(timestamp(usage.timestamp))));
    out.into()
}

/// Adds the parts that are known.
fn with(mut out: Value, cpu_usage: Option<&CpuUsage>, memory_usage: Option<&MemoryUsage>) -> Value {
    if let Some(usage) = cpu_usage {
        out["cpu"] = cpu(usage);
    }
    if let Some(usage) = memory_usage {
        out["memory"] = memory(usage);
    }
    out
}

async fn pods(node: &Context) -> Result<Vec<PodSandboxStats>, String> {
    let mut all = node.runtime.list_pod_sandbox_stats(&PodSandboxFilter::all()).await.map_err(|e| e.to_string())?;
    // The runtime may have others.
    all.retain(|stats| node.pods.get(&stats.metadata.uid).is_some());
    Ok(all)
}

/// The answer to `/stats/summary`.
pub(super) async fn summary(node: &Context) -> Result<Value, String> {
    let now = api_time(node.clock.now());
    let pods = pods(node).await?.into_iter().map(|stats| {
        let pod = node.pods.get(&stats.metadata.uid).map(|entry| entry.pod());
        let start = pod.and_then(|pod| pod.status.start_time.clone());
        let containers = stats.containers.iter().map(|container| {
            let name = container.labels.get(labels::CONTAINER_NAME).unwrap_or(&container.metadata.name);
            with(json!({"name": name, "startTime": start}), container.cpu.as_ref(), container.memory.as_ref())
        });
        let reference =
            json!({"name": stats.metadata.name, "namespace": stats.metadata.namespace, "uid": stats.metadata.uid});
        let out = json!({"podRef": reference, "startTime": start, "containers": containers.collect::<Vec<_>>()});
        with(out, stats.cpu.as_ref(), stats.memory.as_ref())
    });
    let pods: Vec<Value> = pods.collect();
    let mut own = json!({"nodeName": node.config.node_name, "startTime": now});
    let usage = Usage::read();
    own["cpu"] = json!({"time": now, "usageCoreNanoSeconds": usage.cpu_nano_seconds});
    own["memory"] = json!({
        "time": now,
        "workingSetBytes": usage.memory_used_bytes,
        "availableBytes": usage.memory_available_bytes,
    });
    if let Some(disk) = disk_of(&node.config.root_dir) {
        own["fs"] = json!({
            "time": now,
            "availableBytes": disk.available,
            "capacityBytes": disk.total,
            "usedBytes": disk.total.saturating_sub(disk.available),
            "inodes": disk.inodes,
            "inodesFree": disk.inodes_free,
        });
    }
    Ok(json!({"node": own, "pods": pods}))
}

/// What the machine uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Usage {
    cpu_nano_seconds: u64,
    memory_used_bytes: u64,
    memory_available_bytes: u64,
}

impl Usage {
    fn read() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        Self::parse(&read("/proc/stat"), &read("/proc/meminfo"))
    }

    fn parse(stat: &str, meminfo: &str) -> Self {
        let ticks: Vec<u64> = stat
            .lines()
            .next()
            .into_iter()
            .flat_map(str::split_whitespace)
            .skip(1)
            .map(|field| field.parse().unwrap_or(0))
            .collect();
        // user nice system idle iowait irq softirq steal …, in hundredths of a second.
        let busy: u64 = ticks.iter().take(8).enumerate().filter(|(at, _)| !matches!(at, 3 | 4)).map(|(_, t)| t).sum();
        let field = |name: &str| {
            let line = meminfo.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
        };
        let (total, available) = (field("MemTotal:"), field("MemAvailable:"));
        Self {
            cpu_nano_seconds: busy * 10_000_000,
            memory_used_bytes: total.saturating_sub(available),
            memory_available_bytes: available,
        }
    }
}

/// The answer to `/metrics/resource`.
pub(super) async fn resource_metrics(node: &Context) -> Result<Response<Body>, String> {
    let mut families: BTreeMap<(&str, &str, &str), Vec<String>> = BTreeMap::new();
    let mut add = |family, line: String| families.entry(family).or_default().push(line);
    const CONTAINER_CPU: (&str, &str, &str) = (
        "container_cpu_usage_seconds_total",
        "counter",
        "Cumulative cpu time consumed by the container in core-seconds",
    );
    const CONTAINER_MEMORY: (&str, &str, &str) =
        ("container_memory_working_set_bytes", "gauge", "Current working set of the container in bytes");
    const POD_CPU: (&str, &str, &str) =
        ("pod_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed by the pod in core-seconds");
    const POD_MEMORY: (&str, &str, &str) =
        ("pod_memory_working_set_bytes", "gauge", "Current working set of the pod in bytes");
    for stats in pods(node).await? {
        let pod = format!("namespace={:?},pod={:?}", stats.metadata.namespace, stats.metadata.name);
        for container in &stats.containers {
            let labels = format!("container={:?},{pod}", container.metadata.name);
            if let Some(usage) = &container.cpu {
                add(CONTAINER_CPU, format!("{{{labels}}} {} {}", seconds(usage), millis(usage.timestamp)));
            }
            if let Some(usage) = &container.memory {
                add(CONTAINER_MEMORY, format!("{{{labels}}} {} {}", usage.working_set_bytes, millis(usage.timestamp)));
            }
        }
        if let Some(usage) = &stats.cpu {
            add(POD_CPU, format!("{{{pod}}} {} {}", seconds(usage), millis(usage.timestamp)));
        }
        if let Some(usage) = &stats.memory {
            add(POD_MEMORY, format!("{{{pod}}} {} {}", usage.working_set_bytes, millis(usage.timestamp)));
        }
    }
    let (usage, now) = (Usage::read(), node.clock.now().as_millisecond());
    let cpu = ("node_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed by the node in core-seconds");
    add(cpu, format!(" {} {now}", core_seconds(usage.cpu_nano_seconds)));
    let memory = ("node_memory_working_set_bytes", "gauge", "Current working set of the node in bytes");
    add(memory, format!(" {} {now}", usage.memory_used_bytes));
    add(("scrape_error", "gauge", "1 if there was an error while getting container metrics, 0 otherwise"), " 0".into());
    let mut out = String::new();
    for ((name, kind, help), lines) in families {
        let _ = writeln!(out, "# HELP {name} [STABLE] {help}\n# TYPE {name} {kind}");
        for line in lines {
            let _ = writeln!(out, "{name}{line}");
        }
    }
    Ok(text(StatusCode::OK, out))
}

fn core_seconds(nanos: u64) -> String {
    format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

fn seconds(usage: &CpuUsage) -> String {
    core_seconds(usage.usage_core_nano_seconds)
}

fn millis(time: std::time::SystemTime) -> i64 {
    timestamp(time).as_millisecond()
}

/// The answer to `/metrics`.
pub(super) fn metrics(node: &Context) -> Response<Body> {
    let pods = node.pods.active().len();
    let out = format!(
        "# HELP kubelet_desired_pods [ALPHA] The number of pods the kubelet is being instructed to run.\n\
         # TYPE kubelet_desired_pods gauge\nkubelet_desired_pods{{static=\"\"}} {pods}\n"
    );
    text(StatusCode::OK, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_usage_is_read() {
        let stat = "cpu  100 0 50 1000 30 0 5 0 0 0\ncpu0 1 2 3\n";
        let usage = Usage::parse(stat, "MemTotal: 100 kB\nMemAvailable: 60 kB\n");
        assert_eq!(usage.cpu_nano_seconds, 155 * 10_000_000);
        assert_eq!((usage.memory_used_bytes, usage.memory_available_bytes), (40 * 1024, 60 * 1024));
        assert_eq!(core_seconds(1_500_000_000), "1.500000000");
    }
}
