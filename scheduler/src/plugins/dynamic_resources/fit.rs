//! Whether a device can be chosen beside those that were chosen before.

use std::collections::BTreeMap;

use kubewright_api::taint::{TaintEffect, untolerated};

use super::allocate::{Candidate, Choice, Search};
use crate::object::{Attribute, Device, DeviceRequest};

/// How many devices a claim can have, as upstream.
const DEVICES_MAX: usize = 32;

/// Whether a device can be chosen.
pub(super) enum Fit {
    Fits,
    Not,
    /// It could, but for a constraint of the claim.
    Constrained,
}

impl Search<'_> {
    pub(super) fn asked(&self, choice: Choice) -> &DeviceRequest {
        &self.prepared[choice.claim].claim.requests[choice.request][choice.alternative]
    }

    pub(super) fn choose(&mut self, choice: Choice) -> bool {
        let fits = matches!(self.fit(choice), Fit::Fits);
        if fits {
            self.take(choice);
        }
        fits
    }

    pub(super) fn fit(&self, choice: Choice) -> Fit {
        let asked = self.asked(choice);
        let candidate = &self.candidates[choice.candidate];
        let free = asked.admin_access || (!candidate.in_use && !self.taken.contains(&choice.candidate));
        let of_claim = || self.chosen.iter().filter(|other| other.claim == choice.claim);
        let twice = !candidate.device.shareable && of_claim().any(|other| other.candidate == choice.candidate);
        if !free
            || twice
            || of_claim().count() >= DEVICES_MAX
            || !self.counters_allow(choice.candidate)
            || is_tainted(candidate.device, asked)
        {
            return Fit::Not;
        }
        if !self.matches_others(choice) || !self.differs_from_others(choice) {
            return Fit::Constrained;
        }
        let being = self.being_shared(choice.candidate);
        if self.has_left(choice.candidate, asked, Some(&being)) { Fit::Fits } else { Fit::Not }
    }

    pub(super) fn take(&mut self, choice: Choice) {
        // What is used with admin access by one request stays free for others, but not for those of the same pod.
        if !self.candidates[choice.candidate].device.shareable {
            self.taken.insert(choice.candidate);
        }
        self.chosen.push(choice);
    }

    /// Whether the attributes that must be the same are.
    fn matches_others(&self, choice: Choice) -> bool {
        self.prepared[choice.claim].claim.matching.iter().all(|(attribute, requests)| {
            let concerns = |choice: Choice| {
                let name = &self.asked(choice).name;
                let whole = name.split('/').next().unwrap_or_default();
                requests.is_empty() || requests.iter().any(|own| own == name || *own == *whole)
            };
            if !concerns(choice) {
                return true;
            }
            let Some(own) = self.attribute(choice.candidate, attribute) else { return false };
            let others = self.chosen.iter().filter(|other| other.claim == choice.claim && concerns(**other));
            others.into_iter().all(|other| self.attribute(other.candidate, attribute) == Some(own))
        })
    }

    /// Whether the attributes that must differ do: of each request the device that was chosen last counts.
    fn differs_from_others(&self, choice: Choice) -> bool {
        self.prepared[choice.claim].claim.distinct.iter().all(|(attribute, requests)| {
            let whole = |choice: Choice| self.asked(choice).name.split('/').next().unwrap_or_default();
            let concerns = |choice: Choice| {
                let name = &self.asked(choice).name;
                requests.is_empty() || requests.iter().any(|own| own == name || *own == *whole(choice))
            };
            if !concerns(choice) {
                return true;
            }
            let Some(own) = self.attribute(choice.candidate, attribute) else { return false };
            let others = self.chosen.iter().filter(|other| other.claim == choice.claim && concerns(**other));
            let last: BTreeMap<&str, usize> = others.map(|other| (whole(*other), other.candidate)).collect();
            last.values().all(|other| self.attribute(*other, attribute) != Some(own))
        })
    }

    fn attribute(&self, candidate: usize, name: &str) -> Option<&Attribute> {
        let Candidate { slice, device, .. } = &self.candidates[candidate];
        let short = || name.strip_prefix(&*slice.driver)?.strip_prefix('/');
        device.attributes.get(name).or_else(|| device.attributes.get(short()?))
    }

    pub(super) fn undo(&mut self) {
        let Some(choice) = self.chosen.pop() else { return };
        if !self.chosen.iter().any(|other| other.candidate == choice.candidate) {
            self.taken.remove(&choice.candidate);
        }
    }
}

fn is_tainted(device: &Device, asked: &DeviceRequest) -> bool {
    let effects = [TaintEffect::NoSchedule, TaintEffect::NoExecute];
    untolerated(&device.taints, &asked.tolerations, &effects).is_some()
}
