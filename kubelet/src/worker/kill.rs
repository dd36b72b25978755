use std::time::Duration;

use futures::future::join_all;
use kubewright_runtime_shim::{ContainerState, SandboxId};
use tokio::time::Instant;

use super::Worker;
use crate::decide::{ContainerView, KillContainer, KillReason, termination_order};
use crate::events::EventTarget;
use crate::objects::Container;
use crate::probe::{Check, Outcome};

/// What even a container that is late gets, so that it need not be killed.
const GRACE_MIN: Duration = Duration::from_secs(2);

impl Worker {
    /// Kills containers that must go while the pod stays.
    pub(super) async fn kill_containers(&self, kills: &[KillContainer]) {
        let all = kills.iter().filter_map(|kill| {
            let view = self.runtime.containers.iter().find(|view| view.id == kill.id)?;
            let grace = self.grace_for(&kill.name, kill.reason);
            Some(self.kill(view, &kill.message, grace))
        });
        for failed in join_all(all).await.into_iter().filter_map(Result::err) {
            tracing::warn!(pod = self.pod.full_name(), why = failed, "cannot kill a container");
        }
    }

    /// Seconds to end in: the probe's own where it has some.
    fn grace_for(&self, name: &str, reason: KillReason) -> Duration {
        let container = self.pod.spec.container(name);
        let probe = container.and_then(|container| match reason {
            KillReason::Liveness => container.liveness_probe.as_ref(),
            KillReason::Startup => container.startup_probe.as_ref(),
            _ => None,
        });
        let own = probe.and_then(|probe| probe.termination_grace_period_seconds);
        Duration::from_secs(u64::try_from(own.unwrap_or_else(|| self.pod.grace_seconds())).unwrap_or(0))
    }

    /// Stops one container: its hook first, then the signal, and what is left of the grace.
    async fn kill(&self, view: &ContainerView, message: &str, grace: Duration) -> Result<(), String> {
        let target = EventTarget::container(&self.pod, &view.name, false);
        self.node.recorder.normal(&target, "Killing", message);
        let mut left = grace;
        if let Some(container) = self.pod.spec.container(&view.name).filter(|_| view.is_running() && !grace.is_zero()) {
            let since = Instant::now();
            self.pre_stop(container, view, grace).await;
            left = grace.saturating_sub(since.elapsed());
        }
        let stopped = self.node.runtime.stop_container(&view.id, left.max(GRACE_MIN)).await;
        stopped.map_err(|error| format!("{}: {error}", view.name))
    }

    async fn pre_stop(&self, container: &Container, view: &ContainerView, grace: Duration) {
        let lifecycle = container.lifecycle.as_ref();
        let Some(hook) = lifecycle.and_then(|lifecycle| lifecycle.pre_stop.as_ref()) else {
            return;
        };
        let outcome = match Check::of_hook(hook, container, &view.id, self.pod_ip()) {
            Ok(check) => tokio::time::timeout(grace, self.node.prober.check(&check, grace)).await.ok(),
            Err(why) => Some(Outcome::Error(why)),
        };
        if outcome != Some(Outcome::Success) {
            let target = EventTarget::container(&self.pod, &view.name, false);
            self.node.recorder.warning(&target, "FailedPreStopHook", "PreStopHook failed");
            tracing::debug!(pod = self.pod.full_name(), container = view.name, ?outcome, "preStop hook failed");
        }
    }

    /// Stops every container, sidecars last, and then the sandboxes. May be repeated.
    pub(super) async fn stop_everything(&mut self, grace_seconds: i64) -> Result<(), String> {
        let grace = Duration::from_secs(u64::try_from(grace_seconds).unwrap_or(0));
        let since = Instant::now();
        for group in termination_order(&self.pod, &self.runtime) {
            let left = grace.saturating_sub(since.elapsed());
            let views = self.runtime.alive().filter(|view| group.contains(&view.name));
            let kills = views.map(|view| (view, format!("Stopping container {}", view.name)));
            let kills: Vec<_> = kills.collect();
            let results = join_all(kills.iter().map(|(view, message)| self.kill(view, message, left))).await;
            results.into_iter().collect::<Result<Vec<()>, _>>()?;
        }
        for sandbox in self.runtime.sandboxes.clone() {
            let stopped = self.node.runtime.stop_pod_sandbox(&sandbox.id).await;
            stopped.map_err(|error| format!("cannot stop pod sandbox {}: {error}", sandbox.id))?;
        }
        self.detach().await?;
        self.observe().await
    }

    /// Removes containers that nobody needs any more: all but the newest two of each name, and sandboxes without any.
    pub(super) async fn clean_up_old(&self) {
        let mut seen: std::collections::BTreeMap<&str, usize> = std::collections::BTreeMap::new();
        let mut used: Vec<&SandboxId> = Vec::new();
        for view in &self.runtime.containers {
            let count = seen.entry(&view.name).or_default();
            *count += 1;
            if *count <= 2 || view.state != ContainerState::Exited {
                used.push(&view.sandbox_id);
                continue;
            }
            if self.node.runtime.remove_container(&view.id).await.is_ok() {
                self.remove_logs(&view.name, view.attempt);
            }
        }
        for sandbox in self.runtime.sandboxes.iter().skip(1).filter(|sandbox| !sandbox.ready) {
            if !used.contains(&&sandbox.id)
                && let Err(error) = self.node.runtime.remove_pod_sandbox(&sandbox.id).await
            {
                tracing::debug!(pod = self.pod.full_name(), %error, "cannot remove an old sandbox");
            }
        }
    }

    fn remove_logs(&self, name: &str, attempt: u32) {
        let directory = super::configs::log_directory(&self.node.config, &self.pod).join(name);
        let prefix = format!("{attempt}.log");
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                drop(std::fs::remove_file(entry.path()));
            }
        }
        drop(std::fs::remove_file(self.dirs.termination_log(name, attempt)));
    }
}
