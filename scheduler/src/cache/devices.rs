//! Devices and the claims to them, with decisions that the API server doesn't know yet counted in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kubewright_api::quantity::Quantity;

use crate::object::{
    Access, DeviceAllocation, DeviceClaim, DeviceClass, DeviceId, DeviceShare, DeviceSlice, Name, Node, Time,
};

/// All devices, who offers them, and who has them.
#[derive(Clone, Debug, Default)]
pub struct Devices {
    claims: BTreeMap<(Name, Name), Arc<DeviceClaim>>,
    classes: BTreeMap<Name, Arc<DeviceClass>>,
    slices: BTreeMap<Name, Arc<DeviceSlice>>,
    pools: BTreeMap<(Name, Name), BTreeSet<Name>>,
    of_node: BTreeMap<Name, BTreeSet<Name>>,
    shared: BTreeSet<Name>,
    with_counters: BTreeSet<Name>,
    pending: BTreeMap<Name, Arc<DeviceAllocation>>,
    in_use: BTreeMap<DeviceId, usize>,
    shares: BTreeMap<DeviceId, Shares>,
    /// The classes behind extended resources, and a number that grows when that changes.
    behind: BTreeMap<Name, Arc<DeviceClass>>,
    behind_version: u64,
    /// The claims that schedulers made for pods that ask for extended resources, by the pods' UIDs.
    extended: BTreeMap<Name, (Name, Name)>,
    /// The claims some of whose devices must be made ready, and what time it is.
    readying: BTreeSet<(Name, Name)>,
    now: Time,
}

/// How many shares of a device were given away, and how much of what they are together.
type Shares = (usize, BTreeMap<String, Quantity>);

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
            self.count(allocation, false);
        }
        if let Some(allocation) = &claim.allocation {
            self.count(allocation, true);
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
            self.count(allocation, false);
        }
        self.unpend(&old.uid);
        self.readying.remove(&(namespace.clone(), name.clone()));
        if old.extended {
            self.unpend(&extended_uid(&old.owner_pod));
            self.extended.remove(&old.owner_pod);
        }
        Some(old)
    }

    fn count(&mut self, allocation: &DeviceAllocation, more: bool) {
        for given in allocation.devices.iter().filter(|given| !given.admin_access) {
            if let Some(share) = &given.share {
                self.count_share(&given.id, share, more);
                continue;
            }
            let uses = self.in_use.entry(given.id.clone()).or_default();
            *uses = if more { *uses + 1 } else { uses.saturating_sub(1) };
            if *uses == 0 {
                self.in_use.remove(&given.id);
            }
        }
    }

    fn count_share(&mut self, id: &DeviceId, share: &DeviceShare, more: bool) {
        let (count, consumed) = self.shares.entry(id.clone()).or_default();
        *count = if more { *count + 1 } else { count.saturating_sub(1) };
        for (name, amount) in &share.consumed {
            let sum = consumed.entry(name.clone()).or_insert_with(|| Quantity::new(0, amount.format()));
            *sum = if more { *sum + *amount } else { *sum - *amount };
        }
        if *count == 0 {
            self.shares.remove(id);
        }
    }

    /// How much of a device's capacity was given away in shares, if any was.
    #[must_use]
    pub fn shared(&self, id: &DeviceId) -> Option<&BTreeMap<String, Quantity>> {
        self.shares.get(id).map(|(_, consumed)| consumed)
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
        self.with_counters.remove(name);
    }

    /// The slices that are up to date, of pools that are complete, and whose devices a node may use, as far as the
    /// slices say.
    pub fn slices_for<'a>(&'a self, node: &'a Node) -> impl Iterator<Item = &'a Arc<DeviceSlice>> + 'a {
        let own = self.of_node.get(&node.name).into_iter().flatten();
        let slices = own.chain(&self.shared).filter_map(|name| self.slices.get(name));
        slices.filter(move |slice| reaches(slice, node) && self.is_current(slice))
    }

    /// A pool that matters to a node and of which not all slices are there yet: its driver and name. Of several the
    /// first.
    #[must_use]
    pub fn incomplete_pool(&self, node: &Node) -> Option<(&Name, &Name)> {
        let own = self.of_node.get(&node.name).into_iter().flatten().chain(&self.shared);
        let own = own.filter_map(|name| self.slices.get(name)).filter(|slice| reaches(slice, node));
        let counting = self.with_counters.iter().filter_map(|name| self.slices.get(name));
        let incomplete = |slice: &&Arc<DeviceSlice>| {
            let (newest, parts) = self.newest(slice);
            slice.generation == newest && parts != slice.slices
        };
        own.chain(counting).filter(incomplete).map(|slice| (&slice.driver, &slice.pool)).min()
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
