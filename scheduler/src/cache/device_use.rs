//! Which devices somebody has.

use std::collections::BTreeMap;

use kubewright_api::quantity::Quantity;

use crate::object::{DeviceAllocation, DeviceId, DeviceShare, Name};

/// How much of what.
type Amounts = BTreeMap<String, Quantity>;

/// How many claims have each device of a pool, and how much of those that are shared.
#[derive(Clone, Debug, Default)]
pub(crate) struct PoolUse {
    whole: BTreeMap<Name, usize>,
    shares: BTreeMap<Name, (usize, Amounts)>,
}

impl PoolUse {
    /// Whether somebody has all of a device.
    pub(crate) fn has(&self, device: &str) -> bool {
        self.whole.contains_key(device)
    }

    /// How much of a device's capacity was given away in shares, if any was.
    pub(crate) fn shared(&self, device: &str) -> Option<&Amounts> {
        self.shares.get(device).map(|(_, consumed)| consumed)
    }

    fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.shares.is_empty()
    }

    fn count(&mut self, device: &Name, more: bool) {
        let uses = self.whole.entry(device.clone()).or_default();
        *uses = if more { *uses + 1 } else { uses.saturating_sub(1) };
        if *uses == 0 {
            self.whole.remove(device);
        }
    }

    fn count_share(&mut self, device: &Name, share: &DeviceShare, more: bool) {
        let (count, consumed) = self.shares.entry(device.clone()).or_default();
        *count = if more { *count + 1 } else { count.saturating_sub(1) };
        for (name, amount) in &share.consumed {
            let sum = consumed.entry(name.clone()).or_insert_with(|| Quantity::new(0, amount.format()));
            *sum = if more { *sum + *amount } else { *sum - *amount };
        }
        if *count == 0 {
            self.shares.remove(device);
        }
    }
}

/// The devices in use: by driver and pool, so that a node's devices are found with one look.
#[derive(Clone, Debug, Default)]
pub(super) struct DeviceUse {
    pools: BTreeMap<Name, BTreeMap<Name, PoolUse>>,
}

impl DeviceUse {
    pub(super) fn of_pool(&self, driver: &str, pool: &str) -> Option<&PoolUse> {
        self.pools.get(driver)?.get(pool)
    }

    /// Counts what was given in, or out again. Devices with admin access stay free for others.
    pub(super) fn count(&mut self, allocation: &DeviceAllocation, more: bool) {
        for given in allocation.devices.iter().filter(|given| !given.admin_access) {
            let DeviceId { driver, pool, device } = &given.id;
            let pools = self.pools.entry(driver.clone()).or_default();
            let own = pools.entry(pool.clone()).or_default();
            match &given.share {
                Some(share) => own.count_share(device, share, more),
                None => own.count(device, more),
            }
            if own.is_empty() {
                pools.remove(pool);
                if pools.is_empty() {
                    self.pools.remove(driver);
                }
            }
        }
    }
}
