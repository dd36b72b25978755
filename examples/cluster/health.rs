//! Whether scheduler and controllers are well, as `kubectl get componentstatuses` shows it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kubewright::apiserver::discovery::{Check, RemoteHealth};
use kubewright::apiserver::remote;

use crate::flags::{Component, Flags};

/// Whether a component of this process runs.
#[derive(Clone, Default)]
pub(crate) struct Pulse(Arc<AtomicBool>);

impl Pulse {
    /// Tells that it runs, or ended.
    pub(crate) fn set(&self, runs: bool) {
        self.0.store(runs, Ordering::Relaxed);
    }
}

/// The pulses of the components that may run in this process.
#[derive(Clone, Default)]
pub(crate) struct Pulses {
    pub(crate) scheduler: Pulse,
    pub(crate) controllers: Pulse,
}

struct Here(&'static str, Pulse);

#[async_trait::async_trait]
impl Check for Here {
    fn name(&self) -> &str {
        self.0
    }

    async fn check(&self) -> Result<(), String> {
        if self.1.0.load(Ordering::Relaxed) { Ok(()) } else { Err(format!("the {} does not run", self.0)) }
    }
}

impl Pulses {
    /// The checks of scheduler and controllers: their pulse here, or upstream's ports on this machine.
    pub(crate) fn checks(&self, flags: &Flags) -> anyhow::Result<Vec<(&'static str, Arc<dyn Check>)>> {
        let parts = [
            ("scheduler", Component::Scheduler, &self.scheduler, 10_259),
            ("controller-manager", Component::Controllers, &self.controllers, 10_257),
        ];
        let check = |(name, component, pulse, port): (&'static str, Component, &Pulse, u16)| {
            let check: Arc<dyn Check> = if flags.runs(component) {
                Arc::new(Here(name, pulse.clone()))
            } else {
                let url = format!("https://127.0.0.1:{port}/healthz");
                Arc::new(RemoteHealth::new(name, &url, remote::standard())?)
            };
            Ok::<_, anyhow::Error>((name, check))
        };
        parts.into_iter().map(check).collect()
    }
}
