//! One of a kind for each key, for as long as somebody holds it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// What is shared by those who name the same key, such as a lock.
#[derive(Debug)]
pub(crate) struct Keyed<T>(Mutex<HashMap<String, Weak<T>>>);

impl<T> Default for Keyed<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Keyed<T> {
    /// The one of that key, made if nobody holds one.
    pub(crate) fn get(&self, key: &str, make: impl FnOnce() -> T) -> Arc<T> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(one) = held.get(key).and_then(Weak::upgrade) {
            return one;
        }
        held.retain(|_, one| one.strong_count() > 0);
        let one = Arc::new(make());
        held.insert(key.to_owned(), Arc::downgrade(&one));
        one
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_names_the_same_key_shares_one_until_nobody_holds_it() {
        let keyed = Keyed::default();
        let first = keyed.get("a", || 1);
        assert!(Arc::ptr_eq(&first, &keyed.get("a", || 2)));
        assert_eq!(*keyed.get("b", || 3), 3);
        drop(first);
        assert_eq!(*keyed.get("a", || 4), 4);
        assert_eq!(keyed.0.lock().unwrap().len(), 1);
    }
}
