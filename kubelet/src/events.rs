//! Events: what happened to a pod or to the node, in upstream's words, counted where it happens again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::objects::{Pod, api_time};

/// How many events may wait to be sent; more are lost.
const QUEUE_MAX: usize = 1024;
/// How many events are remembered to be counted up rather than made anew.
const REMEMBERED_MAX: usize = 4096;
/// How many events of one object and reason are sent at once; then one every [`REFILL`].
const BURST: f64 = 25.0;
const REFILL: Duration = Duration::from_secs(300);
/// How long the API may take for one event.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// What an event is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventTarget {
    kind: &'static str,
    namespace: String,
    name: String,
    uid: String,
    resource_version: String,
    field_path: String,
}

impl EventTarget {
    /// A pod.
    #[must_use]
    pub fn pod(pod: &Pod) -> Self {
        Self {
            kind: "Pod",
            namespace: pod.namespace().to_owned(),
            name: pod.name().to_owned(),
            uid: pod.uid().to_owned(),
            resource_version: pod.metadata.resource_version.clone().unwrap_or_default(),
            field_path: String::new(),
        }
    }

    /// A container of a pod; found by its name unless it is said to be an init container.
    #[must_use]
    pub fn container(pod: &Pod, name: &str, init: bool) -> Self {
        let init = init || pod.spec.init_containers.iter().any(|container| container.name == name);
        let list = if init {
            "initContainers"
        } else if pod.spec.containers.iter().any(|container| container.name == name) {
            "containers"
        } else {
            "ephemeralContainers"
        };
        Self { field_path: format!("spec.{list}{{{name}}}"), ..Self::pod(pod) }
    }

    /// A node.
    #[must_use]
    pub fn node(name: &str) -> Self {
        Self { kind: "Node", name: name.to_owned(), uid: name.to_owned(), ..Self::default() }
    }
}

struct Occurrence {
    target: EventTarget,
    warning: bool,
    reason: &'static str,
    message: String,
    at: Timestamp,
}

/// Takes events and sends them in the background. Clones send through the same queue.
#[derive(Clone)]
pub struct Recorder {
    queue: mpsc::Sender<Occurrence>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}

