//! A cluster to measure on: an API server in this process, and the scheduler's driver with its informers and bindings.

mod calls;
mod claims;
mod meanwhile;
mod seen;
mod taints;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures::{StreamExt, TryStreamExt};
use http::Method;
use kube::Client;
use kubewright::apiserver::request::User;
use kubewright::apiserver::server::ApiServer;
use kubewright::store::MemoryStore;
use kubewright_scheduler::driver::{Driver, DriverConfig, SystemClock};
use kubewright_scheduler::framework::Profile;
use kubewright_scheduler::lab::perf::{Churning, Cluster, Deleting, Object, Updating, Which};
use kubewright_scheduler::schedule::SchedulerConfig;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use calls::{call, create, update};
use claims::make_claims;
use meanwhile::{interval, one_after_another};
use seen::{Seen, watch};

/// How many objects are created at a time; upstream has 30 workers.
const WORKERS: usize = 30;
/// How often is looked whether many pods are scheduled, at most; whether a few are is looked at with each that is.
const LOOKS: Duration = Duration::from_millis(5);
const FEW: usize = 100;
/// How many pods wait at most for claims to be made.
const NEEDING_MAX: usize = 1024;

pub(crate) struct ApiCluster {
    runtime: Runtime,
    server: ApiServer,
    client: Client,
    seen: Arc<Seen>,
    stop: CancellationToken,
    tasks: JoinSet<anyhow::Result<()>>,
    patience: Duration,
    start: Instant,
}

/// What upstream's `scheduler_perf` turns off too: no controller makes service accounts here or removes the taint of new
/// nodes, and its pods bring numbers for priorities.
const ADMISSION_OFF: [&str; 3] = ["ServiceAccount", "TaintNodesByCondition", "Priority"];

impl ApiCluster {
    /// `patience` is how long pods may take to be scheduled.
    pub(crate) fn start(profiles: Vec<Profile>, seed: u64, patience: Duration) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let guard = runtime.enter();
        let mut server = ApiServer::builder(Arc::new(MemoryStore::new())).resource(taints::resource());
        for plugin in ADMISSION_OFF {
            server = server.without_admission(plugin);
        }
        let server = runtime.block_on(server.build())?;
        let client = || Client::new(server.as_user(User::admin()), "default");
        let scheduler = SchedulerConfig { seed, ..SchedulerConfig::default() };
        let config = DriverConfig { scheduler, device_taint_rules: true, ..DriverConfig::default() };
        let driver = Driver::new(client(), Arc::new(SystemClock), config, profiles)?;
        let (stop, seen, mut tasks) = (CancellationToken::new(), Arc::new(Seen::default()), JoinSet::new());
        let mut progress = driver.progress();
        tasks.spawn({
            let stop = stop.clone();
            async move { Ok(driver.run(stop).await?) }
        });
        let (needing, claims) = mpsc::channel(NEEDING_MAX);
        tasks.spawn(watch(client(), seen.clone(), needing, stop.clone()));
        tasks.spawn(make_claims(client(), claims, stop.clone()));
        runtime
            .block_on(async { progress.wait_for(|progress| progress.synced && progress.leading).await.map(drop) })?;
        let client = client();
        drop(guard);
        Ok(Self { runtime, server, client, seen, stop, tasks, patience, start: Instant::now() })
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

    /// Waits until there are none of those pods any more.
    fn wait_gone(&self, which: &Which) -> Result<(), String> {
        let gone = async {
            loop {
                let changed = self.seen.changed.notified();
                if self.seen.there(which) == 0 {
                    return;
                }
                changed.await;
                tokio::time::sleep(LOOKS).await;
            }
        };
        let result = self.runtime.block_on(async { tokio::time::timeout(self.patience, gone).await });
        result.map_err(|_| format!("pods of namespace {} are still there", which.namespace))
    }
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

    fn update(&mut self, updating: Updating) -> Result<(), String> {
        let Updating { objects, per_second, subresources } = updating;
        let client = self.client.clone();
        self.runtime.block_on(async move {
            let mut ticks = (per_second > 0).then(|| tokio::time::interval(interval(per_second)));
            for object in objects {
                if let Some(ticks) = &mut ticks {
                    ticks.tick().await;
                }
                update(&client, object, &subresources).await?;
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
        self.tasks.spawn_on(meanwhile::churn(self.client.clone(), churning, self.stop.clone()), self.runtime.handle());
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
                // Counting must not take the time that scheduling wants.
                if count > FEW {
                    tokio::time::sleep(LOOKS).await;
                }
            }
        };
        let result = self.runtime.block_on(async { tokio::time::timeout(self.patience, wait).await });
        result.map_err(|_| {
            let (seconds, done) = (self.patience.as_secs(), self.seen.count(which, attempted));
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

    fn allocate_claims(&mut self, namespace: &str) -> Result<(), String> {
        let client = self.client.clone();
        let claims = self.runtime.block_on(claims::unallocated(&client, namespace))?;
        let which = Which { namespace: namespace.to_owned(), labels: claims::allocator_labels() };
        let pods = claims.iter().enumerate().map(|(number, claim)| claims::allocator(namespace, number, claim));
        self.create(pods.collect())?;
        self.wait(&which, claims.len(), false)?;
        self.delete_pods(Deleting { which: which.clone(), ..Deleting::default() })?;
        self.wait_gone(&which)?;
        self.runtime.block_on(claims::release(&client, namespace, &claims))
    }

    fn start_collecting(&mut self, which: Vec<Which>) {
        self.seen.start_collecting(which);
    }

    fn stop_collecting(&mut self) -> Vec<Duration> {
        self.seen.stop_collecting()
    }
}
