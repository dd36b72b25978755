//! A pod to try things with.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{PATIENCE, Subject};
use crate::{
    ContainerConfig, ContainerId, ContainerMetadata, ContainerState, ContainerStatus, Error, ImageSpec, KeyValue,
    PodSandboxConfig, PodSandboxMetadata, SandboxId, labels, logs::LogLine,
};

/// How often the suite looks whether something has come about.
const PAUSE: Duration = Duration::from_millis(20);

/// A sandbox, and the configs of what is in it.
pub(super) struct Pod<'a> {
    pub(super) subject: &'a Subject,
    pub(super) config: PodSandboxConfig,
    pub(super) id: SandboxId,
}

/// The config of a pod of this name; its UID is the name and the test's directory, so that no two tests share it.
pub(super) fn pod_config(subject: &Subject, name: &str) -> PodSandboxConfig {
    let unique = subject.directory.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let unique: String = unique.chars().filter(char::is_ascii_alphanumeric).collect();
    let uid = format!("{name}-{}", unique.to_lowercase());
    let mut config = PodSandboxConfig::new(PodSandboxMetadata::new("conformance", name, uid.clone()));
    config.hostname = name.to_owned();
    config.log_directory = Some(subject.directory.join(format!("logs-{name}")));
    config.ip = subject.pod_ip;
    config.labels.insert(labels::POD_UID.to_owned(), uid);
    config
}

pub(super) fn shell(script: &str) -> Vec<String> {
    ["sh", "-c", script].map(str::to_owned).to_vec()
}

impl<'a> Pod<'a> {
    pub(super) async fn run(subject: &'a Subject, name: &str) -> Pod<'a> {
        let config = pod_config(subject, name);
        let id = subject.runtime.run_pod_sandbox(&config).await.expect("a sandbox");
        Pod { subject, config, id }
    }

    /// The config of a container that runs this script.
    pub(super) fn container(&self, name: &str, script: &str) -> ContainerConfig {
        let metadata = ContainerMetadata::new(name, 0);
        let mut config = ContainerConfig::new(metadata, ImageSpec::new(&self.subject.image));
        config.command = shell(script);
        config.log_path = Some(PathBuf::from(format!("{name}/0.log")));
        config.labels.clone_from(&self.config.labels);
        config.labels.insert(labels::CONTAINER_NAME.to_owned(), name.to_owned());
        config
    }

    pub(super) async fn create(&self, config: &ContainerConfig) -> Result<ContainerId, Error> {
        self.subject.runtime.create_container(&self.id, config, &self.config).await
    }

    pub(super) async fn start(&self, config: &ContainerConfig) -> ContainerId {
        let id = self.create(config).await.expect("a container");
        self.subject.runtime.start_container(&id).await.expect("a started container");
        id
    }

    pub(super) async fn start_script(&self, name: &str, script: &str) -> ContainerId {
        self.start(&self.container(name, script)).await
    }

    pub(super) async fn status(&self, id: &ContainerId) -> ContainerStatus {
        self.subject.runtime.container_status(id).await.expect("a status")
    }

    pub(super) async fn exited(&self, id: &ContainerId) -> ContainerStatus {
        until("the container has exited", async || {
            let status = self.status(id).await;
            (status.container.state == ContainerState::Exited).then_some(status)
        })
        .await
    }

    /// Waits until the log has a line with this text.
    pub(super) async fn logged(&self, path: &Path, text: &str) {
        until(&format!("{text:?} is in the log"), async || {
            read_log(path).iter().any(|(_, line)| line == text).then_some(())
        })
        .await;
    }

    /// Removes the pod; the end of every test that got so far.
    pub(super) async fn remove(self) {
        self.subject.runtime.stop_pod_sandbox(&self.id).await.expect("a stopped sandbox");
        self.subject.runtime.remove_pod_sandbox(&self.id).await.expect("a removed sandbox");
    }
}

/// Looks again and again.
pub(super) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// A log's lines with the names of their streams; none while there is no file.
pub(super) fn read_log(path: &Path) -> Vec<(String, String)> {
    let text = std::fs::read(path).unwrap_or_default();
    let lines = text.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
    lines
        .map(|line| {
            let shown = String::from_utf8_lossy(line);
            let line = LogLine::parse(line).unwrap_or_else(|| panic!("{shown:?} is no log line"));
            (line.stream.to_string(), String::from_utf8_lossy(line.text).into_owned())
        })
        .collect()
}

pub(super) fn env(key: &str, value: &str) -> KeyValue {
    KeyValue::new(key, value)
}
