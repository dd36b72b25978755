//! Which devices of a node the claims of a pod get.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kubewright_api::taint::{TaintEffect, untolerated};

use super::cel::Selector;
use crate::cache::Devices;
use crate::object::{
    Access, Attribute, Device, DeviceAllocation, DeviceClaim, DeviceId, DeviceRequest, DeviceSlice, Node, NodeSelector,
    NodeSelectorTerm,
};

/// How many devices a claim can have, as upstream.
const DEVICES_MAX: usize = 32;
/// How many choices are tried on a node before it is given up.
const CHOICES_MAX: usize = 100_000;

/// A claim with its expressions made ready, in the order of requests and their alternatives.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    pub(super) claim: Arc<DeviceClaim>,
    pub(super) selectors: Arc<[Vec<Vec<Selector>>]>,
}

/// A device that a node can use.
struct Candidate<'a> {
    id: DeviceId,
    slice: &'a DeviceSlice,
    device: &'a Device,
}

/// A device that was chosen: for which claim, request and alternative.
#[derive(Clone, Copy)]
struct Choice {
    claim: usize,
    request: usize,
    alternative: usize,
    candidate: usize,
}

struct Search<'a> {
    prepared: &'a [Prepared],
    candidates: Vec<Candidate<'a>>,
    suitable: BTreeMap<(usize, usize, usize), Vec<usize>>,
    devices: &'a Devices,
    chosen: Vec<Choice>,
    taken: BTreeSet<usize>,
    tried: usize,
}

/// What each claim gets on a node; `None` if not all of them can be met there.
///
/// # Errors
/// An expression cannot be asked about one of the devices.
pub(super) fn allocate(
    prepared: &[Prepared],
    node: &Node,
    devices: &Devices,
) -> Result<Option<Vec<DeviceAllocation>>, String> {
    let mut candidates = Vec::new();
    for slice in devices.slices_for(node) {
        let usable = |device: &&Device| match (&slice.access, &device.access) {
            (Access::PerDevice, Access::Node(name)) => *name == node.name,
            (Access::PerDevice, Access::Nodes(nodes)) => nodes.matches(node),
            (Access::PerDevice, access) => *access == Access::All,
            _ => true,
        };
        candidates.extend(slice.devices.iter().filter(usable).map(|device| {
            let id = DeviceId { driver: slice.driver.clone(), pool: slice.pool.clone(), device: device.name.clone() };
            Candidate { id, slice, device }
        }));
    }
    let mut search = Search {
        prepared,
        candidates,
        suitable: BTreeMap::new(),
        devices,
        chosen: Vec::new(),
        taken: BTreeSet::new(),
        tried: 0,
    };
    Ok(search.request(0, 0)?.then(|| search.result()))
}

