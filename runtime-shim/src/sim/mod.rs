//! The simulated runtime: keeps state, runs nothing.
//!
//! It is made for clusters of thousands of nodes in one process, and doubles as the fake in unit tests: it logs its
//! calls, fails and delays them on demand, and lets containers end by [`SimRuntime::exit_container`]. It has no tasks
//! and no threads; what is due happens when somebody looks. The same calls at the same times give the same ids,
//! addresses and states.
//!
//! Containers run until they are stopped, unless their command is made of the few words it knows: `sleep N`,
//! `echo TEXT` (`>&2` too), `cat`, `true`, `false`, `exit N`, `trap '' TERM`,
//! `trap 'exit N' TERM`, alone or joined by `;` in `sh -c`. The
//! same words work in `exec`; any other command in `exec` succeeds silently, unless [`SimConfig::exec`] answers it.
//!
//! ```
//! use kubewright_runtime_shim::{
//!     ContainerConfig, ContainerMetadata, ContainerState, Containers as _, Error, ImageSpec, Images as _,
//!     PodSandboxConfig, PodSandboxMetadata, PodSandboxes as _,
//!     sim::{Operation, SimRuntime},
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Error> {
//! let runtime = SimRuntime::default();
//! let image = ImageSpec::new("web:1");
//! runtime.pull_image(&image, None, None).await?;
//! let pod = PodSandboxConfig::new(PodSandboxMetadata::new("default", "web", "uid-1"));
//! let sandbox = runtime.run_pod_sandbox(&pod).await?;
//!
//! runtime.fail_next(Operation::CreateContainer, Error::unavailable("the disk is full"));
//! let config = ContainerConfig::new(ContainerMetadata::new("web", 0), image);
//! assert!(runtime.create_container(&sandbox, &config, &pod).await.is_err());
//!
//! let id = runtime.create_container(&sandbox, &config, &pod).await?;
//! runtime.start_container(&id).await?;
//! runtime.exit_container(&id, 1, "OOMKilled");
//! assert_eq!(runtime.container_status(&id).await?.container.state, ContainerState::Exited);
//! # Ok(())
//! # }
//! ```

mod faults;
mod runtime;
mod script;
mod state;
mod streams;

use std::{
    fmt,
    net::Ipv4Addr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{broadcast, watch},
    time::Instant,
};

pub use self::faults::{Call, Operation};
use self::{faults::Faults, state::State};
use crate::{ContainerConfig, ContainerEvent, ContainerId, DuplexStream, Error, ExecOutput, SandboxId};

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Answers a command in a container, or leaves it to the built-in words with `None`.
pub type ExecHandler = Arc<dyn Fn(&ContainerConfig, &[String]) -> Option<ExecOutput> + Send + Sync>;

/// Answers a connection to a pod's port, or refuses it with `None`.
pub type PortHandler = Arc<dyn Fn(&SandboxId, u16) -> Option<DuplexStream> + Send + Sync>;

/// How a [`SimRuntime`] behaves.
#[derive(Clone)]
#[non_exhaustive]
pub struct SimConfig {
    /// Tells the time. The default is the wall clock at construction plus what passed on tokio's clock since, so that
    /// a paused clock pauses the runtime, and advancing it lets containers end.
    pub clock: Clock,
    /// Ids follow from this.
    pub seed: u64,
    /// Pods that bring no address get the ones after this. Not used by pods of the host's network.
    pub first_ip: Ipv4Addr,
    /// Images that are there from the start.
    pub images: Vec<String>,
    /// Whether an image that is missing can be pulled: any name, at once.
    pub pullable: bool,
    /// What each running container uses: CPU in nanoseconds a second.
    pub usage_nano_cores: u64,
    /// What each running container uses: memory in bytes.
    pub working_set_bytes: u64,
    /// How many calls to remember.
    pub calls_max: usize,
    /// How many events a slow reader may be behind before it has to list again.
    pub events_max: usize,
    /// Answers commands.
    pub exec: Option<ExecHandler>,
    /// Answers connections; without it `port_forward` is not supported.
    pub ports: Option<PortHandler>,
}

impl Default for SimConfig {
    fn default() -> Self {
        let (epoch, start) = (SystemTime::now(), Instant::now());
        Self {
            clock: Arc::new(move || epoch + start.elapsed()),
            seed: 0,
            first_ip: Ipv4Addr::new(10, 128, 0, 0),
            images: Vec::new(),
            pullable: true,
            usage_nano_cores: 10_000_000,
            working_set_bytes: 16 << 20,
            calls_max: 1024,
            events_max: 1024,
            exec: None,
            ports: None,
        }
    }
}

impl fmt::Debug for SimConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimConfig").field("seed", &self.seed).field("images", &self.images).finish_non_exhaustive()
    }
}