/// What sends them; run it.
pub(crate) struct Sender {
    queue: mpsc::Receiver<Occurrence>,
    client: kube::Client,
    node_name: String,
    sent: BTreeMap<Key, (String, i32)>,
    order: VecDeque<Key>,
    buckets: BTreeMap<(String, &'static str), (f64, Timestamp)>,
    made: i128,
}

type Key = (EventTarget, bool, &'static str, String);

/// A recorder, and what sends its events in the name of that node.
pub(crate) fn recorder(client: kube::Client, node_name: &str, clock: Arc<dyn Clock>) -> (Recorder, Sender) {
    let (sender, queue) = mpsc::channel(QUEUE_MAX);
    let node_name = node_name.to_owned();
    let (sent, order, buckets) = (BTreeMap::new(), VecDeque::new(), BTreeMap::new());
    (Recorder { queue: sender, clock }, Sender { queue, client, node_name, sent, order, buckets, made: 0 })
}

impl Recorder {
    /// Something that should not have happened.
    pub fn warning(&self, target: &EventTarget, reason: &'static str, message: impl Into<String>) {
        self.record(target, true, reason, message.into());
    }

    /// Something that happened.
    pub fn normal(&self, target: &EventTarget, reason: &'static str, message: impl Into<String>) {
        self.record(target, false, reason, message.into());
    }

    fn record(&self, target: &EventTarget, warning: bool, reason: &'static str, mut message: String) {
        if message.len() > 1024 {
            let end = (0..=1024).rev().find(|end| message.is_char_boundary(*end)).unwrap_or(0);
            message.truncate(end);
        }
        let occurrence = Occurrence { target: target.clone(), warning, reason, message, at: self.clock.now() };
        if let Err(error) = self.queue.try_send(occurrence) {
            tracing::debug!(reason, %error, "event lost");
        }
    }
}

impl Sender {
    /// Sends until cancelled, and then what is still waiting, briefly.
    pub(crate) async fn run(mut self, cancel: CancellationToken) {
        while let Some(Some(occurrence)) = cancel.run_until_cancelled(self.queue.recv()).await {
            self.send(occurrence).await;
        }
        let rest = async {
            while let Ok(occurrence) = self.queue.try_recv() {
                self.send(occurrence).await;
            }
        };
        drop(tokio::time::timeout(Duration::from_secs(1), rest).await);
    }

    /// Whether an object has not had too many events lately.
    fn admit(&mut self, occurrence: &Occurrence) -> bool {
        // By reason, too: what happens often shall not hide what happens once.
        let key = (occurrence.target.uid.clone(), occurrence.reason);
        if self.buckets.len() > REMEMBERED_MAX {
            self.buckets.clear();
        }
        let (tokens, since) = self.buckets.entry(key).or_insert((BURST, occurrence.at));
        let passed = occurrence.at.duration_since(*since).as_secs_f64().max(0.0);
        *tokens = (*tokens + passed / REFILL.as_secs_f64()).min(BURST);
        *since = occurrence.at;
        let admitted = *tokens >= 1.0;
        if admitted {
            *tokens -= 1.0;
        }
        admitted
    }

    async fn send(&mut self, occurrence: Occurrence) {
        if !self.admit(&occurrence) {
            return;
        }
        let stable = EventTarget { resource_version: String::new(), ..occurrence.target.clone() };
        let key: Key = (stable, occurrence.warning, occurrence.reason, occurrence.message.clone());
        let namespace =
            if occurrence.target.namespace.is_empty() { "default" } else { occurrence.target.namespace.as_str() };
        let api: kube::Api<Event> = kube::Api::namespaced(self.client.clone(), namespace);
        if let Some((name, count)) = self.sent.get_mut(&key) {
            *count += 1;
            let patch = json!({"count": *count, "lastTimestamp": api_time(occurrence.at)});
            let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
            match tokio::time::timeout(SEND_TIMEOUT, api.patch(name, &params, &patch)).await {
                // It has expired meanwhile: it is made anew.
                Ok(Err(kube::Error::Api(status))) if status.code == 404 => drop(self.sent.remove(&key)),
                Ok(Err(error)) => return tracing::debug!(%error, "cannot update event"),
                _ => return,
            }
        }
        let event = self.event(&occurrence, namespace);
        let name = event.metadata.name.clone().unwrap_or_default();
        match tokio::time::timeout(SEND_TIMEOUT, api.create(&PostParams::default(), &event)).await {
            Ok(Ok(_)) => self.remember(key, name),
            Ok(Err(error)) => tracing::debug!(%error, "cannot create event"),
            Err(_) => tracing::debug!("the API does not take events in time"),
        }
    }

    fn remember(&mut self, key: Key, name: String) {
        self.order.push_back(key.clone());
        self.sent.insert(key, (name, 1));
        while self.order.len() > REMEMBERED_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.sent.remove(&oldest);
            }
        }
    }

    fn event(&mut self, occurrence: &Occurrence, namespace: &str) -> Event {
        let Occurrence { target, warning, reason, message, at } = occurrence;
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        // Counted, for several may come in one instant.
        self.made += 1;
        let name = format!("{}.{:x}", target.name, at.as_nanosecond() + self.made);
        Event {
            metadata: ObjectMeta { name: Some(name), namespace: Some(namespace.to_owned()), ..ObjectMeta::default() },
            involved_object: ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some(target.kind.to_owned()),
                namespace: some(&target.namespace),
                name: some(&target.name),
                uid: some(&target.uid),
                resource_version: some(&target.resource_version),
                field_path: some(&target.field_path),
            },
            type_: Some(if *warning { "Warning" } else { "Normal" }.to_owned()),
            reason: Some((*reason).to_owned()),
            message: Some(message.clone()),
            first_timestamp: Some(api_time(*at)),
            last_timestamp: Some(api_time(*at)),
            count: Some(1),
            source: Some(EventSource { component: Some("kubelet".to_owned()), host: Some(self.node_name.clone()) }),
            reporting_component: Some("kubelet".to_owned()),
            reporting_instance: Some(self.node_name.clone()),
            ..Event::default()
        }
    }
}
