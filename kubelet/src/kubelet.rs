use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use futures::StreamExt as _;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watch_objects};
use kubewright_proxy::PodNetwork;
use kubewright_runtime_shim::Runtime;
use tokio::sync::{Notify, Semaphore, broadcast, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::{Clock, SystemClock};
use crate::config::KubeletConfig;
use crate::decide::{NodeView, admit};
use crate::error::Error;
use crate::events::recorder;
use crate::node::{
    Context, NodeKeeper, PodEntry, Pods, Pressures, follow_runtime, follow_services, keep_house, keep_lease,
    own_sandboxes, remove_orphans, watch_pressures,
};
use crate::objects::Pod;
use crate::probe::{NodeProber, Prober};
use crate::references::ObjectCache;
use crate::worker::{Desired, Eviction, Worker};

/// How long pods wait at the start for the list of services, so that their environment has them.
const SERVICES_PATIENCE: Duration = Duration::from_secs(5);
/// How many reports to the API are under way at a time.
const API_TURNS: usize = 16;

/// Puts a kubelet together.
pub struct KubeletBuilder {
    config: KubeletConfig,
    client: kube::Client,
    runtime: Arc<dyn Runtime>,
    network: Option<Arc<dyn PodNetwork>>,
    clock: Arc<dyn Clock>,
    prober: Option<Arc<dyn Prober>>,
}

impl std::fmt::Debug for KubeletBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KubeletBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}

impl KubeletBuilder {
    /// Gives pods their addresses, where the runtime leaves that to the kubelet. Without one such pods share the node's
    /// address.
    #[must_use]
    pub fn network(mut self, network: Arc<dyn PodNetwork>) -> Self {
        self.network = Some(network);
        self
    }

    /// Tells the time; the system's clock otherwise. Waiting is tokio's in any case.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Makes probes and hooks; otherwise they are made from this process over its network.
    #[must_use]
    pub fn prober(mut self, prober: Arc<dyn Prober>) -> Self {
        self.prober = Some(prober);
        self
    }

    /// Starts it: from now on the node is registered and its pods run.
    ///
    /// # Errors
    /// The configuration cannot work, a directory or port cannot be used, or the runtime does not answer.
    pub async fn start(self) -> Result<Kubelet, Error> {
        self.config.prepare()?;
        let unavailable =
            |error: kubewright_runtime_shim::Error| Error::RuntimeUnavailable { message: error.to_string() };
        let version = self.runtime.version().await.map_err(unavailable)?;
        let status = self.runtime.status().await.map_err(unavailable)?;
        let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
        // Events outlive the rest a little, to tell of its end.
        let events_cancel = CancellationToken::new();
        let (recorder, sender) = recorder(self.client.clone(), &self.config.node_name, self.clock.clone());
        let prober = self.prober.unwrap_or_else(|| Arc::new(NodeProber::new(self.runtime.clone())));
        let node = Arc::new(Context {
            objects: ObjectCache::new(self.client.clone(), tasks.clone(), cancel.clone()),
            pulls: Semaphore::new(self.config.pulls_max.max(1)),
            api_turns: Semaphore::new(API_TURNS),
            pods: Pods::default(),
            pods_listed: AtomicBool::new(false),
            node_view: RwLock::new(NodeView::default()),
            service_list: RwLock::default(),
            config: self.config,
            client: self.client,
            runtime: self.runtime,
            runtime_name: version.runtime_name,
            addressing: status.pod_addressing,
            network: self.network,
            clock: self.clock,
            recorder,
            prober,
        });
        #[cfg(feature = "server")]
        let port = match node.config.server.clone() {
            Some(config) => crate::server::serve(config, node.clone(), &tasks, &cancel).await?,
            None => 0,
        };
        #[cfg(not(feature = "server"))]
        let port = 0;
        let events = tokio::spawn(sender.run(events_cancel.clone()));
        let kubelet = Kubelet { node, tasks, cancel, events, events_cancel, port };
        kubelet.spawn_tasks();
        Ok(kubelet)
    }
}

