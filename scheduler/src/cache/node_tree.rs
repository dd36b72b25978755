//! The order in which nodes are looked at: one zone after the other, in turns.

use super::NodeSlot;
use crate::object::Name;

/// Nodes by zone, zones and nodes each in the order they came.
#[derive(Clone, Debug, Default)]
pub(super) struct NodeTree {
    zones: Vec<(Name, Vec<NodeSlot>)>,
}

impl NodeTree {
    pub(super) fn add(&mut self, zone: Name, node: NodeSlot) {
        match self.zones.iter_mut().find(|(own, _)| *own == zone) {
            Some((_, nodes)) => nodes.push(node),
            None => self.zones.push((zone, vec![node])),
        }
    }

    pub(super) fn remove(&mut self, zone: &Name, node: NodeSlot) {
        let Some(at) = self.zones.iter().position(|(own, _)| own == zone) else { return };
        let nodes = &mut self.zones[at].1;
        nodes.retain(|own| *own != node);
        if nodes.is_empty() {
            self.zones.remove(at);
        }
    }

    /// All nodes: the first of each zone, then the second of each, and so on.
    pub(super) fn order(&self) -> Vec<NodeSlot> {
        let longest = self.zones.iter().map(|(_, nodes)| nodes.len()).max().unwrap_or(0);
        (0..longest).flat_map(|at| self.zones.iter().filter_map(move |(_, nodes)| nodes.get(at).copied())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_take_turns() {
        let mut tree = NodeTree::default();
        for (zone, slot) in [("a", 0), ("a", 1), ("b", 2), ("a", 3), ("c", 4), ("c", 5)] {
            tree.add(zone.into(), NodeSlot(slot));
        }
        let order = |tree: &NodeTree| tree.order().iter().map(|slot| slot.0).collect::<Vec<_>>();
        assert_eq!(order(&tree), [0, 2, 4, 1, 5, 3]);
        tree.remove(&"b".into(), NodeSlot(2));
        assert_eq!(order(&tree), [0, 4, 1, 5, 3]);
    }
}
