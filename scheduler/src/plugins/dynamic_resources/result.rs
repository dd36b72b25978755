//! What claims get, once devices were chosen for them.

use kubewright_api::selector::{Operator, Requirement};
use serde_json::{Value, json};

use super::allocate::{Candidate, Choice, Search};
use super::sharing::{share_id, taken};
use crate::object::{
    Access, DeviceAllocation, DeviceClass, DeviceRequest, DeviceShare, GivenDevice, Name, NodeSelector,
    NodeSelectorTerm,
};

impl Search<'_> {
    pub(super) fn result(&self) -> Vec<DeviceAllocation> {
        let of_claim = |claim: usize| {
            let chosen = || self.chosen.iter().filter(move |choice| choice.claim == claim);
            let device = |(number, choice): (usize, &Choice)| {
                let (asked, candidate) = (self.asked(*choice), &self.candidates[choice.candidate]);
                let (request, id) = (asked.name.clone(), candidate.id());
                let share = candidate.device.shareable.then(|| DeviceShare {
                    id: share_id(&self.prepared[claim].claim.uid, &id, number),
                    consumed: taken(candidate.device, asked),
                });
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

fn with(settings: &Value, source: &str, requests: Value) -> Value {
    let mut settings = settings.clone();
    settings["source"] = source.into();
    if requests.as_array().is_some_and(|names| !names.is_empty()) {
        settings["requests"] = requests;
    }
    settings
}
