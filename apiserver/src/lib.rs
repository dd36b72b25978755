//! The Kubernetes API server as a tower service.

pub mod admission;
pub mod allocate;
pub mod authn;
pub mod authz;
pub mod body;
pub mod bootstrap;
pub mod connect;
pub mod discovery;
pub mod environment;
pub mod kinds;
pub mod layers;
pub mod object;
pub mod objects;
pub mod patch;
pub mod pki;
pub mod registry;
pub mod request;
pub mod serve;
pub mod server;
pub mod subresources;
pub mod table;
