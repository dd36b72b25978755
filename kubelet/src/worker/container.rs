use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use jiff::Timestamp;
use kubewright_runtime_shim::{
    ContainerConfig, ContainerId, ContainerMetadata, ContainerState, Image, ImageRef, ImageSpec, KeyValue, Mount,
    NamespaceMode, labels,
};

use super::Worker;
use super::configs;
use crate::decide::{ContainerRef, WaitingReason};
use crate::environment::{Sources, environment, expand};
use crate::events::EventTarget;
use crate::objects::Container;
use crate::probe::{Check, Outcome};
use crate::volumes::mounts;

/// How long a hook after the start may take. Upstream's has no end; here the pod would hang with it.
const POST_START_MAX: Duration = Duration::from_secs(600);

type Failed = (WaitingReason, Option<Timestamp>);

fn failed(reason: &str, message: impl Into<String>) -> Failed {
    (WaitingReason { reason: reason.to_owned(), message: message.into() }, None)
}

impl Worker {
    /// Starts a container, unless it must wait. What it waits for shows in the status; returns when to try again.
    pub(super) async fn start_container(&mut self, which: ContainerRef) -> Option<Timestamp> {
        let pod = self.pod.clone();
        let container = which.of(&pod);
        match self.try_start(which, container).await {
            Ok(()) => {
                self.waiting.remove(&container.name);
                None
            }
            Err((reason, at)) => {
                let now = self.node.clock.now();
                let at = at.unwrap_or_else(|| now + super::signed(Duration::from_secs(10)));
                self.waiting.insert(container.name.clone(), reason);
                Some(at)
            }
        }
    }

    async fn try_start(&mut self, which: ContainerRef, container: &Container) -> Result<(), Failed> {
        self.check_backoff(container)?;
        let target = EventTarget::container(&self.pod, &container.name, matches!(which, ContainerRef::Init(_)));
        let recorder = self.node.recorder.clone();
        let warn = |(reason, at): Failed, message: String| {
            recorder.warning(&target, "Failed", format!("Error: {message}"));
            (reason, at)
        };
        let (image_ref, image) = self.ensure_image(container).await.map_err(|(reason, at)| {
            let word = reason.reason.clone();
            warn((reason, at), word)
        })?;
        let attempt = self.next_attempt(container);
        let config = self.container_config(which, container, attempt, image_ref, image.as_ref());
        let config = config.map_err(|why| warn(failed("CreateContainerConfigError", &why), why))?;
        let sandbox = self.runtime.ready_sandbox().cloned();
        let sandbox = sandbox.ok_or_else(|| failed("CreateContainerError", "the pod sandbox is gone"))?;
        let mut sandbox_config = configs::sandbox_config(&self.pod, &self.node.config, sandbox.attempt);
        sandbox_config.ip = sandbox.ips.first().copied();
        let runtime = self.node.runtime.clone();
        let created = runtime.create_container(&sandbox.id, &config, &sandbox_config).await;
        let id = created.map_err(|error| warn(failed("CreateContainerError", error.to_string()), error.to_string()))?;
        recorder.normal(&target, "Created", "Container created");
        if let Err(error) = runtime.start_container(&id).await {
            return Err(warn(failed("RunContainerError", error.to_string()), error.to_string()));
        }
        recorder.normal(&target, "Started", "Container started");
        self.post_start(container, &id, &target).await
    }

    /// A container that ended lately is not started at once.
    fn check_backoff(&mut self, container: &Container) -> Result<(), Failed> {
        let mut views = self.runtime.containers.iter();
        let last = views.find(|view| view.name == container.name && view.state == ContainerState::Exited);
        let Some(ended) = last.map(|view| view.finished_at.unwrap_or(view.created_at)) else {
            return Ok(());
        };
        let now = self.node.clock.now();
        let key = format!("{}/{}", container.name, configs::hash(container));
        let Some(at) = self.restarts.retry_at(&key, ended, now) else {
            self.restarts.next(&key, ended, now);
            return Ok(());
        };
        let full = self.pod.full_name();
        let target = EventTarget::container(&self.pod, &container.name, false);
        let message = format!("Back-off restarting failed container {} in pod {full}", container.name);
        self.node.recorder.warning(&target, "BackOff", message);
        let wait = go_duration(self.restarts.delay(&key));
        let message = format!("back-off {wait} restarting failed container={} pod={full}", container.name);
        let reason = WaitingReason { reason: "CrashLoopBackOff".to_owned(), message };
        Err((reason, Some(at)))
    }

