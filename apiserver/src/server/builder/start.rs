//! Starting a server as its builder was told.

use std::sync::Arc;

use kubewright_store::Store;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{BuildError, Builder};
use crate::admission::PolicyStatuses;
use crate::audit::Auditor;
#[cfg(feature = "serve")]
use crate::authn::ClientAuthorities;
use crate::custom::{Converter, Definitions};
use crate::fairness::Fairness;
use crate::objects::{GroupResource, Objects};
use crate::registry::table::Resources;
use crate::registry::{OwnObjects, Registry};
#[cfg(feature = "serve")]
use crate::server::options::Authorities;
use crate::server::options::Options;
use crate::server::standard::Standard;
use crate::server::{ApiServer, Core, Parts};

impl Builder {
    /// Reads the store and starts the server. Must be called on a tokio runtime.
    ///
    /// # Errors
    /// The store cannot be read, or the objects that every server has cannot be written.
    pub async fn build(mut self) -> Result<ApiServer, BuildError> {
        let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
        // What was started ends if the rest can't start.
        let unfinished = cancel.clone().drop_guard();
        let (unready, draining) = (cancel.child_token(), cancel.child_token());
        let plain_store = self.wrap_store(&tasks, &cancel);
        let registry = self.registry(&tasks, &cancel).await?;
        let objects: Arc<dyn Objects> = Arc::new(OwnObjects::new(Arc::clone(&registry)));
        let auditor = self.options.audit.take().map(|config| Auditor::start(config, &tasks, &cancel));
        let remote = Arc::clone(&self.options.remote);
        #[cfg(feature = "serve")]
        trust_clients(&mut self.options, &tasks, &cancel).await?;
        follow_configuration(&self.options, &tasks, &cancel);
        let standard = Standard::new(self.options, &objects, &self.environment);
        let standard = standard.map_err(|problem| BuildError::Configuration { problem })?;
        if let Some(auditor) = &auditor {
            auditor.measure(standard.audit_metrics.clone());
        }
        let mut parts = Parts {
            objects,
            environment: self.environment,
            authorizer: Arc::clone(&standard.authorizer),
            admission: Vec::new(),
            endpoints: Vec::new(),
            registry,
        };
        if !self.bare {
            #[cfg(feature = "serve")]
            let tunnels = crate::connect::Tunnels::new(tasks.clone(), draining.clone(), cancel.clone());
            standard.install(
                &mut parts,
                plain_store,
                &unready,
                #[cfg(feature = "serve")]
                &tunnels,
            );
        }
        for change in self.customize {
            change(&mut parts);
        }
        standard.measure_admission(&mut parts);
        let fairness = if self.bare { None } else { fairness(&standard, &parts, &tasks, &cancel) };
        let gate = Arc::new(standard.gate(&parts, fairness, draining.clone(), auditor));
        let bootstrapped = if self.bare { Ok(()) } else { standard.bootstrap(&parts).await };
        if !self.bare {
            keep_current(&standard, &parts, &tasks, &cancel);
        }
        let converter = Converter::new(Arc::clone(&parts.objects), Arc::clone(&parts.environment), remote);
        let core = Arc::new(Core::new(parts, self.settings, converter, tasks, cancel, unready, draining));
        unfinished.disarm();
        if let Err(status) = bootstrapped {
            core.shutdown().await;
            return Err(BuildError::Bootstrap(status));
        }
        let stack = gate.stack(gate.by_credentials(), &core);
        Ok(ApiServer { core, gate, stack })
    }

