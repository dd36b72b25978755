use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use kubewright_runtime_shim::{
    ContainerFilter, ContainerId, ContainerState, PodSandboxFilter, PodSandboxState, RuntimeEvent, SandboxId, labels,
};
use tokio_util::sync::CancellationToken;

use super::Context;

/// What was seen of a pod when everything was listed last.
type Seen = BTreeMap<String, (BTreeMap<SandboxId, PodSandboxState>, BTreeMap<ContainerId, ContainerState>)>;

/// Tells workers of changes in the runtime until cancelled: by its events, and by listing now and then, should an event
/// have been lost.
pub(crate) async fn follow_runtime(node: Arc<Context>, cancel: CancellationToken) {
    cancel.run_until_cancelled(follow(node)).await.unwrap_or_default();
}

async fn follow(node: Arc<Context>) {
    let mut seen = Seen::new();
    let mut owners: BTreeMap<SandboxId, String> = BTreeMap::new();
    loop {
        let mut events = match node.runtime.events().await {
            Ok(events) => events,
            Err(error) => {
                tracing::debug!(%error, "no events of the runtime: listing");
                futures::stream::pending().boxed()
            }
        };
        let mut relist = tokio::time::interval(node.config.relist_interval);
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(RuntimeEvent::Container(event)) => {
                        match owners.get(&event.sandbox_id) {
                            Some(uid) => node.pods.poke(uid),
                            None => list(&node, &mut seen, &mut owners).await,
                        }
                    }
                    Some(_) => node.pods.poke_all(),
                    None => {
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        break; // the runtime went away: ask for its events anew
                    }
                },
                _ = relist.tick() => list(&node, &mut seen, &mut owners).await,
            }
        }
    }
}

/// Lists everything, and pokes the workers of pods that differ from the last time.
async fn list(node: &Context, seen: &mut Seen, owners: &mut BTreeMap<SandboxId, String>) {
    let sandboxes = node.runtime.list_pod_sandboxes(&PodSandboxFilter::all()).await;
    let containers = node.runtime.list_containers(&ContainerFilter::all()).await;
    let (Ok(sandboxes), Ok(containers)) = (sandboxes, containers) else {
        return;
    };
    let mut now = Seen::new();
    owners.clear();
    for sandbox in sandboxes {
        owners.insert(sandbox.id.clone(), sandbox.metadata.uid.clone());
        now.entry(sandbox.metadata.uid).or_default().0.insert(sandbox.id, sandbox.state);
    }
    for container in containers {
        if let Some(uid) = container.labels.get(labels::POD_UID) {
            now.entry(uid.clone()).or_default().1.insert(container.id, container.state);
        }
    }
    let uids = now.keys().chain(seen.keys());
    for uid in uids.filter(|uid| now.get(*uid) != seen.get(*uid)) {
        node.pods.poke(uid);
    }
    *seen = now;
}
