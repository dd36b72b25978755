//! Which devices of a node the claims of a pod get.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kubewright_api::selector::{Operator, Requirement};
use kubewright_api::taint::{TaintEffect, untolerated};
use serde_json::{Value, json};

use super::cel::Selector;
use super::sharing::{share_id, taken};
use crate::cache::Devices;
use crate::framework::Status;
use crate::object::{
    Access, Attribute, Device, DeviceAllocation, DeviceClaim, DeviceClass, DeviceId, DeviceRequest, DeviceShare,
    DeviceSlice, GivenDevice, Name, Node, NodeSelector, NodeSelectorTerm,
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

/// Whether a device can be chosen.
enum Fit {
    Fits,
    Not,
    /// It could, but for a constraint of the claim.
    Constrained,
}

/// A device that a node can use.
pub(super) struct Candidate<'a> {
    pub(super) id: DeviceId,
    pub(super) slice: &'a DeviceSlice,
    pub(super) device: &'a Device,
}

/// A device that was chosen: for which claim, request and alternative.
#[derive(Clone, Copy)]
pub(super) struct Choice {
    claim: usize,
    request: usize,
    alternative: usize,
    pub(super) candidate: usize,
}

pub(super) struct Search<'a> {
    prepared: &'a [Prepared],
    node: Name,
    pub(super) candidates: Vec<Candidate<'a>>,
    suitable: BTreeMap<(usize, usize, usize), Vec<usize>>,
    pub(super) devices: &'a Devices,
    pub(super) chosen: Vec<Choice>,
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
) -> Result<Option<Vec<DeviceAllocation>>, AllocationError> {
    check_pools(prepared, node, devices)?;
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
    // Who offers devices decides by names which are taken first; pools with devices that must be made ready come last.
    let slow: BTreeSet<(Name, Name)> = candidates
        .iter()
        .filter(|one: &&Candidate<'_>| one.device.readying.is_needed())
        .map(|one| (one.id.driver.clone(), one.id.pool.clone()))
        .collect();
    let rank = |one: &Candidate<'_>| !slow.is_empty() && slow.contains(&(one.id.driver.clone(), one.id.pool.clone()));
    candidates.sort_by(|a: &Candidate<'_>, b| {
        let order = (&a.id.driver, &a.id.pool, &a.slice.name).cmp(&(&b.id.driver, &b.id.pool, &b.slice.name));
        rank(a).cmp(&rank(b)).then(order)
    });
    let mut search = Search {
        prepared,
        node: node.name.clone(),
        candidates,
        suitable: BTreeMap::new(),
        devices,
        chosen: Vec::new(),
        taken: BTreeSet::new(),
        tried: 0,
    };
    Ok(search.request(0, 0)?.then(|| search.result()))
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

impl Search<'_> {
    /// Meets this request and all after it.
    fn request(&mut self, claim: usize, request: usize) -> Result<bool, AllocationError> {
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
    ) -> Result<Vec<usize>, AllocationError> {
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
                    let what = format!("selector #{number}: CEL runtime error: {error}");
                    AllocationError::OnNode(format!("claim {namespace}/{name}: {what}"))
                })?;
                if !found {
                    selected = false;
                    break;
                }
            }
            // Who asks for all gets none if one of them is tainted.
            let out_of_question = asked.count.is_some() && is_tainted(candidate.device, asked);
            if selected && !out_of_question && self.has_left(at, asked, &BTreeMap::new()) {
                suitable.push(at);
            }
        }
        self.suitable.insert(key, suitable.clone());
        Ok(suitable)
    }

    /// Chooses so many devices, from the suitable one number `from` on.
    fn some(&mut self, key: (usize, usize, usize), count: usize, from: usize) -> Result<bool, AllocationError> {
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
    fn every(&mut self, key: (usize, usize, usize), suitable: &[usize]) -> Result<bool, AllocationError> {
        let (claim, request, alternative) = key;
        for candidate in suitable.iter().copied() {
            let choice = Choice { claim, request, alternative, candidate };
            match self.fit(choice) {
                Fit::Fits => self.take(choice),
                Fit::Not => return Ok(false),
                Fit::Constrained => {
                    let DeviceId { driver, pool, device } = &self.candidates[candidate].id;
                    let told = told(&self.prepared[claim].claim, self.asked(choice));
                    let why = "because a claim constraint would not be satisfied";
                    return Err(AllocationError::Claim(format!(
                        "{told}: cannot add device {driver}/{pool}/{device} {why}"
                    )));
                }
            }
        }
        if suitable.is_empty() { Ok(false) } else { self.request(claim, request + 1) }
    }

    pub(super) fn asked(&self, choice: Choice) -> &DeviceRequest {
        &self.prepared[choice.claim].claim.requests[choice.request][choice.alternative]
    }

    fn choose(&mut self, choice: Choice) -> bool {
        let fits = matches!(self.fit(choice), Fit::Fits);
        if fits {
            self.take(choice);
        }
        fits
    }

    fn fit(&self, choice: Choice) -> Fit {
        let asked = self.asked(choice);
        let candidate = &self.candidates[choice.candidate];
        let free =
            asked.admin_access || (!self.taken.contains(&choice.candidate) && !self.devices.is_in_use(&candidate.id));
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
        match self.has_left(choice.candidate, asked, &self.being_shared(choice.candidate)) {
            true => Fit::Fits,
            false => Fit::Not,
        }
    }

    fn take(&mut self, choice: Choice) {
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
        let Candidate { id, device, .. } = &self.candidates[candidate];
        let short = || name.strip_prefix(&*id.driver)?.strip_prefix('/');
        device.attributes.get(name).or_else(|| device.attributes.get(short()?))
    }

    fn undo(&mut self) {
        let Some(choice) = self.chosen.pop() else { return };
        if !self.chosen.iter().any(|other| other.candidate == choice.candidate) {
            self.taken.remove(&choice.candidate);
        }
    }

    fn result(&self) -> Vec<DeviceAllocation> {
        let of_claim = |claim: usize| {
            let chosen = || self.chosen.iter().filter(move |choice| choice.claim == claim);
            let device = |(number, choice): (usize, &Choice)| {
                let (asked, candidate) = (self.asked(*choice), &self.candidates[choice.candidate]);
                let share = candidate.device.shareable.then(|| DeviceShare {
                    id: share_id(&self.prepared[claim].claim.uid, &candidate.id, number),
                    consumed: taken(candidate.device, asked),
                });
                let (request, id) = (asked.name.clone(), candidate.id.clone());
                let (admin_access, readying) = (asked.admin_access, candidate.device.readying.clone());
                GivenDevice { request, id, admin_access, share, readying, tolerations: asked.tolerations.clone() }
            };
            let reached = chosen().map(|choice| &self.candidates[choice.candidate]);
            let nodes = reach(reached, &self.node);
            let config = self.config(claim);
            DeviceAllocation { devices: chosen().enumerate().map(device).collect(), nodes, config, since: None }
        };
        (0..self.prepared.len()).map(of_claim).collect()
    }
}

