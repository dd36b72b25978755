//! Who of those that change objects is asked a second time, after others changed them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// What one plugin remembers between the two rounds.
#[derive(Debug, Default)]
struct Memory {
    /// The object when the plugin was done with it.
    left: Option<Value>,
    /// Asked since the last change, and willing to be asked again.
    asked: BTreeSet<String>,
    /// To be asked again.
    again: BTreeSet<String>,
}

/// The state of a write's two rounds: a second one runs only if the first changed something that matters.
#[derive(Debug, Default)]
pub struct Reinvocation {
    second: bool,
    wanted: bool,
    memories: BTreeMap<&'static str, Memory>,
}

impl Reinvocation {
    /// Whether a second round is wanted; begins it.
    pub(super) fn start_second(&mut self) -> bool {
        let starts = self.wanted && !self.second;
        self.second |= starts;
        starts
    }

    pub(super) const fn round(&self) -> u8 {
        self.second as u8
    }

    /// The plugin begins its round.
    pub(super) fn begin(&mut self, plugin: &'static str, object: &Value) {
        let second = self.second;
        let memory = self.memories.entry(plugin).or_default();
        if second && memory.left.as_ref() != Some(object) {
            memory.again.append(&mut memory.asked);
        }
    }

    /// The plugin ends its round.
    pub(super) fn end(&mut self, plugin: &'static str, object: &Value) {
        self.memories.entry(plugin).or_default().left = Some(object.clone());
    }

    /// Whether that one is asked in this round.
    pub(super) fn asks(&self, plugin: &'static str, id: &str) -> bool {
        !self.second || self.memories.get(plugin).is_some_and(|memory| memory.again.contains(id))
    }

    /// That one was asked; says whether it changed the object, and whether it wants to be asked again after others do.
    pub(super) fn asked(&mut self, plugin: &'static str, id: &str, changed: bool, again: bool) {
        let memory = self.memories.entry(plugin).or_default();
        if changed {
            memory.again.append(&mut memory.asked);
            self.wanted = true;
        }
        if again {
            memory.asked.insert(id.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn those_asked_before_a_change_are_asked_again_if_they_want() {
        let mut state = Reinvocation::default();
        state.begin("p", &json!(1));
        state.asked("p", "a", false, true);
        state.asked("p", "b", false, false);
        state.asked("p", "c", true, true);
        state.end("p", &json!(2));
        assert!(state.start_second());
        state.begin("p", &json!(2));
        assert!(state.asks("p", "a") && !state.asks("p", "b") && !state.asks("p", "c"));
        // There is no third round, whatever happens in the second.
        state.asked("p", "a", true, true);
        assert!(!state.start_second());
    }

    #[test]
    fn a_change_by_others_brings_all_back_that_want_it() {
        let mut state = Reinvocation::default();
        state.asked("p", "c", true, true);
        state.end("p", &json!(1));
        assert!(state.start_second());
        state.begin("p", &json!(2));
        assert!(state.asks("p", "c"));
        let mut quiet = Reinvocation::default();
        quiet.asked("p", "a", false, true);
        assert!(!quiet.start_second());
    }
}
