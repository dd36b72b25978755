//! The Kubernetes API server as a tower service.

#![allow(clippy::result_large_err, reason = "refusals are rare, and a boxed `Status` would burden every caller")]

pub mod admission;
pub mod allocate;
pub mod authn;
pub mod authz;
pub mod body;
pub mod bootstrap;
#[cfg(feature = "serve")]
pub mod connect;
pub mod discovery;
pub mod environment;
pub mod kinds;
pub mod layers;
pub mod object;
pub mod objects;
pub mod patch;
#[cfg(feature = "pki")]
pub mod pki;
pub mod registry;
pub mod request;
#[cfg(feature = "serve")]
pub mod serve;
pub mod server;
pub mod subresources;
pub mod table;
