//! What the drivers of the state share: reads, watches, lease deadlines.

mod core;
mod deadlines;
mod hub;
#[cfg(feature = "disk")]
mod pins;
mod watcher;

pub(crate) use self::core::{Core, Limits};
pub(crate) use deadlines::Deadlines;
#[cfg(feature = "disk")]
pub(crate) use pins::PinnedImage;
