//! What the API server answered while a pod was being bound.
//!
//! When binding fails in the end, what was decided for the pod is struck out of the books, though the API server has
//! some of it by then. Until the watch tells of that, another pod would be given the same; so the answers go into the
//! books first.

use super::informer::Change;
use super::running::Running;
use crate::object::{Claim, DeviceClaim, Volume};
use crate::schedule::{DeviceChange, StorageChange};

/// Objects as the API server has them by its last answer.
#[derive(Debug, Default)]
pub(super) struct Answers(Vec<Change>);

impl Answers {
    pub(super) fn volume(&mut self, volume: Volume) {
        self.0.push(Change::Storage(StorageChange::PutVolume(volume)));
    }

    pub(super) fn claim(&mut self, claim: Claim) {
        self.0.push(Change::Storage(StorageChange::PutClaim(claim)));
    }

    pub(super) fn device_claim(&mut self, claim: DeviceClaim) {
        self.0.push(Change::Devices(DeviceChange::PutClaim(claim)));
    }
}

impl Running {
    /// Enters answers in the books. Objects that went meanwhile stay away: nobody would tell of their going again.
    pub(super) fn on_answers(&mut self, answers: Answers) {
        for change in answers.0 {
            let objects = self.scheduler.snapshot().objects();
            let is_there = match &change {
                Change::Storage(StorageChange::PutVolume(new)) => {
                    objects.storage.volume(&new.name).is_some_and(|known| known.uid == new.uid)
                }
                Change::Storage(StorageChange::PutClaim(new)) => {
                    objects.storage.claim(&new.namespace, &new.name).is_some_and(|known| known.uid == new.uid)
                }
                Change::Devices(DeviceChange::PutClaim(new)) => {
                    objects.devices.claim(&new.namespace, &new.name).is_some_and(|known| known.uid == new.uid)
                }
                _ => false,
            };
            if is_there {
                self.on_change(change);
            }
        }
    }
}
