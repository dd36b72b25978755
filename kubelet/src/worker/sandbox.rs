use kubewright_proxy::AttachRequest;
use kubewright_runtime_shim::{PodAddressing, RuntimeCondition};

use super::Worker;
use super::configs::sandbox_config;

impl Worker {
    /// Makes a sandbox, with an address where the node gives addresses.
    pub(super) async fn make_sandbox(&mut self, attempt: u32) -> Result<(), String> {
        let pod = self.pod.clone();
        if !pod.spec.host_network {
            self.check_network().await?;
        }
        let mut config = sandbox_config(&pod, &self.node.config, attempt);
        let result = async {
            if let Some(network) = self.node.pod_network(&pod) {
                let request = AttachRequest::new(pod.namespace(), pod.name(), pod.uid());
                let attachment = network.attach(&request).await.map_err(|error| describe(&error))?;
                config.ip = attachment.addresses.first().copied();
                self.attached = true;
            }
            if let Some(directory) = &config.log_directory {
                std::fs::create_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
            }
            self.node.runtime.run_pod_sandbox(&config).await.map_err(|error| error.to_string())
        }
        .await;
        if let Err(why) = result {
            let message = format!("Failed to create pod sandbox: {why}");
            self.node.recorder.warning(&self.target, "FailedCreatePodSandBox", message);
            return Err(why);
        }
        self.observe().await
    }

    /// Pods need the runtime's network, unless they use the node's.
    async fn check_network(&self) -> Result<(), String> {
        let Ok(status) = self.node.runtime.status().await else {
            return Ok(()); // the next call will say what is wrong
        };
        if status.is_ready(RuntimeCondition::NETWORK_READY) {
            return Ok(());
        }
        let found = status.conditions.iter().find(|condition| condition.kind == RuntimeCondition::NETWORK_READY);
        let why = found.map(|condition| format!("{}: {}", condition.reason, condition.message)).unwrap_or_default();
        let message = format!("network is not ready: container runtime network not ready: {why}");
        self.node.recorder.warning(&self.target, "NetworkNotReady", message.clone());
        Err(message)
    }

    /// Tells the network of an address that a sandbox has from the time before this kubelet.
    pub(super) async fn keep_attached(&mut self) {
        if self.attached {
            return;
        }
        let Some(network) = self.node.pod_network(&self.pod) else {
            return;
        };
        let Some(held) = self.runtime.ready_sandbox().map(|sandbox| sandbox.ips.clone()) else {
            return;
        };
        let request = AttachRequest::new(self.pod.namespace(), self.pod.name(), self.pod.uid()).held(held);
        match network.attach(&request).await {
            Ok(_) => self.attached = true,
            Err(error) => {
                tracing::warn!(pod = self.pod.full_name(), error = describe(&error), "cannot keep the address")
            }
        }
    }

    /// Gives the pod's address back.
    pub(super) async fn detach(&mut self) -> Result<(), String> {
        if let Some(network) = self.node.pod_network(&self.pod) {
            network.detach(self.pod.uid()).await.map_err(|error| describe(&error))?;
        }
        self.attached = false;
        Ok(())
    }
}

/// An error with its causes.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    text
}

impl crate::node::Context {
    /// The network that gives this pod its address; `None` where the runtime does, or the pod uses the node's.
    pub(crate) fn pod_network(
        &self,
        pod: &crate::objects::Pod,
    ) -> Option<&std::sync::Arc<dyn kubewright_proxy::PodNetwork>> {
        let ours = self.addressing == PodAddressing::Caller && !pod.spec.host_network;
        self.network.as_ref().filter(|_| ours)
    }
}
