//! Volumes stay as long as a claim is bound to them.

use std::sync::Arc;

use super::guard;
use crate::Error;
use crate::cache::Cache;
use crate::manager::{Config, Context, Controller, Made, Setup};
use crate::objects::{ObjectKey, PersistentVolume};
use crate::plan::Plan;

const FINALIZER: &str = "kubernetes.io/pv-protection";

struct Protection {
    volumes: Arc<Cache<PersistentVolume>>,
}

pub(crate) fn make(setup: &Setup<'_>, _: &Config) -> Result<Option<Made>, Error> {
    setup.reconcile_each::<PersistentVolume>();
    Ok(Some(Made::controller(Protection { volumes: setup.cache() })))
}

impl Controller for Protection {
    fn reconcile(&self, key: &ObjectKey, _: &Context) -> Plan {
        self.volumes.get(key).map_or_else(Plan::nothing, |volume| reconcile(&volume))
    }
}

/// What becomes of a volume.
#[must_use]
pub fn reconcile(volume: &PersistentVolume) -> Plan {
    guard(volume, FINALIZER, volume.status.phase != "Bound")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::objects::kinds;
    use crate::world::World;

    #[test]
    fn a_volume_stays_while_it_is_bound() {
        let mut world = World::new(&[make]);
        world.add(kinds::PERSISTENT_VOLUME, json!({"metadata": {"name": "v"}, "status": {"phase": "Bound"}}));
        world.settle();
        let finalizers = |world: &World| {
            world.get(kinds::PERSISTENT_VOLUME, "", "v").map(|volume| volume["metadata"]["finalizers"].clone())
        };
        assert_eq!(finalizers(&world), Some(json!([FINALIZER])));
        world.remove(kinds::PERSISTENT_VOLUME, "", "v");
        world.settle();
        assert_eq!(finalizers(&world), Some(json!([FINALIZER])), "somebody uses it");
        world.change(kinds::PERSISTENT_VOLUME, "", "v", json!({"status": {"phase": "Released"}}));
        world.settle();
        assert_eq!(finalizers(&world), None);
    }
}