/// A runtime that only keeps state. Clones share it.
#[derive(Clone)]
pub struct SimRuntime {
    inner: Arc<Inner>,
}

struct Inner {
    config: SimConfig,
    state: Mutex<State>,
    faults: Mutex<Faults>,
    events: broadcast::Sender<ContainerEvent>,
    /// Counts changes of the state, for those who wait for one.
    changes: watch::Sender<u64>,
}

impl Default for SimRuntime {
    fn default() -> Self {
        Self::new(SimConfig::default())
    }
}

impl fmt::Debug for SimRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimRuntime").finish_non_exhaustive()
    }
}

impl SimRuntime {
    /// An empty runtime.
    #[must_use]
    pub fn new(config: SimConfig) -> Self {
        let mut state = State::new(config.seed, config.first_ip);
        for image in &config.images {
            state.add_image(image);
        }
        let events = broadcast::Sender::new(config.events_max.max(1));
        let inner = Inner {
            config,
            state: Mutex::new(state),
            faults: Mutex::default(),
            events,
            changes: watch::Sender::new(0),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Makes the next call of this kind fail. May be said several times, for several calls.
    pub fn fail_next(&self, operation: Operation, error: Error) {
        self.faults().fail_next(operation, error);
    }

    /// Makes every call of this kind fail until [`heal`](Self::heal).
    pub fn fail_always(&self, operation: Operation, error: Error) {
        self.faults().fail_always(operation, error);
    }

    /// Holds every call of this kind for a while (on tokio's clock) until [`heal`](Self::heal).
    pub fn delay(&self, operation: Operation, latency: Duration) {
        self.faults().delay(operation, latency);
    }

    /// Takes back all errors and delays.
    pub fn heal(&self) {
        self.faults().heal();
    }

    /// The calls since this was asked last, oldest first; at most [`SimConfig::calls_max`].
    #[must_use]
    pub fn take_calls(&self) -> Vec<Call> {
        self.faults().take_calls()
    }

    /// Ends a running container with this exit code; an empty `reason` is the usual word for the code.
    pub fn exit_container(&self, id: &ContainerId, exit_code: i32, reason: &str) {
        self.change(|state, now| state.end(id, exit_code, reason, now));
    }

    /// Stops a sandbox behind the caller's back, as a crash would.
    pub fn crash_pod_sandbox(&self, id: &SandboxId) {
        self.change(|state, now| state.stop_sandbox(id, now));
    }

    /// Sets what a container uses: CPU in nanoseconds a second, memory in bytes.
    pub fn set_usage(&self, id: &ContainerId, usage_nano_cores: u64, working_set_bytes: u64) {
        self.change(|state, _| {
            if let Some(record) = state.containers.get_mut(id) {
                record.usage = (usage_nano_cores, working_set_bytes);
            }
        });
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.inner.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> SystemTime {
        (self.inner.config.clock)()
    }

    /// Logs a call, holds it, and fails it, as was asked for.
    async fn admit(&self, operation: Operation, target: impl ToString) -> Result<(), Error> {
        let call = Call { operation, target: target.to_string() };
        let (latency, result) = self.faults().admit(call, self.inner.config.calls_max);
        if let Some(latency) = latency {
            tokio::time::sleep(latency).await;
        }
        result
    }

    /// Brings the state up to now, works on it, and tells what happened.
    fn change<T>(&self, work: impl FnOnce(&mut State, SystemTime) -> T) -> T {
        let mut state = self.inner.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.now();
        state.advance(now);
        let result = work(&mut state, now);
        let events = std::mem::take(&mut state.events);
        let changed = !events.is_empty();
        for event in events {
            // Sent under the lock, so that readers get them in order. Nobody may be listening.
            let _ = self.inner.events.send(event);
        }
        drop(state);
        if changed {
            self.inner.changes.send_modify(|count| *count += 1);
        }
        result
    }

    /// Waits until something about the state changed, or something in it is due.
    async fn changed(&self, changes: &mut watch::Receiver<u64>) {
        let due =
            self.change(|state, now| state.next_deadline().map(|due| due.duration_since(now).unwrap_or_default()));
        let due = async {
            match due {
                Some(after) => tokio::time::sleep(after).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = changes.changed() => {}
            () = due => {}
        }
    }
}
