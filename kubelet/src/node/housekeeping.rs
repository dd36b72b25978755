use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kubewright_runtime_shim::{ContainerFilter, ContainerState, PodSandboxFilter, PodSandboxState};
use tokio_util::sync::CancellationToken;

use super::Context;
use crate::volumes::{PodDirs, tear_down};

/// How often logs are looked at.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// How often what belongs to no pod is removed: every that many times.
const ORPHANS_EVERY: u32 = 12;
/// What containers of pods that nobody knows get to end in.
const ORPHAN_GRACE: Duration = Duration::from_secs(2);

/// Keeps logs short, and the node free of what belongs to no pod, until cancelled.
pub(crate) async fn keep_house(node: Arc<Context>, cancel: CancellationToken) {
    let mut ticks = tokio::time::interval(LOG_INTERVAL);
    let mut count = 0_u32;
    while cancel.run_until_cancelled(ticks.tick()).await.is_some() {
        rotate_logs(&node).await;
        count += 1;
        if count.is_multiple_of(ORPHANS_EVERY) {
            remove_orphans(&node).await;
        }
    }
}

/// The sandboxes of this node. A runtime may have others: another node's, or another program's.
pub(crate) fn own_sandboxes(config: &crate::KubeletConfig) -> PodSandboxFilter {
    let mut filter = PodSandboxFilter::all();
    filter.label_selector.insert(NODE_LABEL.to_owned(), config.node_name.clone());
    filter
}

/// The label that tells this node's sandboxes and containers from others of the same runtime.
pub(crate) const NODE_LABEL: &str = "kubewright.dev/node-name";

/// Removes sandboxes, containers, volumes and logs of pods that have no worker; nothing before the API was listed.
pub(crate) async fn remove_orphans(node: &Context) {
    if !node.pods_listed.load(Ordering::Acquire) {
        return;
    }
    let known: BTreeSet<String> = node.pods.uids().into_iter().collect();
    if let Err(error) = remove_orphan_sandboxes(node, &known).await {
        tracing::warn!(%error, "cannot remove what belongs to no pod");
    }
    for entry in std::fs::read_dir(node.config.root_dir.join("pods")).into_iter().flatten().flatten() {
        let uid = entry.file_name().to_string_lossy().into_owned();
        if !known.contains(&uid)
            && node.pods.get(&uid).is_none()
            && let Err(error) = tear_down(&PodDirs::new(&node.config.root_dir, &uid))
        {
            tracing::warn!(uid, %error, "cannot remove volumes that belong to no pod");
        }
    }
    for entry in std::fs::read_dir(&node.config.pod_logs_dir).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let uid = name.rsplit('_').next().unwrap_or_default();
        if name.matches('_').count() == 2 && !known.contains(uid) && node.pods.get(uid).is_none() {
            drop(std::fs::remove_dir_all(entry.path()));
        }
    }
}

async fn remove_orphan_sandboxes(
    node: &Context,
    known: &BTreeSet<String>,
) -> Result<(), kubewright_runtime_shim::Error> {
    let sandboxes = node.runtime.list_pod_sandboxes(&own_sandboxes(&node.config)).await?;
    for sandbox in sandboxes {
        let uid = &sandbox.metadata.uid;
        // Asked again, for a worker may have come to it meanwhile.
        if uid.is_empty() || known.contains(uid) || node.pods.get(uid).is_some() {
            continue;
        }
        if sandbox.state == PodSandboxState::Ready {
            for container in node.runtime.list_containers(&ContainerFilter::sandbox(sandbox.id.clone())).await? {
                if container.state == ContainerState::Running {
                    node.runtime.stop_container(&container.id, ORPHAN_GRACE).await?;
                }
            }
            node.runtime.stop_pod_sandbox(&sandbox.id).await?;
        }
        node.runtime.remove_pod_sandbox(&sandbox.id).await?;
        if let Some(network) = &node.network {
            drop(network.detach(uid).await);
        }
    }
    Ok(())
}

async fn rotate_logs(node: &Context) {
    let mut own = ContainerFilter::all();
    own.label_selector = own_sandboxes(&node.config).label_selector;
    let Ok(containers) = node.runtime.list_containers(&own).await else {
        return;
    };
    for container in containers.into_iter().filter(|container| container.state == ContainerState::Running) {
        let Ok(status) = node.runtime.container_status(&container.id).await else {
            continue;
        };
        let Some(path) = status.log_path else {
            continue;
        };
        let long = std::fs::metadata(&path).is_ok_and(|meta| meta.len() > node.config.log_bytes_max);
        if !long {
            continue;
        }
        let stamp = node.clock.now().strftime("%Y%m%d-%H%M%S").to_string();
        if let Some(moved) = rotate(&path, &stamp, node.config.log_files_max)
            && let Err(error) = node.runtime.reopen_container_log(&container.id).await
        {
            tracing::warn!(path = %path.display(), %error, "cannot begin a new log");
            drop(std::fs::rename(moved, &path));
        }
    }
}

/// Moves a log away, and removes the oldest of those moved earlier. Returns where it went.
fn rotate(path: &Path, stamp: &str, files_max: usize) -> Option<PathBuf> {
    let (directory, name) = (path.parent()?, path.file_name()?.to_str()?);
    let prefix = format!("{name}.");
    let entries = std::fs::read_dir(directory).ok()?.flatten().map(|entry| entry.path());
    let is_old = |path: &PathBuf| path.file_name().is_some_and(|own| own.to_string_lossy().starts_with(&prefix));
    let mut old: Vec<PathBuf> = entries.filter(is_old).collect();
    old.sort();
    // The current one and the one that is moved now count, too.
    let excess = (old.len() + 2).saturating_sub(files_max.max(2));
    for path in &old[..excess.min(old.len())] {
        drop(std::fs::remove_file(path));
    }
    let moved = directory.join(format!("{name}.{stamp}"));
    std::fs::rename(path, &moved).ok()?;
    Some(moved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_logs_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        for stamp in ["1", "2", "3", "4"] {
            std::fs::write(&path, stamp).unwrap();
            assert!(rotate(&path, stamp, 3).is_some());
        }
        std::fs::write(dir.path().join("1.log"), "another's").unwrap();
        let mut names: Vec<_> =
            std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["0.log.3", "0.log.4", "1.log"]);
    }
}