/// A running kubelet. Dropping it stops it without waiting; better is [`shutdown`](Self::shutdown).
pub struct Kubelet {
    node: Arc<Context>,
    tasks: TaskTracker,
    cancel: CancellationToken,
    events: tokio::task::JoinHandle<()>,
    events_cancel: CancellationToken,
    port: u16,
}

impl std::fmt::Debug for Kubelet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kubelet").field("node", &self.node.config.node_name).field("port", &self.port).finish()
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.cancel.cancel();
        self.events_cancel.cancel();
    }
}

impl Kubelet {
    /// A kubelet over that API and that runtime.
    #[must_use]
    pub fn builder(config: KubeletConfig, client: kube::Client, runtime: Arc<dyn Runtime>) -> KubeletBuilder {
        KubeletBuilder { config, client, runtime, network: None, clock: Arc::new(SystemClock), prober: None }
    }

    /// The port its server listens on; 0 without one.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Stops the kubelet. Containers stay as they are; the next kubelet of this node finds them.
    pub async fn shutdown(mut self) {
        self.stop().await;
    }

    /// Stops the pods, each within its own grace and `grace` at most, and then the kubelet. The API still wants the
    /// pods: they are not deleted there, and run again when the node comes back.
    pub async fn shutdown_with_pods(mut self, grace: Duration) {
        // Workers go first, so that nothing is restarted and no end is reported.
        self.cancel.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        let node = &self.node;
        let sandboxes = node.runtime.list_pod_sandboxes(&own_sandboxes(&node.config)).await.unwrap_or_default();
        let stops = sandboxes.into_iter().map(|sandbox| async move {
            let pod = node.pods.get(&sandbox.metadata.uid).map(|entry| entry.pod());
            let own = pod.map_or(30, |pod| pod.grace_seconds());
            let grace = grace.min(Duration::from_secs(u64::try_from(own).unwrap_or(0)));
            let filter = kubewright_runtime_shim::ContainerFilter::sandbox(sandbox.id.clone());
            let containers = node.runtime.list_containers(&filter).await.unwrap_or_default();
            let stops = containers.iter().map(|container| node.runtime.stop_container(&container.id, grace));
            let failed = futures::future::join_all(stops).await.into_iter().find_map(Result::err);
            let stopped = node.runtime.stop_pod_sandbox(&sandbox.id).await;
            if let Some(error) = failed.or_else(|| stopped.err()) {
                tracing::warn!(pod = sandbox.metadata.name, %error, "cannot stop a pod");
            }
            if let Some(network) = &node.network {
                drop(network.detach(&sandbox.metadata.uid).await);
            }
        });
        futures::future::join_all(stops).await;
        self.stop().await;
    }

    async fn stop(&mut self) {
        self.cancel.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.events_cancel.cancel();
        drop((&mut self.events).await);
    }

    fn spawn_tasks(&self) {
        let (node, cancel, tasks) = (&self.node, &self.cancel, &self.tasks);
        let (pressure, pressures) = watch::channel(Pressures::default());
        let keeper = NodeKeeper { node: node.clone(), pressures, port: self.port };
        keeper.assume();
        tasks.spawn(keeper.run(cancel.clone()));
        tasks.spawn(keep_lease(node.clone(), cancel.clone()));
        tasks.spawn(watch_pressures(node.clone(), pressure, cancel.clone()));
        tasks.spawn(follow_runtime(node.clone(), cancel.clone()));
        tasks.spawn(keep_house(node.clone(), cancel.clone()));
        let (synced, services) = watch::channel(false);
        tasks.spawn(follow_services(node.clone(), synced, cancel.clone()));
        tasks.spawn(poke_on_changes(node.clone(), cancel.clone()));
        let pods = PodFollower { node: node.clone(), tasks: tasks.clone(), cancel: cancel.clone() };
        tasks.spawn(pods.run(services));
    }
}

