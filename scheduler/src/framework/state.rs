//! What plugins remember within one scheduling cycle.

use std::any::{Any, TypeId};
use std::fmt;
use std::sync::Arc;

use smallvec::SmallVec;

use super::Status;
use crate::cache::{Objects, Snapshot};

/// A bag of values, one of each type: what a plugin computes in PreFilter or PreScore for its later calls.
///
/// A clone shares every value with the original until one of the two changes it.
#[derive(Clone, Default)]
pub struct CycleState {
    entries: SmallVec<[(TypeId, Arc<dyn Entry>); 4]>,
    objects: Option<Arc<Objects>>,
    pub(crate) skip_filter: u64,
    pub(super) skip_score: u64,
    /// Whether it is measured how long each plugin takes.
    pub(crate) closely: bool,
}

trait Entry: Any + Send + Sync {
    fn copied(&self) -> Arc<dyn Entry>;
}

impl<T: Any + Clone + Send + Sync> Entry for T {
    fn copied(&self) -> Arc<dyn Entry> {
        Arc::new(self.clone())
    }
}

impl CycleState {
    /// An empty bag.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) const fn skips_score(&self, plugin: u32) -> bool {
        self.skip_score & (1 << plugin) != 0
    }

    /// Lets plugins look at the cluster's other objects while nodes are judged.
    pub(crate) fn show(&mut self, snapshot: &Snapshot) {
        self.objects = Some(snapshot.objects_shared());
    }

    /// Ends that, so that the objects can be changed without being copied.
    pub(crate) fn hide(&mut self) {
        self.objects = None;
    }

    /// The cluster's objects beside nodes and pods, from PreFilter to Score.
    ///
    /// # Errors
    /// It is too early or too late for that.
    pub fn objects(&self) -> Result<&Objects, Status> {
        self.objects.as_deref().ok_or_else(|| Status::error("the cluster's objects cannot be seen now"))
    }

    /// Puts a value in, in place of one of the same type.
    pub fn put<T: Any + Clone + Send + Sync>(&mut self, value: T) {
        let id = TypeId::of::<T>();
        match self.entries.iter_mut().find(|(own, _)| *own == id) {
            Some((_, entry)) => *entry = Arc::new(value),
            None => self.entries.push((id, Arc::new(value))),
        }
    }

    /// The value of that type.
    #[must_use]
    pub fn get<T: Any>(&self) -> Option<&T> {
        let id = TypeId::of::<T>();
        let (_, entry) = self.entries.iter().find(|(own, _)| *own == id)?;
        (&**entry as &dyn Any).downcast_ref()
    }

    /// The value of that type, to change.
    pub fn get_mut<T: Any>(&mut self) -> Option<&mut T> {
        let id = TypeId::of::<T>();
        let (_, entry) = self.entries.iter_mut().find(|(own, _)| *own == id)?;
        if Arc::get_mut(entry).is_none() {
            *entry = (**entry).copied();
        }
        (Arc::get_mut(entry)? as &mut dyn Any).downcast_mut()
    }
}

impl fmt::Debug for CycleState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CycleState").field("entries", &self.entries.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_of_each_type_and_clones_are_apart() {
        let mut state = CycleState::new();
        state.put(1_u32);
        state.put("text".to_owned());
        state.put(2_u32);
        let copy = state.clone();
        *state.get_mut::<u32>().unwrap() = 3;
        assert_eq!((state.get::<u32>(), copy.get::<u32>()), (Some(&3), Some(&2)));
        assert_eq!(copy.get::<String>().map(String::as_str), Some("text"));
        assert_eq!(copy.get::<i8>(), None);
    }
}
