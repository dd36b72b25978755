//! A real Kubernetes API in `cargo test`: no binaries to download, no ports, no containers.
//!
//! [`client`] gives a [`kube::Client`] on a fresh, empty API server in this process:
//!
//! ```
//! use k8s_openapi::api::core::v1::ConfigMap;
//! use kube::api::{Api, PostParams};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> kube::Result<()> {
//! let client = kubewright::testing::client().await;
//!
//! let settings: Api<ConfigMap> = Api::default_namespaced(client);
//! let mut color = ConfigMap::default();
//! color.metadata.name = Some("color".into());
//! let created = settings.create(&PostParams::default(), &color).await?;
//! assert!(created.metadata.uid.is_some());
//! # Ok(()) }
//! ```
//!
//! It validates, defaults, conflicts, watches, patches and applies as Kubernetes 1.36 does, for it is the API server
//! that clusters are built from, with its state in memory. It takes milliseconds and megabytes, so every test has one
//! of its own, and a hundred run side by side.
//!
//! # A cluster around it
//!
//! [`TestCluster::builder`] adds what a test needs: definitions of custom resources, [RBAC](Builder::rbac) with a client
//! for [any user](TestCluster::client_as), [controllers](Builder::controllers) by name, simulated
//! [nodes](Builder::nodes), the [scheduler](Builder::scheduler).
//!
//! ```
//! use k8s_openapi::api::apps::v1::Deployment;
//! use kube::Api;
//! use kubewright::testing::TestCluster;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), kubewright::testing::Error> {
//! let cluster = TestCluster::builder()
//!     .controllers(["deployment-controller", "replicaset-controller"])
//!     .nodes(2)
//!     .start()
//!     .await?;
//! cluster.apply(r#"
//! apiVersion: apps/v1
//! kind: Deployment
//! metadata: {name: web}
//! spec:
//!   replicas: 3
//!   selector: {matchLabels: {app: web}}
//!   template:
//!     metadata: {labels: {app: web}}
//!     spec: {containers: [{name: web, image: web}]}
//! "#).await?;
//!
//! let deployments: Api<Deployment> = Api::default_namespaced(cluster.client());
//! let ready = |web: Option<&Deployment>| {
//!     web.and_then(|web| web.status.as_ref()).is_some_and(|status| status.ready_replicas == Some(3))
//! };
//! cluster.until(&deployments, "web", ready).await?;
//! cluster.stop().await;
//! # Ok(()) }
//! ```
//!
//! # What goes wrong
//!
//! A [`Fault`] makes requests of the test's clients fail as they do in the field: conflicts, refusals, delays, broken
//! and expired watches, lost requests and lost answers, lists that lag. It names the requests by verb, resource, object
//! and user, and happens once, so many times, always, or by a seeded chance.
//!
//! ```
//! use k8s_openapi::api::core::v1::Namespace;
//! use kube::Api;
//! use kubewright::testing::{Fault, TestCluster};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let cluster = TestCluster::start().await;
//! let fault = cluster.inject(Fault::unavailable().verb("get").resource("namespaces"));
//!
//! let namespaces: Api<Namespace> = Api::all(cluster.client());
//! assert!(namespaces.get("default").await.is_err());
//! assert!(namespaces.get("default").await.is_ok(), "a fault happens once, unless it says otherwise");
//! assert_eq!(fault.hits(), 1);
//! # }
//! ```
//!
//! # Time
//!
//! A cluster's clock is tokio's. In a test with `#[tokio::test(start_paused = true)]` time stands still while anything
//! is left to do, and then jumps to whatever is due next: leases expire, cron jobs start, requeues come back, in their
//! order and without waiting. [`TestCluster::advance`] lets an hour pass in a moment;
//! [`clock`](TestCluster::clock) tells what time it is there.
//!
//! Code under test that asks the machine for the time of day, and not the cluster, still gets the machine's.
//!
//! # Further
//!
//! `docs/testing.md` is a guide around three operators; their tests are in `tests/testing`.

mod builder;
mod clock;
mod cluster;
mod error;
mod faults;
mod front;
mod manifests;
mod nodes;
mod requests;
mod wait;

pub use builder::Builder;
pub use clock::Clock;
pub use cluster::{TestCluster, client};
pub use error::Error;
pub use faults::{Fault, Injected};
pub use nodes::EXIT_CODE;
pub use requests::Recorded;
