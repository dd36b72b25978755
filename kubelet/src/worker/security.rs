use k8s_openapi::api::core::v1 as core;
use kubewright_runtime_shim::{Capabilities, Image, NamespaceMode, NamespaceOptions, SecurityContext, SecurityProfile};

use super::configs::pid_mode;
use crate::objects::{Container, Pod};

fn namespaces(pod: &Pod) -> NamespaceOptions {
    let node = |shared: bool| if shared { NamespaceMode::Node } else { NamespaceMode::Pod };
    let mut out = NamespaceOptions::default();
    out.network = node(pod.spec.host_network);
    out.ipc = node(pod.spec.host_ipc);
    out.pid = pid_mode(pod);
    out
}

fn seccomp(profile: Option<&core::SeccompProfile>) -> Option<SecurityProfile> {
    Some(match profile?.type_.as_str() {
        "RuntimeDefault" => SecurityProfile::RuntimeDefault,
        "Localhost" => SecurityProfile::Localhost(profile?.localhost_profile.clone().unwrap_or_default()),
        _ => SecurityProfile::Unconfined,
    })
}

fn apparmor(profile: Option<&core::AppArmorProfile>) -> Option<SecurityProfile> {
    Some(match profile?.type_.as_str() {
        "RuntimeDefault" => SecurityProfile::RuntimeDefault,
        "Localhost" => SecurityProfile::Localhost(profile?.localhost_profile.clone().unwrap_or_default()),
        _ => SecurityProfile::Unconfined,
    })
}

/// The security context of a pod's sandbox.
pub(super) fn sandbox_security(pod: &Pod) -> SecurityContext {
    let mut out = SecurityContext::default();
    out.namespaces = namespaces(pod);
    out.seccomp = SecurityProfile::RuntimeDefault;
    if let Some(context) = &pod.spec.security_context {
        out.run_as_user = context.run_as_user;
        out.run_as_group = context.run_as_group;
        out.supplemental_groups = groups(context);
        if let Some(profile) = seccomp(context.seccomp_profile.as_ref()) {
            out.seccomp = profile;
        }
    }
    out.privileged = pod.spec.containers.iter().chain(&pod.spec.init_containers).any(is_privileged);
    out
}

fn is_privileged(container: &Container) -> bool {
    container.security_context.as_ref().is_some_and(|context| context.privileged == Some(true))
}

fn groups(context: &core::PodSecurityContext) -> Vec<i64> {
    context.supplemental_groups.iter().flatten().copied().chain(context.fs_group).collect()
}

/// The security context of a container: its own over its pod's.
///
/// # Errors
/// The container may not run as root, and would.
pub(super) fn container_security(
    pod: &Pod,
    container: &Container,
    image: Option<&Image>,
) -> Result<SecurityContext, String> {
    let of_pod = pod.spec.security_context.as_deref();
    let own = container.security_context.as_deref();
    let mut out = SecurityContext::default();
    out.namespaces = namespaces(pod);
    out.run_as_user = own.and_then(|own| own.run_as_user).or_else(|| of_pod.and_then(|pod| pod.run_as_user));
    out.run_as_group = own.and_then(|own| own.run_as_group).or_else(|| of_pod.and_then(|pod| pod.run_as_group));
    out.supplemental_groups = of_pod.map(groups).unwrap_or_default();
    let non_root = own.and_then(|own| own.run_as_non_root).or_else(|| of_pod.and_then(|pod| pod.run_as_non_root));
    if non_root == Some(true) {
        check_non_root(pod, container, out.run_as_user, image)?;
    }
    let profile = seccomp(own.and_then(|own| own.seccomp_profile.as_ref()))
        .or_else(|| seccomp(of_pod.and_then(|pod| pod.seccomp_profile.as_ref())));
    out.seccomp = profile.unwrap_or(SecurityProfile::Unconfined);
    let profile = apparmor(own.and_then(|own| own.app_armor_profile.as_ref()))
        .or_else(|| apparmor(of_pod.and_then(|pod| pod.app_armor_profile.as_ref())));
    // Without one nothing is said, and the runtime does what the node's kernel can.
    out.apparmor = profile.unwrap_or_default();
    if let Some(own) = own {
        out.privileged = own.privileged == Some(true);
        out.readonly_rootfs = own.read_only_root_filesystem == Some(true);
        out.no_new_privs = own.allow_privilege_escalation == Some(false);
        if let Some(capabilities) = &own.capabilities {
            let mut wanted = Capabilities::default();
            wanted.add = capabilities.add.clone().unwrap_or_default();
            wanted.drop = capabilities.drop.clone().unwrap_or_default();
            out.capabilities = wanted;
        }
    }
    let unmasked = own.is_some_and(|own| own.proc_mount.as_deref() == Some("Unmasked"));
    if out.privileged || unmasked {
        out.masked_paths.clear();
        out.readonly_paths.clear();
    }
    Ok(out)
}

fn check_non_root(pod: &Pod, container: &Container, user: Option<i64>, image: Option<&Image>) -> Result<(), String> {
    let of = format!(
        "(pod: {:?}, container: {})",
        format!("{}_{}({})", pod.name(), pod.namespace(), pod.uid()),
        container.name
    );
    match (user, image) {
        (Some(0), _) => Err(format!("container's runAsUser breaks non-root policy {of}")),
        (Some(_), _) => Ok(()),
        (None, Some(image)) if image.uid == Some(0) => {
            Err(format!("container has runAsNonRoot and image will run as root {of}"))
        }
        (None, Some(image)) if image.uid.is_none() && !image.username.is_empty() => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({}), cannot verify user is non-root {of}",
            image.username
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use kubewright_runtime_shim::ImageRef;
    use serde_json::json;

    use super::*;

    fn check(pod: serde_json::Value, own: serde_json::Value, image_user: i64) -> Result<SecurityContext, String> {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u"},
            "spec": {"securityContext": pod, "containers": [{"name": "c", "securityContext": own}]}}))
        .unwrap();
        let mut image = Image::new(ImageRef("i".into()));
        image.uid = Some(image_user);
        container_security(&pod, &pod.spec.containers[0], Some(&image))
    }

    #[test]
    fn a_containers_own_words_win() {
        let pod = json!({"runAsUser": 1, "runAsGroup": 2, "fsGroup": 3, "supplementalGroups": [4]});
        let found = check(pod, json!({"runAsUser": 9, "capabilities": {"drop": ["ALL"]}}), 0).unwrap();
        assert_eq!((found.run_as_user, found.run_as_group), (Some(9), Some(2)));
        assert_eq!((found.supplemental_groups, found.capabilities.drop), (vec![4, 3], vec!["ALL".to_owned()]));
        assert!(!found.masked_paths.is_empty());
        assert!(check(json!({}), json!({"privileged": true}), 0).unwrap().masked_paths.is_empty());
    }

    #[test]
    fn non_root_is_held() {
        let refused = check(json!({"runAsNonRoot": true}), json!({}), 0).unwrap_err();
        assert!(refused.starts_with("container has runAsNonRoot and image will run as root"), "{refused}");
        assert!(check(json!({"runAsNonRoot": true}), json!({}), 7).is_ok());
        assert!(check(json!({"runAsNonRoot": true}), json!({"runAsUser": 0}), 7).is_err());
        assert!(check(json!({"runAsNonRoot": true}), json!({"runAsNonRoot": false}), 0).is_ok());
    }
}
