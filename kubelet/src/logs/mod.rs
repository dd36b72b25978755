//! Reading containers' logs: what `kubectl logs` asks for, out of files in the CRI's format.

mod read;
mod select;

pub use read::{StillRunning, stream};
pub use select::{LogOptions, LogSelector};
