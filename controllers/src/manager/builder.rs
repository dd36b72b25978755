//! Chooses controllers by name and makes them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::watch;

use super::{AsyncController, Clock, Controller, Driver, LeaderElection, Manager, Queue, Setup, system_clock};
use crate::Error;
use crate::cache::Caches;
use crate::objects::Time;

/// Settings of controllers; the defaults are upstream's.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// How many objects each controller works on at once.
    pub workers: usize,
    /// The certificates (PEM) by which pods trust the API server, for `kube-root-ca.crt` in every namespace. Without
    /// it that controller doesn't run.
    pub root_ca: Option<String>,
    /// The ranges nodes' pod ranges are taken from, such as `10.244.0.0/16`: one, or one of each family. Without any
    /// that controller doesn't run.
    pub cluster_cidrs: Vec<String>,
    /// How long a node's pod range prefix is, for IPv4.
    pub node_cidr_mask_ipv4: u8,
    /// How long a node's pod range prefix is, for IPv6.
    pub node_cidr_mask_ipv6: u8,
    /// How long a node may be silent before it counts as gone.
    pub node_monitor_grace_period: Duration,
    /// How long a new node may be silent at first.
    pub node_startup_grace_period: Duration,
    /// How many nodes a second may be tainted for eviction in a healthy zone.
    pub node_eviction_rate: f64,
    /// The same in a large zone most of whose nodes are gone.
    pub secondary_node_eviction_rate: f64,
    /// From which share of gone nodes on a zone counts as disturbed.
    pub unhealthy_zone_threshold: f64,
    /// From how many nodes on a zone counts as large.
    pub large_cluster_size_threshold: usize,
    /// How many ended pods are kept; older ones are removed beyond that.
    pub terminated_pod_threshold: usize,
    /// Resources whose objects the garbage collector leaves alone, as `group/resource`.
    pub garbage_collector_ignores: Vec<String>,
    /// Who signs certificates, and for how long. Without any authority that controller doesn't run.
    #[cfg(feature = "certificates")]
    pub signing: crate::certificates::Signing,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            workers: 5,
            root_ca: None,
            cluster_cidrs: Vec::new(),
            node_cidr_mask_ipv4: 24,
            node_cidr_mask_ipv6: 64,
            node_monitor_grace_period: Duration::from_secs(50),
            node_startup_grace_period: Duration::from_secs(60),
            node_eviction_rate: 0.1,
            secondary_node_eviction_rate: 0.01,
            unhealthy_zone_threshold: 0.55,
            large_cluster_size_threshold: 50,
            terminated_pod_threshold: 12_500,
            garbage_collector_ignores: vec!["/events".to_owned(), "events.k8s.io/events".to_owned()],
            #[cfg(feature = "certificates")]
            signing: crate::certificates::Signing::default(),
        }
    }
}

/// What a recipe makes.
pub(crate) enum Made {
    Controller(Box<dyn Controller>),
    Async(Box<dyn AsyncController>),
    Driver(Box<dyn Driver>),
}

impl Made {
    pub(crate) fn controller(controller: impl Controller) -> Self {
        Self::Controller(Box::new(controller))
    }

    pub(crate) fn driver(driver: impl Driver) -> Self {
        Self::Driver(Box::new(driver))
    }
}

/// Makes a controller; nothing if the settings don't ask for it.
pub(crate) type Make = fn(&Setup<'_>, &Config) -> Result<Option<Made>, Error>;

/// How to make a controller.
pub(crate) struct Recipe {
    /// Upstream's name of it.
    pub(crate) name: &'static str,
    /// Under which name it records events.
    pub(crate) component: &'static str,
    /// The service account in `kube-system` whose role upstream made for it.
    pub(crate) account: &'static str,
    /// Makes it; `None` if the settings don't ask for it.
    pub(crate) make: Make,
}

/// Who decides about a key.
pub(super) enum Brain {
    Pure(Box<dyn Controller>),
    Async(Box<dyn AsyncController>),
}

pub(super) enum Built {
    Lane { brain: Brain, queue: Arc<Queue>, synced: Vec<watch::Receiver<bool>> },
    Driver(Box<dyn Driver>),
}

pub(super) struct Part {
    pub(super) name: &'static str,
    pub(super) component: &'static str,
    /// What it writes with.
    pub(super) client: Client,
    pub(super) built: Built,
}

/// The names of all controllers, which are upstream's.
#[must_use]
pub fn all_controllers() -> Vec<&'static str> {
    crate::RECIPES.iter().map(|recipe| recipe.name).collect()
}

