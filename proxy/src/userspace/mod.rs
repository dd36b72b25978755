//! A data plane of plain sockets: it listens on every frontend's address and copies bytes to an endpoint. Needs no
//! privileges for addresses and ports that an ordinary user may bind; slower than kernel rules.
//!
//! A frontend without endpoints isn't listened on, so that the kernel itself refuses connections; what a kernel data
//! plane would drop is refused too. SCTP is refused as unsupported.

mod balancer;
mod tcp;
mod udp;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::{Mutex, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::balancer::Balancer;
use crate::rules::{Backends, Change, Frontend, Protocol, RuleTable};
use crate::{Applied, Error, Refused, ServiceNetwork};

/// Limits of the data plane.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// TCP connections carried at once; more wait in the kernel's backlog. Default 8,192.
    pub connections_max: usize,
    /// UDP flows kept at once per frontend; beyond it the one unused for longest ends. Default 1,024.
    pub flows_max: usize,
    /// After how many seconds without a packet a UDP flow ends. Default 60, as in kube-proxy.
    pub flow_idle_seconds: u64,
    /// How many milliseconds an endpoint has to accept a connection before the next one is tried. Default 2,000.
    pub connect_timeout_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { connections_max: 8_192, flows_max: 1_024, flow_idle_seconds: 60, connect_timeout_ms: 2_000 }
    }
}

/// The data plane. [`clear`](ServiceNetwork::clear) it before dropping it, or its tasks are only cancelled, not joined.
#[derive(Debug)]
pub struct UserspaceNetwork {
    shared: Arc<Shared>,
    state: Mutex<State>,
}

/// What the tasks of all frontends share.
#[derive(Debug)]
struct Shared {
    config: Config,
    connections: Arc<Semaphore>,
    tasks: TaskTracker,
}

#[derive(Debug, Default)]
struct State {
    table: RuleTable,
    listeners: BTreeMap<Frontend, Listener>,
    /// Ends the connections too, not only the listeners; made anew after each clear.
    all: CancellationToken,
}

#[derive(Debug)]
struct Listener {
    balancer: Arc<Balancer>,
    cancel: CancellationToken,
    /// The task that owns the socket; joined when the frontend goes, so that the address is free again.
    task: tokio::task::JoinHandle<()>,
}

impl UserspaceNetwork {
    /// A data plane without frontends.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let connections = Arc::new(Semaphore::new(config.connections_max));
        let shared = Shared { config, connections, tasks: TaskTracker::new() };
        Self { shared: Arc::new(shared), state: Mutex::default() }
    }
}

impl Default for UserspaceNetwork {
    fn default() -> Self {
        Self::new(Config::default())
    }
}

impl Drop for UserspaceNetwork {
    fn drop(&mut self) {
        self.state.get_mut().all.cancel();
    }
}

impl State {
    async fn set(&mut self, shared: &Arc<Shared>, frontend: Frontend, backends: &Backends) -> Result<(), String> {
        if backends.endpoints.is_empty() {
            self.remove(&frontend).await;
            return Ok(());
        }
        if let Some(listener) = self.listeners.get(&frontend) {
            listener.balancer.replace(backends.clone());
            return Ok(());
        }
        let balancer = Arc::new(Balancer::new(backends.clone()));
        let cancel = self.all.child_token();
        let (plane, ends) = (Arc::clone(shared), self.all.clone());
        let address = (frontend.address, frontend.port).into();
        let refused = |error: io::Error| refusal(&frontend, &error);
        let task = match frontend.protocol {
            Protocol::Tcp => {
                let socket = tcp::listen(address).map_err(refused)?;
                let serve = tcp::serve(socket, Arc::clone(&balancer), plane, cancel.clone(), ends);
                shared.tasks.spawn(serve)
            }
            Protocol::Udp => {
                let socket = udp::bind(address).map_err(refused)?;
                shared.tasks.spawn(udp::serve(socket, Arc::clone(&balancer), plane, cancel.clone()))
            }
            Protocol::Sctp => return Err("SCTP can't be carried in user space; use a kernel data plane".into()),
        };
        self.listeners.insert(frontend, Listener { balancer, cancel, task });
        Ok(())
    }

    async fn remove(&mut self, frontend: &Frontend) {
        if let Some(listener) = self.listeners.remove(frontend) {
            listener.cancel.cancel();
            // It only fails if the task panicked, and then its socket is closed as well.
            listener.task.await.ok();
        }
    }
}

fn refusal(frontend: &Frontend, error: &io::Error) -> String {
    let fix = match error.kind() {
        io::ErrorKind::PermissionDenied => "run as root, or give the Service a port of 1024 or above",
        io::ErrorKind::AddrInUse => "another program listens there; end it or choose another port",
        io::ErrorKind::AddrNotAvailable => "the address isn't local; route its range to the loopback device",
        _ => "see the system's error",
    };
    format!("cannot listen on {frontend}: {error}; {fix}")
}

#[async_trait]
impl ServiceNetwork for UserspaceNetwork {
    async fn apply(&self, table: &RuleTable) -> Result<Applied, Error> {
        let mut state = self.state.lock().await;
        let before = std::mem::take(&mut state.table);
        let mut applied = Applied::default();
        let mut now = table.clone();
        for change in before.changes(table) {
            applied.changed += 1;
            match change {
                Change::Remove(frontend) => state.remove(&frontend).await,
                Change::Set(frontend, backends) => {
                    if let Err(reason) = state.set(&self.shared, frontend, backends).await {
                        tracing::warn!(%frontend, service = backends.service, reason, "frontend refused");
                        now.frontends.remove(&frontend);
                        applied.refused.push(Refused { frontend, reason });
                    }
                }
            }
        }
        state.table = now;
        Ok(applied)
    }

    async fn clear(&self) -> Result<(), Error> {
        let mut state = self.state.lock().await;
        let old = std::mem::take(&mut *state);
        old.all.cancel();
        for (_, listener) in old.listeners {
            listener.task.await.ok();
        }
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
        self.shared.tasks.reopen();
        Ok(())
    }
}
