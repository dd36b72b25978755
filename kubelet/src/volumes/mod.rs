//! A pod's volumes on the node: directories that appear before its containers start, follow the objects they show while
//! it runs, and go when it has ended.

mod atomic;
mod host_path;
mod mounts;
mod payload;
mod tokens;

pub use atomic::{FileContent, Payload, write_atomically};
pub use mounts::mounts;
pub use payload::{VolumeSources, payload};
pub use tokens::{TokenKey, TokenSource, needed_tokens};

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::environment::FieldError;
use crate::objects::{Pod, Volume};
use crate::references::ObjectKind;

/// Why a volume cannot be made. It may be possible later: the objects it shows may appear.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VolumeError {
    /// An object that it shows does not exist.
    #[error("{kind} {name:?} not found")]
    NotFound {
        /// `configmap` or `secret`.
        kind: ObjectKind,
        /// Its name.
        name: String,
    },
    /// An object that it shows has not been read yet.
    #[error("failed to sync {kind} cache: timed out waiting for the condition")]
    NotSynced {
        /// `configmap` or `secret`.
        kind: ObjectKind,
    },
    /// The object lacks a key that the volume names.
    #[error("references non-existent {what} key: {key}")]
    NoSuchKey {
        /// `config` or `secret`.
        what: &'static str,
        /// The key.
        key: String,
    },
    /// A field that it shows does not exist.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// A path that leads out of the volume.
    #[error("invalid path: {path:?} must be relative and without '..'")]
    Path {
        /// The path.
        path: String,
    },
    /// A token that it shows is not there.
    #[error("failed to fetch token: {0}")]
    Token(String),
    /// The node's path is not what it should be.
    #[error("hostPath type check failed: {path} is not a {wanted}")]
    HostPath {
        /// The path.
        path: PathBuf,
        /// What it should be.
        wanted: &'static str,
    },
    /// This kubelet has no such volumes.
    #[error("{0} volumes are not supported by this kubelet")]
    Unsupported(&'static str),
    /// A volume that a container mounts is not among the pod's.
    #[error("no volume {0:?} in the pod")]
    NoSuchVolume(String),
    /// The file system refused.
    #[error("{path}: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl VolumeError {
    fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}

/// A pod's directories below the kubelet's root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodDirs {
    root: PathBuf,
}

impl PodDirs {
    /// Of the pod with that uid.
    #[must_use]
    pub fn new(kubelet_root: &Path, uid: &str) -> Self {
        Self { root: kubelet_root.join("pods").join(uid) }
    }

    /// All of them.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a volume lies that the kubelet makes.
    #[must_use]
    pub fn volume(&self, plugin: &str, name: &str) -> PathBuf {
        self.root.join("volumes").join(format!("kubernetes.io~{plugin}")).join(name)
    }

    /// The file in which a container explains its end.
    #[must_use]
    pub fn termination_log(&self, container: &str, attempt: u32) -> PathBuf {
        self.root.join("containers").join(container).join(format!("{attempt}.termination"))
    }

    /// The pod's `/etc/hosts`.
    #[must_use]
    pub fn etc_hosts(&self) -> PathBuf {
        self.root.join("etc-hosts")
    }
}

/// Makes every volume of a pod, or brings it up to date, and returns where each lies.
///
/// # Errors
/// The first volume that cannot be made, by name, and why.
pub fn set_up(
    pod: &Pod,
    dirs: &PodDirs,
    sources: &VolumeSources<'_>,
    now: Timestamp,
) -> Result<BTreeMap<String, PathBuf>, (String, VolumeError)> {
    let mut made = BTreeMap::new();
    for volume in &pod.spec.volumes {
        let path = set_up_one(pod, volume, dirs, sources, now).map_err(|error| (volume.name.clone(), error))?;
        made.insert(volume.name.clone(), path);
    }
    Ok(made)
}

fn set_up_one(
    pod: &Pod,
    volume: &Volume,
    dirs: &PodDirs,
    sources: &VolumeSources<'_>,
    now: Timestamp,
) -> Result<PathBuf, VolumeError> {
    let group = pod.spec.security_context.as_ref().and_then(|context| context.fs_group);
    if volume.empty_dir.is_some() || !has_source(volume) {
        let path = dirs.volume("empty-dir", &volume.name);
        if !path.is_dir() {
            make_dir(&path, 0o777)?;
            own(&path, group);
        }
        return Ok(path);
    }
    if let Some(host) = &volume.host_path {
        return host_path::check(Path::new(&host.path), host.type_.as_deref().unwrap_or_default());
    }
    let Some((plugin, files)) = payload(pod, volume, sources)? else {
        return Err(VolumeError::Unsupported(unsupported(volume)));
    };
    let path = dirs.volume(plugin, &volume.name);
    make_dir(&path, 0o755)?;
    write_atomically(&path, &files, group, now)?;
    Ok(path)
}

const fn has_source(volume: &Volume) -> bool {
    volume.host_path.is_some()
        || volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.downward_api.is_some()
        || volume.projected.is_some()
        || volume.persistent_volume_claim.is_some()
        || volume.ephemeral.is_some()
        || volume.csi.is_some()
        || volume.nfs.is_some()
        || volume.image.is_some()
}

const fn unsupported(volume: &Volume) -> &'static str {
    if volume.persistent_volume_claim.is_some() {
        "persistentVolumeClaim"
    } else if volume.ephemeral.is_some() {
        "ephemeral"
    } else if volume.csi.is_some() {
        "csi"
    } else if volume.nfs.is_some() {
        "nfs"
    } else {
        "image"
    }
}

fn make_dir(path: &Path, mode: u32) -> Result<(), VolumeError> {
    if path.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(path).map_err(VolumeError::io(path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(VolumeError::io(path))
}

/// Gives a path to the pod's group, as far as this process may.
fn own(path: &Path, group: Option<i64>) {
    if let Some(group) = group.and_then(|group| u32::try_from(group).ok())
        && let Err(error) = chown(path, None, Some(group))
    {
        tracing::debug!(path = %path.display(), group, %error, "cannot set the pod's fsGroup");
    }
}

/// Removes everything of a pod. What is not there is no error.
///
/// # Errors
/// The file system refused.
pub fn tear_down(dirs: &PodDirs) -> Result<(), VolumeError> {
    match fs::remove_dir_all(dirs.root()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(VolumeError::Io { path: dirs.root().to_owned(), source: error })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "volumes_test.rs"]
mod tests;
