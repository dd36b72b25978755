use k8s_openapi::api::core::v1 as core;
use serde::Deserialize;

use super::null_is_default;

/// A directory that containers may mount. Boxed, for most of a pod's volumes have one source of many.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Volume {
    /// Its name in the pod.
    pub name: String,
    /// An empty directory that lives as long as the pod.
    pub empty_dir: Option<Box<core::EmptyDirVolumeSource>>,
    /// A directory or file of the node.
    pub host_path: Option<Box<core::HostPathVolumeSource>>,
    /// Files out of a ConfigMap.
    pub config_map: Option<Box<core::ConfigMapVolumeSource>>,
    /// Files out of a Secret.
    pub secret: Option<Box<SecretVolumeSource>>,
    /// Files about the pod itself.
    #[serde(rename = "downwardAPI")]
    pub downward_api: Option<Box<core::DownwardAPIVolumeSource>>,
    /// Several of the above, and tokens, in one directory.
    pub projected: Option<Box<core::ProjectedVolumeSource>>,
    /// A claim of persistent storage.
    pub persistent_volume_claim: Option<Box<core::PersistentVolumeClaimVolumeSource>>,
    /// A claim that lives as long as the pod.
    pub ephemeral: Option<serde_json::Value>,
    /// Storage through a CSI driver.
    pub csi: Option<serde_json::Value>,
    /// A file system of another machine.
    pub nfs: Option<serde_json::Value>,
    /// An image's files.
    pub image: Option<serde_json::Value>,
}

/// Files out of a Secret.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SecretVolumeSource {
    /// The Secret.
    pub secret_name: String,
    /// Which keys, and as which files; all when empty.
    #[serde(deserialize_with = "null_is_default")]
    pub items: Vec<core::KeyToPath>,
    /// Permissions of files.
    pub default_mode: Option<i32>,
    /// Whether it may be missing.
    pub optional: Option<bool>,
}
