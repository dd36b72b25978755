//! Distributes endpoints over slices so that few slices change.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::objects::{Endpoint, EndpointSlice};

/// How many endpoints one slice holds at most.
pub(crate) const MOST: usize = 100;

/// What becomes of the slices of one address family and set of ports.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Packing {
    /// Endpoints of new slices.
    pub(crate) create: Vec<Vec<Endpoint>>,
    /// Slices that get other endpoints.
    pub(crate) update: Vec<(Arc<EndpointSlice>, Vec<Endpoint>)>,
    /// Slices that nothing is left of.
    pub(crate) delete: Vec<Arc<EndpointSlice>>,
    /// Slices that stay as they are.
    pub(crate) keep: Vec<Arc<EndpointSlice>>,
}

/// What tells an endpoint from others: its pod and address.
fn identity(endpoint: &Endpoint) -> (String, String) {
    let uid = endpoint.target_ref.as_ref().map(|target| target.uid.clone()).unwrap_or_default();
    (uid, endpoint.addresses.first().cloned().unwrap_or_default())
}

/// Distributes the wanted endpoints: they stay where they are; new ones fill slices that change anyway, then the
/// fullest slice that has room for all that is left, then new slices.
pub(crate) fn pack(wanted: Vec<Endpoint>, slices: &[Arc<EndpointSlice>]) -> Packing {
    let mut missing: BTreeMap<(String, String), Endpoint> =
        wanted.into_iter().map(|endpoint| (identity(&endpoint), endpoint)).collect();
    let mut packing = Packing::default();
    for slice in slices {
        let mut changed = false;
        let mut held = Vec::with_capacity(slice.endpoints.len());
        for endpoint in &slice.endpoints {
            match missing.remove(&identity(endpoint)) {
                Some(current) => {
                    changed |= current != *endpoint;
                    held.push(current);
                }
                None => changed = true,
            }
        }
        if changed || slice.endpoints.is_empty() {
            packing.update.push((slice.clone(), held));
        } else {
            packing.keep.push(slice.clone());
        }
    }
    let mut rest: Vec<Endpoint> = missing.into_values().collect();
    rest.reverse();
    packing.update.sort_by_key(|(_, held)| std::cmp::Reverse(held.len()));
    for (_, held) in &mut packing.update {
        while held.len() < MOST
            && let Some(endpoint) = rest.pop()
        {
            held.push(endpoint);
        }
    }
    while !rest.is_empty() {
        let room = |slice: &&Arc<EndpointSlice>| slice.endpoints.len() + rest.len() <= MOST;
        let fullest = packing.keep.iter().filter(room).max_by_key(|slice| slice.endpoints.len()).cloned();
        let batch = rest.split_off(rest.len().saturating_sub(MOST));
        match fullest {
            Some(slice) => {
                packing.keep.retain(|kept| kept.metadata.uid != slice.metadata.uid);
                let held = slice.endpoints.iter().cloned().chain(batch.into_iter().rev()).collect();
                packing.update.push((slice, held));
            }
            None => packing.create.push(batch.into_iter().rev().collect()),
        }
    }
    let (filled, empty): (Vec<_>, Vec<_>) = packing.update.into_iter().partition(|(_, held)| !held.is_empty());
    packing.update = filled;
    packing.delete = empty.into_iter().map(|(slice, _)| slice).collect();
    packing
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn endpoint(n: usize) -> Endpoint {
        Endpoint { addresses: vec![format!("10.0.{}.{}", n / 250, n % 250)], ..Endpoint::default() }
    }

    fn slice(name: &str, range: std::ops::Range<usize>) -> Arc<EndpointSlice> {
        let mut slice = EndpointSlice { endpoints: range.map(endpoint).collect(), ..EndpointSlice::default() };
        slice.metadata.uid = name.into();
        Arc::new(slice)
    }

    #[test]
    fn endpoints_stay_where_they_are_and_new_ones_fill_up() {
        let slices = [slice("a", 0..60), slice("b", 60..90)];
        assert_eq!(pack((0..90).map(endpoint).collect(), &slices).keep.len(), 2);
        let grown = pack((0..100).map(endpoint).collect(), &slices);
        assert_eq!((grown.update.len(), grown.keep.len(), grown.create.len()), (1, 1, 0));
        assert_eq!(grown.update[0].0.metadata.uid, "a", "the fullest with room");
        let much = pack((0..300).map(endpoint).collect(), &slices);
        let total: usize = much.create.iter().map(Vec::len).sum::<usize>()
            + much.update.iter().map(|(_, held)| held.len()).sum::<usize>()
            + much.keep.iter().map(|slice| slice.endpoints.len()).sum::<usize>();
        assert_eq!(total, 300);
        assert!(much.create.iter().all(|endpoints| endpoints.len() <= MOST));
        assert_eq!(pack(vec![], &slices).delete.len(), 2);
    }

    proptest! {
        #[test]
        fn every_wanted_endpoint_is_in_exactly_one_slice(held in 0..260_usize, wanted in 0..260_usize, cut in 1..100_usize) {
            let slices: Vec<_> = (0..held).step_by(cut).enumerate().map(|(n, at)| slice(&n.to_string(), at..(at + cut).min(held))).collect();
            let packing = pack((held / 2..held / 2 + wanted).map(endpoint).collect(), &slices);
            let kept = packing.keep.iter().map(|slice| slice.endpoints.clone());
            let all = packing.create.iter().cloned().chain(packing.update.iter().map(|(_, held)| held.clone())).chain(kept);
            let mut seen = std::collections::BTreeSet::new();
            for endpoints in all {
                prop_assert!(!endpoints.is_empty() && endpoints.len() <= MOST);
                for endpoint in endpoints {
                    prop_assert!(seen.insert(endpoint.addresses[0].clone()));
                }
            }
            prop_assert_eq!(seen.len(), wanted);
        }
    }
}
