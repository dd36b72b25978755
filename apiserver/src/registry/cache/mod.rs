//! The watch cache: the newest state of every object, encoded once, and a window of recent changes.
//!
//! One [feed](feed) reads the store's watch and applies it to the cache of each resource. Lists take what is there;
//! watchers hold nothing but their place in the window and read on from it, so a slow watcher costs no memory: when
//! the window has moved past it, it is told to start over.

mod cached;
pub(crate) mod feed;
mod resource;
mod unreadable;
mod watcher;

pub(crate) use cached::{Cached, Selection};
use cached::{Change, ChangeKind};
pub(crate) use resource::{Limits, ResourceCache};
pub(crate) use watcher::{Broken, Delivery, Lagged, Watcher};
