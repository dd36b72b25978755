use std::time::Duration;

use super::Worker;
use crate::environment::FieldValues;
use crate::volumes::{VolumeSources, set_up};

/// How long to wait for referenced objects to be read for the first time.
const SYNC_PATIENCE: Duration = Duration::from_secs(3);

impl Worker {
    /// Makes the pod's volumes, or brings them up to date.
    pub(super) async fn set_up_volumes(&mut self) -> Result<(), String> {
        let pod = self.pod.clone();
        let node = self.node.clone();
        node.objects.synced(pod.uid(), SYNC_PATIENCE).await;
        let tokens = self.tokens.get(&node.client, &pod, node.clock.now()).await;
        let object = |kind, name: &str| node.objects.get(kind, pod.namespace(), name);
        let fields = self.field_values();
        let sources = VolumeSources { object: &object, fields: &fields, tokens: &tokens };
        match set_up(&pod, &self.dirs, &sources, node.clock.now()) {
            Ok(volumes) => {
                if self.volumes.is_empty() && pod.spec.volumes.iter().any(wants_memory) {
                    let message = "The tmpfs medium of an emptyDir volume is not available: it is kept on disk.";
                    node.recorder.warning(&self.target, "PossibleMemoryBackedVolumesOnDisk", message);
                }
                self.volumes = volumes;
                Ok(())
            }
            // A running pod goes on with what it has.
            Err((name, why)) if self.volumes.contains_key(&name) && self.runtime.alive().next().is_some() => {
                tracing::debug!(pod = pod.full_name(), volume = name, %why, "cannot bring a volume up to date");
                Ok(())
            }
            Err((name, why)) => {
                let message = format!("MountVolume.SetUp failed for volume {name:?} : {why}");
                node.recorder.warning(&self.target, "FailedMount", message.clone());
                Err(message)
            }
        }
    }

    /// What fields of the pod say beyond the object itself.
    pub(super) fn field_values(&self) -> FieldValues {
        FieldValues {
            pod_ips: self.pod_ips(),
            host_ips: self.node.config.node_ips.clone(),
            allocatable: self.node.view().allocatable,
        }
    }
}

fn wants_memory(volume: &crate::objects::Volume) -> bool {
    volume.empty_dir.as_ref().is_some_and(|empty| empty.medium.as_deref() == Some("Memory"))
}
