//! A cluster to measure on: an API server in this process, and the scheduler's driver with its informers and bindings.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use futures::{StreamExt, TryStreamExt};
use http::{Method, Request};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource};
use kubewright::apiserver::request::User;
use kubewright::apiserver::server::ApiServer;
use kubewright::store::MemoryStore;
use kubewright_scheduler::driver::{Driver, DriverConfig, SystemClock};
use kubewright_scheduler::framework::Profile;
use kubewright_scheduler::lab::perf::{Churning, Cluster, Deleting, Object, Which};
use kubewright_scheduler::schedule::SchedulerConfig;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How many objects are created at a time; upstream has 30 workers.
const WORKERS: usize = 30;
/// How long pods may take to be scheduled, as upstream has it.
const PATIENCE: Duration = Duration::from_secs(600);

pub(crate) struct ApiCluster {
    runtime: Runtime,
    server: ApiServer,
    client: Client,
    seen: Arc<Seen>,
    stop: CancellationToken,
    tasks: JoinSet<anyhow::Result<()>>,
    start: Instant,
}

/// What the harness has seen of pods.
#[derive(Default)]
struct Seen {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    pods: HashMap<String, Tracked>,
    /// How many of each namespace have a node.
    scheduled: HashMap<String, usize>,
    collecting: Option<(Vec<Which>, Instant, Vec<Duration>)>,
}

struct Tracked {
    namespace: String,
    name: String,
    labels: std::collections::BTreeMap<String, String>,
    scheduled: bool,
    attempted: bool,
}

/// As much of a pod as the harness looks at.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct SeenPod {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: SeenSpec,
    #[serde(default)]
    status: SeenStatus,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct SeenSpec {
    #[serde(default)]
    node_name: String,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct SeenStatus {
    #[serde(default)]
    conditions: Vec<SeenCondition>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
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
        tracked.attempted |= status.conditions.iter().any(|condition| condition.kind == "PodScheduled");
        if spec.node_name.is_empty() || tracked.scheduled {
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
        if let Some(pod) = state.pods.remove(pod.metadata.uid.as_deref().unwrap_or_default())
            && pod.scheduled
            && let Some(count) = state.scheduled.get_mut(&pod.namespace)
        {
            *count = count.saturating_sub(1);
        }
    }

    fn count(&self, which: &Which, attempted: bool) -> usize {
        let state = self.state();
        if which.labels.is_empty() && !attempted {
            return state.scheduled.get(&which.namespace).copied().unwrap_or_default();
        }
        let counts = |pod: &&Tracked| has(which, pod) && (pod.scheduled || (attempted && pod.attempted));
        state.pods.values().filter(counts).count()
    }

    fn names(&self, which: &Which) -> Vec<String> {
        let state = self.state();
        let mut names: Vec<String> =
            state.pods.values().filter(|pod| has(which, pod)).map(|pod| pod.name.clone()).collect();
        names.sort();
        names
    }
}

/// What upstream's `scheduler_perf` turns off too: no controller makes service accounts here or removes the taint of new
/// nodes, and its pods bring numbers for priorities.
const ADMISSION_OFF: [&str; 3] = ["ServiceAccount", "TaintNodesByCondition", "Priority"];

impl ApiCluster {
    pub(crate) fn start(profiles: Vec<Profile>, seed: u64) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let guard = runtime.enter();
        let mut server = ApiServer::builder(Arc::new(MemoryStore::new()));
        for plugin in ADMISSION_OFF {
            server = server.without_admission(plugin);
        }
        let server = runtime.block_on(server.build())?;
        let client = || Client::new(server.as_user(User::admin()), "default");
        let scheduler = SchedulerConfig { seed, ..SchedulerConfig::default() };
        let config = DriverConfig { scheduler, ..DriverConfig::default() };
        let driver = Driver::new(client(), Arc::new(SystemClock), config, profiles)?;
        let (stop, seen, mut tasks) = (CancellationToken::new(), Arc::new(Seen::default()), JoinSet::new());
        let mut progress = driver.progress();
        tasks.spawn({
            let stop = stop.clone();
            async move { Ok(driver.run(stop).await?) }
        });
        tasks.spawn(watch(client(), seen.clone(), stop.clone()));
        runtime
            .block_on(async { progress.wait_for(|progress| progress.synced && progress.leading).await.map(drop) })?;
        let client = client();
        drop(guard);
        Ok(Self { runtime, server, client, seen, stop, tasks, start: Instant::now() })
    }

    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.runtime.block_on(async {
            while let Some(task) = self.tasks.join_next().await {
                task.context("a task panicked")??;
            }
            self.server.shutdown().await;
            Ok(())
        })
    }
}

