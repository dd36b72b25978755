use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::api::{Patch, PatchParams};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::node::Context;
use crate::objects::{Pod, PodCondition, PodStatus};

/// The strategic merge patch that makes one status of another; `None` when they are the same.
///
/// Conditions are merged by their type, so those of others stay; everything else of the kubelet's is replaced.
pub(super) fn status_patch(uid: &str, before: &PodStatus, after: &PodStatus) -> Option<Value> {
    let (Ok(Value::Object(old)), Ok(Value::Object(new))) = (serde_json::to_value(before), serde_json::to_value(after))
    else {
        return None;
    };
    let mut changed = difference(&old, &new);
    for list in ["conditions", "podIPs"] {
        changed.remove(list);
    }
    let conditions: Vec<Value> = after.conditions.iter().filter_map(|c| condition_patch(before, c)).collect();
    if !conditions.is_empty() {
        changed.insert("conditions".to_owned(), conditions.into());
    }
    if before.pod_ips != after.pod_ips {
        let mut ips: Vec<Value> = after.pod_ips.iter().map(|ip| json!({"ip": ip.ip})).collect();
        let gone = before.pod_ips.iter().filter(|ip| !after.pod_ips.contains(ip));
        ips.extend(gone.map(|ip| json!({"$patch": "delete", "ip": ip.ip})));
        changed.insert("podIPs".to_owned(), ips.into());
    }
    (!changed.is_empty()).then(|| json!({"metadata": {"uid": uid}, "status": changed}))
}

/// The fields that differ, those that are gone as `null`.
fn difference(old: &Map<String, Value>, new: &Map<String, Value>) -> Map<String, Value> {
    let set = new.iter().filter(|(key, value)| old.get(*key) != Some(value));
    let mut out: Map<String, Value> = set.map(|(key, value)| (key.clone(), value.clone())).collect();
    out.extend(old.keys().filter(|key| !new.contains_key(*key)).map(|key| (key.clone(), Value::Null)));
    out
}

fn condition_patch(before: &PodStatus, condition: &PodCondition) -> Option<Value> {
    let object = |condition: &PodCondition| match condition.serialize(serde_json::value::Serializer) {
        Ok(Value::Object(object)) => object,
        _ => Map::new(),
    };
    let (old, new) = (before.condition(&condition.kind), object(condition));
    let mut changed = difference(&old.map(object).unwrap_or_default(), &new);
    if changed.is_empty() {
        return None;
    }
    changed.insert("type".to_owned(), condition.kind.clone().into());
    Some(changed.into())
}

/// How long the API may take for a status.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait after a failure, doubling from the first to the second.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// What the API has, as far as is known here.
struct Base {
    resource_version: u64,
    status: PodStatus,
}

#[derive(Clone, Default)]
struct Wanted {
    version: u64,
    status: Option<PodStatus>,
}

/// Sends the newest status of one pod, again until the API takes it. It has a task of its own, so that a slow API does
/// not hold up the pod.
pub(super) struct Reporter {
    wanted: watch::Sender<Wanted>,
    sent: watch::Receiver<u64>,
    base: Arc<Mutex<Base>>,
    tasks: TaskTracker,
    cancel: CancellationToken,
}

fn version_of(pod: &Pod) -> u64 {
    pod.metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(u64::MAX)
}

impl Reporter {
    pub(super) fn start(node: Arc<Context>, pod: &Pod, cancel: CancellationToken) -> Self {
        let base = Base { resource_version: version_of(pod), status: pod.status.clone() };
        let base = Arc::new(Mutex::new(base));
        let (wanted, receiver) = watch::channel(Wanted::default());
        let (acknowledge, sent) = watch::channel(0);
        let sender = Sender {
            api: kube::Api::namespaced(node.client.clone(), pod.namespace()),
            node,
            name: pod.name().to_owned(),
            uid: pod.uid().to_owned(),
            wanted: receiver,
            sent: acknowledge,
            base: base.clone(),
        };
        let (tasks, stopped) = (TaskTracker::new(), cancel.clone());
        tasks.spawn(async move { stopped.run_until_cancelled(sender.run()).await.unwrap_or_default() });
        Self { wanted, sent, base, tasks, cancel }
    }

    /// Has a status sent, unless it is the one that was sent last.
    pub(super) fn report(&self, status: &PodStatus) {
        self.wanted.send_if_modified(|wanted| {
            let changed = wanted.status.as_ref() != Some(status);
            if changed {
                *wanted = Wanted { version: wanted.version + 1, status: Some(status.clone()) };
            }
            changed
        });
    }

