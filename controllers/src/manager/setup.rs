//! What a controller is made of.

use std::cell::RefCell;
use std::sync::Arc;

use tokio::sync::watch;

use crate::cache::{Cache, Caches, Change};
use crate::objects::{Labels, Object, ObjectKey, Time};
use crate::plan::{Failure, Plan};
use crate::queue::WorkQueue;

/// A queue of objects to reconcile.
pub type Queue = WorkQueue<ObjectKey>;

/// A controller: it looks at the caches and says what to do about one object.
///
/// It does no IO. The manager calls it for every key on its queue, one call a key at a time, and carries out the plan.
pub trait Controller: Send + Sync + 'static {
    /// What to do about the object of that key, which may be gone.
    fn reconcile(&self, key: &ObjectKey, context: &Context) -> Plan;
}

/// What a controller is told besides the caches.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// The time.
    pub now: Time,
    /// What failed when the last plan for this key was carried out, if something did.
    pub failure: Option<Failure>,
}

/// What a controller needs while it is made: caches, and changes that put keys on its queue.
#[derive(Debug)]
pub struct Setup<'a> {
    caches: &'a Caches,
    queue: Arc<Queue>,
    /// Tell when the caches that the controller reads are synced.
    synced: RefCell<Vec<watch::Receiver<bool>>>,
}

impl<'a> Setup<'a> {
    /// A setup over these caches and that queue.
    #[must_use]
    pub fn new(caches: &'a Caches, queue: Arc<Queue>) -> Self {
        Self { caches, queue, synced: RefCell::default() }
    }

    /// The cache of that kind.
    pub fn cache<K: Object>(&self) -> Arc<Cache<K>> {
        self.synced.borrow_mut().push(self.caches.synced::<K>());
        self.caches.of::<K>()
    }

    /// What the controller must wait for before it may decide anything.
    pub(super) fn into_synced(self) -> Vec<watch::Receiver<bool>> {
        self.synced.into_inner()
    }

    /// The controller's queue.
    #[must_use]
    pub fn queue(&self) -> Arc<Queue> {
        self.queue.clone()
    }

    /// Reconciles every object of that kind when it changes.
    pub fn reconcile_each<K: Object>(&self) {
        self.on::<K>(|change, queue| {
            if let Some(object) = change.latest() {
                queue.add(object.meta().key());
            }
        });
    }

    /// Reconciles the owner of that kind when something it manages changes.
    pub fn reconcile_owner<K: Object, O: Object>(&self) {
        self.on::<K>(|change, queue| {
            for object in change.states() {
                let meta = object.meta();
                if let Some(owner) = meta.controller().filter(|owner| O::KIND.is(&owner.api_version, &owner.kind)) {
                    let namespace = if O::KIND.namespaced { meta.namespace.as_str() } else { "" };
                    queue.add(ObjectKey::new(namespace, &owner.name));
                }
            }
        });
    }

    /// Reconciles every object of kind `O` that might adopt an object of kind `K` which nobody manages.
    pub fn wake_adopters<K: Object, O: Object>(&self, selects: fn(&O, &Labels) -> bool) {
        let owners = self.cache::<O>();
        self.on::<K>(move |change, queue| {
            let orphan = change.new.as_ref().map(|object| object.meta());
            if let Some(orphan) = orphan.filter(|meta| meta.controller().is_none() && !meta.deleting()) {
                let adopters = owners.in_namespace(&orphan.namespace).into_iter();
                adopters.filter(|owner| selects(owner, &orphan.labels)).for_each(|owner| queue.add(owner.meta().key()));
            }
        });
    }

    /// Calls `handler` after every change of that kind.
    pub fn on<K: Object>(&self, handler: impl Fn(&Change<K>, &Queue) + Send + Sync + 'static) {
        let queue = self.queue.clone();
        self.synced.borrow_mut().push(self.caches.synced::<K>());
        self.caches.on_change::<K>(move |change| handler(change, &queue));
    }
}
