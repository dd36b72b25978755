//! Devices and the claims to them, with decisions that the API server doesn't know yet counted in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kubewright_api::quantity::Quantity;

use super::device_use::{DeviceUse, PoolUse};
use crate::object::{
    Access, DeviceAllocation, DeviceClaim, DeviceClass, DeviceId, DeviceSlice, DeviceTaintRule, Name, Node, Time,
};

/// All devices, who offers them, and who has them.
#[derive(Clone, Debug, Default)]
pub struct Devices {
    claims: BTreeMap<(Name, Name), Arc<DeviceClaim>>,
    classes: BTreeMap<Name, Arc<DeviceClass>>,
    /// What is on offer, as drivers tell it and with what rules taint of it.
    told: BTreeMap<Name, Arc<DeviceSlice>>,
    slices: BTreeMap<Name, Arc<DeviceSlice>>,
    taint_rules: BTreeMap<Name, DeviceTaintRule>,
    pools: BTreeMap<(Name, Name), BTreeSet<Name>>,
    of_node: BTreeMap<Name, BTreeSet<Name>>,
    shared: BTreeSet<Name>,
    with_counters: BTreeSet<Name>,
    pending: BTreeMap<Name, Arc<DeviceAllocation>>,
    in_use: DeviceUse,
    /// The classes behind extended resources, and a number that grows when that changes.
    behind: BTreeMap<Name, Arc<DeviceClass>>,
    behind_version: u64,
    /// The claims that schedulers made for pods that ask for extended resources, by the pods' UIDs.
    extended: BTreeMap<Name, (Name, Name)>,
    /// The claims some of whose devices must be made ready, and what time it is.
    readying: BTreeSet<(Name, Name)>,
    now: Time,
}

impl Devices {
    /// Puts a claim in, in place of an earlier version. Tells what it was before.
    pub fn put_claim(&mut self, claim: DeviceClaim) -> (Option<Arc<DeviceClaim>>, Arc<DeviceClaim>) {
        let claim = Arc::new(claim);
        let key = (claim.namespace.clone(), claim.name.clone());
        let old = self.claims.insert(key.clone(), claim.clone());
        if claim.extended && !claim.owner_pod.is_empty() {
            self.extended.insert(claim.owner_pod.clone(), key.clone());
        }
        if claim.allocation.as_ref().is_some_and(DeviceAllocation::needs_readying) {
            self.readying.insert(key);
        } else if !self.readying.is_empty() {
            self.readying.remove(&key);
        }
        if let Some(allocation) = old.as_ref().and_then(|old| old.allocation.as_ref()) {
            self.in_use.count(allocation, false);
        }
        if let Some(allocation) = &claim.allocation {
            self.in_use.count(allocation, true);
            self.unpend(&claim.uid);
            if claim.extended {
                self.unpend(&extended_uid(&claim.owner_pod));
            }
        }
        (old, claim)
    }

    /// Takes a claim out.
    pub fn remove_claim(&mut self, namespace: &Name, name: &Name) -> Option<Arc<DeviceClaim>> {
        let old = self.claims.remove(&(namespace.clone(), name.clone()))?;
        if let Some(allocation) = &old.allocation {
            self.in_use.count(allocation, false);
        }
        self.unpend(&old.uid);
        self.readying.remove(&(namespace.clone(), name.clone()));
        if old.extended {
            self.unpend(&extended_uid(&old.owner_pod));
            self.extended.remove(&old.owner_pod);
        }
        Some(old)
    }

    /// Which devices of a pool somebody has; nothing if nobody has any.
    pub(crate) fn in_use_of(&self, driver: &str, pool: &str) -> Option<&PoolUse> {
        self.in_use.of_pool(driver, pool)
    }

    /// How much of a device's capacity was given away in shares, if any was.
    #[must_use]
    pub fn shared(&self, id: &DeviceId) -> Option<&BTreeMap<String, Quantity>> {
        self.in_use.of_pool(&id.driver, &id.pool)?.shared(&id.device)
    }

