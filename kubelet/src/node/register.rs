use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watch_objects};
use kubewright_api::taint::Taint;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::status::{architecture, find, node_status, status_patch};
use super::{Context, Pressures, capacity};
use crate::decide::NodeView;
use crate::events::EventTarget;

/// How long the API may take for a call.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait after a failure, doubling from the first to the second.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(7));

/// Keeps the Node object: makes it, follows it, reports to it.
pub(crate) struct NodeKeeper {
    pub(crate) node: Arc<Context>,
    pub(crate) pressures: watch::Receiver<Pressures>,
    pub(crate) port: u16,
}

impl NodeKeeper {
    fn api(&self) -> kube::Api<Node> {
        kube::Api::all(self.node.client.clone())
    }

    /// Labels that every node has, and those of the configuration.
    fn labels(&self) -> serde_json::Map<String, Value> {
        let name = &self.node.config.node_name;
        let mut labels = serde_json::Map::new();
        for prefix in ["kubernetes.io", "beta.kubernetes.io"] {
            labels.insert(format!("{prefix}/os"), "linux".into());
            labels.insert(format!("{prefix}/arch"), architecture().into());
        }
        labels.insert("kubernetes.io/hostname".to_owned(), name.as_str().into());
        labels.extend(self.node.config.labels.iter().map(|(key, value)| (key.clone(), value.as_str().into())));
        labels
    }

    /// Sets what pods see of the node before the API was heard.
    pub(crate) fn assume(&self) {
        let labels = self.labels().into_iter().filter_map(|(key, value)| Some((key, value.as_str()?.to_owned())));
        self.node.set_view(NodeView {
            name: self.node.config.node_name.clone(),
            labels: labels.collect(),
            taints: self.node.config.taints.clone(),
            allocatable: capacity::capacity(&self.node.config).1,
        });
    }

    /// Makes the node where it is missing, and brings its labels up to date where it is not. Tries until it works.
    pub(crate) async fn register(&self) {
        let mut wait = RETRY.0;
        while let Err(why) = self.try_register().await {
            tracing::warn!(node = self.node.config.node_name, why, "cannot register the node, will be tried again");
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(RETRY.1);
        }
    }

    async fn try_register(&self) -> Result<(), String> {
        let config = &self.node.config;
        let pressures = *self.pressures.borrow();
        let found = find(&self.node, pressures, self.port).await;
        let mut spec = serde_json::Map::new();
        if !config.taints.is_empty() {
            spec.insert("taints".to_owned(), json!(config.taints));
        }
        if !config.provider_id.is_empty() {
            spec.insert("providerID".to_owned(), config.provider_id.as_str().into());
        }
        let object: Node = serde_json::from_value(json!({
            "metadata": {"name": config.node_name, "labels": self.labels()},
            "spec": spec,
            "status": node_status(&self.node, &found, &Value::Null, self.node.clock.now()),
        }))
        .map_err(|error| error.to_string())?;
        let created = tokio::time::timeout(TIMEOUT, self.api().create(&PostParams::default(), &object)).await;
        match created.map_err(|_| "timed out".to_owned())? {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 409 => {
                let patch = json!({"metadata": {"labels": self.labels()}});
                let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
                let api = self.api();
                let patched = tokio::time::timeout(TIMEOUT, api.patch(&config.node_name, &params, &patch)).await;
                patched.map_err(|_| "timed out".to_owned())?.map(|_| ()).map_err(|error| error.to_string())
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// Follows the node, and reports its status at once when something changes and now and then when nothing does.
    pub(crate) async fn run(mut self, cancel: CancellationToken) {
        let recorder = self.node.recorder.clone();
        let target = EventTarget::node(&self.node.config.node_name);
        recorder.normal(&target, "Starting", "Starting kubelet.");
        cancel.run_until_cancelled(self.live(&target)).await.unwrap_or_default();
    }

    async fn live(&mut self, target: &EventTarget) {
        if self.node.config.register_node {
            self.register().await;
        }
        let config = watcher::Config::default().fields(&format!("metadata.name={}", self.node.config.node_name));
        let mut events = std::pin::pin!(watch_objects(self.api(), config).default_backoff());
        let mut current: Option<Value> = None;
        let (mut listed, mut reported, mut was_ready) = (None, None, None);
        let mut ticks = tokio::time::interval(self.node.config.node_status_interval);
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(Event::Init)) => listed = None,
                    Some(Ok(Event::InitApply(node))) => listed = Some(node),
                    Some(Ok(Event::InitDone)) => match listed.take() {
                        Some(node) => {
                            let first = current.is_none();
                            current = self.take(&node);
                            if first { self.report(&mut current, &mut reported, &mut was_ready, target).await; }
                        }
                        None => { current = None; self.return_to_cluster().await }
                    },
                    Some(Ok(Event::Apply(node))) => current = self.take(&node),
                    Some(Ok(Event::Delete(_))) => { current = None; self.return_to_cluster().await }
                    Some(Err(error)) => tracing::debug!(%error, "the watch of the node failed, will be tried again"),
                    None => return,
                },
                _ = ticks.tick() => self.report(&mut current, &mut reported, &mut was_ready, target).await,
                changed = self.pressures.changed() => if changed.is_ok() {
                    self.report(&mut current, &mut reported, &mut was_ready, target).await;
                } else {
                    // Nobody watches pressures any more: the kubelet stops.
                    return;
                },
            }
        }
    }

    async fn return_to_cluster(&self) {
        if self.node.config.register_node {
            self.register().await;
        }
    }

    /// Takes what others may have changed: labels and taints. Returns the status.
    fn take(&self, node: &Node) -> Option<Value> {
        let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
        let taints = taints.and_then(|taints| serde_json::to_value(taints).ok());
        let mut view = self.node.view();
        view.labels = node.metadata.labels.clone().unwrap_or_default();
        view.taints = taints.and_then(|taints| serde_json::from_value::<Vec<Taint>>(taints).ok()).unwrap_or_default();
        self.node.set_view(view);
        serde_json::to_value(node.status.clone().unwrap_or_default()).ok()
    }

    async fn report(
        &self,
        current: &mut Option<Value>,
        reported: &mut Option<Timestamp>,
        was_ready: &mut Option<bool>,
        target: &EventTarget,
    ) {
        let Some(before) = current.as_ref() else {
            return;
        };
        let now = self.node.clock.now();
        let pressures = *self.pressures.borrow();
        let found = find(&self.node, pressures, self.port).await;
        let ready = found.not_ready.is_none();
        let after = node_status(&self.node, &found, before, now);
        let interval = self.node.config.node_status_report_interval;
        let Some(patch) = status_patch(before, &after, *reported, now, interval) else {
            return;
        };
        let (params, patch) = (PatchParams::default(), Patch::Strategic(&patch));
        let api = self.api();
        match tokio::time::timeout(TIMEOUT, api.patch_status(&self.node.config.node_name, &params, &patch)).await {
            Ok(Ok(node)) => {
                *current = self.take(&node);
                *reported = Some(now);
                if *was_ready != Some(ready) {
                    let (name, recorder) = (&self.node.config.node_name, &self.node.recorder);
                    let reason = if ready { "NodeReady" } else { "NodeNotReady" };
                    recorder.normal(target, reason, format!("Node {name} status is now: {reason}"));
                    *was_ready = Some(ready);
                }
            }
            Ok(Err(error)) => tracing::debug!(%error, "cannot report the node's status"),
            Err(_) => tracing::debug!("the API does not take the node's status in time"),
        }
    }
}
