//! Forgetting history.

use super::State;
use crate::{Error, Revision};

impl State {
    /// Moves the compacted revision. What it makes unreachable is freed by [`State::prune`].
    pub(super) fn compact(&mut self, through: Revision) -> Result<(), Error> {
        if through <= self.compacted {
            return Err(Error::Compacted { requested: through, compacted: self.compacted });
        }
        if through > self.revision {
            return Err(Error::FutureRevision { requested: through, current: self.revision });
        }
        self.compacted = through;
        Ok(())
    }

    /// Frees history that compaction made unreachable, about `budget` events of it, and says whether
    /// there is more. With `keep` history from that revision on stays, for someone still reads it.
    ///
    /// This changes neither answers nor the [digest](State::digest): a driver calls it when it likes.
    pub fn prune(&mut self, budget: usize, keep: Option<Revision>) -> bool {
        let target = keep.map_or(self.compacted, |keep| keep.min(self.compacted));
        let mut spent = 0;
        while self.pruned < target {
            if spent >= budget {
                return true;
            }
            let revision = self.pruned.next();
            spent += self.prune_revision(revision);
            self.pruned = revision;
            while self.history_start < revision {
                self.history.pop_front();
                self.history_start = self.history_start.next();
            }
        }
        false
    }

    /// Drops the versions that were replaced in this revision or before it, from keys changed in it.
    fn prune_revision(&mut self, revision: Revision) -> usize {
        let Some(index) = revision.0.checked_sub(self.history_start.0) else {
            return 0;
        };
        let Some(events) = self.history.get(index as usize).cloned() else {
            return 0;
        };
        for event in events.iter() {
            let Some(versions) = self.past.get_mut(&event.entry.key) else {
                continue;
            };
            let gone = versions.partition_point(|version| version.until <= revision);
            let freed: usize = versions.drain(..gone).map(|v| v.entry.size()).sum();
            self.past_bytes -= freed as u64;
            if versions.is_empty() {
                self.past.remove(&event.entry.key);
            } else if versions.len() * 4 < versions.capacity() {
                versions.shrink_to_fit();
            }
        }
        events.len().max(1)
    }
}
