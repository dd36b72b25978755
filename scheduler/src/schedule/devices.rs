//! What the scheduler is told of devices.

use super::Scheduler;
use crate::framework::{ActionType, ClusterEvent, EventResource, Object};
use crate::object::{DeviceClaim, DeviceClass, DeviceSlice, DeviceTaintRule, Name, Time, is_older};

/// Something about devices that came, changed or went. Names are preceded by namespaces where there are any.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "each says what it is about and what happened to it")]
#[non_exhaustive]
pub enum DeviceChange {
    PutClaim(DeviceClaim),
    RemoveClaim(Name, Name),
    PutClass(DeviceClass),
    RemoveClass(Name),
    PutSlice(DeviceSlice),
    RemoveSlice(Name),
    PutTaintRule(DeviceTaintRule),
    RemoveTaintRule(Name),
}

impl Scheduler {
    /// Something about devices came, changed or went.
    pub fn change_devices(&mut self, change: DeviceChange, now: Time) {
        use EventResource as R;
        let since = self.watch.start();
        if let DeviceChange::PutClaim(new) = &change {
            let known = self.cache.snapshot().objects().devices.claim(&new.namespace, &new.name);
            // An answer was here before the watch told.
            if known
                .is_some_and(|known| known.uid == new.uid && is_older(&new.resource_version, &known.resource_version))
            {
                return;
            }
        }
        let devices = &mut self.cache.snapshot_mut().objects_mut().devices;
        let (resource, action, object) = match change {
            DeviceChange::PutClaim(claim) => {
                let (old, new) = devices.put_claim(claim);
                let action = if old.is_none() { ActionType::ADD } else { ActionType::UPDATE };
                (R::ResourceClaim, action, Object::DeviceClaim(old, Some(new)))
            }
            DeviceChange::RemoveClaim(namespace, name) => {
                let old = devices.remove_claim(&namespace, &name);
                (R::ResourceClaim, ActionType::DELETE, Object::DeviceClaim(old, None))
            }
            DeviceChange::PutClass(class) => {
                let (old, new) = devices.put_class(class);
                let action = if old.is_none() { ActionType::ADD } else { ActionType::UPDATE };
                (R::DeviceClass, action, Object::DeviceClass(old, Some(new)))
            }
            DeviceChange::PutSlice(slice) => {
                devices.put_slice(slice);
                (R::ResourceSlice, ActionType::ADD, Object::Other)
            }
            DeviceChange::PutTaintRule(rule) => match devices.put_taint_rule(rule) {
                true => (R::ResourceSlice, ActionType::UPDATE, Object::Other),
                false => return,
            },
            DeviceChange::RemoveTaintRule(name) => match devices.remove_taint_rule(&name) {
                true => (R::ResourceSlice, ActionType::UPDATE, Object::Other),
                false => return,
            },
            // Nothing fits because one of these goes.
            DeviceChange::RemoveClass(name) => return devices.remove_class(&name),
            DeviceChange::RemoveSlice(name) => return devices.remove_slice(&name),
        };
        self.hear(ClusterEvent::new(resource, action), &object, since, now);
    }
}
