//! What plugins remember within one scheduling cycle.

use std::any::{Any, TypeId};
use std::fmt;

/// A bag of values, one of each type: what a plugin computes in PreFilter or PreScore for its later calls.
///
/// It is cloned when nodes are tried with pods added or taken away, so large parts that don't change belong in an
/// `Arc`.
#[derive(Default)]
pub struct CycleState {
    entries: Vec<(TypeId, Box<dyn Entry>)>,
    pub(super) skip_filter: u64,
    pub(super) skip_score: u64,
}

trait Entry: Any + Send + Sync {
    fn boxed(&self) -> Box<dyn Entry>;
}

impl<T: Any + Clone + Send + Sync> Entry for T {
    fn boxed(&self) -> Box<dyn Entry> {
        Box::new(self.clone())
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

    /// Puts a value in, in place of one of the same type.
    pub fn put<T: Any + Clone + Send + Sync>(&mut self, value: T) {
        let id = TypeId::of::<T>();
        match self.entries.iter_mut().find(|(own, _)| *own == id) {
            Some((_, entry)) => *entry = Box::new(value),
            None => self.entries.push((id, Box::new(value))),
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
        (&mut **entry as &mut dyn Any).downcast_mut()
    }
}

impl Clone for CycleState {
    fn clone(&self) -> Self {
        Self {
            entries: self.entries.iter().map(|(id, entry)| (*id, (**entry).boxed())).collect(),
            skip_filter: self.skip_filter,
            skip_score: self.skip_score,
        }
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
