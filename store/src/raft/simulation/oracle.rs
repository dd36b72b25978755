//! What must hold: told as it happens, judged at the end.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::linear::{Action, Operation, Value, Verdict, check};
use crate::state::State;
use crate::{Event, EventKind, Key, KeyRange, RangeOptions, Revision};

/// A write or read of a client.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) key: Key,
    pub(super) operation: Operation,
    /// The newest revision that anyone had been told of when it began.
    pub(super) known: Revision,
    /// The revision of its answer.
    pub(super) revision: Option<Revision>,
}

/// A watch: what it was to deliver, and did.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) from: Revision,
    pub(super) delivered: Vec<(Revision, Arc<[Event]>)>,
    /// Everything before this must have been delivered.
    pub(super) complete_to: Revision,
    pub(super) range: KeyRange,
}

#[derive(Default)]
pub(super) struct Oracle {
    /// The events of each revision, as any replica told them first, and when that was.
    events: BTreeMap<Revision, (u64, Arc<[Event]>)>,
    pub(super) asked: Vec<Asked>,
    pub(super) watched: Vec<Watched>,
    /// Keys whose history was too long to judge.
    pub(super) unknown: usize,
}

impl Oracle {
    /// A replica applied this revision.
    pub(super) fn applied(&mut self, revision: Revision, now: u64, events: &Arc<[Event]>) -> Result<(), String> {
        match self.events.get(&revision) {
            Some((_, known)) if !same(known, events) => {
                Err(format!("replicas differ about revision {revision}: {known:?} and {events:?}"))
            }
            Some(_) => Ok(()),
            None => {
                self.events.insert(revision, (now, events.clone()));
                Ok(())
            }
        }
    }

    pub(super) fn answered(&self) -> usize {
        self.asked.iter().filter(|asked| asked.revision.is_some()).count()
    }

    /// Judges everything, given what a replica has at the end.
    pub(super) fn judge(&mut self, state: &State) -> Result<(), String> {
        self.judge_history(state)?;
        self.judge_answers()?;
        self.judge_watches()?;
        self.judge_order()
    }

    /// Revisions have no gap, no value was written twice, and what is there follows from them.
    fn judge_history(&self, state: &State) -> Result<(), String> {
        let (mut next, mut entries) = (Revision(2), BTreeMap::new());
        let mut written = BTreeMap::new();
        for (revision, (_, events)) in &self.events {
            if *revision != next {
                return Err(format!("nobody applied revision {next}, but {revision}"));
            }
            next = revision.next();
            for event in events.iter() {
                let key = event.entry.key.clone();
                if event.kind == EventKind::Delete {
                    entries.remove(&key);
                    continue;
                }
                if let Some(other) = written.insert(event.entry.value.clone(), revision) {
                    return Err(format!("{:?} was written twice, at {other} and {revision}", event.entry.value));
                }
                entries.insert(key, event.entry.clone());
            }
        }
        if state.revision().next() != next {
            return Err(format!("the newest revision is {}, but {next} comes next", state.revision()));
        }
        let page = state.range(&KeyRange::all(), &RangeOptions::latest()).map_err(|error| error.to_string())?;
        if !page.entries.iter().eq(entries.values()) {
            return Err("what is there is not what the revisions made".to_owned());
        }
        Ok(())
    }

    /// Every answer is true of its revision, and no older than what was known.
    fn judge_answers(&self) -> Result<(), String> {
        let mut by_key: BTreeMap<&Key, Vec<(Revision, Value)>> = BTreeMap::new();
        for (revision, (_, events)) in &self.events {
            for event in events.iter() {
                let value = (event.kind == EventKind::Put).then(|| number(&event.entry.value));
                by_key.entry(&event.entry.key).or_default().push((*revision, value));
            }
        }
        for asked in &self.asked {
            let Some(revision) = asked.revision else { continue };
            let history = by_key.get(&asked.key).map(Vec::as_slice).unwrap_or_default();
            let then = history.partition_point(|(at, _)| *at <= revision);
            let there = then.checked_sub(1).and_then(|n| history[n].1);
            let (is_true, is_write) = match asked.operation.action {
                Action::Write(value) => (there == value, value.is_some()),
                Action::Read(value) => (there == value, false),
                Action::Swap(_, to, true) => (there == to, true),
                Action::Swap(from, _, false) => (there != from, false),
                Action::MaybeSwap(..) => (false, false),
            };
            if !is_true {
                return Err(format!("answered, but lost or never so: {asked:?}; at that revision: {there:?}"));
            }
            if revision < asked.known || (is_write && revision == asked.known) {
                return Err(format!("older than what was known when it was asked for: {asked:?}"));
            }
        }
        Ok(())
    }

    /// Every watch delivered each revision of its range once, in order, whole, without a gap.
    fn judge_watches(&self) -> Result<(), String> {
        for watched in &self.watched {
            let expected = self.events.range(watched.from..watched.complete_to.max(watched.from));
            let expected =
                expected.filter_map(|(revision, (_, events))| Some((*revision, inside(&watched.range, events)?)));
            let mut delivered = watched.delivered.iter();
            for (revision, events) in expected {
                let found = delivered.next();
                if found.is_none_or(|(at, found)| *at != revision || !same(found, &events)) {
                    return Err(format!(
                        "a watch of {:?} from {} should have delivered revision {revision}, but did {:?}",
                        watched.range,
                        watched.from,
                        found.map(|(at, _)| at)
                    ));
                }
            }
            if let Some((extra, _)) = delivered.next() {
                return Err(format!("a watch of {:?} delivered {extra}, which is too much", watched.range));
            }
        }
        Ok(())
    }

    /// What clients saw of each key fits one order.
    fn judge_order(&mut self) -> Result<(), String> {
        let (mut written, mut deleted) = (BTreeMap::new(), BTreeMap::new());
        for (seen, events) in self.events.values() {
            for event in events.iter() {
                match event.kind {
                    EventKind::Put => drop(written.insert(number(&event.entry.value), *seen)),
                    EventKind::Delete => drop(deleted.insert(event.entry.key.clone(), *seen)),
                }
            }
        }
        let mut by_key: BTreeMap<&Key, Vec<Operation>> = BTreeMap::new();
        for asked in &self.asked {
            let mut operation = asked.operation;
            let found = operation.answered.is_some() || {
                let last_deleted = deleted.get(&asked.key).copied();
                operation.find(|value| written.get(&value).copied(), last_deleted)
            };
            if found {
                by_key.entry(&asked.key).or_default().push(operation);
            }
        }
        for (key, operations) in by_key {
            match check(operations) {
                Verdict::Linearizable => {}
                Verdict::Wrong => return Err(format!("what clients saw of {key} fits no order")),
                Verdict::Unknown => self.unknown += 1,
            }
        }
        Ok(())
    }
}

/// The number that a client wrote as a value.
pub(super) fn number(value: &[u8]) -> u64 {
    std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).unwrap_or(u64::MAX)
}

fn inside(range: &KeyRange, events: &Arc<[Event]>) -> Option<Arc<[Event]>> {
    crate::state::within(range, events)
}

/// The same changes. What was there before need not be known to all.
fn same(a: &[Event], b: &[Event]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.kind == b.kind && a.entry == b.entry)
}
