//! A binary heap whose entries can be found and taken out by key.

use hashbrown::HashMap;

use crate::framework::caught;
use crate::object::Name;

/// Entries ordered by a function given at every call, each with a key of its own.
///
/// Entries stay where they are and only their numbers are sorted: the heap is put in order at every push and pop, and
/// entries are large.
#[derive(Clone, Debug)]
pub(super) struct KeyedHeap<T> {
    slots: Vec<Option<Slot<T>>>,
    free: Vec<usize>,
    order: Vec<usize>,
    by_key: HashMap<Name, usize>,
}

#[derive(Clone, Debug)]
struct Slot<T> {
    key: Name,
    item: T,
    /// Its place in the order.
    at: usize,
}

impl<T> Default for KeyedHeap<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), order: Vec::new(), by_key: HashMap::new() }
    }
}

impl<T> KeyedHeap<T> {
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    pub(super) fn peek(&self) -> Option<&T> {
        self.item(*self.order.first()?)
    }

    pub(super) fn get(&self, key: &str) -> Option<&T> {
        self.item(*self.by_key.get(key)?)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.order.iter().filter_map(|slot| self.item(*slot))
    }

    fn item(&self, slot: usize) -> Option<&T> {
        self.slots[slot].as_ref().map(|slot| &slot.item)
    }

    /// Puts an entry in, in place of one with the same key.
    pub(super) fn push(&mut self, key: Name, item: T, less: &impl Fn(&T, &T) -> bool) {
        let at = match self.by_key.get(&key).and_then(|slot| self.slots[*slot].as_mut()) {
            Some(slot) => {
                slot.item = item;
                slot.at
            }
            None => self.add(key, item),
        };
        self.settle(at, less);
    }

    fn add(&mut self, key: Name, item: T) -> usize {
        let at = self.order.len();
        let slot = self.free.pop().unwrap_or(self.slots.len());
        if slot == self.slots.len() {
            self.slots.push(None);
        }
        self.by_key.insert(key.clone(), slot);
        self.slots[slot] = Some(Slot { key, item, at });
        self.order.push(slot);
        at
    }

    pub(super) fn pop(&mut self, less: &impl Fn(&T, &T) -> bool) -> Option<T> {
        self.take(0, less)
    }

    pub(super) fn remove(&mut self, key: &str, less: &impl Fn(&T, &T) -> bool) -> Option<T> {
        let slot = *self.by_key.get(key)?;
        let at = self.slots[slot].as_ref()?.at;
        self.take(at, less)
    }

    fn take(&mut self, at: usize, less: &impl Fn(&T, &T) -> bool) -> Option<T> {
        let last = self.order.len().checked_sub(1)?;
        self.swap(at, last);
        let slot = self.order.pop()?;
        let Slot { key, item, .. } = self.slots[slot].take()?;
        self.free.push(slot);
        self.by_key.remove(&key);
        if at < last {
            self.settle(at, less);
        }
        Some(item)
    }

    fn is_less(&self, a: usize, b: usize, less: &impl Fn(&T, &T) -> bool) -> bool {
        match (self.item(self.order[a]), self.item(self.order[b])) {
            (Some(a), Some(b)) => less(a, b),
            _ => false,
        }
    }

    /// Puts the entry in its place. If whoever orders entries panics, it stays where it got to: the order is wrong then,
    /// but every entry is there.
    fn settle(&mut self, at: usize, less: &impl Fn(&T, &T) -> bool) {
        caught("QueueSort", "", || {
            let at = self.rise(at, less);
            self.sink(at, less);
        });
    }

    fn rise(&mut self, mut at: usize, less: &impl Fn(&T, &T) -> bool) -> usize {
        while at > 0 {
            let parent = (at - 1) / 2;
            if !self.is_less(at, parent, less) {
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
                if child < self.order.len() && self.is_less(child, first, less) {
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
        self.order.swap(a, b);
        for at in [a, b] {
            if let Some(slot) = self.slots[self.order[at]].as_mut() {
                slot.at = at;
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
