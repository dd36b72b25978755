//! Whether what clients saw of one key can be put in one order that respects time.
//!
//! Each operation happened at some moment between its call and its answer. The search is that of Wing and Gong,
//! with what was tried remembered: take any operation that may be next, see whether its answer fits, go on.

use std::collections::HashSet;

/// A value, by a number; `None` where there is nothing.
pub(super) type Value = Option<u64>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Write(Value),
    Read(Value),
    /// Write the second if the first is there, and whether it was.
    Swap(Value, Value, bool),
    /// The same without an answer: it may never have happened.
    MaybeSwap(Value, Value),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Operation {
    pub(super) called: u64,
    /// `None` if there was no answer: it may happen at any later moment, or never.
    pub(super) answered: Option<u64>,
    pub(super) action: Action,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Linearizable,
    Wrong,
    /// Too many orders to try.
    Unknown,
}

/// Orders that are tried before the search gives up.
const TRIES_MAX: usize = 20_000;

/// Judges the operations on one key, which has nothing at first.
pub(super) fn check(mut operations: Vec<Operation>) -> Verdict {
    operations.sort_by_key(|operation| operation.called);
    let mut tried = HashSet::new();
    let mut open = vec![(vec![0_u64; operations.len() / 64 + 1], None)];
    while let Some((done, value)) = open.pop() {
        if tried.len() >= TRIES_MAX {
            return Verdict::Unknown;
        }
        let is_done = |n: usize| done[n / 64] & 1 << (n % 64) != 0;
        let rest = || (0..operations.len()).filter(|n| !is_done(*n));
        // What got no answer need not have happened.
        if rest().all(|n| operations[n].answered.is_none()) {
            return Verdict::Linearizable;
        }
        let first_answer = rest().filter_map(|n| operations[n].answered).min().unwrap_or(u64::MAX);
        // What only looks, and fits, can go first: whatever order there is has one with it here.
        let idle = |n: &usize| {
            let action = operations[*n].action;
            matches!(action, Action::Read(_) | Action::Swap(_, _, false)) && step(action, value).is_some()
        };
        let next = || rest().take_while(|n| operations[*n].called <= first_answer);
        let only = next().find(idle);
        for n in next().filter(|n| only.is_none_or(|only| only == *n)) {
            let Some(after) = step(operations[n].action, value) else { continue };
            let mut done = done.clone();
            done[n / 64] |= 1 << (n % 64);
            if tried.insert((done.clone(), after)) {
                open.push((done, after));
            }
        }
    }
    Verdict::Wrong
}

impl Operation {
    /// What watches tell of an operation that got no answer: whether it may have happened, and by when. `written` is
    /// when a value was first seen, if it ever was; `deleted` when its key was last seen to be deleted.
    pub(super) fn find(&mut self, written: impl Fn(u64) -> Option<u64>, deleted: Option<u64>) -> bool {
        let seen = match self.action {
            // Nobody was told anything.
            Action::Read(_) | Action::Swap(..) => return false,
            // Which of several deletions was this one nobody knows.
            Action::Write(None) | Action::MaybeSwap(_, None) => return deleted.is_some_and(|at| at >= self.called),
            Action::Write(Some(value)) | Action::MaybeSwap(_, Some(value)) => written(value),
        };
        if let Action::MaybeSwap(from, to) = self.action {
            self.action = Action::Swap(from, to, true);
        }
        self.answered = seen;
        seen.is_some()
    }
}

