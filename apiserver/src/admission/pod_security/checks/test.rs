//! The checks, case by case.

use serde_json::json;

use super::*;

fn at(level: Level, minor: u32, pod: &Value) -> String {
    let version = Version::Minor(minor);
    details(&evaluate(LevelVersion { level, version }, Pod { metadata: &pod["metadata"], spec: &pod["spec"] }))
}

/// A pod that every level admits, changed.
fn pod(change: Value) -> Value {
    let mut pod = json!({"metadata": {"annotations": {}}, "spec": {
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "initContainers": [], "containers": [{"name": "a", "securityContext": {
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}],
    }});
    json_patch::merge(&mut pod, &change);
    pod
}

/// The container `a` of that pod with this added to its security context.
fn container(context: Value) -> Value {
    let mut base = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    json_patch::merge(&mut base, &context);
    pod(json!({"spec": {"containers": [{"name": "a", "securityContext": base}]}}))
}

#[test]
fn a_hardened_pod_passes_everywhere() {
    for minor in 0..40 {
        assert_eq!(at(Level::Restricted, minor, &pod(json!({}))), "", "1.{minor}");
    }
}

#[test]
fn baseline() {
    let host = pod(json!({"spec": {"hostNetwork": true, "hostPID": true, "containers": [
        {"name": "a", "ports": [{"hostPort": 80}, {"hostPort": 9}]}, {"name": "b", "ports": [{"hostPort": 0}]}]}}));
    let volumes = pod(json!({"spec": {"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}}));
    let sysctls = pod(json!({"spec": {"securityContext": {"sysctls": [
        {"name": "net.ipv4.tcp_rmem"}, {"name": "kernel.msgmax"}]}}}));
    let annotated = pod(json!({"metadata": {"annotations": {
        "container.apparmor.security.beta.kubernetes.io/a": "unconfined"}}}));
    let both = pod(json!({"spec": {"securityContext": {"seLinuxOptions": {"user": "u", "type": "x"}}, "containers": [
        {"name": "a", "securityContext": {"seLinuxOptions": {"role": "r", "type": "container_engine_t"}}}]}}));
    let probe = pod(json!({"spec": {"containers": [{"name": "a", "livenessProbe": {"httpGet": {"host": "h"}},
        "lifecycle": {"preStop": {"tcpSocket": {"host": "g"}}}}]}}));
    let seccomp = pod(json!({"metadata": {"annotations": {"seccomp.security.alpha.kubernetes.io/pod": "unconfined"}},
        "spec": {"securityContext": {"seccompProfile": {"type": "Unconfined"}}}}));
    let unmasked = container(json!({"procMount": "Unmasked"}));
    for (minor, pod, expected) in [
        (
            36,
            &host,
            r#"host namespaces (hostNetwork=true, hostPID=true), hostPort (container "a" uses hostPorts 80, 9)"#,
        ),
        (36, &volumes, r#"hostPath volumes (volume "v")"#),
        (36, &sysctls, "forbidden sysctls (kernel.msgmax)"),
        (31, &sysctls, "forbidden sysctls (net.ipv4.tcp_rmem, kernel.msgmax)"),
        (
            36,
            &annotated,
            r#"forbidden AppArmor profile (annotation must not set AppArmor profile type to "container.apparmor.security.beta.kubernetes.io/a="unconfined"")"#,
        ),
        (
            30,
            &both,
            r#"seLinuxOptions (pod and container "a" set forbidden securityContext.seLinuxOptions: types "container_engine_t", "x"; user may not be set; role may not be set)"#,
        ),
        (
            31,
            &both,
            r#"seLinuxOptions (pod and container "a" set forbidden securityContext.seLinuxOptions: type "x"; user may not be set; role may not be set)"#,
        ),
        (34, &probe, r#"probe or lifecycle host (container "a" uses probe or lifecycle hosts "g", "h")"#),
        (33, &probe, ""),
        (36, &seccomp, r#"seccompProfile (pod must not set securityContext.seccompProfile.type to "Unconfined")"#),
        (
            18,
            &seccomp,
            r#"seccompProfile (forbidden annotation seccomp.security.alpha.kubernetes.io/pod="unconfined")"#,
        ),
        (36, &unmasked, r#"procMount (container "a" must not set securityContext.procMount to "Unmasked")"#),
        (
            36,
            &container(json!({"capabilities": {"add": ["SYS_ADMIN", "KILL"]}, "privileged": true})),
            r#"non-default capabilities (container "a" must not include "SYS_ADMIN" in securityContext.capabilities.add), privileged (container "a" must not set securityContext.privileged=true)"#,
        ),
        (
            36,
            &container(json!({"windowsOptions": {"hostProcess": true}})),
            r#"hostProcess (container "a" must not set securityContext.windowsOptions.hostProcess=true)"#,
        ),
    ] {
        assert_eq!(at(Level::Baseline, minor, pod), expected);
        assert_eq!(at(Level::Privileged, minor, pod), "");
    }
}

#[test]
fn restricted() {
    let bare = json!({"spec": {"containers": [{"name": "a"}], "ephemeralContainers": [{"name": "b"}]}});
    assert_eq!(
        at(Level::Restricted, 36, &bare),
        r#"allowPrivilegeEscalation != false (containers "a", "b" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (containers "a", "b" must set securityContext.capabilities.drop=["ALL"]), runAsNonRoot != true (pod or containers "a", "b" must set securityContext.runAsNonRoot=true), seccompProfile (pod or containers "a", "b" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")"#
    );
    let mut windows = bare;
    windows["spec"]["os"] = json!({"name": "windows"});
    assert_eq!(
        at(Level::Restricted, 25, &windows),
        r#"runAsNonRoot != true (pod or containers "a", "b" must set securityContext.runAsNonRoot=true)"#
    );
    assert!(at(Level::Restricted, 24, &windows).contains("unrestricted capabilities"));
    let volumes = pod(json!({"spec": {"volumes": [
        {"name": "v", "hostPath": {}}, {"name": "w", "nfs": {}}, {"name": "x", "image": {}}, {"name": "y"}]}}));
    let root = pod(json!({"spec": {"hostUsers": null, "securityContext": {"runAsUser": 0, "runAsNonRoot": false}}}));
    let mut own_users = root.clone();
    own_users["spec"]["hostUsers"] = false.into();
    for (minor, pod, expected) in [
        (
            36,
            &volumes,
            r#"restricted volume types (volumes "v", "w", "y" use restricted volume types "hostPath", "nfs", "unknown")"#,
        ),
        (
            36,
            &root,
            "runAsNonRoot != true (pod must not set securityContext.runAsNonRoot=false), runAsUser=0 (pod must not set runAsUser=0)",
        ),
        (22, &root, "runAsNonRoot != true (pod must not set securityContext.runAsNonRoot=false)"),
        (36, &own_users, ""),
        (
            34,
            &own_users,
            "runAsNonRoot != true (pod must not set securityContext.runAsNonRoot=false), runAsUser=0 (pod must not set runAsUser=0)",
        ),
        (
            36,
            &container(json!({"capabilities": {"drop": ["KILL"], "add": ["NET_BIND_SERVICE", "CHOWN"]}})),
            r#"unrestricted capabilities (container "a" must set securityContext.capabilities.drop=["ALL"]; container "a" must not include "CHOWN" in securityContext.capabilities.add)"#,
        ),
    ] {
        assert_eq!(at(Level::Restricted, minor, pod), expected);
    }
    // What baseline lets pass with users of its own, restricted does not.
    let mut unmasked = container(json!({"procMount": "Unmasked"}));
    unmasked["spec"]["hostUsers"] = false.into();
    assert_eq!(at(Level::Baseline, 35, &unmasked), "");
    assert!(at(Level::Baseline, 34, &unmasked).starts_with("procMount"));
    assert!(at(Level::Restricted, 35, &unmasked).starts_with("procMount"));
}

/// All published pods where they are: in `shared/data/pod-security` of a directory above.
#[test]
fn the_published_pods_are_decided_rightly() {
    let mut directory = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut candidates = std::iter::from_fn(|| directory.pop().then(|| directory.join("shared/data/pod-security")));
    let Some(published) = candidates.find(|path| path.is_dir()) else { return };
    let mut decided = 0;
    for (name, level) in [("baseline", Level::Baseline), ("restricted", Level::Restricted)] {
        for minor in [10, 35] {
            for (verdict, admits) in [("pass", true), ("fail", false)] {
                let folder = published.join(name).join(format!("v1.{minor}")).join(verdict);
                for file in std::fs::read_dir(&folder).unwrap() {
                    let path = file.unwrap().path();
                    let text = std::fs::read_to_string(&path).unwrap();
                    let mut pod: Value = serde_yaml_ng::from_str(&text).unwrap();
                    // The plugin sees pods as the server completes them.
                    crate::kinds::strategy("", "pods").default(&mut pod);
                    let said = at(level, minor, &pod);
                    assert_eq!(said.is_empty(), admits, "{}: {said}", path.display());
                    decided += 1;
                }
            }
        }
    }
    assert!(decided > 200, "only {decided} pods");
}
