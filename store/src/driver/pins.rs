//! Who reads a copy of the state while it moves on, and from which revision on its history must stay.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Core;
use crate::state::ImageSource;
use crate::{Error, Revision};

#[derive(Debug, Default)]
pub(super) struct Pins(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    next: u64,
    from: BTreeMap<u64, Revision>,
    /// How often another state took the place of this one.
    epoch: u64,
}

impl Pins {
    /// History from here on is still read.
    pub(super) fn oldest(&self) -> Option<Revision> {
        self.held().from.values().min().copied()
    }

    /// What is read now is gone.
    #[cfg(feature = "raft")]
    pub(super) fn start_over(&self) {
        let mut held = self.held();
        held.epoch += 1;
        held.from.clear();
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // Nothing that holds this lock leaves it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A copy of the state as of one moment, read block by block while the state moves on.
#[derive(Debug)]
pub(crate) struct PinnedImage {
    core: Arc<Core>,
    source: ImageSource,
    id: u64,
    epoch: u64,
}

impl PinnedImage {
    /// The state as it is now.
    pub(crate) fn new(core: &Arc<Core>) -> Self {
        // Nobody prunes while the state is read, so the pin is there in time.
        let state = core.state();
        let source = ImageSource::new(&state);
        let mut held = core.pins.held();
        held.next += 1;
        let (id, epoch) = (held.next, held.epoch);
        held.from.insert(id, source.keep());
        drop(held);
        drop(state);
        Self { core: core.clone(), source, id, epoch }
    }

    /// The next block; `None` after the last.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if another replica's state took the place of this one.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let state = self.core.state();
        if self.core.pins.held().epoch != self.epoch {
            return Err(Error::unavailable("this replica took over another's state; begin the backup again"));
        }
        Ok(self.source.next(&state))
    }
}

impl Drop for PinnedImage {
    fn drop(&mut self) {
        self.core.pins.held().from.remove(&self.id);
    }
}