fn is_tainted(device: &Device, asked: &DeviceRequest) -> bool {
    let effects = [TaintEffect::NoSchedule, TaintEffect::NoExecute];
    untolerated(&device.taints, &asked.tolerations, &effects).is_some()
}

/// From where all of these devices can be used; `None` for anywhere.
fn reach<'a>(candidates: impl Iterator<Item = &'a Candidate<'a>>, node: &Name) -> Option<NodeSelector> {
    let (mut expressions, mut fields) = (Vec::new(), Vec::new());
    for candidate in candidates {
        let access = match &candidate.slice.access {
            Access::PerDevice => &candidate.device.access,
            access => access,
        };
        if matches!(access, Access::Node(_)) || candidate.device.readying.binds_to_node {
            let only =
                Requirement { key: "metadata.name".to_owned(), operator: Operator::In, values: vec![node.to_string()] };
            return Some(NodeSelector { node_selector_terms: vec![NodeSelectorTerm::new(Vec::new(), vec![only])] });
        }
        let Access::Nodes(nodes) = access else { continue };
        let terms = nodes.node_selector_terms.iter();
        for (own, all) in terms.flat_map(|term| {
            let expressions = term.match_expressions.iter().map(|own| (own, false));
            expressions.chain(term.match_fields.iter().map(|own| (own, true)))
        }) {
            let list = if all { &mut fields } else { &mut expressions };
            if !list.contains(own) {
                list.push(own.clone());
            }
        }
    }
    let any = !expressions.is_empty() || !fields.is_empty();
    any.then(|| NodeSelector { node_selector_terms: vec![NodeSelectorTerm::new(expressions, fields)] })
}

impl Search<'_> {
    /// The settings for drivers that go with what a claim gets: those of the classes, then the claim's own.
    fn config(&self, claim: usize) -> Vec<Value> {
        let prepared = &self.prepared[claim];
        let alternative = |request: usize| {
            let own = self.chosen.iter().find(|choice| choice.claim == claim && choice.request == request);
            own.map_or(0, |choice| choice.alternative)
        };
        let mut by_class: Vec<(&DeviceClass, Vec<&Name>)> = Vec::new();
        for (request, alternatives) in prepared.claim.requests.iter().enumerate() {
            let at = alternative(request);
            let (Some(asked), class) = (alternatives.get(at), &prepared.classes[request][at]) else { continue };
            match by_class.iter_mut().find(|(own, _)| own.name == class.name) {
                Some((_, requests)) => requests.push(&asked.name),
                None => by_class.push((class, vec![&asked.name])),
            }
        }
        let mut all = Vec::new();
        for (class, requests) in by_class {
            for settings in &class.config {
                all.push(with(settings, "FromClass", json!(requests)));
            }
        }
        for (requests, settings) in &prepared.claim.config {
            let concerns = |(request, alternatives): (usize, &Vec<DeviceRequest>)| {
                let Some(asked) = alternatives.get(alternative(request)) else { return false };
                let whole = asked.name.split('/').next().unwrap_or_default();
                requests.iter().any(|own| *own == asked.name || **own == *whole)
            };
            if requests.is_empty() || prepared.claim.requests.iter().enumerate().any(concerns) {
                all.push(with(settings, "FromClaim", json!(requests)));
            }
        }
        all
    }
}

fn with(settings: &Value, source: &str, requests: Value) -> Value {
    let mut settings = settings.clone();
    settings["source"] = source.into();
    if requests.as_array().is_some_and(|names| !names.is_empty()) {
        settings["requests"] = requests;
    }
    settings
}
