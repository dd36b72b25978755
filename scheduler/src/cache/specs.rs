//! Equal specs kept once.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use hashbrown::HashSet;

use crate::object::{PodInfo, PodSpec};

/// A spec as a key: quick to hash, and quick to compare with itself.
#[derive(Clone, Debug)]
pub(crate) struct SpecKey(pub(crate) Arc<PodSpec>);

impl PartialEq for SpecKey {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for SpecKey {}

impl Hash for SpecKey {
    /// Only what tells most specs apart.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let spec = &*self.0;
        (spec.priority, &spec.requests, &spec.required_nodes, &spec.images, &spec.volumes).hash(state);
        (spec.affinity.len(), spec.anti_affinity.len(), spec.spread.len(), spec.host_ports.len()).hash(state);
    }
}

/// The specs of all pods, so that pods of a template share one.
#[derive(Default)]
pub(crate) struct Specs {
    all: HashSet<SpecKey>,
    purge_at: usize,
}

/// How many specs are not worth purging.
const FEW: usize = 1024;

impl Specs {
    /// Lets a pod share an equal pod's spec.
    pub(crate) fn share(&mut self, pod: &mut Arc<PodInfo>) {
        let key = SpecKey(pod.spec.clone());
        if let Some(own) = self.all.get(&key) {
            if !Arc::ptr_eq(&own.0, &pod.spec) {
                Arc::make_mut(pod).spec = own.0.clone();
            }
            return;
        }
        if self.all.len() >= self.purge_at.max(FEW) {
            self.all.retain(|key| Arc::strong_count(&key.0) > 1);
            self.purge_at = 2 * self.all.len();
        }
        self.all.insert(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;

    #[test]
    fn equal_specs_are_kept_once_and_unused_ones_go() {
        let mut specs = Specs::default();
        let made = |name: &str, priority| Arc::new(pod(name).priority(priority).build());
        let (mut a, mut b, mut c) = (made("a", 1), made("b", 1), made("c", 2));
        for pod in [&mut a, &mut b, &mut c] {
            specs.share(pod);
        }
        assert!(Arc::ptr_eq(&a.spec, &b.spec) && !Arc::ptr_eq(&a.spec, &c.spec));
        for priority in 10..5000 {
            specs.share(&mut made("x", priority));
        }
        assert!(specs.all.len() <= FEW + 2);
        assert!(specs.all.contains(&SpecKey(a.spec.clone())));
    }
}
