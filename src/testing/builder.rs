//! What a test's cluster is made of.

use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "scheduler")]
use futures::FutureExt;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::jiff::Timestamp;
use kubewright_apiserver::request::User;
use kubewright_apiserver::server::{self, ApiServer};
use kubewright_store::MemoryStore;

use super::cluster::{Running, TestCluster};
use super::front::{Front, Shared};
use super::{Clock, Error, manifests, nodes, wait};

/// The controller without which nothing makes service accounts.
const ACCOUNTS: &str = "serviceaccount-controller";

type Customize = Box<dyn FnOnce(server::Builder) -> server::Builder + Send>;

/// Chooses what a [`TestCluster`] has besides an API server.
#[must_use = "a builder does nothing until it is started"]
#[derive(Default)]
pub struct Builder {
    rbac: bool,
    definitions: Vec<CustomResourceDefinition>,
    controllers: Vec<String>,
    nodes: usize,
    #[cfg(feature = "scheduler")]
    scheduler: bool,
    starts_at: Option<Timestamp>,
    patience: Option<Duration>,
    customize: Option<Customize>,
}

impl Builder {
    /// Users may only do what roles allow; see [`TestCluster::client_as`]. Without it everyone may do everything.
    pub fn rbac(mut self) -> Self {
        self.rbac = true;
        self
    }

    /// Installs these definitions of custom resources. Their resources are served when the cluster has started.
    pub fn definitions(mut self, definitions: impl IntoIterator<Item = CustomResourceDefinition>) -> Self {
        self.definitions.extend(definitions);
        self
    }

    /// Runs these of Kubernetes' controllers, by upstream's names: `garbage-collector-controller`,
    /// `namespace-controller`, `deployment-controller`, …
    #[cfg(feature = "controllers")]
    pub fn controllers<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.controllers.extend(names.into_iter().map(Into::into));
        self
    }

    /// Runs all of Kubernetes' controllers.
    #[cfg(feature = "controllers")]
    pub fn all_controllers(self) -> Self {
        self.controllers(kubewright_controllers::all_controllers())
    }

    /// Has so many nodes, `node-1`, `node-2`, …: pods on them run at once, are ready, and go when they are deleted.
    /// Pods are placed in turn, unless there is a [scheduler](Self::scheduler). A pod with the annotation
    /// [`EXIT_CODE`](super::EXIT_CODE) ends.
    pub fn nodes(mut self, count: usize) -> Self {
        self.nodes = count;
        self
    }

    /// Runs Kubernetes' scheduler.
    #[cfg(feature = "scheduler")]
    pub fn scheduler(mut self) -> Self {
        self.scheduler = true;
        self
    }

    /// Begins at this time of day (default: now). From there on time goes as tokio's clock does.
    pub fn starts_at(mut self, time: Timestamp) -> Self {
        self.starts_at = Some(time);
        self
    }

    /// [`TestCluster::until`] waits so long, by the cluster's clock (default: a minute).
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }

    /// Changes how the API server is built: resources of your own, admission, audit, limits.
    pub fn customize(mut self, change: impl FnOnce(server::Builder) -> server::Builder + Send + 'static) -> Self {
        self.customize = Some(Box::new(change));
        self
    }

    /// Starts the cluster.
    ///
    /// # Errors
    /// The server can't be built so, a definition is invalid, or there is no such controller.
    pub async fn start(self) -> Result<TestCluster, Error> {
        let store = Arc::new(MemoryStore::new());
        let clock = Clock::starting_at(self.starts_at.unwrap_or_else(Timestamp::now));
        let mut builder = ApiServer::builder(Arc::clone(&store) as _).environment(Arc::new(clock));
        if !self.rbac {
            builder = builder.allow_all();
        }
        if !self.controllers.iter().any(|name| name == ACCOUNTS) {
            builder = builder.without_admission("ServiceAccount");
        }
        if let Some(change) = self.customize {
            builder = change(builder);
        }
        let server = builder.build().await?;
        let patience = self.patience.unwrap_or(wait::PATIENCE);
        let running = Running::new(server.clone());
        let cluster = TestCluster { server, store, shared: Arc::new(Shared::default()), clock, patience, running };
        let own = cluster.spared_client();
        manifests::install(&own, &self.definitions).await?;
        #[cfg(feature = "controllers")]
        if !self.controllers.is_empty() {
            cluster
                .running
                .spawn(|cancel| manager(&own, &self.controllers, clock).map(|manager| manager.run(cancel)))?;
        }
        if self.nodes > 0 {
            #[cfg(feature = "scheduler")]
            let places = !self.scheduler;
            #[cfg(not(feature = "scheduler"))]
            let places = true;
            nodes::create(&own, self.nodes, clock.now()).await?;
            let client = own.clone();
            cluster.running.spawn(|cancel| Ok(nodes::run(client, self.nodes, places, clock, cancel)))?;
        }
        #[cfg(feature = "scheduler")]
        if self.scheduler {
            let driver = scheduler(own, clock)?;
            cluster.running.spawn(|cancel| Ok(driver.run(cancel).map(drop)))?;
        }
        Ok(cluster)
    }
}

#[cfg(feature = "controllers")]
fn manager(client: &kube::Client, names: &[String], clock: Clock) -> Result<kubewright_controllers::Manager, Error> {
    use kubewright_controllers::{Manager, objects::Time};

    let wrong = |error: kubewright_controllers::Error| Error::Controllers { problem: error.to_string() };
    let mut builder = Manager::builder(client.clone())
        .clock(move || Time::from_micros(clock.now().as_microsecond()))
        .configure(|config| {
            config.root_ca = Some("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n".to_owned());
            config.cluster_cidrs = vec!["10.64.0.0/10".to_owned()];
        });
    for name in names {
        builder = builder.with(name).map_err(wrong)?;
    }
    builder.build().map_err(wrong)
}

#[cfg(feature = "scheduler")]
fn scheduler(client: kube::Client, clock: Clock) -> Result<kubewright_scheduler::driver::Driver, Error> {
    use kubewright_scheduler::driver::{Driver, DriverConfig};
    use kubewright_scheduler::plugins::default_profile;

    let wrong = |problem: String| Error::Controllers { problem: format!("the scheduler: {problem}") };
    let profile = default_profile("default-scheduler").build().map_err(|error| wrong(error.to_string()))?;
    let driver = Driver::new(client, Arc::new(clock), DriverConfig::default(), vec![profile]);
    driver.map_err(|error| wrong(error.to_string()))
}

impl TestCluster {
    pub(super) fn front(&self, user: User) -> Front {
        Front::new(&self.server, user, &self.shared)
    }
}
