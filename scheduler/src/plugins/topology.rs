//! Kinds of nodes by the topology domains they are in.

use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::cache::{NodeInfo, NodeSlot, Snapshot};
use crate::object::Name;

/// The domains of one node label.
pub(super) struct Domains {
    pub(super) key: Name,
    /// Whether each domain is a single node; then what is known of a node's domain is a property of the node.
    pub(super) single: bool,
    ids: HashMap<Name, u32>,
    of_slot: Vec<u32>,
}

impl Domains {
    /// A node without the label.
    pub(super) const MISSING: u32 = u32::MAX;

    pub(super) fn new(key: Name, snapshot: &Snapshot) -> Self {
        let mut ids = HashMap::new();
        let mut of_slot = vec![Self::MISSING; snapshot.slot_count()];
        let mut single = true;
        for node in snapshot.nodes() {
            let Some(value) = node.labels().get(&key) else { continue };
            let next = u32::try_from(ids.len()).unwrap_or(Self::MISSING);
            let id = *ids.entry(value.clone()).or_insert(next);
            single &= id == next;
            of_slot[node.slot.at()] = id;
        }
        Self { key, single, ids, of_slot }
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// The number of the domain that a node is in. `None` if it is in another than it was.
    pub(super) fn of(&self, node: &NodeInfo) -> Option<u32> {
        let known = self.at(node.slot);
        let now = match node.labels().get(&self.key) {
            Some(value) => *self.ids.get(value)?,
            None => Self::MISSING,
        };
        (known == now).then_some(now)
    }

    fn at(&self, slot: NodeSlot) -> u32 {
        self.of_slot.get(slot.at()).copied().unwrap_or(Self::MISSING)
    }
}

/// What tells a node from others, as far as one label goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Part {
    /// It doesn't have the label.
    Missing,
    /// It is in a domain with others.
    Domain(u32),
    /// It is a domain of its own, with those numbers.
    Own([i64; 3]),
}

pub(super) type Parts = SmallVec<[Part; 2]>;

/// Numbers for what tells nodes apart.
#[derive(Default)]
pub(super) struct Kinds {
    ids: HashMap<Parts, u32>,
    parts: Vec<Parts>,
}

/// How many kinds there may be beside one for each node before they are numbered anew.
const KINDS_MAX: usize = 1 << 16;

impl Kinds {
    /// The number of the kind; `None` if there are too many.
    pub(super) fn id(&mut self, parts: Parts, snapshot: &Snapshot) -> Option<u32> {
        if let Some(id) = self.ids.get(&parts) {
            return Some(*id);
        }
        if self.parts.len() > KINDS_MAX + 2 * snapshot.len() {
            return None;
        }
        let id = u32::try_from(self.parts.len()).ok()?;
        self.parts.push(parts.clone());
        self.ids.insert(parts, id);
        Some(id)
    }

    pub(super) fn parts(&self, kind: u32) -> &[Part] {
        self.parts.get(kind as usize).map_or(&[], |parts| parts)
    }
}
