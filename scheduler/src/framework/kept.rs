//! What a plugin keeps from one pod to the next of the same kind.

use std::any::Any;
use std::fmt;

/// A bag of values, one of each type, that lives as long as results are used again for pods of one kind.
///
/// It is thrown away when nodes come, go or move between zones, and when anything changes that the profile's plugins
/// [stamp](super::FilterPlugin::stamp). Of changes to single nodes and of promises made to pods, whoever keeps something
/// here must take note.
#[derive(Default)]
pub struct Kept(Vec<Box<dyn Any + Send + Sync>>);

impl Kept {
    /// Whether nothing is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of that type; made if there is none yet.
    pub fn get_or_insert_with<T: Any + Send + Sync>(&mut self, make: impl FnOnce() -> T) -> &mut T {
        let at = self.0.iter().position(|own| own.is::<T>()).unwrap_or_else(|| {
            self.0.push(Box::new(make()));
            self.0.len() - 1
        });
        self.0[at].downcast_mut().expect("found by its type, or just put in")
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("values", &self.0.len()).finish()
    }
}
