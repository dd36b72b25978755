//! The checks of the Pod Security Standards, each as versions of Kubernetes defined it.

mod host;
mod identity;
mod profiles;
mod volumes;

use std::collections::BTreeSet;

use serde_json::Value;

use super::policy::{Level, LevelVersion, Version};

/// Minor version of the newest check; later versions mean the same.
const NEWEST: u32 = 35;

/// What a pod does that a level doesn't allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// In a few words, such as `host namespaces`.
    pub reason: &'static str,
    /// Who does what, such as `hostNetwork=true`.
    pub detail: String,
}

/// All violations with their details, as one text.
#[must_use]
pub fn details(violations: &[Violation]) -> String {
    let with_detail = |violation: &Violation| match violation.detail.as_str() {
        "" => violation.reason.to_owned(),
        detail => format!("{} ({detail})", violation.reason),
    };
    violations.iter().map(with_detail).collect::<Vec<_>>().join(", ")
}

/// The reasons alone, as one text.
#[must_use]
pub fn reasons(violations: &[Violation]) -> String {
    violations.iter().map(|violation| violation.reason).collect::<Vec<_>>().join(", ")
}

/// A pod, or the template of one.
#[derive(Clone, Copy, Debug)]
pub struct Pod<'a> {
    /// Its `metadata`.
    pub metadata: &'a Value,
    /// Its `spec`.
    pub spec: &'a Value,
}

impl<'a> Pod<'a> {
    /// Its init, ordinary and ephemeral containers, in this order.
    fn containers(self) -> impl Iterator<Item = &'a Value> {
        let lists = ["initContainers", "containers", "ephemeralContainers"];
        lists.into_iter().filter_map(move |list| self.spec[list].as_array()).flatten()
    }

    /// What of its `securityContext` is set.
    fn context(self, field: &str) -> &'a Value {
        &self.spec["securityContext"][field]
    }

    /// The names of the containers that do something bad.
    fn guilty(self, bad: impl Fn(&'a Value) -> bool) -> Vec<&'a str> {
        self.containers().filter(|container| bad(container)).map(name).collect()
    }

    fn is_windows(self) -> bool {
        self.spec["os"]["name"] == "windows"
    }

    /// Whether root in it is nobody on the host.
    fn has_own_users(self) -> bool {
        self.spec["hostUsers"] == false
    }
}

type CheckPod = fn(Pod<'_>) -> Option<Violation>;

/// A check, and from which minor version on it goes how.
struct Check {
    level: Level,
    id: &'static str,
    versions: &'static [(u32, CheckPod)],
    /// A baseline check that is not made as well where this one is.
    overrides: &'static str,
}

const fn baseline(id: &'static str, versions: &'static [(u32, CheckPod)]) -> Check {
    Check { level: Level::Baseline, id, versions, overrides: "" }
}

const fn restricted(id: &'static str, overrides: &'static str, versions: &'static [(u32, CheckPod)]) -> Check {
    Check { level: Level::Restricted, id, versions, overrides }
}

/// Baseline first, each in the order of their names: messages list them so.
const CHECKS: [Check; 19] = [
    baseline("appArmorProfile", &[(0, profiles::app_armor)]),
    baseline("capabilities_baseline", &[(0, identity::capabilities_baseline)]),
    baseline("hostNamespaces", &[(0, host::namespaces)]),
    baseline("hostPathVolumes", &[(0, volumes::host_path)]),
    baseline("hostPorts", &[(0, host::ports)]),
    baseline("hostProbesAndHostLifecycle", &[(34, host::probes)]),
    baseline("privileged", &[(0, identity::privileged)]),
    baseline("procMount", &[(0, host::proc_mount), (35, host::proc_mount_35)]),
    baseline("seLinuxOptions", &[(0, profiles::se_linux), (31, profiles::se_linux_31)]),
    baseline("seccompProfile_baseline", &[(0, profiles::seccomp_annotations), (19, profiles::seccomp_baseline)]),
    baseline("sysctls", &[(0, host::sysctls), (27, host::sysctls_27), (29, host::sysctls_29), (32, host::sysctls_32)]),
    baseline("windowsHostProcess", &[(0, host::windows_process)]),
    restricted("allowPrivilegeEscalation", "", &[(8, identity::escalation), (25, identity::escalation_25)]),
    restricted(
        "capabilities_restricted",
        "capabilities_baseline",
        &[(22, identity::capabilities_restricted), (25, identity::capabilities_restricted_25)],
    ),
    restricted("procMount_restricted", "procMount", &[(35, host::proc_mount)]),
    restricted("restrictedVolumes", "hostPathVolumes", &[(0, volumes::restricted)]),
    restricted("runAsNonRoot", "", &[(0, identity::non_root), (35, identity::non_root_35)]),
    restricted("runAsUser", "", &[(23, identity::user), (35, identity::user_35)]),
    restricted(
        "seccompProfile_restricted",
        "seccompProfile_baseline",
        &[(19, profiles::seccomp_restricted), (25, profiles::seccomp_restricted_25)],
    ),
];

/// What the pod does that the level of that version doesn't allow.
#[must_use]
pub fn evaluate(wanted: LevelVersion, pod: Pod<'_>) -> Vec<Violation> {
    let minor = match wanted.version {
        Version::Minor(minor) => minor.min(NEWEST),
        Version::Latest => NEWEST,
    };
    let in_force = |check: &'static Check| {
        let version = check.versions.iter().rev().find(|(since, _)| *since <= minor);
        version.filter(|_| check.level <= wanted.level).map(|(_, run)| (check, run))
    };
    let made: Vec<_> = CHECKS.iter().filter_map(in_force).collect();
    let overridden: BTreeSet<&str> = made.iter().map(|(check, _)| check.overrides).collect();
    let counts = made.into_iter().filter(|(check, _)| !overridden.contains(check.id));
    counts.filter_map(|(_, run)| run(pod)).collect()
}

fn name(container: &Value) -> &str {
    container["name"].as_str().unwrap_or_default()
}

/// `"a", "b"`.
fn quoted<S: AsRef<str>>(items: impl IntoIterator<Item = S>) -> String {
    items.into_iter().map(|item| format!("{:?}", item.as_ref())).collect::<Vec<_>>().join(", ")
}

/// One of two words, by the count.
const fn plural<'a>(count: usize, one: &'a str, many: &'a str) -> &'a str {
    if count == 1 { one } else { many }
}

/// `container "a"` or `containers "a", "b"`.
fn containers(names: &[&str]) -> String {
    format!("{} {}", plural(names.len(), "container", "containers"), quoted(names))
}

/// Who is to blame: the pod, some of its containers, or both; `None` if nobody is.
fn blame(pod: bool, names: &[&str]) -> Option<String> {
    match (pod, names.is_empty()) {
        (false, true) => None,
        (true, true) => Some("pod".to_owned()),
        (false, false) => Some(containers(names)),
        (true, false) => Some(format!("pod and {}", containers(names))),
    }
}

#[cfg(test)]
#[path = "test.rs"]
mod tests;
