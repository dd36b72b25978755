//! Sums by topology domain.

use hashbrown::HashMap;

use crate::object::{Labels, Name};

/// A number for each pair of a node label and a value.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    keys: Vec<(Name, HashMap<Name, i64>)>,
    nonzero: usize,
}

impl Counts {
    /// Adds to the domain that a node with those labels is in, if it is in one.
    pub(super) fn add(&mut self, key: &Name, labels: &Labels, by: i64) {
        let Some(value) = labels.get(key) else { return };
        let at = self.keys.iter().position(|(own, _)| own == key).unwrap_or_else(|| {
            self.keys.push((key.clone(), HashMap::new()));
            self.keys.len() - 1
        });
        let values = &mut self.keys[at].1;
        let count = values.entry_ref(value.as_str()).or_insert(0);
        self.nonzero -= usize::from(*count != 0);
        *count += by;
        self.nonzero += usize::from(*count != 0);
    }

    /// The number of the domain that a node with those labels is in.
    pub(super) fn get(&self, key: &Name, labels: &Labels) -> i64 {
        let Some(value) = labels.get(key) else { return 0 };
        let values = self.keys.iter().find(|(own, _)| own == key);
        values.and_then(|(_, values)| values.get(value)).copied().unwrap_or(0)
    }

    /// Whether every number is 0.
    pub(super) const fn is_empty(&self) -> bool {
        self.nonzero == 0
    }

    /// Whether nothing was ever added.
    pub(super) const fn is_untouched(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether a node with those labels is in a domain with a positive number.
    pub(super) fn any_positive(&self, labels: &Labels) -> bool {
        !self.is_empty() && self.domains(labels).any(|count| count > 0)
    }

    /// The sum of the numbers of all domains that a node with those labels is in.
    pub(super) fn sum(&self, labels: &Labels) -> i64 {
        self.domains(labels).sum()
    }

    fn domains<'a>(&'a self, labels: &'a Labels) -> impl Iterator<Item = i64> + 'a {
        self.keys.iter().filter_map(|(key, values)| values.get(labels.get(key)?).copied())
    }
}
