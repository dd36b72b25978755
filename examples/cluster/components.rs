//! What talks to the API: scheduler, controllers, nodes.

use std::sync::Arc;

use kubewright::controllers::certificates::{Authority, Signing};
use kubewright::controllers::{Error, Manager, grant_access};
use kubewright::scheduler::driver::{Driver, DriverConfig, SystemClock};
use kubewright::scheduler::plugins::default_profile;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::clients::Clients;
use crate::flags::{Component, Flags, RuntimeKind};
use crate::health::Pulses;
use crate::network::Addresses;
use crate::node::Nodes;
use crate::stages::Stages;

/// What was started.
pub(crate) struct Running {
    shutdown: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    nodes: Option<Nodes>,
    pulses: Pulses,
}

/// Starts the components that the flags name.
pub(crate) async fn start(
    flags: &Flags,
    addresses: &Addresses,
    clients: &Clients,
    authority: Option<&kubewright::apiserver::pki::Pki>,
    pulses: &Pulses,
    stages: Stages,
) -> anyhow::Result<Running> {
    let pulses = pulses.clone();
    let mut running = Running { shutdown: CancellationToken::new(), tasks: Vec::new(), nodes: None, pulses };
    let started = async {
        if flags.runs(Component::Scheduler) {
            running.start_scheduler(clients, stages).await?;
        }
        if flags.runs(Component::Controllers) {
            running.start_controllers(flags, addresses, clients, authority, stages).await?;
        }
        if flags.runs(Component::Node) {
            running.nodes = Some(Nodes::start(flags, addresses, clients, authority, stages).await?);
        }
        Ok(())
    };
    let started: anyhow::Result<()> = started.await;
    if let Err(error) = started {
        running.stop().await;
        return Err(error);
    }
    Ok(running)
}

impl Running {
    async fn start_scheduler(&mut self, clients: &Clients, stages: Stages) -> anyhow::Result<()> {
        let profile = default_profile("default-scheduler").build()?;
        let config = DriverConfig::default();
        let driver = Driver::new(clients.scheduler(), Arc::new(SystemClock), config, vec![profile])?;
        let (mut progress, stop) = (driver.progress(), self.shutdown.clone());
        let pulse = self.pulses.scheduler.clone();
        pulse.set(true);
        self.tasks.push(tokio::spawn(async move {
            if let Err(error) = driver.run(stop).await {
                tracing::error!(%error, "the scheduler ended");
            }
            pulse.set(false);
        }));
        // It only fails if the scheduler ended, which is logged.
        progress.wait_for(|progress| progress.synced).await.ok();
        stages.ready("scheduler", "profile default-scheduler");
        Ok(())
    }

    async fn start_controllers(
        &mut self,
        flags: &Flags,
        addresses: &Addresses,
        clients: &Clients,
        pki: Option<&kubewright::apiserver::pki::Pki>,
        stages: Stages,
    ) -> anyhow::Result<()> {
        let root_ca = match clients {
            Clients::InProcess(_) => pki.map(|pki| pki.authority.certificate_pem().to_owned()),
            Clients::Remote { authority, .. } => Some(authority.clone()),
        };
        let cidr = (flags.runtime != RuntimeKind::Cri).then(|| addresses.pods.clone());
        if let Clients::Remote { client, .. } = clients {
            match grant_access(client).await {
                // Then it is up to whoever runs that Kubernetes; ours grants it at its start.
                Err(Error::Refused { code: 403, .. }) => {}
                granted => granted?,
            }
        }
        // Whose authority this is signs what its users ask for and somebody approves.
        let signing = pki.map(|pki| Authority::from_pem(pki.authority.certificate_pem(), &pki.authority.key_pem()));
        let signing = signing.transpose()?.map(Signing::by).unwrap_or_default();
        let manager = Manager::builder(clients.controller_manager()).client_of_account(clients.controllers()?);
        let manager = manager.configure(|config| {
            config.root_ca = root_ca;
            config.signing = signing;
            config.cluster_cidrs.extend(cidr);
        });
        let manager = manager.with_all().build()?;
        let count = manager.controllers().len();
        let (pulse, running) = (self.pulses.controllers.clone(), manager.run(self.shutdown.clone()));
        pulse.set(true);
        self.tasks.push(tokio::spawn(async move {
            running.await;
            pulse.set(false);
        }));
        stages.ready("controllers", &format!("{count} of them"));
        Ok(())
    }

    /// Stops everything: pods first, then what would bring them back.
    pub(crate) async fn stop(self) {
        if let Some(nodes) = self.nodes {
            nodes.stop().await;
        }
        self.shutdown.cancel();
        for task in self.tasks {
            // It only fails if the task panicked, and then it has ended as well.
            task.await.ok();
        }
    }
}