/// The value after an action, if its answer fits the value before it.
fn step(action: Action, value: Value) -> Option<Value> {
    match action {
        Action::Write(new) => Some(new),
        Action::Read(seen) => (seen == value).then_some(value),
        Action::Swap(from, to, true) => (from == value).then_some(to),
        Action::Swap(from, _, false) => (from != value).then_some(value),
        Action::MaybeSwap(from, to) => Some(if from == value { to } else { value }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn op(called: u64, answered: u64, action: Action) -> Operation {
        Operation { called, answered: Some(answered), action }
    }

    const fn lost(called: u64, action: Action) -> Operation {
        Operation { called, answered: None, action }
    }

    use Action::{MaybeSwap, Read, Swap, Write};

    #[test]
    fn good_histories_pass() {
        let histories = [
            vec![],
            vec![op(1, 2, Read(None)), op(3, 4, Write(Some(1))), op(5, 6, Read(Some(1)))],
            // At the same time, in either order.
            vec![op(1, 9, Write(Some(1))), op(2, 3, Read(None)), op(4, 5, Read(Some(1)))],
            vec![op(1, 9, Write(Some(1))), op(1, 9, Write(Some(2))), op(10, 11, Read(Some(1)))],
            // Without an answer: it happened late, or never.
            vec![lost(1, Write(Some(1))), op(2, 3, Read(None)), op(4, 5, Read(Some(1)))],
            vec![lost(1, Write(Some(1))), op(2, 3, Read(None))],
            vec![op(1, 2, Write(Some(1))), op(3, 4, Swap(Some(1), Some(2), true)), op(5, 6, Read(Some(2)))],
            vec![op(1, 2, Write(Some(1))), op(3, 4, Swap(Some(9), Some(2), false)), op(5, 6, Read(Some(1)))],
            vec![op(1, 2, Write(Some(1))), lost(3, MaybeSwap(Some(1), Some(2))), op(5, 6, Read(Some(2)))],
            vec![op(1, 2, Write(Some(1))), lost(3, Write(None)), op(5, 6, Read(None))],
        ];
        for history in histories {
            assert_eq!(check(history.clone()), Verdict::Linearizable, "{history:?}");
        }
    }

    #[test]
    fn what_was_seen_counts_though_nobody_was_told() {
        let find =
            |mut operation: Operation, written, deleted| operation.find(|_| written, deleted).then_some(operation);
        let write = lost(5, Write(Some(1)));
        assert_eq!(find(write, None, None), None, "it never happened");
        assert_eq!(find(write, Some(9), None), Some(op(5, 9, Write(Some(1)))));
        let swap = lost(5, MaybeSwap(None, Some(1)));
        assert_eq!(find(swap, Some(9), None), Some(op(5, 9, Swap(None, Some(1), true))));
        let delete = lost(5, Write(None));
        assert_eq!((find(delete, None, Some(4)), find(delete, None, Some(6))), (None, Some(delete)));
        assert_eq!(find(lost(5, Read(None)), None, None), None);
        // A swap that failed shows a write that nobody read.
        let history = |write| vec![op(1, 2, Write(Some(1))), write, op(5, 6, Swap(Some(1), Some(3), false))];
        assert_eq!(check(history(op(3, 9, Write(Some(2))))), Verdict::Linearizable);
        assert_eq!(check(history(op(7, 9, Write(Some(2))))), Verdict::Wrong);
    }

    #[test]
    fn bad_histories_do_not() {
        let histories = [
            // Stale.
            vec![op(1, 2, Write(Some(1))), op(3, 4, Read(None))],
            // Lost.
            vec![op(1, 2, Write(Some(1))), op(3, 4, Write(Some(2))), op(5, 6, Read(Some(1)))],
            // Back in time: two reads during one write, new then old.
            vec![op(1, 9, Write(Some(1))), op(2, 3, Read(Some(1))), op(4, 5, Read(None))],
            // Out of nowhere.
            vec![op(1, 2, Read(Some(7)))],
            // Before it was asked for.
            vec![op(1, 2, Read(Some(1))), lost(3, Write(Some(1)))],
            // Applied twice: it came back after it was replaced.
            vec![
                op(1, 2, Write(Some(1))),
                op(3, 4, Read(Some(1))),
                op(5, 6, Write(Some(2))),
                op(7, 8, Read(Some(2))),
                op(9, 10, Read(Some(1))),
            ],
            // Two swaps from the same value.
            vec![
                op(1, 2, Write(Some(1))),
                op(3, 9, Swap(Some(1), Some(2), true)),
                op(3, 9, Swap(Some(1), Some(3), true)),
            ],
            vec![op(1, 2, Write(Some(1))), op(3, 4, Swap(Some(1), Some(2), false))],
        ];
        for history in histories {
            assert_eq!(check(history.clone()), Verdict::Wrong, "{history:?}");
        }
    }
}