impl Search<'_> {
    /// Meets this request and all after it.
    fn request(&mut self, claim: usize, request: usize) -> Result<bool, String> {
        let Some(prepared) = self.prepared.get(claim) else { return Ok(true) };
        let Some(alternatives) = prepared.claim.requests.get(request) else { return self.request(claim + 1, 0) };
        for (alternative, asked) in alternatives.iter().enumerate() {
            let before = self.chosen.len();
            let suitable = self.suitable(claim, request, alternative, asked)?;
            let met = match asked.count {
                Some(count) => self.some((claim, request, alternative), count, 0)?,
                None => self.every((claim, request, alternative), &suitable)?,
            };
            if met {
                return Ok(true);
            }
            while self.chosen.len() > before {
                self.undo();
            }
        }
        Ok(false)
    }

    /// The devices that a request's expressions select.
    fn suitable(
        &mut self,
        claim: usize,
        request: usize,
        alternative: usize,
        asked: &DeviceRequest,
    ) -> Result<Vec<usize>, String> {
        let key = (claim, request, alternative);
        if let Some(known) = self.suitable.get(&key) {
            return Ok(known.clone());
        }
        let prepared = &self.prepared[claim];
        let selectors = &prepared.selectors[request][alternative];
        let mut suitable = Vec::new();
        for (at, candidate) in self.candidates.iter().enumerate() {
            let mut selected = true;
            for (number, selector) in selectors.iter().enumerate() {
                let found = selector.selects(&candidate.id.driver, candidate.device).map_err(|error| {
                    let DeviceClaim { namespace, name, .. } = &*prepared.claim;
                    format!("claim {namespace}/{name}: selector #{number}: CEL runtime error: {error}")
                })?;
                if !found {
                    selected = false;
                    break;
                }
            }
            let effects = [TaintEffect::NoSchedule, TaintEffect::NoExecute];
            let tainted = untolerated(&candidate.device.taints, &asked.tolerations, &effects).is_some();
            if selected && !tainted {
                suitable.push(at);
            }
        }
        self.suitable.insert(key, suitable.clone());
        Ok(suitable)
    }

    /// Chooses so many devices, from the suitable one number `from` on.
    fn some(&mut self, key: (usize, usize, usize), count: usize, from: usize) -> Result<bool, String> {
        let (claim, request, alternative) = key;
        if count == 0 {
            return self.request(claim, request + 1);
        }
        let suitable = self.suitable.get(&key).cloned().unwrap_or_default();
        for (at, candidate) in suitable.iter().copied().enumerate().skip(from) {
            self.tried += 1;
            if self.tried > CHOICES_MAX {
                return Ok(false);
            }
            if self.choose(Choice { claim, request, alternative, candidate }) {
                if self.some(key, count - 1, at + 1)? {
                    return Ok(true);
                }
                self.undo();
            }
        }
        Ok(false)
    }

    /// Chooses all suitable devices, which must all be free.
    fn every(&mut self, key: (usize, usize, usize), suitable: &[usize]) -> Result<bool, String> {
        let (claim, request, alternative) = key;
        let all =
            suitable.iter().all(|candidate| self.choose(Choice { claim, request, alternative, candidate: *candidate }));
        if suitable.is_empty() || !all {
            return Ok(false);
        }
        self.request(claim, request + 1)
    }

    fn asked(&self, choice: Choice) -> &DeviceRequest {
        &self.prepared[choice.claim].claim.requests[choice.request][choice.alternative]
    }

    fn choose(&mut self, choice: Choice) -> bool {
        let shared = self.asked(choice).admin_access;
        let candidate = &self.candidates[choice.candidate];
        let free = shared || (!self.taken.contains(&choice.candidate) && !self.devices.is_in_use(&candidate.id));
        let of_claim = || self.chosen.iter().filter(|other| other.claim == choice.claim);
        let twice = of_claim().any(|other| other.candidate == choice.candidate);
        if !free || twice || of_claim().count() >= DEVICES_MAX || !self.matches_others(choice) {
            return false;
        }
        if !shared {
            self.taken.insert(choice.candidate);
        }
        self.chosen.push(choice);
        true
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

    fn attribute(&self, candidate: usize, name: &str) -> Option<&Attribute> {
        let Candidate { id, device, .. } = &self.candidates[candidate];
        let short = || name.strip_prefix(&*id.driver)?.strip_prefix('/');
        device.attributes.get(name).or_else(|| device.attributes.get(short()?))
    }

    fn undo(&mut self) {
        if let Some(choice) = self.chosen.pop()
            && !self.asked(choice).admin_access
        {
            self.taken.remove(&choice.candidate);
        }
    }

    fn result(&self) -> Vec<DeviceAllocation> {
        let of_claim = |claim: usize| {
            let chosen = || self.chosen.iter().filter(move |choice| choice.claim == claim);
            let device = |choice: &Choice| {
                let asked = self.asked(*choice);
                (asked.name.clone(), self.candidates[choice.candidate].id.clone(), asked.admin_access)
            };
            let nodes = chosen().find_map(|choice| reach(&self.candidates[choice.candidate]));
            DeviceAllocation { devices: chosen().map(device).collect(), nodes }
        };
        (0..self.prepared.len()).map(of_claim).collect()
    }
}

/// From where a device can be used; `None` for anywhere.
fn reach(candidate: &Candidate<'_>) -> Option<NodeSelector> {
    let access = match &candidate.slice.access {
        Access::PerDevice => &candidate.device.access,
        access => access,
    };
    match access {
        Access::Node(name) => {
            let requirement = kubewright_api::selector::Requirement {
                key: "metadata.name".to_owned(),
                operator: kubewright_api::selector::Operator::In,
                values: vec![name.to_string()],
            };
            Some(NodeSelector { node_selector_terms: vec![NodeSelectorTerm::new(Vec::new(), vec![requirement])] })
        }
        Access::Nodes(nodes) => Some(nodes.clone()),
        _ => None,
    }
}
