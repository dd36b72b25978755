//! A deterministic Kubernetes scheduler: kube-scheduler's framework, plugins, queue and words as a library.
//!
//! The core is a state machine without IO. A [`Scheduler`](schedule::Scheduler) is told what happens to nodes and pods
//! and what time it is, and says where pods go; it reads no clock, draws ties from a seeded generator, and makes the same
//! decisions from the same input. So it runs in a cluster, in a simulation or in a test alike.
//!
//! ```
//! use kubewright_scheduler::object::Time;
//! use kubewright_scheduler::plugins::default_profile;
//! use kubewright_scheduler::schedule::{Outcome, Scheduler, SchedulerConfig};
//! use kubewright_scheduler::testing::{node, pod};
//!
//! let now = Time::UNIX_EPOCH;
//! let profile = default_profile("default-scheduler").build()?;
//! let mut scheduler = Scheduler::new(SchedulerConfig::default(), vec![profile])?;
//! scheduler.put_node(node("small").capacity(&[("cpu", "1"), ("memory", "1Gi"), ("pods", "10")]).build(), now);
//! scheduler.put_node(node("tainted").taints(&[("dedicated", "x", "NoSchedule")]).build(), now);
//! scheduler.put_pod(pod("a").requests(&[("cpu", "500m")]).build(), now);
//! scheduler.put_pod(pod("b").requests(&[("cpu", "4")]).build(), now);
//!
//! let Some(Outcome::Placed(placement)) = scheduler.schedule_one(now) else { panic!("a fits") };
//! assert_eq!(placement.node(), "small");
//! let Some(Outcome::Failed(failure)) = scheduler.schedule_one(now) else { panic!("b does not") };
//! let why = "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s).";
//! assert!(failure.message.starts_with(why));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where to go next
//! - [`tutorial`]: writing a plugin of your own.
//! - [`framework`]: the extension points.
//! - [`plugins`]: upstream's plugins and its default profile.
//! - [`lab`]: comparing placement policies on traces of GPU jobs.
//! - [`config`]: kube-scheduler's configuration files.
//! - [`schedule`]: the scheduling and the binding cycle; [`WhatIf`](schedule::WhatIf) for trying things out.
//! - `driver` (feature `driver`, on by default): runs it all against an API server.
//! - [`object`]: the lean pods and nodes that all of this works on, decoded straight from the API's JSON.
//! - [`cache`] and [`queue`]: the cluster as it is believed to be, and the pods that wait.
#![warn(clippy::iter_over_hash_type)]

pub mod cache;
pub mod config;
#[cfg(feature = "driver")]
pub mod driver;
pub mod framework;
pub mod lab;
pub mod object;
pub mod plugins;
pub mod queue;
mod random;
pub mod schedule;
pub mod testing;
pub mod tutorial;

pub use random::Random;
