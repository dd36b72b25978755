//! Subresources with a will of their own: binding a pod to a node, evicting a pod. Pure: objects in, objects or
//! refusals out.

pub mod binding;
pub mod conditions;
pub mod eviction;
