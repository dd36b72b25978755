//! Reading the state, now and in the past.

use std::collections::btree_map;
use std::iter::Peekable;
use std::sync::Arc;

use bytes::Bytes;

use super::live::LiveRange;
use super::{State, Superseded};
use crate::{Entry, Error, Event, Key, KeyRange, Page, RangeOptions, ReadOptions, Revision, WatchEvents};

impl State {
    /// The version of a key; see [`Store::get`](crate::Store::get).
    ///
    /// # Errors
    /// As there.
    pub fn get(&self, key: &Key, options: &ReadOptions) -> Result<Option<Arc<Entry>>, Error> {
        let Some(at) = options.revision.filter(|r| !r.is_zero()) else {
            return Ok(self.live.get(key).cloned());
        };
        self.check_readable(at)?;
        let live = self.live.get(key);
        let past = self.past.get(key).map(Vec::as_slice);
        Ok(visible_at(live, past, at).cloned())
    }

    /// The entries of a range; see [`Store::range`](crate::Store::range).
    ///
    /// # Errors
    /// As there.
    pub fn range(&self, range: &KeyRange, options: &RangeOptions) -> Result<Page, Error> {
        let at = options.revision.filter(|r| !r.is_zero());
        if let Some(at) = at {
            self.check_readable(at)?;
        }
        // What is newest needs no look at the past.
        let past = at.filter(|at| *at != self.revision);
        Ok(self.page(range, options, self.revision, past))
    }

    /// The changes of a range in revisions `from` up to and with `to`, and the revision with which to
    /// go on. Looks at no more than `scan` revisions.
    ///
    /// # Errors
    /// [`Error::Compacted`] if `from` is before the compacted revision.
    pub fn changes(
        &self,
        range: &KeyRange,
        from: Revision,
        to: Revision,
        scan: usize,
    ) -> Result<(Vec<WatchEvents>, Revision), Error> {
        if from < self.compacted {
            return Err(Error::Compacted { requested: from, compacted: self.compacted });
        }
        let from = from.max(self.history_start);
        let to = to.min(self.revision).min(Revision(from.0 + scan as u64 - 1));
        let mut found = Vec::new();
        let skip = (from.0 - self.history_start.0) as usize;
        let take = (to.next().0.saturating_sub(from.0)) as usize;
        let mut revision = from;
        for events in self.history.iter().skip(skip).take(take) {
            if let Some(events) = within(range, events) {
                found.push(WatchEvents::new(revision, events));
            }
            revision = revision.next();
        }
        Ok((found, revision.max(from)))
    }

    /// Every entry of a range as it was at `at`, in key order, compacted or not.
    pub(super) fn past_in(&self, range: &KeyRange, at: Revision) -> impl Iterator<Item = &Arc<Entry>> + use<'_> {
        range
            .bounds()
            .map(|bounds| PastIter {
                live: self.live.range(range).peekable(),
                past: self.past.range::<[u8], _>(bounds).peekable(),
                at,
            })
            .into_iter()
            .flatten()
    }

    /// A page of the newest state, shown as of `seen`, or of the state as it was at `past`.
    pub(super) fn page(
        &self,
        range: &KeyRange,
        options: &RangeOptions,
        seen: Revision,
        past: Option<Revision>,
    ) -> Page {
        match past.filter(|r| !r.is_zero()) {
            None => collect(self.live.range(range), options, Page::new(Vec::new(), seen, seen)),
            Some(at) => {
                let entries = self.past_in(range, at);
                collect(entries, options, Page::new(Vec::new(), at, seen))
            }
        }
    }
}

/// The part of a revision's events that lies in a range; shared, not copied, if that is all of them.
pub(crate) fn within(range: &KeyRange, events: &Arc<[Event]>) -> Option<Arc<[Event]>> {
    let inside = |event: &&Event| range.contains(&event.entry.key);
    match events.iter().filter(inside).count() {
        0 => None,
        all if all == events.len() => Some(events.clone()),
        _ => Some(events.iter().filter(inside).cloned().collect()),
    }
}

fn collect<'a>(mut entries: impl Iterator<Item = &'a Arc<Entry>>, options: &RangeOptions, mut page: Page) -> Page {
    if options.count_only {
        page.count = Some(entries.count() as u64);
        return page;
    }
    let limit = options.limit.unwrap_or(usize::MAX);
    for entry in entries.by_ref().take(limit) {
        page.entries.push(if options.keys_only { without_value(entry) } else { entry.clone() });
    }
    let beyond = if options.count {
        let beyond = entries.count() as u64;
        page.count = Some(page.entries.len() as u64 + beyond);
        beyond
    } else {
        u64::from(entries.next().is_some())
    };
    page.more = beyond > 0;
    page
}

fn without_value(entry: &Arc<Entry>) -> Arc<Entry> {
    if entry.value.is_empty() {
        return entry.clone();
    }
    Arc::new(Entry { value: Bytes::new(), ..Entry::clone(entry) })
}

/// The version of one key that was visible at a revision.
fn visible_at<'a>(
    live: Option<&'a Arc<Entry>>,
    past: Option<&'a [Superseded]>,
    at: Revision,
) -> Option<&'a Arc<Entry>> {
    if let Some(entry) = live.filter(|entry| entry.mod_revision <= at) {
        return Some(entry);
    }
    let past = past?;
    let version = past.get(past.partition_point(|version| version.until <= at))?;
    (version.entry.mod_revision <= at).then_some(&version.entry)
}

struct PastIter<'a> {
    live: Peekable<LiveRange<'a>>,
    past: Peekable<btree_map::Range<'a, Key, Vec<Superseded>>>,
    at: Revision,
}

impl<'a> Iterator for PastIter<'a> {
    type Item = &'a Arc<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let next = match (self.live.peek(), self.past.peek()) {
                (None, None) => return None,
                (Some(live), None) => &live.key,
                (None, Some((past, _))) => *past,
                (Some(live), Some((past, _))) => (&live.key).min(*past),
            };
            let live = self.live.next_if(|entry| entry.key == *next);
            let past = self.past.next_if(|(key, _)| *key == next).map(|(_, v)| v);
            if let Some(entry) = visible_at(live, past.map(Vec::as_slice), self.at) {
                return Some(entry);
            }
        }
    }
}
