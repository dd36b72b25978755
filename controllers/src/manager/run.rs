//! Runs what a builder put together.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use kube::Client;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::builder::{Brain, Builder, Built, Part};
use super::leader::{self, LeaderElection};
use super::{Clock, Context, Controller, Environment, Queue};
use crate::Error;
use crate::api::Api;
use crate::cache::Caches;
use crate::events::Recorder;
use crate::objects::ObjectKey;
use crate::plan::{Applier, Failure};

/// A set of controllers over one API server.
///
/// ```no_run
/// # async fn example(client: kube::Client) -> Result<(), kubewright_controllers::Error> {
/// use kubewright_controllers::Manager;
/// use tokio_util::sync::CancellationToken;
///
/// let manager = Manager::builder(client).with("deployment-controller")?.with("replicaset-controller")?.build()?;
/// let shutdown = CancellationToken::new();
/// manager.run(shutdown).await;
/// # Ok(())
/// # }
/// ```
#[must_use = "a manager does nothing until it is run"]
pub struct Manager {
    pub(super) client: Client,
    pub(super) caches: Arc<Caches>,
    pub(super) parts: Vec<Part>,
    pub(super) workers: usize,
    pub(super) election: Option<LeaderElection>,
    pub(super) clock: Clock,
}

impl std::fmt::Debug for Manager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.parts.iter().map(|part| part.name).collect();
        f.debug_struct("Manager").field("controllers", &names).field("caches", &self.caches).finish_non_exhaustive()
    }
}

impl Manager {
    /// Chooses controllers and settings.
    pub fn builder(client: Client) -> Builder {
        Builder::new(client)
    }

    /// The names of its controllers.
    #[must_use]
    pub fn controllers(&self) -> Vec<&'static str> {
        self.parts.iter().map(|part| part.name).collect()
    }

    /// Runs until `shutdown` is cancelled or, with leader election, leadership is lost. Every task it started has
    /// ended when it returns.
    pub async fn run(self, shutdown: CancellationToken) {
        let cancel = shutdown.child_token();
        let api = Api::new(self.client.clone());
        let ended = CancellationToken::new();
        let keeper = match self.election.clone() {
            None => None,
            Some(election) => {
                let Some(lead) = leader::acquire(&api, election, &self.clock, &cancel).await else { return };
                let (api, clock) = (api.clone(), self.clock.clone());
                let (cancel, ended) = (cancel.clone(), ended.clone());
                Some(tokio::spawn(async move { lead.keep(&api, &clock, cancel, ended).await }))
            }
        };
        self.run_as_leader(api, cancel.clone()).await;
        cancel.cancel();
        // Only now may another lead.
        ended.cancel();
        if let Some(keeper) = keeper {
            _ = keeper.await;
        }
    }

    async fn run_as_leader(self, api: Api, cancel: CancellationToken) {
        let mut tasks = JoinSet::new();
        let (recorder, writer) = Recorder::new(api.clone(), self.clock.clone());
        // The writer ends last, to write what others recorded while they ended.
        let writer_cancel = CancellationToken::new();
        let writer = tokio::spawn(writer.run(writer_cancel.clone()));
        for informer in self.caches.informers() {
            tasks.spawn(informer.run(self.client.clone(), cancel.clone()));
        }
        for Part { name, component, client, built } in self.parts {
            let (caches, recorder) = (self.caches.clone(), recorder.clone());
            let applier = Arc::new(Applier { api: Api::new(client), caches, recorder, clock: self.clock.clone() });
            let environment = Environment { component, applier: applier.clone() };
            match built {
                Built::Lane { brain, queue, synced } => {
                    let lane = Lane { name, brain, queue, environment, failures: Mutex::default() };
                    tasks.spawn(Arc::new(lane).run(synced, self.workers, cancel.clone()));
                }
                Built::Driver(driver) => _ = tasks.spawn(driver.run(environment, cancel.clone())),
            }
        }
        drop(recorder);
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a controller's task panicked");
            }
        }
        writer_cancel.cancel();
        _ = writer.await;
    }
}

/// One controller's queue and workers.
struct Lane {
    name: &'static str,
    brain: Brain,
    queue: Arc<Queue>,
    environment: Environment,
    /// What failed last, for keys that are being retried.
    failures: Mutex<HashMap<ObjectKey, Failure>>,
}

impl Lane {
    async fn run(self: Arc<Self>, synced: Vec<watch::Receiver<bool>>, workers: usize, cancel: CancellationToken) {
        // A controller that decided from half a picture would delete what it can't see the reason of. It waits for
        // its own caches only: a resource that can't be listed holds up nobody else.
        let all_synced = async {
            for mut synced in synced {
                // The sender lives as long as the informer, which the applier's caches hold.
                _ = synced.wait_for(|synced| *synced).await;
            }
        };
        if cancel.run_until_cancelled(all_synced).await.is_none() {
            return;
        }
        tracing::debug!(controller = self.name, "caches are synced, the controller starts");
        let mut running = JoinSet::new();
        for _ in 0..workers.max(1) {
            let (lane, cancel) = (self.clone(), cancel.clone());
            running.spawn(async move {
                while let Some(key) = lane.queue.next().await {
                    // A plan may be left half done: the next leader finishes it, as after a crash.
                    cancel.run_until_cancelled(lane.work(&key)).await;
                    lane.queue.done(&key);
                }
            });
        }
        cancel.cancelled().await;
        self.queue.close();
        while let Some(ended) = running.join_next().await {
            if let Err(error) = ended {
                tracing::error!(controller = self.name, %error, "a worker panicked");
            }
        }
    }

    async fn work(&self, key: &ObjectKey) {
        let outcome = match &self.brain {
            Brain::Pure(controller) => self.plan_and_apply(controller.as_ref(), key).await,
            Brain::Async(controller) => match controller.reconcile(key, &self.environment).await {
                Ok(again) => {
                    if let Some(after) = again {
                        self.queue.add_after(key.clone(), after);
                    }
                    Ok(())
                }
                Err(error) => Err((error, None)),
            },
        };
        let Err((error, failure)) = outcome else { return self.queue.forget(key) };
        let delay = self.queue.add_failed(key.clone());
        if error.is_race() {
            tracing::debug!(controller = self.name, object = %key, %error, ?delay, "retrying");
            return;
        }
        tracing::warn!(controller = self.name, object = %key, %error, ?delay, "retrying");
        if let Some(failure) = failure {
            self.failures().insert(key.clone(), failure);
        }
    }

    async fn plan_and_apply(
        &self,
        controller: &dyn Controller,
        key: &ObjectKey,
    ) -> Result<(), (Error, Option<Failure>)> {
        let failure = self.failures().remove(key);
        let context = Context { now: (self.environment.applier.clock)(), failure };
        // A reconciler that panics must not take its worker with it; the key is retried like any failure.
        let planned = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| controller.reconcile(key, &context)));
        let mut plan = planned.map_err(|_| {
            let message = "the reconciler panicked".to_owned();
            (Error::Unavailable { message, source: None }, None)
        })?;
        if let Some(after) = plan.requeue_after {
            self.queue.add_after(key.clone(), after);
        }
        let applied = self.environment.applier.apply(self.environment.component, plan.take_actions()).await;
        applied.map_err(|broken| (broken.error, Some(broken.failure)))
    }

    fn failures(&self) -> std::sync::MutexGuard<'_, HashMap<ObjectKey, Failure>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
