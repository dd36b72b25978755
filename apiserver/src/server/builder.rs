//! Putting a server together.

use std::sync::Arc;
use std::time::Duration;

use kubewright_api::status::Status;
use kubewright_store::Store;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::core::{Core, Settings};
use super::{ApiServer, Parts, standard};
use crate::authz::{AllowAll, Authorizer};
use crate::environment::{Environment, SystemEnvironment};
use crate::registry::cache::Limits;
use crate::registry::{OwnObjects, Registry};

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The store cannot be read. Look into the store.
    #[error("the store cannot be read: {reason}")]
    Store {
        /// What the store said.
        reason: String,
    },
    /// An object that every server has could not be made.
    #[error("bootstrap failed: {0}")]
    Bootstrap(#[source] Status),
}

type Customize = Box<dyn FnOnce(&mut Parts) + Send>;

/// Builds an [`ApiServer`].
#[must_use]
pub struct Builder {
    store: Arc<dyn Store>,
    environment: Arc<dyn Environment>,
    allow_all: bool,
    bare: bool,
    limits: Limits,
    settings: Settings,
    customize: Vec<Customize>,
}

impl Builder {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            environment: Arc::new(SystemEnvironment),
            allow_all: false,
            bare: false,
            limits: Limits::default(),
            settings: Settings::default(),
            customize: Vec::new(),
        }
    }

    /// Takes time and randomness from there.
    pub fn environment(mut self, environment: Arc<dyn Environment>) -> Self {
        self.environment = environment;
        self
    }

    /// Allows everyone everything: no authorization.
    pub fn allow_all(mut self) -> Self {
        self.allow_all = true;
        self
    }

    /// Leaves out the standard authorizers, admission plugins, endpoints and bootstrap objects.
    pub fn bare(mut self) -> Self {
        self.bare = true;
        self
    }

    /// Watchers that asked for bookmarks get one this often (default: a minute).
    pub fn bookmark_interval(mut self, interval: Duration) -> Self {
        self.settings.bookmark_interval = interval;
        self
    }

    /// Keeps at most so many changes and bytes of history for each resource, for watchers that resume or are slow
    /// (default: 8192 changes, 16 MiB).
    pub fn watch_history(mut self, changes_max: usize, bytes_max: usize) -> Self {
        self.limits = Limits { changes_max, bytes_max };
        self
    }

    /// Changes the parts that the server is put together of.
    pub fn customize(mut self, change: impl FnOnce(&mut Parts) + Send + 'static) -> Self {
        self.customize.push(Box::new(change));
        self
    }

    /// Reads the store and starts the server. Must be called on a tokio runtime.
    ///
    /// # Errors
    /// The store cannot be read, or the objects that every server has cannot be written.
    pub async fn build(self) -> Result<ApiServer, BuildError> {
        let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
        let environment = Arc::clone(&self.environment);
        let registry = Registry::start(self.store, environment, self.limits, &tasks, cancel.clone())
            .await
            .map_err(|error| BuildError::Store { reason: error.to_string() })?;
        let mut parts = Parts {
            objects: Arc::new(OwnObjects::new(Arc::clone(&registry))),
            environment: self.environment,
            authenticators: Vec::new(),
            authorizers: Vec::new(),
            admission: Vec::new(),
            endpoints: Vec::new(),
            registry,
        };
        if !self.bare {
            standard::install(&mut parts);
        }
        for change in self.customize {
            change(&mut parts);
        }
        if self.allow_all {
            parts.authorizers = vec![Arc::new(AllowAll) as Arc<dyn Authorizer>];
        }
        let bootstrapped = if self.bare { Ok(()) } else { standard::bootstrap(&parts).await };
        let core = Arc::new(Core::new(parts, self.settings, tasks, cancel));
        if let Err(status) = bootstrapped {
            core.shutdown().await;
            return Err(BuildError::Bootstrap(status));
        }
        Ok(ApiServer { core, user: None })
    }
}
