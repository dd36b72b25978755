use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use kubewright_runtime_shim::{Mount, MountPropagation};

use super::VolumeError;
use crate::environment::expand;
use crate::objects::{Container, Pod};

/// Where a container sees the pod's volumes. `variable` gives the container's environment, for `subPathExpr`.
///
/// # Errors
/// A volume is missing, or a sub-path leads out of it.
pub fn mounts<'v>(
    pod: &Pod,
    container: &Container,
    volumes: &BTreeMap<String, PathBuf>,
    variable: impl Fn(&str) -> Option<&'v str>,
) -> Result<Vec<Mount>, VolumeError> {
    let mut out = Vec::new();
    for wanted in &container.volume_mounts {
        let path = volumes.get(&wanted.name).ok_or_else(|| VolumeError::NoSuchVolume(wanted.name.clone()))?;
        let written = pod.spec.volumes.iter().find(|volume| volume.name == wanted.name);
        let shows_objects = written.is_some_and(|volume| {
            volume.config_map.is_some()
                || volume.secret.is_some()
                || volume.downward_api.is_some()
                || volume.projected.is_some()
        });
        let readonly = shows_objects || wanted.read_only.unwrap_or(false);
        let expression = wanted.sub_path_expr.as_deref().filter(|expression| !expression.is_empty());
        let sub_path = match expression {
            Some(expression) => expand(expression, &variable),
            None => wanted.sub_path.clone().unwrap_or_default(),
        };
        let container_path = if wanted.mount_path.starts_with('/') {
            wanted.mount_path.clone()
        } else {
            format!("/{}", wanted.mount_path)
        };
        let mut mount = Mount::new(container_path, sub_path_of(path, &sub_path, !readonly)?);
        mount.readonly = readonly;
        mount.propagation = match wanted.mount_propagation.as_deref() {
            Some("Bidirectional") => MountPropagation::Bidirectional,
            Some("HostToContainer") => MountPropagation::HostToContainer,
            _ => MountPropagation::Private,
        };
        out.push(mount);
    }
    Ok(out)
}

/// A path below a volume, made where it is missing and may be, and never outside of the volume.
fn sub_path_of(volume: &Path, sub_path: &str, create: bool) -> Result<PathBuf, VolumeError> {
    if sub_path.is_empty() {
        return Ok(volume.to_owned());
    }
    let refused = || VolumeError::Path { path: sub_path.to_owned() };
    if !Path::new(sub_path).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(refused());
    }
    let root = volume.canonicalize().map_err(VolumeError::io(volume))?;
    let path = root.join(sub_path);
    if create && !path.exists() {
        // Up to what exists everything must lie inside; what is made below it then does, too.
        let existing = path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(&root);
        if !existing.canonicalize().map_err(VolumeError::io(existing))?.starts_with(&root) {
            return Err(refused());
        }
        fs::create_dir_all(&path).map_err(VolumeError::io(&path))?;
    }
    let real = path.canonicalize().map_err(VolumeError::io(&path))?;
    if real.starts_with(&root) { Ok(real) } else { Err(refused()) }
}
