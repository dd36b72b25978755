//! Answers that are remembered for a while: how webhooks are spared the same question.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

/// A map whose entries expire, and which holds a bounded number of them.
///
/// Entries live in two generations. When the young one is full the old one is forgotten and the young one grows old;
/// what is asked for again becomes young again. So the least used half goes, without a list that orders them all.
pub(crate) struct TtlCache<K, V> {
    generations: Mutex<[HashMap<K, (Timestamp, V)>; 2]>,
    half: usize,
}

impl<K: Eq + Hash, V: Clone> TtlCache<K, V> {
    /// Holds at most so many entries.
    pub(crate) fn new(entries_max: usize) -> Self {
        Self { generations: Mutex::default(), half: entries_max.div_ceil(2).max(1) }
    }

    /// What is known under that key at that time.
    pub(crate) fn get(&self, key: &K, now: Timestamp) -> Option<V> {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let [young, old] = &mut *generations;
        if let Some((expires, value)) = young.get(key) {
            return (*expires > now).then(|| value.clone());
        }
        let (key, entry) = old.remove_entry(key)?;
        if entry.0 <= now {
            return None;
        }
        let value = entry.1.clone();
        insert(&mut generations, self.half, key, entry);
        Some(value)
    }

    /// Remembers a value for so long.
    pub(crate) fn put(&self, key: K, value: V, now: Timestamp, ttl: SignedDuration) {
        let Ok(expires) = now.checked_add(ttl) else { return };
        if expires > now {
            let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
            insert(&mut generations, self.half, key, (expires, value));
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner).iter().map(HashMap::len).sum()
    }
}

fn insert<K: Eq + Hash, V>(
    generations: &mut [HashMap<K, (Timestamp, V)>; 2],
    half: usize,
    key: K,
    entry: (Timestamp, V),
) {
    let [young, old] = generations;
    if young.len() >= half && !young.contains_key(&key) {
        *old = std::mem::take(young);
    }
    young.insert(key, entry);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn entries_expire_and_are_bounded() {
        let cache = TtlCache::new(10);
        cache.put("a", 1, at(0), SignedDuration::from_secs(5));
        assert_eq!(cache.get(&"a", at(4)), Some(1));
        assert_eq!(cache.get(&"a", at(5)), None);
        cache.put("never", 1, at(0), SignedDuration::ZERO);
        assert_eq!(cache.get(&"never", at(0)), None);
        let many = TtlCache::new(10);
        for number in 0..1000 {
            many.put(number, number, at(0), SignedDuration::from_secs(5));
            assert!(many.len() <= 10);
            // What is asked for all the time stays.
            many.put(-1, -1, at(0), SignedDuration::from_secs(if number == 0 { 5 } else { 0 }));
            assert_eq!(many.get(&-1, at(1)), Some(-1));
        }
    }
}
