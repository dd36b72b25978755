//! The Kubernetes API server as a tower service.
//!
//! [`ApiServer`] answers HTTP requests as Kubernetes 1.36 does: every built-in kind of its stable groups with defaults
//! and validation, lists in pages, watches that resume, patches and server-side apply, graceful deletion, discovery,
//! tables for `kubectl`, RBAC. It is a `tower::Service`, so the same value serves a client in the same process, with no
//! socket between, and hyper on a port. It keeps its state in any [`Store`](kubewright_store::Store) and knows nothing
//! of schedulers, controllers and kubelets: they are clients like any other.
//!
//! ```
//! use std::sync::Arc;
//!
//! use k8s_openapi::api::core::v1::ConfigMap;
//! use kube::api::{Api, ListParams, PostParams};
//! use kubewright_apiserver::request::User;
//! use kubewright_apiserver::server::ApiServer;
//! use kubewright_store::MemoryStore;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = ApiServer::builder(Arc::new(MemoryStore::new())).build().await?;
//! let client = kube::Client::new(server.as_user(User::admin()), "default");
//!
//! let settings: Api<ConfigMap> = Api::default_namespaced(client);
//! let mut color = ConfigMap::default();
//! color.metadata.name = Some("color".into());
//! color.data = Some([("color".into(), "green".into())].into());
//! settings.create(&PostParams::default(), &color).await?;
//!
//! let page = settings.list(&ListParams::default().fields("metadata.name=color")).await?;
//! assert_eq!(page.items[0].data, color.data);
//! server.shutdown().await;
//! # Ok(()) }
//! ```
//!
//! # How it is built
//!
//! A request passes the [`layers`] (identify, limit, authorize), is decoded and held against the schema ([`object`]),
//! defaulted and validated by its kind's [`Strategy`](registry::Strategy) ([`kinds`]), changed and judged by
//! [`admission`], and committed to the store. One watch of the store feeds the cache out of which lists and watches
//! are answered; each object is encoded once, and everyone gets the same bytes. A kind adds a strategy to one generic
//! [`registry`], never a code path.
//!
//! # Features
//!
//! None is on by default; each only adds. `serve`: listening with TLS, client certificates, connections into pods
//! through kubelets. `encryption`: objects encrypted in the store. `pki`: certificate authorities, certificates, keys and
//! kubeconfigs in a directory. `traces`: OpenTelemetry spans of requests.
//!
//! # Where next
//!
//! [`ApiServer::builder`](server::ApiServer::builder) for what can be chosen, [`Parts`](server::Parts) for what can be
//! exchanged, [`Objects`](objects::Objects) for reading and writing objects as the server does itself.
//!
//! [`ApiServer`]: server::ApiServer

#![allow(clippy::result_large_err, reason = "refusals are rare, and a boxed `Status` would burden every caller")]

pub mod admission;
pub mod aggregate;
pub mod allocate;
pub mod audit;
pub mod authn;
pub mod authz;
pub mod body;
pub mod bootstrap;

mod config_file;

#[cfg(feature = "serve")]
pub mod connect;
pub mod custom;
mod der;
mod device_access;
pub mod discovery;
#[cfg(feature = "encryption")]
pub mod encryption;
pub mod environment;
pub mod fairness;
mod identity;
mod keyed;
pub mod kinds;
pub mod layers;
mod metrics;
pub mod object;
pub mod objects;
pub mod patch;
#[cfg(feature = "pki")]
pub mod pki;
pub mod registry;
pub mod remote;
pub mod request;
#[cfg(feature = "serve")]
pub mod serve;
pub mod server;
pub mod subresources;
pub mod table;
#[cfg(feature = "traces")]
pub mod traces;
mod ttl_cache;
mod watched_file;

pub use kubewright_api::cel;