/// Keeps up with pods.
async fn watch(client: Client, seen: Arc<Seen>, stop: CancellationToken) -> anyhow::Result<()> {
    let config = watcher::Config::default().any_semantic();
    let mut events = watcher(Api::<SeenPod>::all(client), config).default_backoff().boxed();
    loop {
        let event = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            event = events.try_next() => event?,
        };
        match event {
            None => return Ok(()),
            Some(Event::Apply(pod) | Event::InitApply(pod)) => seen.put(pod),
            Some(Event::Delete(pod)) => seen.remove(&pod),
            Some(Event::Init | Event::InitDone) => {}
        }
        seen.changed.notify_waiters();
    }
}

/// Where objects of a kind are, and one of them.
fn path(object: &Object) -> Result<(String, String), String> {
    let resource =
        object.resource().ok_or_else(|| format!("no resource for {} {}", object.body["apiVersion"], object.kind()))?;
    let api_version = resource.api_version();
    let root = if resource.group.is_empty() { format!("/api/{api_version}") } else { format!("/apis/{api_version}") };
    let folder = match resource.namespaced() {
        true => format!("{root}/namespaces/{}/{}", object.namespace, resource.plural),
        false => format!("{root}/{}", resource.plural),
    };
    let own = format!("{folder}/{}", object.name());
    Ok((folder, own))
}

async fn call(client: &Client, method: Method, path: String, body: Option<&Value>) -> Result<String, String> {
    let shown = format!("{method} {path}");
    let body = body.map(Value::to_string).unwrap_or_default().into_bytes();
    let request = Request::builder().method(method).uri(path).header("content-type", "application/json").body(body);
    let request = request.map_err(|error| format!("{shown}: {error}"))?;
    client.request_text(request).await.map_err(|error| format!("{shown}: {error}"))
}

async fn create(client: Client, object: Object) -> Result<String, String> {
    let (folder, _) = path(&object)?;
    let created = call(&client, Method::POST, folder, Some(&object.body)).await?;
    // Their statuses are set apart, as only who serves them may say that they are bound.
    if ["PersistentVolume", "PersistentVolumeClaim"].contains(&object.kind()) && object.body["status"].is_object() {
        let (_, own) = path(&object)?;
        call(&client, Method::PUT, format!("{own}/status"), Some(&object.body)).await?;
    }
    Ok(created)
}

async fn update(client: Client, object: Object) -> Result<(), String> {
    let (_, own) = path(&object)?;
    call(&client, Method::PUT, own.clone(), Some(&object.body)).await?;
    if object.body["status"].is_object() {
        call(&client, Method::PUT, format!("{own}/status"), Some(&object.body)).await?;
    }
    Ok(())
}

async fn delete(client: Client, path: String) -> Result<(), String> {
    match call(&client, Method::DELETE, format!("{path}?gracePeriodSeconds=0"), None).await {
        Err(error) if error.contains("not found") => Ok(()),
        other => other.map(drop),
    }
}

/// Creates objects again and again until told to stop.
async fn churn(client: Client, churning: Churning, stop: CancellationToken) -> anyhow::Result<()> {
    let mut ticks = tokio::time::interval(churning.interval);
    ticks.tick().await;
    let places = churning.number.max(1);
    let mut alive: Vec<Vec<Option<String>>> = churning.objects.iter().map(|_| vec![None; places]).collect();
    for round in 0.. {
        if !churning.recreate && churning.number > 0 && round >= churning.number {
            return Ok(());
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = ticks.tick() => {}
        }
        for (object, alive) in churning.objects.iter().zip(&mut alive) {
            let place = round % places;
            if let Some(own) = alive[place].take() {
                delete(client.clone(), own).await.map_err(anyhow::Error::msg)?;
                continue;
            }
            // As upstream, an object that isn't created is not missed.
            let Ok(created) = create(client.clone(), object.clone()).await else { continue };
            if churning.recreate {
                let body: Value = serde_json::from_str(&created)?;
                let (_, own) =
                    path(&Object { namespace: object.namespace.clone(), body }).map_err(anyhow::Error::msg)?;
                alive[place] = Some(own);
            }
        }
    }
    Ok(())
}

