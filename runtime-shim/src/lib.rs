//! Container runtimes behind one trait, in the words of the Container Runtime Interface (CRI).
//!
//! A kubelet talks to [`Runtime`] alone: pod sandboxes, containers, images, streams and stats, each a trait of its own
//! ([`PodSandboxes`], [`Containers`], [`Images`], [`Streams`], [`Stats`]), so that code which only lists containers asks
//! for no more. All are object-safe: `Arc<dyn Runtime>` is a `Runtime`. What a call promises when it returns is written
//! at the traits, and held by the `conformance` suite, which every runtime here passes and yours can.
//!
//! The trait is cut at the CRI because that is where kubelets and runtimes have met for years: one implementation is
//! enough for containerd and CRI-O, and one kubelet is enough for machines that have neither.
//!
//! ```
//! # #[cfg(feature = "sim")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), kubewright_runtime_shim::Error> {
//! use std::{sync::Arc, time::Duration};
//!
//! use kubewright_runtime_shim::{
//!     ContainerConfig, ContainerMetadata, ImageSpec, PodSandboxConfig, PodSandboxMetadata, Runtime, sim::SimRuntime,
//! };
//!
//! let runtime: Arc<dyn Runtime> = Arc::new(SimRuntime::default());
//!
//! let pod = PodSandboxConfig::new(PodSandboxMetadata::new("default", "web", "uid-1"));
//! let sandbox = runtime.run_pod_sandbox(&pod).await?;
//!
//! let image = ImageSpec::new("web:1");
//! runtime.pull_image(&image, None, None).await?;
//! let config = ContainerConfig::new(ContainerMetadata::new("web", 0), image);
//! let container = runtime.create_container(&sandbox, &config, &pod).await?;
//! runtime.start_container(&container).await?;
//!
//! runtime.stop_container(&container, Duration::from_secs(30)).await?;
//! assert_eq!(runtime.container_status(&container).await?.exit_code, 0);
//! runtime.remove_pod_sandbox(&sandbox).await?;
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "sim"))]
//! # fn main() {}
//! ```
//!
//! # Features
//!
//! None is on by default; the traits and their types need none.
//!
//! - `sim`: `sim::SimRuntime`, which only keeps state, for scale and as the fake in tests.
//! - `process`: `process::ProcessRuntime`, containers as plain processes; Linux.
//! - `cri`: `cri::CriRuntime`, a client of containerd or CRI-O.
//! - `conformance`: the suite, as one `#[test]` a case.
//! - `serde`: configs and states can be serialized.
//!
//! # Where next
//!
//! [`Runtime`] for the contract, [`logs`] for the format that all of them log in.

#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "cri")]
pub mod cri;
mod error;
pub mod logs;
#[cfg(all(feature = "process", target_os = "linux"))]
pub mod process;
#[cfg(feature = "sim")]
pub mod sim;
mod traits;
mod types;

pub use error::{Cause, Error, Kind};
pub use traits::{Containers, Images, PodSandboxes, Runtime, Stats, Streams};
pub use types::*;
