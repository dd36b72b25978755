//! Gives every node a range of addresses for its pods.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::json;

use crate::Error;
use crate::cache::Cache;
use crate::manager::{Config, Context, Controller, Made, Setup};
use crate::objects::{Node, ObjectKey};
use crate::plan::{Note, Plan, Reference};

struct NodeIpam {
    nodes: Arc<Cache<Node>>,
    ranges: Vec<ClusterRange>,
}

pub(crate) fn make(setup: &Setup<'_>, config: &Config) -> Result<Option<Made>, Error> {
    if config.cluster_cidrs.is_empty() {
        return Ok(None);
    }
    let masks = (config.node_cidr_mask_ipv4, config.node_cidr_mask_ipv6);
    let ranges = config.cluster_cidrs.iter().map(|text| ClusterRange::parse(text, masks)).collect::<Result<_, _>>()?;
    // One key for all nodes: two of them must not be given the same range at the same time.
    setup.on::<Node>(|change, queue| {
        if change.new.as_ref().is_some_and(|node| node.spec.pod_cidr.is_empty()) {
            queue.add(ObjectKey::default());
        }
    });
    Ok(Some(Made::controller(NodeIpam { nodes: setup.cache(), ranges })))
}

impl Controller for NodeIpam {
    fn reconcile(&self, _: &ObjectKey, _: &Context) -> Plan {
        reconcile(&self.nodes.all(), &self.ranges)
    }
}

/// A range that nodes' ranges are cut from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterRange {
    first: u128,
    prefix: u8,
    node_prefix: u8,
    ipv6: bool,
}

impl ClusterRange {
    /// Reads a range such as `10.244.0.0/16`; nodes get prefixes of these lengths (IPv4, IPv6).
    ///
    /// # Errors
    /// [`Error::Configuration`] if it is malformed or smaller than one node's range.
    pub fn parse(text: &str, (mask4, mask6): (u8, u8)) -> Result<Self, Error> {
        let wrong = |why: &str| Error::Configuration { message: format!("cluster range {text:?} {why}") };
        let (address, prefix) = text.split_once('/').ok_or_else(|| wrong("has no prefix length"))?;
        let address: IpAddr = address.parse().map_err(|_| wrong("has a malformed address"))?;
        let prefix: u8 = prefix.parse().map_err(|_| wrong("has a malformed prefix length"))?;
        let (bits, width, node_prefix) = match address {
            IpAddr::V4(v4) => (u128::from(u32::from(v4)), 32, mask4),
            IpAddr::V6(v6) => (u128::from(v6), 128, mask6),
        };
        if prefix > node_prefix || node_prefix > width {
            return Err(wrong("is smaller than one node's range"));
        }
        let first = bits & !low_bits(width - prefix);
        Ok(Self { first, prefix, node_prefix, ipv6: address.is_ipv6() })
    }

    fn width(&self) -> u8 {
        if self.ipv6 { 128 } else { 32 }
    }

    /// The first node's range that overlaps none of the used ones.
    fn free(&self, used: &BTreeSet<u128>) -> Option<u128> {
        let step = low_bits(self.width() - self.node_prefix).checked_add(1)?;
        let last = self.first | low_bits(self.width() - self.prefix);
        let mut candidate = self.first;
        loop {
            if !used.contains(&candidate) {
                return Some(candidate);
            }
            candidate = candidate.checked_add(step).filter(|next| *next <= last)?;
        }
    }

    /// The node's range that holds that range's first address, if it is of this cluster range.
    fn slot(&self, cidr: &str) -> Option<u128> {
        let address: IpAddr = cidr.split_once('/')?.0.parse().ok()?;
        let bits = match address {
            IpAddr::V4(v4) if !self.ipv6 => u128::from(u32::from(v4)),
            IpAddr::V6(v6) if self.ipv6 => u128::from(v6),
            _ => return None,
        };
        Some(bits & !low_bits(self.width() - self.node_prefix))
    }

