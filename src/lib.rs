//! Kubewright: crates from which others build their own Kubernetes-compatible orchestrators.
//!
//! This package is the front door: it re-exports each component under a feature of its name. Depend on it for several
//! components in matching versions, or on a single `kubewright-…` crate for one.
//!
//! | feature | crate | what it is |
//! |---|---|---|
//! | `api` | `kubewright-api` | the object model: quantities, selectors, `Status`, the tables of resources and schemas |
//! | `store` | `kubewright-store` | a revisioned, watchable, durable key-value store |
//! | `apiserver` | `kubewright-apiserver` | the Kubernetes API server as a tower service |
//! | `scheduler` | `kubewright-scheduler` | a deterministic scheduler core and its driver |
//! | `controllers` | `kubewright-controllers` | Kubernetes' controllers as pure reconcilers and thin drivers |
//! | `kubelet` | `kubewright-kubelet` | a node agent over any runtime and any network |
//! | `runtime-shim` | `kubewright-runtime-shim` | container runtimes behind one trait |
//! | `proxy` | `kubewright-proxy` | service networking |
//! | `testing` | `kubewright::testing` | a Kubernetes API inside a test |
//!
//! ```
//! use kubewright::api::quantity::Quantity;
//!
//! let cpu: Quantity = "1500m".parse()?;
//! assert_eq!(cpu.millis(), 1500);
//! # Ok::<(), kubewright::api::quantity::ParseError>(())
//! ```
//!
//! `cargo run --release --example cluster` brings up a whole cluster; see the README.

#[cfg(feature = "testing")]
pub mod testing;

#[cfg(feature = "api")]
pub use kubewright_api as api;
#[cfg(feature = "apiserver")]
pub use kubewright_apiserver as apiserver;
#[cfg(feature = "controllers")]
pub use kubewright_controllers as controllers;
#[cfg(feature = "kubelet")]
pub use kubewright_kubelet as kubelet;
#[cfg(feature = "proxy")]
pub use kubewright_proxy as proxy;
#[cfg(feature = "runtime-shim")]
pub use kubewright_runtime_shim as runtime_shim;
#[cfg(feature = "scheduler")]
pub use kubewright_scheduler as scheduler;
#[cfg(feature = "store")]
pub use kubewright_store as store;
