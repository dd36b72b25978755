//! Which events are new, which repeat an earlier one, and which are too many.

use std::collections::{BTreeMap, HashMap};

use super::Occurrence;
use crate::objects::{ObjectKey, Time};

/// How many events are remembered to be counted up.
const REMEMBERED: usize = 4096;
/// How many events one component may record about one object in a burst.
const BURST: f64 = 25.0;
/// How many seconds earn it one more.
const SECONDS_PER_TOKEN: f64 = 300.0;

/// What becomes of an occurrence.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is written as a new event.
    New,
    /// An event is there already and is counted up.
    Repeat { key: ObjectKey, count: u32 },
    /// There are too many about this object.
    Drop,
}

/// Remembers what was written.
#[derive(Default)]
pub(super) struct Correlator {
    written: HashMap<Identity, Written>,
    by_age: BTreeMap<u64, Identity>,
    budgets: HashMap<(&'static str, String), Budget>,
    sequence: u64,
    last_unique: i64,
}

type Identity = (&'static str, String, &'static str, String);

struct Written {
    key: ObjectKey,
    count: u32,
    age: u64,
}

struct Budget {
    tokens: f64,
    at: Time,
}

fn identity(occurrence: &Occurrence) -> Identity {
    let Occurrence { component, regarding, note, .. } = occurrence;
    let object = format!("{}/{}/{}", regarding.kind.plural, regarding.key, regarding.uid);
    (component, object, note.reason, note.message.clone())
}

impl Correlator {
    pub(super) fn observe(&mut self, occurrence: &Occurrence) -> Verdict {
        let identity = identity(occurrence);
        if !self.afford(occurrence.component, &identity.1, occurrence.at) {
            return Verdict::Drop;
        }
        match self.written.get_mut(&identity) {
            Some(written) => {
                written.count += 1;
                Verdict::Repeat { key: written.key.clone(), count: written.count }
            }
            None => Verdict::New,
        }
    }

    pub(super) fn written(&mut self, occurrence: &Occurrence, key: ObjectKey) {
        let identity = identity(occurrence);
        self.sequence += 1;
        let written = Written { key, count: 1, age: self.sequence };
        if let Some(old) = self.written.insert(identity.clone(), written) {
            self.by_age.remove(&old.age);
        }
        self.by_age.insert(self.sequence, identity);
        while self.by_age.len() > REMEMBERED {
            if let Some((_, oldest)) = self.by_age.pop_first() {
                self.written.remove(&oldest);
            }
        }
    }

    /// A number for a name that is not used twice.
    pub(super) fn unique(&mut self, at: Time) -> i64 {
        self.last_unique = (at.micros().saturating_mul(1000)).max(self.last_unique + 1);
        self.last_unique
    }

    fn afford(&mut self, component: &'static str, object: &str, now: Time) -> bool {
        if self.budgets.len() > REMEMBERED {
            let full =
                |budget: &Budget| budget.tokens + now.since(budget.at).as_secs_f64() / SECONDS_PER_TOKEN >= BURST;
            self.budgets.retain(|_, budget| !full(budget));
        }
        if self.budgets.len() > 4 * REMEMBERED {
            self.budgets.clear();
        }
        let budget = self.budgets.entry((component, object.to_owned())).or_insert(Budget { tokens: BURST, at: now });
        budget.tokens = (budget.tokens + now.since(budget.at).as_secs_f64() / SECONDS_PER_TOKEN).min(BURST);
        budget.at = now;
        let enough = budget.tokens >= 1.0;
        if enough {
            budget.tokens -= 1.0;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::{Meta, kinds};
    use crate::plan::{Note, Reference};

    fn occurrence(message: &str, second: i64) -> Occurrence {
        let meta = Meta { name: "a".into(), namespace: "ns".into(), uid: "u".into(), ..Meta::default() };
        Occurrence {
            component: "c",
            regarding: Reference::new(kinds::POD, &meta),
            note: Note::normal("Reason", message),
            at: Time::from_seconds(second),
        }
    }

    #[test]
    fn repeats_are_counted_up() {
        let mut correlator = Correlator::default();
        let first = occurrence("x", 1);
        assert_eq!(correlator.observe(&first), Verdict::New);
        correlator.written(&first, ObjectKey::new("ns", "e"));
        assert_eq!(correlator.observe(&first), Verdict::Repeat { key: ObjectKey::new("ns", "e"), count: 2 });
        assert_eq!(correlator.observe(&occurrence("y", 1)), Verdict::New);
    }

    #[test]
    fn a_flood_about_one_object_is_cut_and_recovers() {
        let mut correlator = Correlator::default();
        let kept = (0..100).filter(|n| correlator.observe(&occurrence(&n.to_string(), 1)) != Verdict::Drop).count();
        assert_eq!(kept, 25);
        assert_eq!(correlator.observe(&occurrence("later", 400)), Verdict::New);
        assert_eq!(correlator.observe(&occurrence("later still", 401)), Verdict::Drop);
    }

    #[test]
    fn names_are_not_used_twice() {
        let mut correlator = Correlator::default();
        let at = Time::from_seconds(5);
        assert_ne!(correlator.unique(at), correlator.unique(at));
    }
}
