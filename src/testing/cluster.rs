//! A cluster's API in a test.

use std::fmt;
use std::fmt::Debug;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::{Api, DynamicObject};
use kubewright_apiserver::request::User;
use kubewright_apiserver::server::ApiServer;
use kubewright_store::{MemoryStore, Store};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::front::Shared;
use super::{Builder, Clock, Error, Fault, Injected, Recorded, manifests, wait};

/// A fresh Kubernetes API of a test's own, and what runs in it.
///
/// Dropping it ends everything in it: no task of it does anything any more. [`stop`](Self::stop) also waits for the
/// tasks' ends.
pub struct TestCluster {
    pub(super) server: ApiServer,
    pub(super) store: Arc<MemoryStore>,
    pub(super) shared: Arc<Shared>,
    pub(super) clock: Clock,
    pub(super) patience: Duration,
    pub(super) running: Running,
}

impl Debug for TestCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestCluster").field("clock", &self.clock).finish_non_exhaustive()
    }
}

impl TestCluster {
    /// An API server on its own, where everyone may do everything.
    ///
    /// # Panics
    /// Not called on a tokio runtime.
    pub async fn start() -> Self {
        // Nothing was chosen that could be wrong, and the store is empty memory.
        Self::builder().start().await.expect("an empty cluster starts")
    }

    /// Chooses what else there is.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// An administrator's client, in namespace `default`.
    #[must_use]
    pub fn client(&self) -> Client {
        self.front(User::admin()).client()
    }

    /// The client of that user, who is in these groups and in `system:authenticated`. What it may do is RBAC's to say
    /// where the cluster has [RBAC](Builder::rbac).
    #[must_use]
    pub fn client_as(&self, user: &str, groups: &[&str]) -> Client {
        let mut groups = groups.to_vec();
        groups.push("system:authenticated");
        self.front(User::new(user, &groups)).client()
    }

    /// The client of a service account.
    #[must_use]
    pub fn client_of_account(&self, namespace: &str, name: &str) -> Client {
        let own = format!("system:serviceaccounts:{namespace}");
        self.client_as(&format!("system:serviceaccount:{namespace}:{name}"), &["system:serviceaccounts", &own])
    }

    /// An administrator's client that is spared all faults, and whose requests are not recorded: for what a test itself
    /// sets up and looks at.
    #[must_use]
    pub fn spared_client(&self) -> Client {
        Client::new(self.server.as_user(User::admin()), "default")
    }

    /// The API server, to be served elsewhere or asked without a client.
    #[must_use]
    pub const fn server(&self) -> &ApiServer {
        &self.server
    }

    /// The cluster's time.
    #[must_use]
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Lets so much time pass; see [`Clock::advance`].
    pub async fn advance(&self, by: Duration) {
        self.clock.advance(by).await;
    }

    /// Makes something go wrong from now on, for the clients that the test got from this cluster. Controllers, nodes
    /// and the scheduler in the cluster are spared.
    pub fn inject(&self, fault: Fault) -> Injected {
        // A store in memory answers at once, unless it is closed.
        let status = self.store.status().now_or_never();
        let revision = status.and_then(Result::ok).map_or(0, |status| status.revision.get());
        self.shared.faults.inject(fault, revision)
    }

    /// Breaks off every watch of the test's clients that is under way.
    pub fn break_watches(&self) {
        self.shared.faults.break_watches();
    }

    /// What the test's clients asked for since this was called last, in the order of the answers; the newest 10,000.
    pub fn take_requests(&self) -> Vec<Recorded> {
        self.shared.log.take()
    }

    /// Applies YAML documents in order, as `kubectl apply --server-side --force-conflicts` does; waits until what a
    /// CustomResourceDefinition among them defines is served.
    ///
    /// # Errors
    /// A document is no object, or the server refuses it.
    pub async fn apply(&self, yaml: &str) -> Result<Vec<DynamicObject>, Error> {
        manifests::apply(&self.spared_client(), yaml).await
    }

    /// Installs definitions of custom resources, and waits until what they define is served.
    ///
    /// # Errors
    /// The server refuses one.
    pub async fn install(&self, definitions: impl IntoIterator<Item = CustomResourceDefinition>) -> Result<(), Error> {
        let definitions: Vec<_> = definitions.into_iter().collect();
        manifests::install(&self.spared_client(), &definitions).await
    }

    /// Waits until an object is as wanted, and gives it; `None` stands for an object that isn't there.
    ///
    /// # Errors
    /// [`Error::Timeout`], with the object's last state, if that takes longer than the cluster's
    /// [patience](Builder::patience).
    pub async fn until<K>(
        &self,
        api: &Api<K>,
        name: &str,
        wanted: impl Fn(Option<&K>) -> bool,
    ) -> Result<Option<K>, Error>
    where
        K: kube::Resource<DynamicType: Default> + Clone + Debug + Serialize + DeserializeOwned + Send + 'static,
    {
        wait::until(api.clone(), name, self.patience, wanted).await
    }

    /// Ends everything in the cluster and waits for it.
    pub async fn stop(self) {
        self.running.stop().await;
    }
}

/// A fresh Kubernetes API, for an administrator in namespace `default`. It lives as long as the client and its clones.
///
/// # Panics
/// Not called on a tokio runtime.
pub async fn client() -> Client {
    let cluster = TestCluster::start().await;
    let mut front = cluster.front(User::admin());
    front.kept = Some(Arc::new(cluster));
    front.client()
}

/// What runs, and how it ends.
pub(super) struct Running {
    server: ApiServer,
    cancel: CancellationToken,
    tasks: Mutex<JoinSet<()>>,
}

impl Running {
    pub(super) fn new(server: ApiServer) -> Self {
        Self { server, cancel: CancellationToken::new(), tasks: Mutex::default() }
    }

    /// Runs a task that ends when its token is cancelled.
    pub(super) fn spawn<F>(&self, task: impl FnOnce(CancellationToken) -> Result<F, Error>) -> Result<(), Error>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let task = task(self.cancel.clone())?;
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).spawn(task);
        Ok(())
    }

    async fn stop(&self) {
        self.cancel.cancel();
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        while tasks.join_next().await.is_some() {}
        self.server.shutdown().await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.cancel.cancel();
        // Its first step tells all tasks to end; nobody waits for them here.
        _ = self.server.shutdown().now_or_never();
    }
}
