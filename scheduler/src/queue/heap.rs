//! A binary heap whose entries can be found and taken out by key.

use std::collections::HashMap;

use crate::object::Name;

/// Entries ordered by a function given at every call, each with a key of its own.
#[derive(Clone, Debug)]
pub(super) struct KeyedHeap<T> {
    items: Vec<(Name, T)>,
    places: HashMap<Name, usize>,
}

impl<T> Default for KeyedHeap<T> {
    fn default() -> Self {
        Self { items: Vec::new(), places: HashMap::new() }
    }
}

impl<T> KeyedHeap<T> {
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn peek(&self) -> Option<&T> {
        self.items.first().map(|(_, item)| item)
    }

    pub(super) fn get(&self, key: &str) -> Option<&T> {
        self.places.get(key).map(|at| &self.items[*at].1)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.iter().map(|(_, item)| item)
    }

    /// Puts an entry in, in place of one with the same key.
    pub(super) fn push(&mut self, key: Name, item: T, less: &impl Fn(&T, &T) -> bool) {
        let at = match self.places.get(&key) {
            Some(at) => {
                self.items[*at].1 = item;
                *at
            }
            None => {
                self.places.insert(key.clone(), self.items.len());
                self.items.push((key, item));
                self.items.len() - 1
            }
        };
        let at = self.rise(at, less);
        self.sink(at, less);
    }

    pub(super) fn pop(&mut self, less: &impl Fn(&T, &T) -> bool) -> Option<T> {
        if self.items.is_empty() { None } else { Some(self.take(0, less)) }
    }

    pub(super) fn remove(&mut self, key: &str, less: &impl Fn(&T, &T) -> bool) -> Option<T> {
        let at = *self.places.get(key)?;
        Some(self.take(at, less))
    }

    fn take(&mut self, at: usize, less: &impl Fn(&T, &T) -> bool) -> T {
        let last = self.items.len() - 1;
        self.swap(at, last);
        let (key, item) = self.items.remove(last);
        self.places.remove(&key);
        if at < last {
            let at = self.rise(at, less);
            self.sink(at, less);
        }
        item
    }

    fn rise(&mut self, mut at: usize, less: &impl Fn(&T, &T) -> bool) -> usize {
        while at > 0 {
            let parent = (at - 1) / 2;
            if !less(&self.items[at].1, &self.items[parent].1) {
                break;
            }
            self.swap(at, parent);
            at = parent;
        }
        at
    }

    fn sink(&mut self, mut at: usize, less: &impl Fn(&T, &T) -> bool) {
        loop {
            let (left, right) = (2 * at + 1, 2 * at + 2);
            let mut first = at;
            for child in [left, right] {
                if child < self.items.len() && less(&self.items[child].1, &self.items[first].1) {
                    first = child;
                }
            }
            if first == at {
                return;
            }
            self.swap(at, first);
            at = first;
        }
    }

    fn swap(&mut self, a: usize, b: usize) {
        if a != b {
            self.items.swap(a, b);
            for at in [a, b] {
                let (key, _) = &self.items[at];
                if let Some(place) = self.places.get_mut(key.as_str()) {
                    *place = at;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pops_in_order_whatever_was_removed(values in proptest::collection::vec(0_u32..50, 0..60), gone in 0_usize..60) {
            let less = |a: &u32, b: &u32| a < b;
            let mut heap = KeyedHeap::default();
            for (at, value) in values.iter().enumerate() {
                heap.push(at.to_string().into(), *value, &less);
            }
            let mut expected = values.clone();
            if gone < values.len() {
                prop_assert_eq!(heap.remove(&gone.to_string(), &less), Some(values[gone]));
                expected.remove(gone);
            }
            expected.sort_unstable();
            let popped: Vec<u32> = std::iter::from_fn(|| heap.pop(&less)).collect();
            prop_assert_eq!(popped, expected);
        }
    }
}
