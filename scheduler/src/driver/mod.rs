//! Runs a [`Scheduler`](crate::schedule::Scheduler) against a Kubernetes API server.
//!
//! Watches pods, nodes and what else plugins look at; posts bindings, many at a time but not without limit; says on each
//! pod and in events why it waits; and deletes the victims of preemption. It works through a [`kube::Client`], so against
//! any API server. All decisions are the core's: this is only its hands.
//!
//! ```no_run
//! use kubewright_scheduler::driver::{Driver, DriverConfig, SystemClock};
//! use kubewright_scheduler::plugins::default_profile;
//! use std::sync::Arc;
//! use tokio_util::sync::CancellationToken;
//!
//! # async fn example(client: kube::Client) -> Result<(), Box<dyn std::error::Error>> {
//! let profile = default_profile("default-scheduler").build()?;
//! let driver = Driver::new(client, Arc::new(SystemClock), DriverConfig::default(), vec![profile])?;
//! let stop = CancellationToken::new();
//! driver.run(stop).await?; // returns once it was cancelled and everything it had begun is over
//! # Ok(())
//! # }
//! ```

mod answers;
mod api;
mod binding;
mod changes;
mod clock;
mod devices;
mod election;
mod event;
mod extender;
mod informer;
mod instruments;
mod lean;
mod meter;
mod metric_list;
mod metrics;
mod run;
mod running;
mod sources;
mod volumes;

pub use clock::{Clock, SystemClock};
pub use election::LeaderElection;
pub use extender::ExtenderError;
pub use metrics::{MetricLabels, Metrics, MetricsRegistry, NoMetrics};
pub use run::{Driver, DriverConfig, DriverError, Progress};
