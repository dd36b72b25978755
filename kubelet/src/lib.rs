//! A Kubernetes node agent over any runtime and any network.
//!
//! A kubelet registers a node, runs the pods that are bound to it, and reports what becomes of them. This one is cut so
//! that each of its three sides can be anything: it sees the cluster through `kube::Client` alone, containers through
//! the [`Runtime`](kubewright_runtime_shim::Runtime) trait, and addresses of pods through
//! [`PodNetwork`](kubewright_proxy::PodNetwork). There are no globals: a process may run thousands of them.
//!
//! What a pod needs next is decided by plain functions in [`decide`]: of the pod, what the runtime shows, what the
//! probes found, and the time. One task a pod does what they say and looks again. Probes ([`probe`]), variables
//! ([`environment`]), volumes ([`volumes`]) and logs ([`logs`]) keep deciding and doing apart in the same way.
//!
//! A node that only exists in memory, for a test or to try a scheduler at scale:
//!
//! ```
//! use std::sync::Arc;
//!
//! use kubewright_kubelet::{EvictionThresholds, Kubelet, KubeletConfig};
//! use kubewright_runtime_shim::sim::SimRuntime;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let service = tower::service_fn(|_: http::Request<kube::client::Body>| async {
//! #     Ok::<_, std::convert::Infallible>(http::Response::builder().status(503).body(kube::client::Body::empty()).unwrap())
//! # });
//! # let client = kube::Client::new(service, "default");
//! # let directory = tempfile::tempdir()?;
//! let mut config = KubeletConfig::new("node-1", "192.0.2.7".parse()?, directory.path());
//! config.eviction = EvictionThresholds::never();
//! config.capacity.insert("cpu".into(), "64".parse()?);
//!
//! let kubelet = Kubelet::builder(config, client, Arc::new(SimRuntime::default())).start().await?;
//! // … the node is in the cluster, and runs what is bound to it …
//! kubelet.shutdown().await; // containers stay: the next kubelet of this node takes them over
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//! - `server` (default): the HTTPS server to which the API server comes for logs, `exec`, `attach`, `port-forward` and
//!   figures.
//!
//! # Where next
//! [`KubeletConfig`] has every knob; [`Kubelet::builder`] is the way in; [`decide::next_actions`] is the heart.

mod clock;
mod config;
pub mod decide;
pub mod environment;
mod error;
pub mod events;
mod kubelet;
#[cfg(feature = "server")]
pub mod logs;
mod node;
pub mod objects;
pub mod probe;
pub mod references;
#[cfg(feature = "server")]
pub mod server;
pub mod volumes;
mod worker;

pub use clock::{Clock, SystemClock, TokioClock};
pub use config::{EvictionThresholds, KubeletConfig};
pub use error::Error;
pub use kubelet::{Kubelet, KubeletBuilder};
