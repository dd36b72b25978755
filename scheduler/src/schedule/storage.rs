//! What the scheduler is told of volumes.

use super::Scheduler;
use crate::framework::{ActionType, ClusterEvent, EventResource, Object};
use crate::object::{
    Attachment, Claim, CsiDriver, CsiNode, Name, StorageCapacity, StorageClass, Time, Volume, is_older,
};

/// Something about storage that came, changed or went. Names are preceded by namespaces where there are any.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "each says what it is about and what happened to it")]
#[non_exhaustive]
pub enum StorageChange {
    PutClaim(Claim),
    RemoveClaim(Name, Name),
    PutVolume(Volume),
    RemoveVolume(Name),
    PutClass(StorageClass),
    RemoveClass(Name),
    PutCsiNode(CsiNode),
    RemoveCsiNode(Name),
    PutCsiDriver(CsiDriver),
    RemoveCsiDriver(Name),
    PutCapacity(StorageCapacity),
    RemoveCapacity(Name, Name),
    PutAttachment(Attachment),
    RemoveAttachment(Name),
}

impl Scheduler {
    /// Whether a newer version of the object is known already, by an answer that came before the watch told.
    fn is_late(&self, change: &StorageChange) -> bool {
        let storage = &self.cache.snapshot().objects().storage;
        match change {
            StorageChange::PutClaim(new) => storage
                .claim(&new.namespace, &new.name)
                .is_some_and(|known| known.uid == new.uid && is_older(&new.resource_version, &known.resource_version)),
            StorageChange::PutVolume(new) => storage
                .volume(&new.name)
                .is_some_and(|known| known.uid == new.uid && is_older(&new.resource_version, &known.resource_version)),
            _ => false,
        }
    }

    /// Something about storage came, changed or went.
    pub fn change_storage(&mut self, change: StorageChange, now: Time) {
        use EventResource as R;
        let since = self.watch.start();
        if self.is_late(&change) {
            return;
        }
        let storage = &mut self.cache.snapshot_mut().objects_mut().storage;
        let (resource, object, new) = match change {
            StorageChange::PutClaim(claim) => {
                let (old, new) = storage.put_claim(claim);
                (R::PersistentVolumeClaim, Object::Claim(old.clone(), Some(new)), old.is_none())
            }
            StorageChange::PutVolume(volume) => {
                let (old, new) = storage.put_volume(volume);
                (R::PersistentVolume, Object::Volume(old.clone(), Some(new)), old.is_none())
            }
            StorageChange::PutClass(class) => {
                let (old, new) = storage.put_class(class);
                (R::StorageClass, Object::StorageClass(old.clone(), Some(new)), old.is_none())
            }
            StorageChange::PutCsiNode(node) => {
                let (old, new) = storage.put_csi_node(node);
                (R::CsiNode, Object::CsiNode(old.clone(), Some(new)), old.is_none())
            }
            StorageChange::PutCsiDriver(driver) => {
                let old = storage.put_csi_driver(driver.clone());
                (R::CsiDriver, Object::CsiDriver(old.clone(), Some(driver)), old.is_none())
            }
            StorageChange::PutCapacity(capacity) => {
                let old = storage.put_capacity(capacity.clone());
                (R::CsiStorageCapacity, Object::StorageCapacity(old.clone(), Some(capacity)), old.is_none())
            }
            StorageChange::RemoveAttachment(name) => {
                storage.remove_attachment(&name);
                let event = ClusterEvent::new(R::VolumeAttachment, ActionType::DELETE);
                return self.hear(event, &Object::Other, since, now);
            }
            // Nothing fits because one of these goes.
            StorageChange::PutAttachment(attachment) => return storage.put_attachment(attachment),
            StorageChange::RemoveClaim(namespace, name) => return drop(storage.remove_claim(&namespace, &name)),
            StorageChange::RemoveVolume(name) => return drop(storage.remove_volume(&name)),
            StorageChange::RemoveClass(name) => return storage.remove_class(&name),
            StorageChange::RemoveCsiNode(name) => return storage.remove_csi_node(&name),
            StorageChange::RemoveCsiDriver(name) => return storage.remove_csi_driver(&name),
            StorageChange::RemoveCapacity(namespace, name) => return storage.remove_capacity(&namespace, &name),
        };
        let action = if new { ActionType::ADD } else { ActionType::UPDATE };
        self.hear(ClusterEvent::new(resource, action), &object, since, now);
    }
}
