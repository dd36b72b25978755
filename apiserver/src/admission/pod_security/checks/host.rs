//! What a pod takes of its host: namespaces, ports, kernel settings.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Pod, Violation, blame, containers, plural, quoted};

pub(super) fn namespaces(pod: Pod<'_>) -> Option<Violation> {
    let shared = ["hostNetwork", "hostPID", "hostIPC"].into_iter().filter(|field| pod.spec[*field] == true);
    let shared: Vec<String> = shared.map(|field| format!("{field}=true")).collect();
    (!shared.is_empty()).then(|| Violation { reason: "host namespaces", detail: shared.join(", ") })
}

pub(super) fn ports(pod: Pod<'_>) -> Option<Violation> {
    let host_ports = |container: &Value| -> Vec<i64> {
        let ports = container["ports"].as_array().into_iter().flatten();
        ports.filter_map(|port| port["hostPort"].as_i64()).filter(|port| *port != 0).collect()
    };
    let guilty = pod.guilty(|container| !host_ports(container).is_empty());
    let used: BTreeSet<String> = pod.containers().flat_map(host_ports).map(|port| port.to_string()).collect();
    let (use_, port) = (plural(guilty.len(), "uses", "use"), plural(used.len(), "hostPort", "hostPorts"));
    let used = used.into_iter().collect::<Vec<_>>().join(", ");
    let detail = || format!("{} {use_} {port} {used}", containers(&guilty));
    (!guilty.is_empty()).then(|| Violation { reason: "hostPort", detail: detail() })
}

pub(super) fn probes(pod: Pod<'_>) -> Option<Violation> {
    fn hosts(container: &Value) -> Vec<&str> {
        let lifecycle = &container["lifecycle"];
        let handlers = [
            &container["livenessProbe"],
            &container["readinessProbe"],
            &container["startupProbe"],
            &lifecycle["postStart"],
            &lifecycle["preStop"],
        ];
        let hosts =
            handlers.into_iter().flat_map(|handler| [&handler["httpGet"]["host"], &handler["tcpSocket"]["host"]]);
        hosts.filter_map(Value::as_str).filter(|host| !host.is_empty()).collect()
    }
    let guilty: BTreeSet<&str> = pod.guilty(|container| !hosts(container).is_empty()).into_iter().collect();
    let guilty: Vec<&str> = guilty.into_iter().collect();
    let named: BTreeSet<&str> = pod.containers().flat_map(hosts).collect();
    let use_ = plural(guilty.len(), "uses", "use");
    let what = plural(named.len(), "probe or lifecycle host", "probe or lifecycle hosts");
    let detail = || format!("{} {use_} {what} {}", containers(&guilty), quoted(&named));
    (!guilty.is_empty()).then(|| Violation { reason: "probe or lifecycle host", detail: detail() })
}

pub(super) fn proc_mount(pod: Pod<'_>) -> Option<Violation> {
    let unusual = |container: &Value| {
        let mount = container["securityContext"]["procMount"].as_str();
        mount.filter(|mount| *mount != "Default").map(str::to_owned)
    };
    let guilty = pod.guilty(|container| unusual(container).is_some());
    let mounts: BTreeSet<String> = pod.containers().filter_map(unusual).collect();
    let detail = || format!("{} must not set securityContext.procMount to {}", containers(&guilty), quoted(&mounts));
    (!guilty.is_empty()).then(|| Violation { reason: "procMount", detail: detail() })
}

pub(super) fn proc_mount_35(pod: Pod<'_>) -> Option<Violation> {
    if pod.has_own_users() { None } else { proc_mount(pod) }
}

const SYSCTLS: [&str; 5] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
];
const SYSCTLS_27: [&str; 1] = ["net.ipv4.ip_local_reserved_ports"];
const SYSCTLS_29: [&str; 4] = [
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
];
const SYSCTLS_32: [&str; 2] = ["net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"];

fn sysctls_beyond(pod: Pod<'_>, allowed: &[&[&str]]) -> Option<Violation> {
    let set = pod.context("sysctls").as_array().into_iter().flatten().filter_map(|sysctl| sysctl["name"].as_str());
    let bad: Vec<&str> = set.filter(|name| !allowed.iter().any(|list| list.contains(name))).collect();
    (!bad.is_empty()).then(|| Violation { reason: "forbidden sysctls", detail: bad.join(", ") })
}

pub(super) fn sysctls(pod: Pod<'_>) -> Option<Violation> {
    sysctls_beyond(pod, &[&SYSCTLS])
}

pub(super) fn sysctls_27(pod: Pod<'_>) -> Option<Violation> {
    sysctls_beyond(pod, &[&SYSCTLS, &SYSCTLS_27])
}

pub(super) fn sysctls_29(pod: Pod<'_>) -> Option<Violation> {
    sysctls_beyond(pod, &[&SYSCTLS, &SYSCTLS_27, &SYSCTLS_29])
}

pub(super) fn sysctls_32(pod: Pod<'_>) -> Option<Violation> {
    sysctls_beyond(pod, &[&SYSCTLS, &SYSCTLS_27, &SYSCTLS_29, &SYSCTLS_32])
}

pub(super) fn windows_process(pod: Pod<'_>) -> Option<Violation> {
    let guilty = pod.guilty(|container| container["securityContext"]["windowsOptions"]["hostProcess"] == true);
    let who = blame(pod.context("windowsOptions")["hostProcess"] == true, &guilty)?;
    let detail = format!("{who} must not set securityContext.windowsOptions.hostProcess=true");
    Some(Violation { reason: "hostProcess", detail })
}
