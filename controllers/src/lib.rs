//! Kubernetes' controllers: each a pure function from what is observed to what must be done, run by one small manager.
//!
//! The decision is kept apart from the doing. A controller's `reconcile` takes the objects it cares about and the time,
//! and returns a [`Plan`](plan::Plan): objects to create, patch and delete, events to record, when to look again. It
//! does no IO, reads no clock and draws no randomness, so it can be called in a test or a simulation like any function:
//!
//! ```
//! use kubewright_controllers::deployment::{Observed, reconcile};
//! use kubewright_controllers::objects::{Deployment, Time};
//! use kubewright_controllers::plan::Action;
//!
//! let deployment: Deployment = serde_json::from_value(serde_json::json!({
//!     "metadata": {"name": "web", "namespace": "default", "uid": "1"},
//!     "spec": {
//!         "replicas": 3,
//!         "selector": {"matchLabels": {"app": "web"}},
//!         "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
//!     },
//! }))?;
//! let observed = Observed {
//!     deployment: &deployment,
//!     replica_sets: vec![],
//!     pods: Default::default(),
//!     name_taken: &|_| false,
//!     failure: None,
//! };
//! let plan = reconcile(&observed, Time::from_seconds(0));
//! let Action::Create(create) = &plan.actions[0] else { panic!("it creates its replica set") };
//! assert_eq!(create.object["kind"], "ReplicaSet");
//! assert_eq!(create.object["spec"]["replicas"], 3);
//! # Ok::<(), serde_json::Error>(())
//! ```
//!
//! The [`Manager`] does the rest: it watches each resource once for all controllers ([`cache`]), queues what changed
//! ([`queue`]), carries out plans and records events. It talks to the API server through `kube::Client` only, and so
//! works with any Kubernetes. Embedders choose controllers by upstream's names:
//!
//! ```no_run
//! # async fn example(client: kube::Client) -> Result<(), kubewright_controllers::Error> {
//! use kubewright_controllers::Manager;
//! use tokio_util::sync::CancellationToken;
//!
//! let shutdown = CancellationToken::new();
//! Manager::builder(client).with_all().build()?.run(shutdown).await;
//! # Ok(())
//! # }
//! ```
//!
//! Features: `certificates` adds the controllers that approve, sign and clean up certificate signing requests; they need
//! cryptography, so they are off by default. Objects are read as lean structs ([`objects`]), never written back whole: changes travel
//! as merge patches which hold only for the version that was seen.

mod access;
mod account;
mod api;
pub mod cache;
#[cfg(feature = "certificates")]
pub mod certificates;
pub mod clusterroleaggregation;
pub mod cronjob;
pub mod daemonset;
pub mod deployment;
mod discovery;
pub mod disruption;
pub mod endpoints;
mod endpoints_of;
pub mod endpointslice;
pub mod endpointslicemirroring;
mod error;
mod events;
pub mod garbage;
pub mod job;
mod manager;
pub mod namespace;
pub mod nodeipam;
pub mod nodelifecycle;
pub mod objects;
mod ownership;
pub mod plan;
pub mod podgc;
mod pods;
pub mod queue;
pub mod replicaset;
pub mod replicationcontroller;
pub mod resourcequota;
mod revisions;
pub mod rootca;
pub mod serviceaccount;
pub mod statefulset;
pub mod tainteviction;
pub mod ttlafterfinished;
pub mod volumeprotection;
#[cfg(test)]
mod world;

pub use access::grant_access;
pub use account::account_client;
pub use error::Error;
pub use manager::{Builder, Config, Context, Controller, LeaderElection, Manager, Queue, Setup, all_controllers};

use manager::Recipe;

/// Every controller there is: upstream's name, the name its events are recorded under, whose rights it needs, and how
/// it is made.
const RECIPES: &[Recipe] = &[
    recipe(
        "serviceaccount-controller",
        "service-account-controller",
        "service-account-controller",
        serviceaccount::make,
    ),
    recipe(
        "root-ca-certificate-publisher-controller",
        "root-ca-certificate-publisher",
        "root-ca-cert-publisher",
        rootca::make,
    ),
    recipe(
        "clusterrole-aggregation-controller",
        "clusterrole-aggregation-controller",
        "clusterrole-aggregation-controller",
        clusterroleaggregation::make,
    ),
    recipe("namespace-controller", "namespace-controller", "namespace-controller", namespace::make),
    recipe("garbage-collector-controller", "garbage-collector-controller", "generic-garbage-collector", garbage::make),
    recipe("deployment-controller", "deployment-controller", "deployment-controller", deployment::make),
    recipe("replicaset-controller", "replicaset-controller", "replicaset-controller", replicaset::make),
    recipe(
        "replicationcontroller-controller",
        "replication-controller",
        "replication-controller",
        replicationcontroller::make,
    ),
    recipe("daemonset-controller", "daemonset-controller", "daemon-set-controller", daemonset::make),
    recipe("statefulset-controller", "statefulset-controller", "statefulset-controller", statefulset::make),
    recipe("job-controller", "job-controller", "job-controller", job::make),
    recipe("cronjob-controller", "cronjob-controller", "cronjob-controller", cronjob::make),
    recipe(
        "ttl-after-finished-controller",
        "ttl-after-finished-controller",
        "ttl-after-finished-controller",
        ttlafterfinished::make,
    ),
    recipe("endpointslice-controller", "endpoint-slice-controller", "endpointslice-controller", endpointslice::make),
    recipe(
        "endpointslice-mirroring-controller",
        "endpoint-slice-mirroring-controller",
        "endpointslicemirroring-controller",
        endpointslicemirroring::make,
    ),
    recipe("endpoints-controller", "endpoint-controller", "endpoint-controller", endpoints::make),
    recipe("resourcequota-controller", "resourcequota-controller", "resourcequota-controller", resourcequota::make),
    recipe("disruption-controller", "controllermanager", "disruption-controller", disruption::make),
    recipe("node-lifecycle-controller", "node-controller", "node-controller", nodelifecycle::make),
    recipe("taint-eviction-controller", "taint-eviction-controller", "node-controller", tainteviction::make),
    recipe("node-ipam-controller", "cidrAllocator", "node-controller", nodeipam::make),
    recipe(
        "persistentvolumeclaim-protection-controller",
        "pvc-protection-controller",
        "pvc-protection-controller",
        volumeprotection::claims::make,
    ),
    recipe(
        "persistentvolume-protection-controller",
        "pv-protection-controller",
        "pv-protection-controller",
        volumeprotection::volumes::make,
    ),
    recipe("pod-garbage-collector-controller", "pod-garbage-collector", "pod-garbage-collector", podgc::make),
    #[cfg(feature = "certificates")]
    recipe(
        "certificatesigningrequest-approving-controller",
        "certificate-controller",
        "certificate-controller",
        certificates::approver::make,
    ),
    #[cfg(feature = "certificates")]
    recipe(
        "certificatesigningrequest-signing-controller",
        "certificate-controller",
        "certificate-controller",
        certificates::signer::make,
    ),
    #[cfg(feature = "certificates")]
    recipe(
        "certificatesigningrequest-cleaner-controller",
        "certificate-controller",
        "certificate-controller",
        certificates::cleaner::make,
    ),
];

const fn recipe(name: &'static str, component: &'static str, account: &'static str, make: manager::Make) -> Recipe {
    Recipe { name, component, account, make }
}