    fn text(&self, first: u128) -> String {
        let address = match u32::try_from(first) {
            Ok(bits) if !self.ipv6 => IpAddr::V4(bits.into()),
            _ => IpAddr::V6(first.into()),
        };
        format!("{address}/{}", self.node_prefix)
    }
}

const fn low_bits(count: u8) -> u128 {
    if count >= 128 { u128::MAX } else { (1 << count) - 1 }
}

/// Gives a range to every node that has none.
#[must_use]
pub fn reconcile(nodes: &[Arc<Node>], ranges: &[ClusterRange]) -> Plan {
    let mut plan = Plan::nothing();
    let cidrs = |node: &Node| {
        let main = Some(node.spec.pod_cidr.clone()).filter(|cidr| !cidr.is_empty());
        node.spec.pod_cidrs.iter().cloned().chain(main).collect::<Vec<_>>()
    };
    let held: Vec<String> = nodes.iter().flat_map(|node| cidrs(node)).collect();
    let mut used: Vec<BTreeSet<u128>> =
        ranges.iter().map(|range| held.iter().filter_map(|cidr| range.slot(cidr)).collect()).collect();
    for node in nodes.iter().filter(|node| cidrs(node).is_empty() && !node.metadata.deleting()) {
        let free: Option<Vec<u128>> = ranges.iter().zip(&used).map(|(range, used)| range.free(used)).collect();
        let Some(free) = free else {
            let text = format!("Node {} status is now: CIDRNotAvailable", node.metadata.name);
            plan.event(Reference::to(node.as_ref()), Note::normal("CIDRNotAvailable", text));
            continue;
        };
        for (used, slot) in used.iter_mut().zip(&free) {
            used.insert(*slot);
        }
        let texts: Vec<String> = ranges.iter().zip(free).map(|(range, slot)| range.text(slot)).collect();
        plan.patch(node.as_ref(), "", json!({"spec": {"podCIDR": texts[0], "podCIDRs": texts}}));
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::kinds;
    use crate::world::World;

    fn world(cidrs: &[&str], mask: u8) -> World {
        let cluster_cidrs = cidrs.iter().map(|text| (*text).to_owned()).collect();
        let config = Config { cluster_cidrs, node_cidr_mask_ipv4: mask, ..Config::default() };
        World::configured(&[make], &config)
    }

    fn ranges(world: &World) -> Vec<String> {
        world.list::<Node>().iter().map(|node| node.spec.pod_cidrs.join(",")).collect()
    }

    #[test]
    fn nodes_get_ranges_that_do_not_overlap_and_are_used_again() {
        let mut world = world(&["10.0.0.0/14", "fd00::/48"], 16);
        for name in ["a", "b", "c"] {
            world.add(kinds::NODE, json!({"metadata": {"name": name}, "spec": {}}));
        }
        world.settle();
        assert_eq!(
            ranges(&world),
            ["10.0.0.0/16,fd00::/64", "10.1.0.0/16,fd00:0:0:1::/64", "10.2.0.0/16,fd00:0:0:2::/64"]
        );
        world.remove(kinds::NODE, "", "b");
        world.add(kinds::NODE, json!({"metadata": {"name": "d"}, "spec": {}}));
        world.settle();
        assert_eq!(ranges(&world)[2], "10.1.0.0/16,fd00:0:0:1::/64");
        world.assert_settled();
    }

    #[test]
    fn an_exhausted_range_is_told_and_a_wrong_one_refused() {
        let mut world = world(&["10.0.0.0/24"], 24);
        for name in ["a", "b"] {
            world.add(kinds::NODE, json!({"metadata": {"name": name}, "spec": {}}));
        }
        world.settle();
        assert_eq!(ranges(&world), ["10.0.0.0/24", ""]);
        assert!(world.events.iter().any(|event| event.starts_with("CIDRNotAvailable")));
        for wrong in ["10.0.0.0", "x/8", "10.0.0.0/x", "10.0.0.0/28"] {
            assert!(ClusterRange::parse(wrong, (24, 64)).is_err(), "{wrong}");
        }
    }
}