async fn one_after_another(
    client: Client,
    paths: Vec<String>,
    interval: Duration,
    stop: CancellationToken,
) -> Result<(), String> {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    for path in paths {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = ticks.tick() => {}
        }
        delete(client.clone(), path).await?;
    }
    Ok(())
}

fn interval(per_second: usize) -> Duration {
    Duration::from_secs(1) / u32::try_from(per_second).unwrap_or(u32::MAX).max(1)
}

impl Cluster for ApiCluster {
    fn create(&mut self, objects: Vec<Object>) -> Result<(), String> {
        // What pods refer to must be there before them.
        let (pods, others): (Vec<Object>, Vec<Object>) = objects.into_iter().partition(|object| object.kind() == "Pod");
        for batch in [others, pods] {
            let create = |object: Object| create(self.client.clone(), object);
            let all = futures::stream::iter(batch).map(create).buffer_unordered(WORKERS);
            self.runtime.block_on(all.try_for_each(|_| async { Ok(()) }))?;
        }
        Ok(())
    }

    fn update(&mut self, objects: Vec<Object>, per_second: usize) -> Result<(), String> {
        let client = self.client.clone();
        self.runtime.block_on(async move {
            let mut ticks = (per_second > 0).then(|| tokio::time::interval(interval(per_second)));
            for object in objects {
                if let Some(ticks) = &mut ticks {
                    ticks.tick().await;
                }
                update(client.clone(), object).await?;
            }
            Ok(())
        })
    }

    fn delete_pods(&mut self, deleting: Deleting) -> Result<(), String> {
        let Deleting { which, per_second, in_background } = deleting;
        let folder = format!("/api/v1/namespaces/{}/pods", which.namespace);
        if per_second == 0 {
            let labels: Vec<String> = which.labels.iter().map(|(key, value)| format!("{key}%3D{value}")).collect();
            let selector =
                if labels.is_empty() { String::new() } else { format!("&labelSelector={}", labels.join("%2C")) };
            let path = format!("{folder}?gracePeriodSeconds=0{selector}");
            return self.runtime.block_on(call(&self.client, Method::DELETE, path, None)).map(drop);
        }
        let paths: Vec<String> = self.seen.names(&which).into_iter().map(|name| format!("{folder}/{name}")).collect();
        let work = one_after_another(self.client.clone(), paths, interval(per_second), self.stop.clone());
        if in_background {
            self.tasks.spawn_on(async { work.await.map_err(anyhow::Error::msg) }, self.runtime.handle());
            return Ok(());
        }
        self.runtime.block_on(work)
    }

    fn churn(&mut self, churning: Churning) -> Result<(), String> {
        self.tasks.spawn_on(churn(self.client.clone(), churning, self.stop.clone()), self.runtime.handle());
        Ok(())
    }

    fn wait(&mut self, which: &Which, count: usize, attempted: bool) -> Result<(), String> {
        let seen = self.seen.clone();
        let wait = async {
            loop {
                let changed = seen.changed.notified();
                if seen.count(which, attempted) >= count {
                    return;
                }
                changed.await;
            }
        };
        let result = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, wait).await });
        result.map_err(|_| {
            let (seconds, done) = (PATIENCE.as_secs(), self.seen.count(which, attempted));
            format!(
                "{count} pods of namespace {} to be scheduled: not within {seconds} s; {done} were",
                which.namespace
            )
        })
    }

    fn sleep(&mut self, duration: Duration) -> Result<(), String> {
        self.runtime.block_on(tokio::time::sleep(duration));
        Ok(())
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    fn allocate_claims(&mut self, _: &str) -> Result<(), String> {
        Err("allocating claims without pods is not there yet".to_owned())
    }

    fn start_collecting(&mut self, which: Vec<Which>) {
        self.seen.state().collecting = Some((which, Instant::now(), Vec::new()));
    }

    fn stop_collecting(&mut self) -> Vec<Duration> {
        self.seen.state().collecting.take().map(|(_, _, times)| times).unwrap_or_default()
    }
}
