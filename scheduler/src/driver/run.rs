//! The driver: what it is made of, how it is set, how it begins and ends.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::election::Candidate;
use super::event::Recorder;
use super::extender::{ExtenderError, Extenders};
use super::instruments::Instruments;
use super::meter::Meter;
use super::metrics::{Metrics, NoMetrics};
use super::running::Running;
use super::sources::{Wanted, spawn_informers};
use super::{Clock, LeaderElection};
use crate::config::ExtenderConfig;
use crate::framework::Profile;
use crate::schedule::{Scheduler, SchedulerConfig, SchedulerError};

/// How a driver behaves.
#[derive(Clone, Debug)]
pub struct DriverConfig {
    /// How the core behaves.
    pub scheduler: SchedulerConfig,
    /// How many calls to the API server may be under way; when there are so many, no further pod is placed.
    pub calls_max: usize,
    /// What tells this instance from others in events, such as the host's name.
    pub instance: String,
    /// With whom to agree on who schedules; without it, this one does.
    pub leader_election: Option<LeaderElection>,
    /// How many objects to list at a time.
    pub page_size: u32,
    /// Services that have a say in decisions; they take the place of those in the core's settings.
    pub extenders: Vec<ExtenderConfig>,
    /// Whether DeviceTaintRules count: upstream's gate `DRADeviceTaintRules`, which is off by default, for the kind is
    /// served only on demand.
    pub device_taint_rules: bool,
}

impl Default for DriverConfig {
    /// 128 calls at a time, pages of 500, no election.
    fn default() -> Self {
        Self {
            scheduler: SchedulerConfig::default(),
            calls_max: 128,
            instance: "kubewright".into(),
            leader_election: None,
            page_size: 500,
            extenders: Vec::new(),
            device_taint_rules: false,
        }
    }
}

/// Why a driver cannot be made, or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DriverError {
    /// The profiles don't make a scheduler.
    #[error(transparent)]
    Config(#[from] SchedulerError),
    /// An extender cannot be reached with its settings.
    #[error(transparent)]
    Extender(#[from] ExtenderError),
    /// Another instance leads now; start anew to be a candidate again.
    #[error("leader election lost")]
    LostLease,
}

/// How far a driver has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Whether everything that was there at the start has been seen.
    pub synced: bool,
    /// Whether this instance may schedule.
    pub leading: bool,
    /// How many pods were bound.
    pub bound: u64,
    /// How many attempts failed.
    pub failed: u64,
}

/// How many changes wait at most to be looked at; how many events to be written.
const CHANGES_MAX: usize = 4096;
const NOTES_MAX: usize = 4096;
/// How long it may take to write the last events and to give up the lead.
const LAST_WORDS: Duration = Duration::from_secs(15);

/// Runs a scheduler against an API server.
pub struct Driver {
    client: Client,
    clock: Arc<dyn Clock>,
    config: DriverConfig,
    scheduler: Scheduler,
    progress: watch::Sender<Progress>,
    metrics: Arc<dyn Metrics>,
    extenders: Extenders,
}

impl Driver {
    /// A driver for those profiles.
    ///
    /// # Errors
    /// The profiles don't make a scheduler, or an extender's settings don't do.
    pub fn new(
        client: Client,
        clock: Arc<dyn Clock>,
        config: DriverConfig,
        profiles: Vec<Profile>,
    ) -> Result<Self, DriverError> {
        let extenders = Extenders::connect(&config.extenders)?;
        let told = config.extenders.iter().map(ExtenderConfig::extender).collect();
        let core = SchedulerConfig { extenders: told, ..config.scheduler.clone() };
        let scheduler = Scheduler::new(core, profiles)?;
        let (progress, metrics) = (watch::Sender::default(), Arc::new(NoMetrics));
        Ok(Self { client, clock, config, scheduler, progress, metrics, extenders })
    }

    /// Reaches the extenders of that URL through a client instead of over a connection of their own, such as one in the
    /// same process.
    #[must_use]
    pub fn with_extender_client(mut self, url_prefix: &str, client: &Client) -> Self {
        self.extenders.replace(url_prefix, client);
        self
    }

    /// Has numbers taken down, under upstream's names.
    #[must_use]
    pub fn with_metrics(mut self, metrics: Arc<dyn Metrics>) -> Self {
        self.scheduler.observe_with(Arc::new(Instruments { clock: self.clock.clone(), metrics: metrics.clone() }));
        self.metrics = metrics;
        self
    }

    /// How far it has come, to be watched while it runs.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Schedules until cancelled. When this returns, nothing that it began is still under way.
    ///
    /// # Errors
    /// The lead was lost to another instance.
    pub async fn run(self, stop: CancellationToken) -> Result<(), DriverError> {
        let Self { client, clock, config, scheduler, progress, metrics, extenders } = self;
        let stop = stop.child_token();
        let (changes_in, changes) = mpsc::channel(CHANGES_MAX);
        let (notes, notes_out) = mpsc::channel(NOTES_MAX);
        let mut helpers = JoinSet::new();
        let wanted = Wanted {
            gangs: scheduler.places_gangs(),
            full_nodes: extenders.want_nodes(),
            taint_rules: config.device_taint_rules,
        };
        let informers = spawn_informers(&mut helpers, &client, &config, wanted, &changes_in, &stop);
        drop(changes_in);
        helpers.spawn(Recorder::new(client.clone(), clock.clone(), config.instance.clone()).run(notes_out));
        let ended = CancellationToken::new();
        let mut leads = spawn_election(&mut helpers, &client, &clock, config.leader_election, &stop, &ended);
        let mut running = Running {
            client,
            clock,
            scheduler,
            progress,
            notes,
            calls: JoinSet::new(),
            work: HashMap::new(),
            calls_max: config.calls_max.max(1),
            unsynced: informers,
            meter: Meter::new(metrics),
            extenders,
            full_nodes: Arc::default(),
            asking: JoinSet::new(),
        };
        let result = running.run(changes, &mut leads, &stop).await;
        stop.cancel();
        running.finish(leads).await;
        // Only now may another lead.
        ended.cancel();
        let all = async { while helpers.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_WORDS, all).await.is_err() {
            helpers.shutdown().await;
        }
        result
    }
}

/// Tells whether this instance leads: `None` before it is known, `Some(false)` when the lead was lost. A lead that it
/// has is kept until all is ended.
fn spawn_election(
    tasks: &mut JoinSet<()>,
    client: &Client,
    clock: &Arc<dyn Clock>,
    election: Option<LeaderElection>,
    stop: &CancellationToken,
    ended: &CancellationToken,
) -> watch::Receiver<Option<bool>> {
    let Some(election) = election else { return watch::Sender::new(Some(true)).subscribe() };
    let (tell, leads) = watch::channel(None);
    let mut candidate = Candidate::new(client.clone(), clock.clone(), election);
    let (stop, ended) = (stop.clone(), ended.clone());
    tasks.spawn(async move {
        if candidate.acquire(&stop).await {
            tell.send_replace(Some(true));
            candidate.keep(&ended).await;
            tell.send_replace(Some(false));
        }
    });
    leads
}