/// Has pods looked at when an object that they refer to changes.
async fn poke_on_changes(node: Arc<Context>, cancel: CancellationToken) {
    let mut changes = node.objects.changes();
    loop {
        match cancel.run_until_cancelled(changes.recv()).await {
            Some(Ok(key)) => {
                for uid in node.objects.users(&key) {
                    node.pods.poke(&uid);
                }
            }
            Some(Err(broadcast::error::RecvError::Lagged(_))) => node.pods.poke_all(),
            Some(Err(broadcast::error::RecvError::Closed)) | None => return,
        }
    }
}

/// Follows the pods of this node, and has a worker for each.
struct PodFollower {
    node: Arc<Context>,
    tasks: TaskTracker,
    cancel: CancellationToken,
}

impl PodFollower {
    async fn run(self, mut services: watch::Receiver<bool>) {
        let cancel = self.cancel.clone();
        let followed = async {
            drop(tokio::time::timeout(SERVICES_PATIENCE, services.wait_for(|synced| *synced)).await);
            self.follow().await;
        };
        cancel.run_until_cancelled(followed).await.unwrap_or_default();
    }

    async fn follow(&self) {
        let api: kube::Api<Pod> = kube::Api::all(self.node.client.clone());
        let own = watcher::Config::default().fields(&format!("spec.nodeName={}", self.node.config.node_name));
        let mut events = std::pin::pin!(watch_objects(api, own).default_backoff());
        let mut listed: Vec<Pod> = Vec::new();
        let mut first = true;
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitApply(pod)) => listed.push(pod),
                Ok(Event::InitDone) => {
                    self.replace(std::mem::take(&mut listed), first);
                    self.node.pods_listed.store(true, Ordering::Release);
                    if std::mem::take(&mut first) {
                        remove_orphans(&self.node).await;
                    }
                }
                Ok(Event::Apply(pod)) => self.apply(pod, false),
                Ok(Event::Delete(pod)) => self.remove(pod.uid()),
                Err(error) => tracing::debug!(%error, "the watch of pods failed, will be tried again"),
            }
        }
    }

    fn replace(&self, mut pods: Vec<Pod>, first: bool) {
        let uids: BTreeSet<String> = pods.iter().map(|pod| pod.uid().to_owned()).collect();
        for uid in self.node.pods.uids() {
            if !uids.contains(&uid) {
                self.remove(&uid);
            }
        }
        // The older of two pods that do not fit together is the one that stays.
        pods.sort_by_key(|pod| (pod.metadata.creation_timestamp.clone().map(|time| time.0), pod.uid().to_owned()));
        for pod in pods {
            self.apply(pod, first);
        }
    }

    fn apply(&self, pod: Pod, first: bool) {
        if let Some(entry) = self.node.pods.get(pod.uid()) {
            entry.desired.send_modify(|desired| desired.pod = Arc::new(pod));
            return;
        }
        let pod = Arc::new(pod);
        // A pod that was begun before this kubelet started was admitted by the last one.
        let begun = first && pod.status.start_time.is_some();
        let rejected = if begun || pod.is_terminal() || pod.is_deleted() {
            None
        } else {
            let others = self.node.pods.active();
            admit(&pod, &self.node.view(), others.iter().map(AsRef::as_ref)).err()
        };
        let uid = pod.uid().to_owned();
        let (desired, receiver) = watch::channel(Desired { pod, removed: false, evicted: None::<Eviction> });
        let entry = PodEntry { desired, poke: Arc::new(Notify::new()), rejected: rejected.is_some() };
        let worker = Worker::new(self.node.clone(), receiver, entry.poke.clone(), self.cancel.child_token());
        self.node.pods.insert(&uid, entry);
        let node = self.node.clone();
        self.tasks.spawn(async move {
            worker.run(rejected).await;
            node.pods.remove(&uid);
        });
    }

    fn remove(&self, uid: &str) {
        if let Some(entry) = self.node.pods.get(uid) {
            entry.desired.send_modify(|desired| desired.removed = true);
        }
    }
}
