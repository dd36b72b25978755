//! Devices that are shares or parts of something: capacity that claims divide among them, and counters of which
//! devices of a pool take their part.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use kubewright_api::quantity::Quantity;

use super::allocate::{Candidate, Choice, Search};
use crate::object::{Counters, Device, DeviceId, DeviceRequest, Name};

/// How much of what.
type Amounts = BTreeMap<String, Quantity>;

/// How much of each capacity a request takes of a device.
pub(super) fn taken(device: &Device, asked: &DeviceRequest) -> Amounts {
    let take = |(name, all): (&String, &Quantity)| {
        let wanted = asked.capacity.get(name).copied();
        let amount = match device.policies.get(name) {
            Some(policy) => policy.taken(wanted, *all),
            None => wanted.unwrap_or(*all),
        };
        (name.clone(), amount)
    };
    device.capacity.iter().map(take).collect()
}

/// The identity of a claim's share of a device, in the form of a UUID: always the same for the same share.
pub(super) fn share_id(claim: &Name, device: &DeviceId, number: usize) -> Name {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, claim, device, number).hash(&mut hasher);
        hasher.finish()
    };
    let (high, low) = (half(0), half(1));
    let version = 0x8000 | (high & 0x0fff);
    let variant = 0x8000 | (low >> 48 & 0x3fff);
    format!(
        "{:08x}-{:04x}-{version:04x}-{variant:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        low & 0xffff_ffff_ffff
    )
    .into()
}

fn add(sums: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        match sums.get_mut(name) {
            Some(sum) => *sum += *amount,
            None => drop(sums.insert(name.clone(), *amount)),
        }
    }
}

impl Search<'_> {
    /// Whether a device has what is asked of its capacity, beside what others have of it already and what is `being`
    /// given away now.
    pub(super) fn has_left(&self, candidate: usize, asked: &DeviceRequest, being: Option<&Amounts>) -> bool {
        let Candidate { device, pool_use, .. } = &self.candidates[candidate];
        // Most devices are given as a whole, and have all of what they are.
        if asked.capacity.is_empty() && device.policies.is_empty() && !device.shareable {
            return true;
        }
        if asked.capacity.keys().any(|name| !device.capacity.contains_key(name)) {
            return false;
        }
        let shared = pool_use.and_then(|pool| pool.shared(&device.name));
        taken(device, asked).into_iter().all(|(name, amount)| {
            let allowed = device.policies.get(&name).is_none_or(|policy| policy.allows(amount));
            let mut sum = amount;
            for others in shared.into_iter().chain(being) {
                if let Some(more) = others.get(&name) {
                    sum += *more;
                }
            }
            allowed && device.capacity.get(&name).is_some_and(|all| sum <= *all)
        })
    }

    /// How much of a device's capacity the choices made so far take.
    pub(super) fn being_shared(&self, candidate: usize) -> Amounts {
        let mut sums = Amounts::new();
        let device = self.candidates[candidate].device;
        if device.shareable {
            for choice in self.chosen.iter().filter(|choice| choice.candidate == candidate) {
                add(&mut sums, &taken(device, self.asked(*choice)));
            }
        }
        sums
    }

    /// Whether the pool's counters leave enough for a device, beside those that are in use or chosen.
    pub(super) fn counters_allow(&self, candidate: usize) -> bool {
        let Candidate { slice, device, pool_use, .. } = &self.candidates[candidate];
        if device.consumes.is_empty() {
            return true;
        }
        let already = |choice: &Choice| choice.candidate == candidate;
        let shared = |device: &Device| pool_use.is_some_and(|pool| pool.shared(&device.name).is_some());
        if device.shareable && (shared(device) || self.chosen.iter().any(already)) {
            return true;
        }
        let mut left: BTreeMap<&Name, Counters> = BTreeMap::new();
        for part in self.devices.slices_of(&slice.driver, &slice.pool) {
            left.extend(part.counters.iter().map(|(name, counters)| (name, counters.clone())));
        }
        for part in self.devices.slices_of(&slice.driver, &slice.pool) {
            for other in part.devices.iter().filter(|other| !other.consumes.is_empty()) {
                if shared(other) || pool_use.is_some_and(|pool| pool.has(&other.name)) {
                    consume(&mut left, other);
                }
            }
        }
        let mut chosen: Vec<usize> = self.chosen.iter().map(|choice| choice.candidate).collect();
        chosen.sort_unstable();
        chosen.dedup();
        for other in chosen.into_iter().map(|other| &self.candidates[other]) {
            if other.slice.driver == slice.driver && other.slice.pool == slice.pool {
                consume(&mut left, other.device);
            }
        }
        consume(&mut left, device) && left.values().flat_map(Counters::values).all(|amount| amount.signum() >= 0)
    }
}

/// Takes what a device consumes out of counters; tells whether they are all there.
fn consume(left: &mut BTreeMap<&Name, Counters>, device: &Device) -> bool {
    let mut complete = true;
    for (set, amounts) in &device.consumes {
        for (name, amount) in amounts {
            match left.get_mut(set).and_then(|counters| counters.get_mut(name)) {
                Some(counter) => *counter -= *amount,
                None => complete = false,
            }
        }
    }
    complete
}
