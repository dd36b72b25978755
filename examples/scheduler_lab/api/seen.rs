//! What the harness has seen of pods.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource};
use kubewright_scheduler::lab::perf::Which;
use serde::Deserialize;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::claims::{Needing, needs_claims};

/// What the harness has seen of pods.
#[derive(Default)]
pub(super) struct Seen {
    state: Mutex<State>,
    pub(super) changed: Notify,
}

#[derive(Default)]
struct State {
    pods: HashMap<String, Tracked>,
    /// How many of each namespace have a node, and how many have one or were tried at least.
    scheduled: HashMap<String, usize>,
    attempted: HashMap<String, usize>,
    collecting: Option<(Vec<Which>, Instant, Vec<Duration>)>,
}

struct Tracked {
    namespace: String,
    name: String,
    labels: BTreeMap<String, String>,
    scheduled: bool,
    attempted: bool,
}

/// As much of a pod as the harness looks at: it must not take the time that it measures.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "WirePod")]
pub(super) struct SeenPod {
    pub(super) metadata: ObjectMeta,
    pub(super) spec: SeenSpec,
    status: SeenStatus,
}

#[derive(Deserialize)]
struct WirePod {
    metadata: WireMeta,
    #[serde(default)]
    spec: SeenSpec,
    #[serde(default)]
    status: SeenStatus,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireMeta {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    labels: Option<BTreeMap<String, String>>,
}

impl From<WirePod> for SeenPod {
    fn from(wire: WirePod) -> Self {
        let WireMeta { name, namespace, uid, resource_version, labels } = wire.metadata;
        let metadata = ObjectMeta { name, namespace, uid, resource_version, labels, ..ObjectMeta::default() };
        Self { metadata, spec: wire.spec, status: wire.status }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SeenSpec {
    #[serde(default)]
    node_name: String,
    #[serde(default)]
    pub(super) resource_claims: Vec<ClaimOfPod>,
}

/// A claim that a pod names.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ClaimOfPod {
    pub(super) name: String,
    /// What it is to be made from, if it doesn't exist apart from the pod.
    pub(super) resource_claim_template_name: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct SeenStatus {
    #[serde(default)]
    conditions: Vec<SeenCondition>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct SeenCondition {
    #[serde(rename = "type")]
    kind: String,
}

impl Resource for SeenPod {
    type DynamicType = ();
    type Scope = k8s_openapi::NamespaceResourceScope;

    fn kind((): &()) -> std::borrow::Cow<'_, str> {
        "Pod".into()
    }

    fn group((): &()) -> std::borrow::Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> std::borrow::Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> std::borrow::Cow<'_, str> {
        "pods".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

fn has(which: &Which, pod: &Tracked) -> bool {
    which.namespace == pod.namespace && which.labels.iter().all(|(key, value)| pod.labels.get(key) == Some(value))
}

impl Seen {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, pod: SeenPod) {
        let SeenPod { metadata, spec, status } = pod;
        let (namespace, name) = (metadata.namespace.unwrap_or_default(), metadata.name.unwrap_or_default());
        let mut state = self.state();
        let state = &mut *state;
        let tracked = state.pods.entry(metadata.uid.unwrap_or_default()).or_insert_with(|| Tracked {
            namespace,
            name,
            labels: metadata.labels.unwrap_or_default(),
            scheduled: false,
            attempted: false,
        });
        let scheduled = !spec.node_name.is_empty();
        if !tracked.attempted
            && (scheduled || status.conditions.iter().any(|condition| condition.kind == "PodScheduled"))
        {
            tracked.attempted = true;
            *state.attempted.entry(tracked.namespace.clone()).or_default() += 1;
        }
        if !scheduled || tracked.scheduled {
            return;
        }
        tracked.scheduled = true;
        *state.scheduled.entry(tracked.namespace.clone()).or_default() += 1;
        if let Some((wanted, start, times)) = &mut state.collecting
            && wanted.iter().any(|which| has(which, tracked))
        {
            times.push(start.elapsed());
        }
    }

    fn remove(&self, pod: &SeenPod) {
        let mut state = self.state();
        let Some(pod) = state.pods.remove(pod.metadata.uid.as_deref().unwrap_or_default()) else { return };
        let State { scheduled, attempted, .. } = &mut *state;
        for (counts, was) in [(scheduled, pod.scheduled), (attempted, pod.attempted)] {
            if was && let Some(count) = counts.get_mut(&pod.namespace) {
                *count = count.saturating_sub(1);
            }
        }
    }

    /// How many of those pods have a node, or were tried at least.
    pub(super) fn count(&self, which: &Which, attempted: bool) -> usize {
        let state = self.state();
        if which.labels.is_empty() {
            let counts = if attempted { &state.attempted } else { &state.scheduled };
            return counts.get(&which.namespace).copied().unwrap_or_default();
        }
        let counts = |pod: &&Tracked| has(which, pod) && (pod.scheduled || (attempted && pod.attempted));
        state.pods.values().filter(counts).count()
    }

    /// How many of those pods there are.
    pub(super) fn there(&self, which: &Which) -> usize {
        self.state().pods.values().filter(|pod| has(which, pod)).count()
    }

    pub(super) fn names(&self, which: &Which) -> Vec<String> {
        let state = self.state();
        let mut names: Vec<String> =
            state.pods.values().filter(|pod| has(which, pod)).map(|pod| pod.name.clone()).collect();
        names.sort();
        names
    }

    pub(super) fn start_collecting(&self, which: Vec<Which>) {
        self.state().collecting = Some((which, Instant::now(), Vec::new()));
    }

    pub(super) fn stop_collecting(&self) -> Vec<Duration> {
        self.state().collecting.take().map(|(_, _, times)| times).unwrap_or_default()
    }
}

/// Keeps up with pods, and hands on those that need claims made, or taken away with them.
pub(super) async fn watch(
    client: Client,
    seen: Arc<Seen>,
    claims: mpsc::Sender<Needing>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let config = watcher::Config::default().any_semantic();
    let mut events = watcher(Api::<SeenPod>::all(client), config).default_backoff().boxed();
    loop {
        let event = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            event = events.try_next() => event?,
        };
        match event {
            None => return Ok(()),
            Some(Event::Apply(pod) | Event::InitApply(pod)) => {
                if needs_claims(&pod) {
                    claims.send(Needing::Claims(pod.clone())).await?;
                }
                seen.put(pod);
            }
            Some(Event::Delete(pod)) => {
                seen.remove(&pod);
                if needs_claims(&pod) {
                    claims.send(Needing::Nothing(pod)).await?;
                }
            }
            Some(Event::Init | Event::InitDone) => {}
        }
        seen.changed.notify_waiters();
    }
}