    /// The number of the next run: counted from the container that is there, else from the logs of those that were.
    fn next_attempt(&self, container: &Container) -> u32 {
        if let Some(view) = self.runtime.container(&container.name) {
            return view.attempt + 1;
        }
        let logs = configs::log_directory(&self.node.config, &self.pod).join(&container.name);
        let entries = std::fs::read_dir(logs).into_iter().flatten().flatten();
        let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.split('.').next()?.parse::<u32>().ok());
        numbers.max().map_or(0, |last| last + 1)
    }

    fn container_config(
        &self,
        which: ContainerRef,
        container: &Container,
        attempt: u32,
        image_ref: ImageRef,
        image: Option<&Image>,
    ) -> Result<ContainerConfig, String> {
        let envs = self.variables(container)?;
        let values: BTreeMap<&str, &str> = envs.iter().map(|env| (env.key.as_str(), env.value.as_str())).collect();
        let value = |name: &str| values.get(name).copied();
        let mut spec = ImageSpec::new(image_ref.0);
        spec.user_specified_image.clone_from(&container.image);
        let mut config = ContainerConfig::new(ContainerMetadata::new(&container.name, attempt), spec);
        config.command = container.command.iter().map(|word| expand(word, value)).collect();
        config.args = container.args.iter().map(|word| expand(word, value)).collect();
        config.working_dir = Some(container.working_dir.clone()).filter(|directory| !directory.is_empty());
        config.mounts = mounts(&self.pod, container, &self.volumes, value).map_err(|error| error.to_string())?;
        self.own_mounts(container, attempt, &mut config.mounts)?;
        config.labels = configs::pod_labels(&self.pod, &self.node.config);
        config.labels.insert(labels::CONTAINER_NAME.to_owned(), container.name.clone());
        config.annotations = BTreeMap::from([
            (configs::HASH_ANNOTATION.to_owned(), configs::hash(container)),
            ("io.kubernetes.container.restartCount".to_owned(), attempt.to_string()),
            ("io.kubernetes.pod.terminationGracePeriod".to_owned(), self.pod.grace_seconds().to_string()),
        ]);
        config.log_path = Some(format!("{}/{attempt}.log", container.name).into());
        config.stdin = container.stdin;
        config.stdin_once = container.stdin_once;
        config.tty = container.tty;
        let memory = self.node.view().allocatable.get("memory").map_or(0, kubewright_api::quantity::Quantity::value);
        config.resources = configs::resources(&self.pod, container, memory);
        config.security = super::security::container_security(&self.pod, container, image)?;
        if let ContainerRef::Ephemeral(at) = which {
            let target = &self.pod.spec.ephemeral_containers[at].target_container_name;
            if let Some(view) = self.runtime.container(target) {
                config.security.namespaces.pid = NamespaceMode::Target(view.id.clone());
            }
        }
        config.stop_signal = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.stop_signal.clone());
        config.envs = envs;
        let logs = configs::log_directory(&self.node.config, &self.pod).join(&container.name);
        std::fs::create_dir_all(&logs).map_err(|error| format!("{}: {error}", logs.display()))?;
        Ok(config)
    }

    fn variables(&self, container: &Container) -> Result<Vec<KeyValue>, String> {
        let (node, pod) = (&self.node, &self.pod);
        let object = |kind, name: &str| node.objects.get(kind, pod.namespace(), name);
        let fields = self.field_values();
        let services = node.services();
        let sources = Sources { object: &object, services: &services, fields: &fields };
        environment(pod, container, &sources).map_err(|error| error.to_string())
    }

    /// The file for last words, and `/etc/hosts`.
    fn own_mounts(&self, container: &Container, attempt: u32, mounts: &mut Vec<Mount>) -> Result<(), String> {
        let write = |path: &std::path::Path, text: &str, mode: u32| {
            let parent = path.parent().unwrap_or(path);
            std::fs::create_dir_all(parent)
                .and_then(|()| std::fs::write(path, text))
                .and_then(|()| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)))
                .map_err(|error| format!("{}: {error}", path.display()))
        };
        let last_words = match container.termination_message_path.as_str() {
            "" => "/dev/termination-log",
            path => path,
        };
        let taken = |mounts: &[Mount], path: &str| mounts.iter().any(|mount| mount.container_path == path);
        if !taken(mounts, last_words) {
            let path = self.dirs.termination_log(&container.name, attempt);
            write(&path, "", 0o666)?;
            mounts.push(Mount::new(last_words, path));
        }
        if self.node.config.manages_etc_hosts && !taken(mounts, "/etc/hosts") && !self.pod.spec.host_network {
            let path = self.dirs.etc_hosts();
            let ips = self.pod_ips();
            write(&path, &configs::etc_hosts(&self.pod, &self.node.config.cluster_domain, &ips), 0o644)?;
            mounts.push(Mount::new("/etc/hosts", path));
        }
        Ok(())
    }

    async fn post_start(
        &mut self,
        container: &Container,
        id: &ContainerId,
        target: &EventTarget,
    ) -> Result<(), Failed> {
        let hook = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.as_ref());
        let Some(hook) = hook else {
            return Ok(());
        };
        let outcome = match Check::of_hook(hook, container, id, self.pod_ip()) {
            Ok(check) => self.node.prober.check(&check, POST_START_MAX).await,
            Err(why) => Outcome::Error(why),
        };
        let why = match outcome {
            Outcome::Success => return Ok(()),
            Outcome::Failure(why) | Outcome::Error(why) => why,
        };
        self.node.recorder.warning(target, "FailedPostStartHook", "PostStartHook failed");
        self.node.recorder.normal(target, "Killing", "FailedPostStartHook");
        let grace = Duration::from_secs(u64::try_from(self.pod.grace_seconds()).unwrap_or(2).max(2));
        if let Err(error) = self.node.runtime.stop_container(id, grace).await {
            tracing::warn!(pod = self.pod.full_name(), container = container.name, %error, "cannot kill a container");
        }
        Err(failed("PostStartHookError", why))
    }
}

/// Whole seconds as Go prints them: `10s`, `1m20s`, `5m0s`.
fn go_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds < 60 { format!("{seconds}s") } else { format!("{}m{}s", seconds / 60, seconds % 60) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_in_go() {
        let of = |seconds| go_duration(Duration::from_secs(seconds));
        assert_eq!([of(10), of(80), of(300)], ["10s", "1m20s", "5m0s"]);
    }
}