    /// Has the store traced and encrypted, where the builder was told so. Gives the one beneath encryption, whose health
    /// is the store's.
    fn wrap_store(&mut self, tasks: &TaskTracker, cancel: &CancellationToken) -> Arc<dyn Store> {
        #[cfg(feature = "traces")]
        if let Some(traces) = &self.options.traces {
            self.store = Arc::new(crate::traces::TracedStore::new(Arc::clone(&self.store), traces.clone()));
            let remote = crate::traces::TracedRemote::new(Arc::clone(&self.options.remote), traces.clone());
            self.options.remote = Arc::new(remote);
        }
        let plain = Arc::clone(&self.store);
        #[cfg(feature = "encryption")]
        if let Some(encryption) = self.options.encryption.clone() {
            self.store = encryption.store(Arc::clone(&plain));
            self.options.checks.push(Arc::new(encryption.clone()));
            tasks.spawn(encryption.run(cancel.clone()));
        }
        #[cfg(not(feature = "encryption"))]
        let _ = (tasks, cancel);
        plain
    }

    async fn registry(&self, tasks: &TaskTracker, cancel: &CancellationToken) -> Result<Arc<Registry>, BuildError> {
        let (store, environment) = (Arc::clone(&self.store), Arc::clone(&self.environment));
        let resources = Arc::new(Resources::new(&self.choice, self.limits));
        let started =
            Registry::start(store, environment, resources, self.settings.history, tasks, cancel.clone()).await;
        started.map_err(|error| BuildError::Store { reason: error.to_string() })
    }
}

/// Follows the files that say who may come in and who may do what.
fn follow_configuration(options: &Options, tasks: &TaskTracker, cancel: &CancellationToken) {
    if let Some(authentication) = options.authentication.clone() {
        tasks.spawn(authentication.run(cancel.clone()));
    }
    if let Some(authorization) = options.authorization.clone() {
        tasks.spawn(authorization.run(cancel.clone()));
    }
}

/// Who goes first under load, followed as its objects change.
fn fairness(standard: &Standard, parts: &Parts, tasks: &TaskTracker, cancel: &CancellationToken) -> Option<Fairness> {
    let fairness = standard.fairness(parts)?;
    let keeper = fairness.keeper(Arc::clone(&parts.objects));
    tasks.spawn(keeper.run(Arc::clone(&parts.environment), cancel.clone()));
    Some(fairness)
}

/// Runs what a standard server does by itself: it keeps objects and their status as they should be.
fn keep_current(standard: &Standard, parts: &Parts, tasks: &TaskTracker, cancel: &CancellationToken) {
    let objects = || Arc::clone(&parts.objects);
    tasks.spawn(PolicyStatuses::new(objects()).run(cancel.clone()));
    if let Some(availability) = standard.availability(parts) {
        tasks.spawn(availability.run(cancel.clone()));
    }
    if let Some(local) = standard.local_services(parts) {
        tasks.spawn(local.run(cancel.clone()));
    }
    if parts.objects.serves(GroupResource::new("apiextensions.k8s.io", "customresourcedefinitions")) {
        tasks.spawn(Definitions::new(objects(), Arc::clone(&parts.environment)).run(cancel.clone()));
    }
    tasks.spawn(standard.extension_authentication().run(objects(), cancel.clone()));
}

/// Reads the authorities of clients and of front proxies, and has their files followed.
#[cfg(feature = "serve")]
async fn trust_clients(
    options: &mut Options,
    tasks: &TaskTracker,
    cancel: &CancellationToken,
) -> Result<(), BuildError> {
    let read = async |authorities: &Authorities| {
        let read = match authorities {
            Authorities::Text(pem) => ClientAuthorities::new(pem),
            Authorities::File(path) => {
                ClientAuthorities::from_file(path.clone(), cancel.clone()).await.map(|(authorities, followed)| {
                    tasks.spawn(followed);
                    authorities
                })
            }
        };
        read.map_err(|error| BuildError::Configuration { problem: error.reason })
    };
    if let Some(authorities) = &options.client_authorities {
        options.client_trust = Some(read(authorities).await?);
    }
    if let Some((authorities, names)) = &options.front_proxy {
        options.proxy_trust = Some((read(authorities).await?, names.clone()));
    }
    Ok(())
}
