//! A small API server in memory, and a node of a simulated runtime that follows it.
#![allow(dead_code, reason = "each test uses its part of this")]

mod api;

pub(crate) use api::FakeApi;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kubewright_kubelet::{EvictionThresholds, Kubelet, KubeletConfig, TokioClock};
use kubewright_runtime_shim::sim::{SimConfig, SimRuntime};
use serde_json::{Value, json};

/// A cluster of one node.
pub(crate) struct Node {
    pub(crate) api: FakeApi,
    pub(crate) runtime: SimRuntime,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) clock: TokioClock,
    pub(crate) kubelet: Option<Kubelet>,
}

impl Node {
    pub(crate) async fn start() -> Self {
        Self::start_with(SimConfig::default()).await
    }

    pub(crate) async fn start_with(sim: SimConfig) -> Self {
        let mut node = Self::prepare(sim);
        node.begin().await;
        node
    }

    /// A node whose kubelet is not started yet.
    pub(crate) fn prepare(sim: SimConfig) -> Self {
        let (api, dir) = (FakeApi::default(), tempfile::tempdir().unwrap());
        let clock = TokioClock::starting_at(Timestamp::now());
        Self { api, runtime: SimRuntime::new(sim), dir, clock, kubelet: None }
    }

    pub(crate) fn config(&self) -> KubeletConfig {
        let mut config = KubeletConfig::new("n1", "192.0.2.1".parse().unwrap(), self.dir.path());
        config.eviction = EvictionThresholds::never();
        config.capacity.insert("cpu".into(), "4".parse().unwrap());
        config.capacity.insert("memory".into(), "8Gi".parse().unwrap());
        config
    }

    /// Starts a kubelet, the first or the next one.
    pub(crate) async fn begin(&mut self) {
        self.begin_with(self.config()).await;
    }

    pub(crate) async fn begin_with(&mut self, config: KubeletConfig) {
        let runtime = Arc::new(self.runtime.clone());
        let builder = Kubelet::builder(config, self.api.client(), runtime);
        self.kubelet = Some(builder.clock(Arc::new(self.clock)).start().await.unwrap());
    }

    /// Stops the kubelet; its containers go on.
    pub(crate) async fn stop(&mut self) {
        self.kubelet.take().unwrap().shutdown().await;
    }

    /// Makes a pod of this node.
    pub(crate) fn pod(&self, name: &str, spec: Value) {
        let mut spec = spec;
        spec["nodeName"] = json!("n1");
        self.api.put("pods", "default", name, json!({"metadata": {"labels": {"app": name}}, "spec": spec}));
    }

    pub(crate) fn get(&self, name: &str) -> Option<Value> {
        self.api.get("pods", "default", name)
    }

    pub(crate) fn phase(&self, name: &str) -> String {
        self.get(name).and_then(|pod| Some(pod["status"]["phase"].as_str()?.to_owned())).unwrap_or_default()
    }

    pub(crate) fn ready(&self, name: &str) -> bool {
        let pod = self.get(name).unwrap_or_default();
        condition(&pod, "Ready")["status"] == "True"
    }

    /// The first container's status.
    pub(crate) fn container(&self, name: &str) -> Value {
        self.get(name).map(|pod| pod["status"]["containerStatuses"][0].clone()).unwrap_or_default()
    }

    /// Reasons and messages of the events about a pod, in order.
    pub(crate) fn events(&self, name: &str) -> Vec<(String, String)> {
        let events = self.api.list("events").into_iter().filter(|event| event["involvedObject"]["name"] == name);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        events.map(|event| (text(&event["reason"]), text(&event["message"]))).collect()
    }

    pub(crate) fn has_event(&self, name: &str, reason: &str) -> bool {
        self.events(name).iter().any(|(own, _)| own == reason)
    }

    /// Waits, on the clock of the test, until something is so.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        for _ in 0..6000 {
            if holds(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let events: Vec<_> =
            self.api.list("events").iter().map(|e| format!("{} {}", e["reason"], e["message"])).collect();
        let pods: Vec<_> = self.api.list("pods").iter().map(|pod| pod["status"].to_string()).collect();
        panic!("never came: {what}\npods: {pods:#?}\nevents: {events:#?}");
    }
}

/// A condition of an object.
pub(crate) fn condition(object: &Value, kind: &str) -> Value {
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.into_iter().find(|condition| condition["type"] == kind).unwrap_or_default()
}
