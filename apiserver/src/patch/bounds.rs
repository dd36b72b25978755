//! What a JSON patch may make of an object: a few operations can double what is there, or put it into itself.

use json_patch::PatchOperation;
use serde_json::Value;

use crate::object::depth::{DEPTH_MAX, measure};
use crate::object::size_of;

/// How much all copies of one JSON patch may come to, in bytes of JSON, as upstream limits them. Copies of copies double.
const COPIED_MAX: usize = 3 * 1024 * 1024;

/// So many values are looked at to find out how deep the parts are that are moved about.
const MEASURED_MAX: usize = 10_000_000;

/// What is beyond the bounds.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Exceeded {
    /// Its copies come to more than is allowed.
    #[error(
        "Unable to complete the copy, the accumulated size increase of copy is {0}, exceeding the limit {COPIED_MAX}"
    )]
    Copies(usize),
    /// What it makes is deeper than can be read again.
    #[error("the patch would make the object {0} levels deep, exceeding the limit {DEPTH_MAX}")]
    Depth(usize),
    /// Finding out would take too long.
    #[error("the patch moves too much within a deep object")]
    Work,
}

/// How far a patch has gone.
pub(super) struct Bounds {
    copied: usize,
    /// The object is no deeper than this.
    depth: usize,
    measured: usize,
}

impl Bounds {
    pub(super) fn of(object: &Value) -> Self {
        Self { copied: 0, depth: measure(object).0, measured: 0 }
    }

    /// Follows the next operation, which is not carried out yet.
    pub(super) fn check(&mut self, object: &Value, operation: &PatchOperation) -> Result<(), Exceeded> {
        match operation {
            PatchOperation::Add(add) => self.put(add.path.as_str(), measure(&add.value).0),
            PatchOperation::Replace(replace) => self.put(replace.path.as_str(), measure(&replace.value).0),
            PatchOperation::Move(moved) => self.take(object, moved.from.as_str(), moved.path.as_str()),
            PatchOperation::Copy(copy) => {
                if let Some(source) = object.pointer(copy.from.as_str()) {
                    self.copied += size_of(source);
                    if self.copied > COPIED_MAX {
                        return Err(Exceeded::Copies(self.copied));
                    }
                }
                self.take(object, copy.from.as_str(), copy.path.as_str())
            }
            PatchOperation::Remove(_) | PatchOperation::Test(_) => Ok(()),
        }
    }

    /// What is there at one place is put to another. Its depth is looked at only if it may be too much.
    fn take(&mut self, object: &Value, from: &str, to: &str) -> Result<(), Exceeded> {
        let below = self.depth.saturating_sub(steps(from));
        if steps(to) + below <= DEPTH_MAX {
            return self.put(to, below);
        }
        // What is not there the operation itself refuses.
        let Some(source) = object.pointer(from) else { return Ok(()) };
        let (depth, count) = measure(source);
        self.measured += count;
        if self.measured > MEASURED_MAX {
            return Err(Exceeded::Work);
        }
        self.put(to, depth)
    }

    fn put(&mut self, to: &str, depth: usize) -> Result<(), Exceeded> {
        let depth = steps(to) + depth;
        self.depth = self.depth.max(depth);
        if depth > DEPTH_MAX { Err(Exceeded::Depth(depth)) } else { Ok(()) }
    }
}

/// How many lists and objects are around what is at that place.
fn steps(pointer: &str) -> usize {
    pointer.matches('/').count()
}
