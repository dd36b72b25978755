//! Writing a plugin of your own, from the first line to a running scheduler. All code here is compiled and run.
//!
//! The example: nodes are labelled with the watts that a busy cpu costs on them (`power/watts`), and pods are to go where
//! they cost least. Pods may also name the most that they are willing to cost (label `power/watts-max`).
//!
//! # 1. Say no: Filter
//!
//! A plugin is a type that implements [`Plugin`](crate::framework::Plugin) and one trait for each extension point that it
//! serves. A Filter looks at one node and lets the pod in, or says why not in words that will stand in the pod's events:
//! `0/2 nodes are available: 1 node(s) cost too much power.`
//!
//! ```
//! # use std::sync::Arc;
//! use kubewright_scheduler::cache::{NodeInfo, Snapshot};
//! use kubewright_scheduler::framework::{CycleState, FilterPlugin, Plugin, Status};
//! use kubewright_scheduler::object::PodInfo;
//! use kubewright_scheduler::testing::{node, node_info, pod};
//!
//! struct Power;
//!
//! fn watts(node: &NodeInfo) -> Option<i64> {
//!     node.labels().get("power/watts")?.parse().ok()
//! }
//!
//! impl Plugin for Power {
//!     fn name(&self) -> &str {
//!         "Power"
//!     }
//!
//!     fn filter(self: Arc<Self>) -> Option<Arc<dyn FilterPlugin>> {
//!         Some(self)
//!     }
//! }
//!
//! impl FilterPlugin for Power {
//!     fn filter(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Result<(), Status> {
//!         let most: Option<i64> = pod.labels.get("power/watts-max").and_then(|text| text.parse().ok());
//!         match (most, watts(node)) {
//!             (Some(most), Some(watts)) if watts > most => {
//!                 // No preemption would help: the node stays as it is.
//!                 Err(Status::unresolvable("node(s) cost too much power"))
//!             }
//!             _ => Ok(()),
//!         }
//!     }
//! }
//!
//! // Plugins are tested without a cluster: makers in `testing` make pods and nodes.
//! let hungry = node_info(node("hungry").labels(&[("power/watts", "20")]), []);
//! let thrifty = pod("p").labels(&[("power/watts-max", "15")]).build();
//! let verdict = FilterPlugin::filter(&Power, &CycleState::new(), &thrifty, &hungry);
//! assert_eq!(verdict.unwrap_err().message(), "node(s) cost too much power");
//! ```
//!
//! # 2. Say how good: Score
//!
//! A Score gives each node a number, more is better. The numbers of all nodes that can take the pod are then brought
//! between 0 and [`SCORE_MAX`](crate::framework::SCORE_MAX) and weighted against those of other plugins;
//! [`normalize_to_max`](crate::framework::normalize_to_max) turns the largest into 100, or with `true` into 0.
//!
//! Two more promises make a plugin fast. If its answer depends on the pod's spec and the node alone, say so with
//! `is_node_local`: then it is asked once for each kind of pod and node, and again only when the node changes, however
//! many pods there are. (The Filter above looks at a label of the pod, so it must not promise that.) And if normalizing
//! looks only at the largest and the smallest score, say so with `normalizes_by_extremes`.
//!
//! ```
//! # use std::sync::Arc;
//! # use kubewright_scheduler::cache::{NodeInfo, Snapshot};
//! # use kubewright_scheduler::framework::{CycleState, NodeScore, Plugin, SCORE_MAX, ScorePlugin, Status, normalize_to_max};
//! # use kubewright_scheduler::object::PodInfo;
//! # use kubewright_scheduler::testing::{node, pod, scores};
//! # struct Power;
//! # fn watts(node: &NodeInfo) -> Option<i64> { node.labels().get("power/watts")?.parse().ok() }
//! impl Plugin for Power {
//!     fn name(&self) -> &str {
//!         "Power"
//!     }
//!
//!     fn score(self: Arc<Self>) -> Option<Arc<dyn ScorePlugin>> {
//!         Some(self)
//!     }
//! }
//!
//! impl ScorePlugin for Power {
//!     fn score(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo, _: &Snapshot) -> Result<i64, Status> {
//!         Ok(watts(node).unwrap_or(0) * pod.spec.requests.cpu)
//!     }
//!
//!     fn normalize(&self, _: &CycleState, _: &PodInfo, scores: &mut [NodeScore]) -> Result<(), Status> {
//!         normalize_to_max(scores, true);
//!         Ok(())
//!     }
//!
//!     fn normalizes(&self) -> bool {
//!         true
//!     }
//!
//!     fn normalizes_by_extremes(&self) -> bool {
//!         true
//!     }
//!
//!     fn normalized_when_equal(&self, raw: i64) -> Option<i64> {
//!         Some(if raw == 0 { SCORE_MAX } else { 0 })
//!     }
//!
//!     fn is_node_local(&self, _: &PodInfo, _: &Snapshot) -> bool {
//!         true
//!     }
//! }
//!
//! let nodes = [node("hungry").labels(&[("power/watts", "20")]), node("frugal").labels(&[("power/watts", "5")])];
//! assert_eq!(scores(Power, pod("p").requests(&[("cpu", "2")]), nodes, []), [0, 75]);
//! ```
//!
//! # 3. Run it
//!
//! A profile is a set of plugins. Start from upstream's and add yours with the weight of its score; the core then needs
//! only to be told what happens and what time it is. [`WhatIf`](crate::schedule::WhatIf) shows what each plugin gave each
//! node.
//!
//! ```
//! # use std::sync::Arc;
//! # use kubewright_scheduler::cache::{NodeInfo, Snapshot};
//! # use kubewright_scheduler::framework::{CycleState, Plugin, ScorePlugin, Status};
//! # use kubewright_scheduler::object::{PodInfo, Time};
//! # use kubewright_scheduler::plugins::default_profile;
//! # use kubewright_scheduler::schedule::{Outcome, Scheduler, SchedulerConfig};
//! # use kubewright_scheduler::testing::{node, pod};
//! # struct Power;
//! # impl Plugin for Power {
//! #     fn name(&self) -> &str { "Power" }
//! #     fn score(self: Arc<Self>) -> Option<Arc<dyn ScorePlugin>> { Some(self) }
//! # }
//! # impl ScorePlugin for Power {
//! #     fn score(&self, _: &CycleState, _: &PodInfo, node: &NodeInfo, _: &Snapshot) -> Result<i64, Status> {
//! #         let watts: i64 = node.labels().get("power/watts").and_then(|w| w.parse().ok()).unwrap_or(0);
//! #         Ok(100 - watts.min(100))
//! #     }
//! # }
//! let now = Time::UNIX_EPOCH;
//! let profile = default_profile("default-scheduler").with(Arc::new(Power), 10).build()?;
//! let mut scheduler = Scheduler::new(SchedulerConfig::default(), vec![profile])?;
//! scheduler.put_node(node("hungry").labels(&[("power/watts", "80")]).build(), now);
//! scheduler.put_node(node("frugal").labels(&[("power/watts", "5")]).build(), now);
//! scheduler.put_pod(pod("p").requests(&[("cpu", "1")]).build(), now);
//!
//! let asked = Arc::new(pod("p").requests(&[("cpu", "1")]).build());
//! let answers = scheduler.what_if().explain(&asked).map_err(|status| status.message())?;
//! let frugal = answers["frugal"].as_ref().map_err(|status| status.message())?;
//! assert!(frugal.iter().any(|part| part.plugin == "Power" && part.score == 950), "95 times the weight of 10");
//!
//! let Some(Outcome::Placed(placement)) = scheduler.schedule_one(now) else { panic!("it fits") };
//! assert_eq!(placement.node(), "frugal");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # 4. Name it in a configuration file
//!
//! A [`Registry`](crate::config::Registry) makes plugins by name, so that a `KubeSchedulerConfiguration` can enable yours
//! and give it settings. What is wrong with a file is told with the path of the field.
//!
//! ```
//! # use std::sync::Arc;
//! # use kubewright_scheduler::framework::{Plugin, PluginRef};
//! use kubewright_scheduler::config::{Configuration, Registry};
//! # struct Power { weight_of_idle: i64 }
//! # impl Plugin for Power { fn name(&self) -> &str { "Power" } }
//! let registry = Registry::default().with(
//!     "Power",
//!     Arc::new(|args| {
//!         let weight_of_idle = args["weightOfIdle"].as_i64().unwrap_or(0);
//!         Ok(Arc::new(Power { weight_of_idle }) as PluginRef)
//!     }),
//! );
//! let file = "
//! apiVersion: kubescheduler.config.k8s.io/v1
//! kind: KubeSchedulerConfiguration
//! profiles:
//! - schedulerName: frugal
//!   plugins:
//!     multiPoint:
//!       enabled: [{name: Power, weight: 10}]
//!   pluginConfig:
//!   - name: Power
//!     args: {weightOfIdle: 3}
//! ";
//! let configuration = Configuration::read(file, &registry)?;
//! assert_eq!(configuration.profiles[0].name().as_str(), "frugal");
//!
//! let wrong = file.replace("pluginConfig", "pluginconfig");
//! assert!(Configuration::read(&wrong, &registry).unwrap_err().to_string().contains("profiles[0].pluginconfig"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # 5. When pods that it rejected should be tried again
//!
//! A pod that fits nowhere waits until something happens that the plugins which rejected it call news. `Power` rejects
//! nodes by their labels, so it is interested in nodes that come and labels that change, and a hint looks closer:
//!
//! ```
//! use kubewright_scheduler::framework::{ActionType, EventResource, Interest, Object};
//!
//! let interest = Interest::hinted(
//!     EventResource::Node,
//!     ActionType::ADD | ActionType::UPDATE_NODE_LABEL,
//!     |_pod, object| match object {
//!         Object::Node(Some(old), Some(new)) => {
//!             (old.labels.get("power/watts") != new.labels.get("power/watts")).into()
//!         }
//!         _ => true.into(),
//!     },
//! );
//! # let _ = interest;
//! ```
//!
//! Hand it out from [`Plugin::events`](crate::framework::Plugin::events). Without any interest a rejected pod is tried
//! again after five minutes.
//!
//! # What happens when it goes wrong
//!
//! A plugin that panics, or scores beyond the range, fails the pod at hand: the pod gets an event that names the plugin,
//! goes back to the queue with a back-off, and scheduling goes on.
