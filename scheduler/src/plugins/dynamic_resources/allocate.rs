//! Which devices of a node the claims of a pod get.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::device_selector::Selector;
use super::fit::Fit;
use crate::cache::{Devices, PoolUse};
use crate::framework::Status;
use crate::object::{
    Device, DeviceAllocation, DeviceClaim, DeviceClass, DeviceId, DeviceRequest, DeviceSlice, Name, Node,
};

/// How many choices are tried on a node before it is given up.
const CHOICES_MAX: usize = 100_000;

/// A claim with its expressions made ready, in the order of requests and their alternatives.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    pub(super) claim: Arc<DeviceClaim>,
    pub(super) selectors: Arc<[Vec<Vec<Selector>>]>,
    pub(super) classes: Arc<[Vec<Arc<DeviceClass>>]>,
}

/// Why it cannot be said what claims get.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum AllocationError {
    /// It can't on this node; on others it may.
    OnNode(String),
    /// A claim makes no sense now.
    Claim(String),
}

impl From<AllocationError> for Status {
    fn from(error: AllocationError) -> Self {
        let (AllocationError::OnNode(message) | AllocationError::Claim(message)) = error;
        Self::error(message)
    }
}

/// A device that a node can use.
pub(super) struct Candidate<'a> {
    pub(super) slice: &'a Arc<DeviceSlice>,
    pub(super) device: &'a Device,
    /// Its place in the slice.
    at: usize,
    /// Whether somebody has it.
    pub(super) in_use: bool,
    /// What of its pool is in use.
    pub(super) pool_use: Option<&'a PoolUse>,
}

impl Candidate<'_> {
    pub(super) fn id(&self) -> DeviceId {
        let DeviceSlice { driver, pool, .. } = &**self.slice;
        DeviceId { driver: driver.clone(), pool: pool.clone(), device: self.device.name.clone() }
    }
}

/// A device that was chosen: for which claim, request and alternative.
#[derive(Clone, Copy)]
pub(super) struct Choice {
    pub(super) claim: usize,
    pub(super) request: usize,
    pub(super) alternative: usize,
    pub(super) candidate: usize,
}

pub(super) struct Search<'a> {
    pub(super) prepared: &'a [Prepared],
    pub(super) node: Name,
    pub(super) candidates: Vec<Candidate<'a>>,
    pub(super) devices: &'a Devices,
    pub(super) chosen: Vec<Choice>,
    pub(super) taken: BTreeSet<usize>,
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
) -> Result<Option<Vec<DeviceAllocation>>, AllocationError> {
    check_pools(prepared, node, devices)?;
    let mut search = Search {
        prepared,
        node: node.name.clone(),
        candidates: candidates(node, devices),
        devices,
        chosen: Vec::new(),
        taken: BTreeSet::new(),
        tried: 0,
    };
    Ok(search.request(0, 0)?.then(|| search.result()))
}

/// The devices that a node can use, those to be taken first in front: who offers devices decides by names, and pools with
/// devices that must be made ready come last.
fn candidates<'a>(node: &'a Node, devices: &'a Devices) -> Vec<Candidate<'a>> {
    let mut slices: Vec<&Arc<DeviceSlice>> = devices.slices_for(node).collect();
    let is_slow = |slice: &&Arc<DeviceSlice>| slice.devices.iter().any(|device| device.readying.is_needed());
    let slow: BTreeSet<(&Name, &Name)> =
        slices.iter().filter(|slice| is_slow(slice)).map(|slice| (&slice.driver, &slice.pool)).collect();
    let rank = |slice: &DeviceSlice| !slow.is_empty() && slow.contains(&(&slice.driver, &slice.pool));
    slices.sort_by(|a, b| {
        rank(a).cmp(&rank(b)).then_with(|| (&a.driver, &a.pool, &a.name).cmp(&(&b.driver, &b.pool, &b.name)))
    });
    let mut candidates = Vec::new();
    for slice in slices {
        let pool_use = devices.in_use_of(&slice.driver, &slice.pool);
        let usable = slice.devices.iter().enumerate().filter(|(_, device)| slice.offers(device, node));
        candidates.extend(usable.map(|(at, device)| {
            let in_use = pool_use.is_some_and(|pool| pool.has(&device.name));
            Candidate { slice, device, at, in_use, pool_use }
        }));
    }
    candidates
}

