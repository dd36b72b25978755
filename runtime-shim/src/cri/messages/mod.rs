//! The messages of the CRI, version 1, as far as they are used here. Names and numbers are those of the API; enumerations
//! are plain numbers, with the constants below. Fields that are not listed are skipped when read.

mod container;
mod image;
mod runtime;
mod sandbox;
mod stats;

pub(crate) use self::{container::*, image::*, runtime::*, sandbox::*, stats::*};

/// An answer, or a question, that says nothing.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Empty {}

/// The answer to requests for a stream: where to connect for it.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct StreamResponse {
    #[prost(string, tag = "1")]
    pub(crate) url: String,
}

pub(crate) const SANDBOX_READY: i32 = 0;
pub(crate) const SANDBOX_NOTREADY: i32 = 1;

pub(crate) const CONTAINER_CREATED: i32 = 0;
pub(crate) const CONTAINER_RUNNING: i32 = 1;
pub(crate) const CONTAINER_EXITED: i32 = 2;
pub(crate) const CONTAINER_UNKNOWN: i32 = 3;

pub(crate) const NAMESPACE_POD: i32 = 0;
pub(crate) const NAMESPACE_CONTAINER: i32 = 1;
pub(crate) const NAMESPACE_NODE: i32 = 2;
pub(crate) const NAMESPACE_TARGET: i32 = 3;

pub(crate) const PROFILE_RUNTIME_DEFAULT: i32 = 0;
pub(crate) const PROFILE_UNCONFINED: i32 = 1;
pub(crate) const PROFILE_LOCALHOST: i32 = 2;
