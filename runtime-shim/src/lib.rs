//! Container runtimes behind one trait: CRI, processes, simulated

mod error;
pub mod logs;
#[cfg(feature = "sim")]
pub mod sim;
mod traits;
mod types;

pub use error::{Cause, Error, Kind};
pub use traits::{Containers, Images, PodSandboxes, Runtime, Stats, Streams};
pub use types::*;
