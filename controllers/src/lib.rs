//! Kubernetes' controllers: each a pure function from what is observed to what must be done, run by one small manager.

mod api;
pub mod cache;
pub mod daemonset;
pub mod deployment;
mod discovery;
pub mod endpoints;
mod endpoints_of;
pub mod endpointslice;
mod error;
mod events;
pub mod garbage;
pub mod job;
mod manager;
pub mod namespace;
pub mod nodeipam;
pub mod objects;
mod ownership;
pub mod plan;
pub mod podgc;
mod pods;
pub mod queue;
pub mod replicaset;
pub mod replicationcontroller;
mod revisions;
pub mod rootca;
pub mod serviceaccount;
pub mod ttlafterfinished;
#[cfg(test)]
mod world;

pub use error::Error;
pub use manager::{Builder, Config, Context, Controller, LeaderElection, Manager, Queue, Setup, all_controllers};

use manager::Recipe;

/// Every controller there is: upstream's name, the name its events are recorded under, and how it is made.
const RECIPES: &[Recipe] = &[
    recipe("serviceaccount-controller", "service-account-controller", serviceaccount::make),
    recipe("root-ca-certificate-publisher-controller", "root-ca-certificate-publisher", rootca::make),
    recipe("namespace-controller", "namespace-controller", namespace::make),
    recipe("garbage-collector-controller", "garbage-collector-controller", garbage::make),
    recipe("deployment-controller", "deployment-controller", deployment::make),
    recipe("replicaset-controller", "replicaset-controller", replicaset::make),
    recipe("replicationcontroller-controller", "replication-controller", replicationcontroller::make),
    recipe("daemonset-controller", "daemonset-controller", daemonset::make),
    recipe("job-controller", "job-controller", job::make),
    recipe("ttl-after-finished-controller", "ttl-after-finished-controller", ttlafterfinished::make),
    recipe("endpointslice-controller", "endpoint-slice-controller", endpointslice::make),
    recipe("endpoints-controller", "endpoint-controller", endpoints::make),
    recipe("node-ipam-controller", "cidrAllocator", nodeipam::make),
    recipe("pod-garbage-collector-controller", "pod-garbage-collector", podgc::make),
];

const fn recipe(name: &'static str, component: &'static str, make: manager::Make) -> Recipe {
    Recipe { name, component, make }
}
