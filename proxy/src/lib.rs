//! Service networking for Kubernetes nodes.
//!
//! A node needs two things of its network: addresses for its pods ([`PodNetwork`]) and services that reach them
//! ([`ServiceNetwork`]). What services mean is decided once, purely: [`rules::compile`] turns Services and
//! EndpointSlices into a [`rules::RuleTable`], which every data plane carries in its own way.
//!
//! ```
//! use kubewright_proxy::rules::{Node, compile};
//!
//! let service = serde_json::from_str(r#"{"metadata": {"namespace": "default", "name": "web"},
//!     "spec": {"clusterIP": "10.96.0.7", "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}}"#)?;
//! let slice = serde_json::from_str(r#"{"metadata": {"namespace": "default", "name": "web-x",
//!         "labels": {"kubernetes.io/service-name": "web"}},
//!     "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
//!     "endpoints": [{"addresses": ["10.1.0.4"], "conditions": {"ready": true}}]}"#)?;
//! let table = compile(&[service], &[slice], &Node::new("node-a"));
//! assert_eq!(table.to_string(), "10.96.0.7:80/TCP default/web:http -> 10.1.0.4:8080\n");
//! # Ok::<(), serde_json::Error>(())
//! ```
//!
//! # Features
//! - `userspace`: a data plane of plain sockets, which needs no privileges.
//! - `loopback`: a pod network out of loopback addresses, which needs none either.
//! - `driver`: the service proxy, which follows a cluster through `kube::Client` and keeps a data plane up to date.

mod error;
mod network;
pub mod rules;

#[cfg(feature = "driver")]
pub mod driver;
#[cfg(feature = "loopback")]
pub mod loopback;
#[cfg(feature = "userspace")]
pub mod userspace;

pub use error::Error;
pub use network::{Applied, AttachRequest, Attachment, PodNetwork, Refused, ServiceNetwork};