    /// A claim by name.
    #[must_use]
    pub fn claim(&self, namespace: &Name, name: &Name) -> Option<&Arc<DeviceClaim>> {
        self.claims.get(&(namespace.clone(), name.clone()))
    }

    /// Believes that a claim got something.
    pub fn pend(&mut self, claim: &Name, allocation: Arc<DeviceAllocation>) {
        self.unpend(claim);
        self.in_use.count(&allocation, true);
        self.pending.insert(claim.clone(), allocation);
    }

    /// Stops believing that.
    pub fn unpend(&mut self, claim: &Name) {
        if let Some(allocation) = self.pending.remove(claim) {
            self.in_use.count(&allocation, false);
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
        self.in_use.of_pool(&id.driver, &id.pool).is_some_and(|pool| pool.has(&id.device))
    }

    /// The claim that a scheduler made for a pod that asks for extended resources.
    #[must_use]
    pub fn extended_claim(&self, pod: &Name) -> Option<&Arc<DeviceClaim>> {
        self.claims.get(self.extended.get(pod)?)
    }

    /// The class behind an extended resource.
    #[must_use]
    pub fn class_behind(&self, resource: &str) -> Option<&Arc<DeviceClass>> {
        match resource.strip_prefix(DeviceClass::RESOURCE_PREFIX) {
            Some(name) => self.classes.get(name),
            None => self.behind.get(resource),
        }
    }

    /// A number that grows when other classes come to stand behind extended resources.
    pub(crate) const fn behind_version(&self) -> u64 {
        self.behind_version
    }

    /// Whether time matters: some devices are waited for.
    pub(crate) fn are_waited_for(&self) -> bool {
        !self.readying.is_empty()
    }

    /// Says what time it is.
    pub(crate) const fn set_now(&mut self, now: Time) {
        self.now = now;
    }

    /// Whether a claim's devices are ready, or may still become it, `patience` after they were given to it.
    pub(crate) fn may_be_ready(&self, claim: &DeviceClaim, patience: Duration) -> bool {
        claim.is_ready().is_ok_and(|ready| ready || !claim.is_overdue(patience, self.now))
    }

    /// Puts a class in. Tells what it was before.
    pub fn put_class(&mut self, class: DeviceClass) -> (Option<Arc<DeviceClass>>, Arc<DeviceClass>) {
        let class = Arc::new(class);
        let old = self.classes.insert(class.name.clone(), class.clone());
        self.note_resources();
        (old, class)
    }

    /// Takes a class out.
    pub fn remove_class(&mut self, name: &Name) {
        self.classes.remove(name);
        self.note_resources();
    }

    /// Of several classes behind one resource the newest counts, and of those the first by name.
    fn note_resources(&mut self) {
        let mut behind: BTreeMap<Name, Arc<DeviceClass>> = BTreeMap::new();
        for class in self.classes.values() {
            let Some(resource) = &class.extended_resource else { continue };
            let older = behind.get(resource).is_none_or(|other| other.created < class.created);
            if older {
                behind.insert(resource.clone(), class.clone());
            }
        }
        self.behind = behind;
        self.behind_version += 1;
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
        if !slice.counters.is_empty() {
            self.with_counters.insert(name.clone());
        }
        let slice = Arc::new(slice);
        self.slices.insert(name.clone(), self.tainted(&slice));
        self.told.insert(name, slice);
    }

    /// A slice with what rules make of its devices.
    fn tainted(&self, told: &Arc<DeviceSlice>) -> Arc<DeviceSlice> {
        if self.taint_rules.is_empty() {
            return told.clone();
        }
        let mut slice = (**told).clone();
        let applied = self.taint_rules.values().filter(|rule| rule.apply(&mut slice)).count();
        if applied == 0 { told.clone() } else { Arc::new(slice) }
    }

    /// Puts a rule in, in place of an earlier version. Tells whether that changes any device.
    pub fn put_taint_rule(&mut self, rule: DeviceTaintRule) -> bool {
        self.taint_rules.insert(rule.name.clone(), rule);
        self.taint_again()
    }

    /// Takes a rule out. Tells whether that changes any device.
    pub fn remove_taint_rule(&mut self, name: &Name) -> bool {
        self.taint_rules.remove(name).is_some() && self.taint_again()
    }

    fn taint_again(&mut self) -> bool {
        let slices: BTreeMap<Name, Arc<DeviceSlice>> =
            self.told.iter().map(|(name, told)| (name.clone(), self.tainted(told))).collect();
        let changed = slices != self.slices;
        // Slices that stay as they are keep their place, by which what was found out about them is known.
        for (name, slice) in slices {
            if self.slices.get(&name) != Some(&slice) {
                self.slices.insert(name, slice);
            }
        }
        changed
    }

    /// Takes a slice out.
    pub fn remove_slice(&mut self, name: &Name) {
        self.told.remove(name);
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
        self.with_counters.remove(name);
    }

    /// The slices that are up to date, of pools that are complete, and whose devices a node may use, as far as the
    /// slices say.
    pub fn slices_for<'a>(&'a self, node: &'a Node) -> impl Iterator<Item = &'a Arc<DeviceSlice>> + 'a {
        self.slices_reaching(node).filter(|slice| self.is_current(slice))
    }

