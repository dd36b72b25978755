//! NetworkPolicies.

use ipnet::IpNet;
use kubewright_api::field::FieldErrors;
use kubewright_api::names;
use serde_json::{Value, json};

use crate::kinds::edit::{default_to, each, ensure, set};
use crate::kinds::kind::Kind;
use crate::kinds::read::Field;
use crate::kinds::validate::addresses::cidr;
use crate::kinds::validate::labels::label_selector;
use crate::kinds::validate::paths::port_number;
use crate::table::{AGE, NAME, selector_cell, text};

/// NetworkPolicies.
pub(crate) static NETWORK_POLICIES: Kind = Kind {
    default: |object| {
        let Some(spec) = ensure(object, "spec") else { return };
        for direction in ["ingress", "egress"] {
            for rule in each(spec, direction) {
                each(rule, "ports").for_each(|port| default_to(port, "protocol", "TCP"));
            }
        }
        if spec["policyTypes"].as_array().is_none_or(Vec::is_empty) {
            let egress = spec["egress"].as_array().is_some_and(|rules| !rules.is_empty());
            set(spec, "policyTypes", if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) });
        }
        default_to(spec, "podSelector", json!({}));
    },
    validate: |object, errors| validate(object, &[], errors),
    validate_update: Some(|object, old, errors| {
        let mut before = Vec::new();
        each_peer(&Field::of(old), |peer| {
            let block = peer.field("ipBlock");
            before.push(block.field("cidr").text());
            before.extend(block.field("except").texts());
        });
        validate(object, &before, errors);
    }),
    columns: &[
        NAME,
        text("Pod-Selector", "Pods that it is for.", |object, _| selector_cell(&object["spec"]["podSelector"])),
        AGE,
    ],
    generation: true,
    ..Kind::PLAIN
};

fn each_peer<'a>(policy: &Field<'a>, mut visit: impl FnMut(Field<'a>)) {
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        for rule in policy.field("spec").field(direction).items() {
            rule.field(peers).items().for_each(&mut visit);
        }
    }
}

fn validate(object: &Value, before: &[&str], errors: &mut FieldErrors) {
    let policy = Field::of(object);
    let spec = policy.field("spec");
    label_selector(&spec.field("podSelector"), errors);
    for direction in ["ingress", "egress"] {
        for rule in spec.field(direction).items() {
            rule.field("ports").items().for_each(|one| port(&one, errors));
        }
    }
    each_peer(&policy, |peer| one_peer(&peer, before, errors));
    let types = spec.field("policyTypes");
    if types.len() > 2 {
        types.invalid(errors, "may not specify more than two policyTypes");
        return;
    }
    types.items().for_each(|kind| kind.one_of_if_set(errors, &["Ingress", "Egress"]));
}

fn port(one: &Field<'_>, errors: &mut FieldErrors) {
    one.field("protocol").one_of_if_set(errors, &["TCP", "UDP", "SCTP"]);
    let (port, end) = (one.field("port"), one.field("endPort"));
    match (port.opt_text(), port.is_set()) {
        (Some(name), _) => {
            if end.is_set() {
                end.invalid(errors, "may not be specified when `port` is non-numeric");
            }
            for fault in names::port_name(name) {
                port.invalid(errors, fault);
            }
        }
        (None, true) => {
            port_number(&port, errors);
            if end.is_set() {
                if end.int() < port.int() {
                    end.invalid_value(errors, port.int(), "must be greater than or equal to `port`");
                }
                port_number(&end, errors);
            }
        }
        (None, false) if end.is_set() => end.invalid(errors, "may not be specified when `port` is not specified"),
        (None, false) => {}
    }
}

fn one_peer(peer: &Field<'_>, before: &[&str], errors: &mut FieldErrors) {
    let (pods, namespaces, block) = (peer.field("podSelector"), peer.field("namespaceSelector"), peer.field("ipBlock"));
    label_selector(&pods, errors);
    label_selector(&namespaces, errors);
    if block.is_set() {
        ip_block(&block, before, errors);
    }
    match (pods.is_set() || namespaces.is_set(), block.is_set()) {
        (false, false) => peer.required(errors, "must specify a peer"),
        (true, true) => peer.forbidden(errors, "may not specify both ipBlock and another peer"),
        _ => {}
    }
}

fn ip_block(block: &Field<'_>, before: &[&str], errors: &mut FieldErrors) {
    let whole = block.field("cidr");
    if !whole.require(errors) {
        return;
    }
    cidr(&whole, before, errors);
    let Ok(all) = whole.text().parse::<IpNet>() else { return };
    for part in block.field("except").items() {
        cidr(&part, before, errors);
        if let Ok(inner) = part.text().parse::<IpNet>()
            && !(all.contains(&inner.network()) && all.prefix_len() < inner.prefix_len())
        {
            part.invalid(errors, "must be a strict subset of `cidr`");
        }
    }
}