type ClientOf = Box<dyn Fn(&str) -> Client + Send + Sync>;

/// Chooses controllers and settings.
#[must_use = "a builder does nothing until it is built"]
pub struct Builder {
    client: Client,
    client_of: Option<ClientOf>,
    config: Config,
    chosen: BTreeSet<&'static str>,
    election: Option<LeaderElection>,
    clock: Clock,
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder").field("chosen", &self.chosen).field("config", &self.config).finish_non_exhaustive()
    }
}

impl Builder {
    pub(super) fn new(client: Client) -> Self {
        let (config, chosen, clock) = (Config::default(), BTreeSet::new(), system_clock());
        Self { client, client_of: None, config, chosen, election: None, clock }
    }

    /// Lets each controller write as its own service account in `kube-system`, such as `deployment-controller`: the
    /// function makes that account's client. What all of them read, events and the leader's lease stay with the
    /// manager's own client. Without it that client does everything. See
    /// [`grant_access`](crate::grant_access) and [`account_client`](crate::account_client).
    pub fn client_of_account(mut self, client_of: impl Fn(&str) -> Client + Send + Sync + 'static) -> Self {
        self.client_of = Some(Box::new(client_of));
        self
    }

    /// Changes settings.
    pub fn configure(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// Chooses every controller.
    pub fn with_all(mut self) -> Self {
        self.chosen.extend(all_controllers());
        self
    }

    /// Chooses the controller of that name, such as `deployment-controller`.
    ///
    /// # Errors
    /// [`Error::UnknownController`] if there is none.
    pub fn with(mut self, name: &str) -> Result<Self, Error> {
        self.chosen.insert(known(name)?);
        Ok(self)
    }

    /// Leaves out the controller of that name.
    ///
    /// # Errors
    /// [`Error::UnknownController`] if there is none.
    pub fn without(mut self, name: &str) -> Result<Self, Error> {
        self.chosen.remove(known(name)?);
        Ok(self)
    }

    /// Works only while it leads.
    pub fn leader_election(mut self, election: LeaderElection) -> Self {
        self.election = Some(election);
        self
    }

    /// Takes the time of day from there instead of the machine's clock. How long to wait is always tokio's clock to say,
    /// so a test that pauses that one gives a clock which follows it.
    pub fn clock(mut self, now: impl Fn() -> Time + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(now);
        self
    }

    /// Makes the controllers. Those whose settings are missing (see [`Config`]) are left out.
    ///
    /// # Errors
    /// [`Error::Configuration`] if a setting is wrong.
    pub fn build(self) -> Result<Manager, Error> {
        let caches = Arc::new(Caches::default());
        let mut parts = Vec::new();
        for recipe in crate::RECIPES.iter().filter(|recipe| self.chosen.contains(recipe.name)) {
            let queue = Arc::new(Queue::default());
            let setup = Setup::new(&caches, queue.clone());
            let made = (recipe.make)(&setup, &self.config)?;
            let synced = setup.into_synced();
            let built = match made {
                None => continue,
                Some(Made::Controller(controller)) => Built::Lane { brain: Brain::Pure(controller), queue, synced },
                Some(Made::Async(controller)) => Built::Lane { brain: Brain::Async(controller), queue, synced },
                Some(Made::Driver(driver)) => Built::Driver(driver),
            };
            let client = self.client_of.as_ref().map_or_else(|| self.client.clone(), |of| of(recipe.account));
            parts.push(Part { name: recipe.name, component: recipe.component, client, built });
        }
        let (workers, election, clock) = (self.config.workers, self.election, self.clock);
        Ok(Manager { client: self.client, caches, parts, workers, election, clock })
    }
}

fn known(name: &str) -> Result<&'static str, Error> {
    let recipe = crate::RECIPES.iter().find(|recipe| recipe.name == name);
    recipe.map(|recipe| recipe.name).ok_or_else(|| Error::UnknownController { name: name.to_owned() })
}
