//! The object model that Kubewright's components share: Kubernetes' types and the arithmetic on them, and nothing else.
//!
//! Everything here is plain data and pure functions: no IO, no clock, no async runtime. Components that talk to a
//! cluster decode objects into types of their own (a full `Pod` takes 20 KB of memory) and use this crate for what
//! must be computed the same way everywhere: [quantities](quantity), [label and field selectors](selector),
//! [what a pod asks for](requests), [taints and tolerations](taint), the [table of built-in resources](resources),
//! their [structure](schema), and the [`Status`](status::Status) in which an API server answers errors. Feature `cel`
//! adds the Common Expression Language, in which rules, policies and selectors of devices are written.
//!
//! ```
//! use kubewright_api::quantity::Quantity;
//! use kubewright_api::selector::LabelSelector;
//!
//! let half: Quantity = "500m".parse()?;
//! let two: Quantity = "2".parse()?;
//! assert_eq!((half + two).to_string(), "2500m");
//!
//! let selector = LabelSelector::parse("app=web,tier in (front, edge),!canary")?;
//! let labels = [("app", "web"), ("tier", "edge")];
//! assert!(selector.matches(&labels));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The Kubernetes version is chosen once, in the workspace manifest: use [`k8s_openapi`] from here.

#[cfg(feature = "cel")]
pub mod cel;
pub mod field;
pub mod names;
pub mod quantity;
pub mod quota;
pub mod requests;
pub mod resources;
pub mod schema;
pub mod selector;
pub mod status;
pub mod taint;

pub use k8s_openapi;
