//! Devices and the claims to them, with decisions that the API server doesn't know yet counted in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::object::{Access, DeviceAllocation, DeviceClaim, DeviceClass, DeviceId, DeviceSlice, Name, Node};

/// All devices, who offers them, and who has them.
#[derive(Clone, Debug, Default)]
pub struct Devices {
    claims: BTreeMap<(Name, Name), Arc<DeviceClaim>>,
    classes: BTreeMap<Name, Arc<DeviceClass>>,
    slices: BTreeMap<Name, Arc<DeviceSlice>>,
    pools: BTreeMap<(Name, Name), BTreeSet<Name>>,
    of_node: BTreeMap<Name, BTreeSet<Name>>,
    shared: BTreeSet<Name>,
    pending: BTreeMap<Name, Arc<DeviceAllocation>>,
    in_use: BTreeMap<DeviceId, usize>,
}

fn exclusive(allocation: &DeviceAllocation) -> impl Iterator<Item = &DeviceId> {
    allocation.devices.iter().filter(|(_, _, shared)| !shared).map(|(_, id, _)| id)
}

impl Devices {
    /// Puts a claim in, in place of an earlier version. Tells what it was before.
    pub fn put_claim(&mut self, claim: DeviceClaim) -> (Option<Arc<DeviceClaim>>, Arc<DeviceClaim>) {
        let claim = Arc::new(claim);
        let old = self.claims.insert((claim.namespace.clone(), claim.name.clone()), claim.clone());
        if let Some(allocation) = old.as_ref().and_then(|old| old.allocation.as_ref()) {
            self.count(allocation, false);
        }
        if let Some(allocation) = &claim.allocation {
            self.count(allocation, true);
            self.unpend(&claim.uid);
        }
        (old, claim)
    }

    /// Takes a claim out.
    pub fn remove_claim(&mut self, namespace: &Name, name: &Name) -> Option<Arc<DeviceClaim>> {
        let old = self.claims.remove(&(namespace.clone(), name.clone()))?;
        if let Some(allocation) = &old.allocation {
            self.count(allocation, false);
        }
        self.unpend(&old.uid);
        Some(old)
    }

    fn count(&mut self, allocation: &DeviceAllocation, more: bool) {
        for id in exclusive(allocation) {
            let uses = self.in_use.entry(id.clone()).or_default();
            *uses = if more { *uses + 1 } else { uses.saturating_sub(1) };
            if *uses == 0 {
                self.in_use.remove(id);
            }
        }
    }

    /// A claim by name.
    #[must_use]
    pub fn claim(&self, namespace: &Name, name: &Name) -> Option<&Arc<DeviceClaim>> {
        self.claims.get(&(namespace.clone(), name.clone()))
    }

    /// Believes that a claim got something.
    pub fn pend(&mut self, claim: &Name, allocation: Arc<DeviceAllocation>) {
        self.unpend(claim);
        self.count(&allocation, true);
        self.pending.insert(claim.clone(), allocation);
    }

    /// Stops believing that.
    pub fn unpend(&mut self, claim: &Name) {
        if let Some(allocation) = self.pending.remove(claim) {
            self.count(&allocation, false);
        }
    }

    /// Whether a claim is believed to have got something that the API server doesn't know yet.
    #[must_use]
    pub fn is_pending(&self, claim: &Name) -> bool {
        self.pending.contains_key(claim)
    }

    /// Whether somebody has a device.
    #[must_use]
    pub fn is_in_use(&self, id: &DeviceId) -> bool {
        self.in_use.contains_key(id)
    }

    /// Puts a class in.
    pub fn put_class(&mut self, class: DeviceClass) {
        self.classes.insert(class.name.clone(), Arc::new(class));
    }

    /// Takes a class out.
    pub fn remove_class(&mut self, name: &Name) {
        self.classes.remove(name);
    }

    /// A class by name.
    #[must_use]
    pub fn class(&self, name: &Name) -> Option<&Arc<DeviceClass>> {
        self.classes.get(name)
    }

    /// Puts a slice in, in place of an earlier version.
    pub fn put_slice(&mut self, slice: DeviceSlice) {
        self.remove_slice(&slice.name);
        let name = slice.name.clone();
        self.pools.entry((slice.driver.clone(), slice.pool.clone())).or_default().insert(name.clone());
        match &slice.access {
            Access::Node(node) => drop(self.of_node.entry(node.clone()).or_default().insert(name.clone())),
            _ => drop(self.shared.insert(name.clone())),
        }
        self.slices.insert(name, Arc::new(slice));
    }

    /// Takes a slice out.
    pub fn remove_slice(&mut self, name: &Name) {
        let Some(old) = self.slices.remove(name) else { return };
        let key = (old.driver.clone(), old.pool.clone());
        if let Some(pool) = self.pools.get_mut(&key) {
            pool.remove(name);
            if pool.is_empty() {
                self.pools.remove(&key);
            }
        }
        if let Access::Node(node) = &old.access
            && let Some(slices) = self.of_node.get_mut(node)
        {
            slices.remove(name);
            if slices.is_empty() {
                self.of_node.remove(node);
            }
        }
        self.shared.remove(name);
    }

    /// The slices that are up to date, of pools that are complete, and whose devices a node may use, as far as the
    /// slices say.
    pub fn slices_for<'a>(&'a self, node: &'a Node) -> impl Iterator<Item = &'a Arc<DeviceSlice>> + 'a {
        let own = self.of_node.get(&node.name).into_iter().flatten();
        own.chain(&self.shared).filter_map(|name| self.slices.get(name)).filter(move |slice| {
            let reaches = match &slice.access {
                Access::Node(name) => *name == node.name,
                Access::Nodes(nodes) => nodes.matches(node),
                Access::All | Access::PerDevice => true,
                Access::Nobody => false,
            };
            reaches && self.is_current(slice)
        })
    }

    fn is_current(&self, slice: &DeviceSlice) -> bool {
        let pool = self.pools.get(&(slice.driver.clone(), slice.pool.clone()));
        let editions = || pool.into_iter().flatten().filter_map(|name| self.slices.get(name)).map(|s| s.generation);
        let newest = editions().max().unwrap_or(0);
        let parts = editions().filter(|generation| *generation == newest).count();
        slice.generation == newest && i64::try_from(parts).unwrap_or(i64::MAX) >= slice.slices
    }
}
