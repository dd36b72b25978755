//! A Kubernetes node agent over any runtime and any network

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