    /// All slices whose devices a node may use, as far as the slices say, however complete their pools are.
    pub(crate) fn slices_reaching<'a>(&'a self, node: &Node) -> impl Iterator<Item = &'a Arc<DeviceSlice>> {
        let own = self.of_node.get(&node.name).into_iter().flatten();
        let slices = own.chain(&self.shared).filter_map(|name| self.slices.get(name));
        slices.filter(move |slice| reaches(slice, node))
    }

    /// A pool that matters to a node and of which not all slices are there yet: its driver and name. Of several the
    /// first.
    #[must_use]
    pub fn incomplete_pool(&self, node: &Node) -> Option<(&Name, &Name)> {
        let counting = self.with_counters.iter().filter_map(|name| self.slices.get(name));
        let incomplete = |slice: &&Arc<DeviceSlice>| {
            let (newest, parts) = self.newest(slice);
            slice.generation == newest && parts != slice.slices
        };
        self.slices_reaching(node).chain(counting).filter(incomplete).map(|slice| (&slice.driver, &slice.pool)).min()
    }

    /// The slices of a pool that are up to date, whoever may use their devices.
    pub fn slices_of<'a>(&'a self, driver: &Name, pool: &Name) -> impl Iterator<Item = &'a Arc<DeviceSlice>> + 'a {
        let names = self.pools.get(&(driver.clone(), pool.clone())).into_iter().flatten();
        names.filter_map(|name| self.slices.get(name)).filter(|slice| self.is_current(slice))
    }

    fn is_current(&self, slice: &DeviceSlice) -> bool {
        let (newest, parts) = self.newest(slice);
        slice.generation == newest && parts == slice.slices
    }

    /// The newest edition of a slice's pool, and how many slices of it are there.
    fn newest(&self, slice: &DeviceSlice) -> (i64, i64) {
        let pool = self.pools.get(&(slice.driver.clone(), slice.pool.clone()));
        let editions = || pool.into_iter().flatten().filter_map(|name| self.slices.get(name)).map(|s| s.generation);
        let newest = editions().max().unwrap_or(0);
        let parts = editions().filter(|generation| *generation == newest).count();
        (newest, i64::try_from(parts).unwrap_or(i64::MAX))
    }
}

/// Under what UID the claim is known that is still to be made for a pod that asks for extended resources.
pub(crate) fn extended_uid(pod: &Name) -> Name {
    format!("<extended-resources>/{pod}").into()
}

/// Whether a node may use a slice's devices, as far as the slice says.
fn reaches(slice: &DeviceSlice, node: &Node) -> bool {
    match &slice.access {
        Access::Node(name) => *name == node.name,
        Access::Nodes(nodes) => nodes.matches(node),
        Access::All | Access::PerDevice => true,
        Access::Nobody => false,
    }
}
