use std::time::Duration;

use jiff::Timestamp;
use kube::api::{DeleteParams, Preconditions};

use super::{Desired, Stage, Worker, signed};
use crate::objects::Pod;

/// What came of finishing.
pub(super) enum Finish {
    /// Nothing is left to do for this pod, ever.
    Gone,
    /// Something may be left, when told or at that time.
    Later(Option<Timestamp>),
}

/// How long to wait after a failure.
const RETRY: Duration = Duration::from_secs(2);
/// How long the API may take for a call.
const API_TIMEOUT: Duration = Duration::from_secs(10);

impl Worker {
    /// Stops a pod within its grace; a shorter grace that is asked for meanwhile takes effect at once.
    pub(super) async fn end(&mut self, desired: &Desired) -> Option<Timestamp> {
        let now = self.node.clock.now();
        if let Err(why) = self.observe().await {
            tracing::debug!(pod = self.pod.full_name(), why, "will be tried again");
            return Some(now + signed(RETRY));
        }
        // A pod that had ended when this kubelet first saw it has its last status already.
        let frozen = self.pod.is_terminal() && self.failure.is_none();
        if !frozen {
            self.report(false);
        }
        self.probes.stop_killing();
        let grace = desired.grace_seconds();
        let mut watched = self.desired.clone();
        let stopped = tokio::select! {
            biased;
            stopped = self.stop_everything(grace) => stopped,
            _ = watched.wait_for(|desired| desired.must_end() && desired.grace_seconds() < grace) => return Some(now),
        };
        if let Err(why) = stopped {
            self.node.recorder.warning(&self.target, "FailedKillPod", format!("error killing pod: {why}"));
            return Some(self.node.clock.now() + signed(RETRY));
        }
        if !frozen {
            self.report(true);
        }
        self.probes.shut_down().await;
        self.stage = Stage::Ended;
        Some(self.node.clock.now())
    }

    /// Removes what an ended pod has on the node, and tells the API that it may forget it.
    pub(super) async fn finish(&mut self, desired: &Desired) -> Finish {
        if !self.cleaned {
            if let Err(error) = crate::volumes::tear_down(&self.dirs) {
                tracing::warn!(pod = self.pod.full_name(), %error, "cannot remove the pod's volumes");
                return self.later();
            }
            self.node.objects.forget(self.pod.uid());
            self.cleaned = true;
        }
        if !desired.removed && !self.pod.is_deleted() {
            return Finish::Later(None); // logs stay until the API forgets it
        }
        if !desired.removed && !self.flushed().await {
            return Finish::Later(Some(self.node.clock.now()));
        }
        if let Err(why) = self.remove_from_runtime().await {
            tracing::warn!(pod = self.pod.full_name(), why, "cannot remove the pod from the runtime");
            return self.later();
        }
        if desired.removed {
            return Finish::Gone;
        }
        if self.delete_sent {
            return Finish::Later(None); // a finalizer holds it
        }
        match self.delete_from_api().await {
            Ok(()) => {
                self.delete_sent = true;
                Finish::Later(None)
            }
            Err(why) => {
                tracing::debug!(pod = self.pod.full_name(), why, "cannot delete the pod, will be tried again");
                self.later()
            }
        }
    }

    fn later(&self) -> Finish {
        Finish::Later(Some(self.node.clock.now() + signed(RETRY)))
    }

    /// Waits until the API has the last status, or has forgotten the pod.
    async fn flushed(&mut self) -> bool {
        let mut watched = self.desired.clone();
        tokio::select! {
            () = self.reporter.flushed() => true,
            _ = watched.wait_for(|desired| desired.removed) => false,
        }
    }

    async fn remove_from_runtime(&mut self) -> Result<(), String> {
        self.observe().await?;
        for sandbox in &self.runtime.sandboxes {
            let removed = self.node.runtime.remove_pod_sandbox(&sandbox.id).await;
            removed.map_err(|error| error.to_string())?;
        }
        for view in &self.runtime.containers {
            self.node.runtime.remove_container(&view.id).await.map_err(|error| error.to_string())?;
        }
        let logs = super::configs::log_directory(&self.node.config, &self.pod);
        match std::fs::remove_dir_all(&logs) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(format!("{}: {error}", logs.display())),
            _ => Ok(()),
        }
    }

    async fn delete_from_api(&self) -> Result<(), String> {
        let api: kube::Api<Pod> = kube::Api::namespaced(self.node.client.clone(), self.pod.namespace());
        let preconditions = Preconditions { uid: Some(self.pod.uid().to_owned()), ..Preconditions::default() };
        let mut params = DeleteParams::default().grace_period(0);
        params.preconditions = Some(preconditions);
        match tokio::time::timeout(API_TIMEOUT, api.delete(self.pod.name(), &params)).await {
            Ok(Ok(_)) => Ok(()),
            // Gone already, or another pod has the name by now.
            Ok(Err(kube::Error::Api(status))) if status.code == 404 || status.code == 409 => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("timed out".to_owned()),
        }
    }
}
