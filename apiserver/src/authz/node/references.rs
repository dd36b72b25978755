//! What a pod refers to.

use std::collections::BTreeSet;

use serde_json::Value;

/// What a node may be related to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Referenced {
    Pod,
    Secret,
    ConfigMap,
    Claim,
    ResourceClaim,
    ServiceAccount,
    Volume,
    Attachment,
    Slice,
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Names of everything in its namespace that a pod refers to.
pub(crate) fn references(pod: &Value) -> BTreeSet<(Referenced, String)> {
    let mut found = BTreeSet::new();
    let mut add = |what: Referenced, name: &Value| {
        if let Some(name) = name.as_str().filter(|name| !name.is_empty()) {
            found.insert((what, name.to_owned()));
        }
    };
    let spec = &pod["spec"];
    add(Referenced::ServiceAccount, &spec["serviceAccountName"]);
    for secret in items(&spec["imagePullSecrets"]) {
        add(Referenced::Secret, &secret["name"]);
    }
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        for container in items(&spec[list]) {
            for source in items(&container["envFrom"]) {
                add(Referenced::Secret, &source["secretRef"]["name"]);
                add(Referenced::ConfigMap, &source["configMapRef"]["name"]);
            }
            for variable in items(&container["env"]) {
                add(Referenced::Secret, &variable["valueFrom"]["secretKeyRef"]["name"]);
                add(Referenced::ConfigMap, &variable["valueFrom"]["configMapKeyRef"]["name"]);
            }
        }
    }
    for volume in items(&spec["volumes"]) {
        for secret in [
            &volume["secret"]["secretName"],
            &volume["azureFile"]["secretName"],
            &volume["csi"]["nodePublishSecretRef"]["name"],
        ] {
            add(Referenced::Secret, secret);
        }
        for driver in ["cephfs", "cinder", "flexVolume", "iscsi", "rbd", "scaleIO", "storageos"] {
            add(Referenced::Secret, &volume[driver]["secretRef"]["name"]);
        }
        add(Referenced::ConfigMap, &volume["configMap"]["name"]);
        for source in items(&volume["projected"]["sources"]) {
            add(Referenced::Secret, &source["secret"]["name"]);
            add(Referenced::ConfigMap, &source["configMap"]["name"]);
        }
        add(Referenced::Claim, &volume["persistentVolumeClaim"]["claimName"]);
        if volume["ephemeral"].is_object() {
            let (pod, volume) = (pod["metadata"]["name"].as_str(), volume["name"].as_str());
            let claim = format!("{}-{}", pod.unwrap_or_default(), volume.unwrap_or_default());
            add(Referenced::Claim, &claim.into());
        }
    }
    for claim in items(&spec["resourceClaims"]) {
        add(Referenced::ResourceClaim, &claim["resourceClaimName"]);
    }
    for claim in items(&pod["status"]["resourceClaimStatuses"]) {
        add(Referenced::ResourceClaim, &claim["resourceClaimName"]);
    }
    add(Referenced::ResourceClaim, &pod["status"]["extendedResourceClaimStatus"]["resourceClaimName"]);
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_volume_names_its_secret() {
        let drivers = ["cephfs", "cinder", "flexVolume", "iscsi", "rbd", "scaleIO", "storageos"];
        let volumes: Value = drivers.iter().map(|driver| json!({*driver: {"secretRef": {"name": driver}}})).collect();
        let found = references(&json!({"spec": {"volumes": volumes}}));
        for driver in drivers {
            assert!(found.contains(&(Referenced::Secret, driver.to_owned())), "{driver}");
        }
    }
}