/// All devices can only be asked for while it is known which they are.
fn check_pools(prepared: &[Prepared], node: &Node, devices: &Devices) -> Result<(), AllocationError> {
    for Prepared { claim, .. } in prepared {
        let Some(request) = claim.requests.iter().flatten().find(|request| request.count.is_none()) else { continue };
        if let Some((driver, pool)) = devices.incomplete_pool(node) {
            let what = format!("asks for all devices, but resource pool {driver}/{pool} is currently being updated");
            return Err(AllocationError::Claim(format!("{}: {what}", told(claim, request))));
        }
    }
    Ok(())
}

fn told(claim: &DeviceClaim, request: &DeviceRequest) -> String {
    let name = request.name.split('/').next_back().unwrap_or_default();
    format!("claim {}/{}, request {name}", claim.namespace, claim.name)
}

/// Which claim, request and alternative.
type Key = (usize, usize, usize);

impl Search<'_> {
    /// Meets this request and all after it.
    fn request(&mut self, claim: usize, request: usize) -> Result<bool, AllocationError> {
        let Some(prepared) = self.prepared.get(claim) else { return Ok(true) };
        let Some(alternatives) = prepared.claim.requests.get(request) else { return self.request(claim + 1, 0) };
        for (alternative, asked) in alternatives.iter().enumerate() {
            let (before, key) = (self.chosen.len(), (claim, request, alternative));
            let met = match asked.count {
                Some(count) => self.some(key, asked, count, 0)?,
                None => self.every(key)?,
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

    /// Whether a request's expressions select a device.
    fn is_selected(&self, (claim, request, alternative): Key, candidate: usize) -> Result<bool, AllocationError> {
        let (prepared, candidate) = (&self.prepared[claim], &self.candidates[candidate]);
        for (number, selector) in prepared.selectors[request][alternative].iter().enumerate() {
            match &selector.verdicts(candidate.slice)[candidate.at] {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(error) => {
                    let DeviceClaim { namespace, name, .. } = &*prepared.claim;
                    let what = format!("selector #{number}: CEL runtime error: {error}");
                    return Err(AllocationError::OnNode(format!("claim {namespace}/{name}: {what}")));
                }
            }
        }
        Ok(true)
    }

    /// Chooses so many devices, from candidate number `from` on.
    fn some(&mut self, key: Key, asked: &DeviceRequest, count: usize, from: usize) -> Result<bool, AllocationError> {
        let (claim, request, alternative) = key;
        if count == 0 {
            return self.request(claim, request + 1);
        }
        for candidate in from..self.candidates.len() {
            // Whether somebody has a device is cheap to tell, and so comes before its expressions.
            let free = asked.admin_access || (!self.candidates[candidate].in_use && !self.taken.contains(&candidate));
            if !free || !self.is_selected(key, candidate)? {
                continue;
            }
            self.tried += 1;
            if self.tried > CHOICES_MAX {
                return Ok(false);
            }
            if self.choose(Choice { claim, request, alternative, candidate }) {
                if self.some(key, asked, count - 1, candidate + 1)? {
                    return Ok(true);
                }
                self.undo();
            }
        }
        Ok(false)
    }

    /// Chooses all devices that are selected and have enough left, which must all be free.
    fn every(&mut self, key: Key) -> Result<bool, AllocationError> {
        let (claim, request, alternative) = key;
        let prepared = self.prepared;
        let asked = &prepared[claim].claim.requests[request][alternative];
        let mut selected = Vec::new();
        for candidate in 0..self.candidates.len() {
            if self.is_selected(key, candidate)? && self.has_left(candidate, asked, None) {
                selected.push(candidate);
            }
        }
        for candidate in selected.iter().copied() {
            let choice = Choice { claim, request, alternative, candidate };
            match self.fit(choice) {
                Fit::Fits => self.take(choice),
                Fit::Not => return Ok(false),
                Fit::Constrained => {
                    let DeviceId { driver, pool, device } = self.candidates[candidate].id();
                    let told = told(&self.prepared[claim].claim, self.asked(choice));
                    let why = "because a claim constraint would not be satisfied";
                    return Err(AllocationError::Claim(format!(
                        "{told}: cannot add device {driver}/{pool}/{device} {why}"
                    )));
                }
            }
        }
        if selected.is_empty() { Ok(false) } else { self.request(claim, request + 1) }
    }
}