    /// Takes note of what the API has now; should somebody have changed what is the kubelet's, it is sent again.
    pub(super) fn observe(&self, pod: &Pod) {
        {
            let mut base = self.base.lock().unwrap_or_else(PoisonError::into_inner);
            let version = version_of(pod);
            if version <= base.resource_version && version != u64::MAX {
                return;
            }
            *base = Base { resource_version: version, status: pod.status.clone() };
        }
        self.wanted.send_if_modified(|wanted| {
            let differs = wanted.status.as_ref().is_some_and(|status| status_patch("", &pod.status, status).is_some());
            if differs {
                wanted.version += 1;
            }
            differs
        });
    }

    /// Waits until the API has the newest status.
    pub(super) async fn flushed(&mut self) {
        let version = self.wanted.borrow().version;
        drop(self.sent.wait_for(|sent| *sent >= version).await);
    }

    pub(super) async fn shut_down(&mut self) {
        self.cancel.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

struct Sender {
    node: Arc<Context>,
    api: kube::Api<Pod>,
    name: String,
    uid: String,
    wanted: watch::Receiver<Wanted>,
    sent: watch::Sender<u64>,
    base: Arc<Mutex<Base>>,
}

impl Sender {
    async fn run(mut self) {
        let mut wait = RETRY.0;
        loop {
            let Wanted { version, status } = self.wanted.borrow_and_update().clone();
            let outcome = match &status {
                Some(status) => self.send(status).await,
                None => Ok(()),
            };
            match outcome {
                Ok(()) => {
                    wait = RETRY.0;
                    self.sent.send_replace(version);
                    if self.wanted.changed().await.is_err() {
                        return;
                    }
                }
                Err(why) => {
                    tracing::debug!(pod = self.name, why, "cannot report a pod's status, will be tried again");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(RETRY.1);
                }
            }
        }
    }

    async fn send(&self, status: &PodStatus) -> Result<(), String> {
        let patch = {
            let base = self.base.lock().unwrap_or_else(PoisonError::into_inner);
            status_patch(&self.uid, &base.status, status)
        };
        let Some(patch) = patch else {
            return Ok(());
        };
        let _turn = self.node.api_turns.acquire().await;
        let (params, patch) = (PatchParams::default(), Patch::Strategic(&patch));
        match tokio::time::timeout(SEND_TIMEOUT, self.api.patch_status(&self.name, &params, &patch)).await {
            Ok(Ok(pod)) => {
                let mut base = self.base.lock().unwrap_or_else(PoisonError::into_inner);
                let version = version_of(&pod);
                if version > base.resource_version || base.resource_version == u64::MAX {
                    *base = Base { resource_version: version, status: pod.status };
                }
                Ok(())
            }
            // The pod is gone, or another one has its name: nobody wants to know.
            Ok(Err(kube::Error::Api(error))) if error.code == 404 || error.code == 409 => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("timed out".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(json: Value) -> PodStatus {
        serde_json::from_value(json).unwrap()
    }

    fn check(before: Value, after: Value) -> Value {
        let patch = status_patch("u", &status(before), &status(after));
        patch.map_or(Value::Null, |mut patch| patch["status"].take())
    }

    #[test]
    fn only_what_changed_is_sent() {
        let ready = |status: &str| json!({"type": "Ready", "status": status});
        let same = json!({"phase": "Running", "conditions": [ready("True")]});
        assert_eq!(check(same.clone(), same), Value::Null);
        assert_eq!(check(json!({"phase": "Pending"}), json!({"phase": "Running"})), json!({"phase": "Running"}));
        let other = json!({"type": "Other", "status": "True"});
        assert_eq!(
            check(json!({"conditions": [other, ready("False")]}), json!({"conditions": [other, ready("True")]})),
            json!({"conditions": [{"type": "Ready", "status": "True"}]})
        );
    }

    #[test]
    fn what_is_gone_is_taken_away() {
        assert_eq!(
            check(json!({"reason": "Evicted", "message": "m"}), json!({"reason": "Evicted"})),
            json!({"message": null})
        );
        let before = json!({"conditions": [{"type": "Ready", "status": "False", "reason": "R", "message": "M"}]});
        let after = json!({"conditions": [{"type": "Ready", "status": "True"}]});
        assert_eq!(
            check(before, after),
            json!({"conditions": [{"type": "Ready", "status": "True", "reason": null, "message": null}]})
        );
        assert_eq!(
            check(json!({"podIPs": [{"ip": "10.0.0.1"}]}), json!({"podIPs": [{"ip": "10.0.0.2"}]})),
            json!({"podIPs": [{"ip": "10.0.0.2"}, {"$patch": "delete", "ip": "10.0.0.1"}]})
        );
    }

    #[test]
    fn the_uid_guards_against_a_namesake() {
        let patch = status_patch("u", &PodStatus::default(), &status(json!({"phase": "Running"}))).unwrap();
        assert_eq!(patch["metadata"]["uid"], "u");
    }
}
