//! How many seats a request takes, and how many watches there are.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::queues::Width;
use crate::request::{RequestInfo, query_pairs};

/// Bytes of a list that cost a seat, and how many count at most: lists are copied from the cache piece by piece.
const BYTES_A_SEAT: usize = 100_000;
const LIST_BYTES_MAX: usize = 1_000_000;
/// No request takes more seats than this.
const SEATS_MAX: usize = 10;
/// So many watches cost a write a seat, for so long after it.
const WATCHES_A_SEAT: usize = 10;
const EVENT_LINGER: Duration = Duration::from_millis(5);

/// How many objects a resource has, and how large they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// How many.
    pub objects: usize,
    /// Mean size of one, in bytes.
    pub object_bytes: usize,
}

/// How much a list or a watch that begins with a list takes.
pub(super) fn of_list(info: &RequestInfo, query: &str, extent: Extent, seats_max: usize) -> Width {
    let most = if seats_max == 0 { SEATS_MAX } else { seats_max.min(SEATS_MAX) };
    let (mut limit, mut version, mut initial) = (usize::MAX, String::new(), false);
    for (key, value) in query_pairs(query) {
        match key.as_str() {
            "limit" => limit = value.parse().ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX),
            "resourceVersion" => version = value,
            "sendInitialEvents" => initial = value == "true" || value == "1",
            _ => {}
        }
    }
    if info.verb == "watch" && !initial && !matches!(version.as_str(), "" | "0") {
        return Width::of(1);
    }
    let objects = if info.name.is_empty() { extent.objects.min(limit) } else { 1 };
    let bytes = objects.saturating_mul(extent.object_bytes).min(LIST_BYTES_MAX);
    Width::of(bytes.div_ceil(BYTES_A_SEAT).clamp(1, most))
}

/// How much a write takes that so many watches hear of.
pub(super) fn of_write(info: &RequestInfo, watches: usize, seats_max: usize) -> Width {
    // Making a token changes no object.
    let silent = info.resource == "serviceaccounts" && info.subresource == "token";
    if silent || watches < WATCHES_A_SEAT {
        return Width::of(1);
    }
    let most = if seats_max == 0 { SEATS_MAX } else { seats_max.min(SEATS_MAX) };
    let seats = watches.div_ceil(WATCHES_A_SEAT);
    let last = seats.min(most);
    // The same work, narrower and longer.
    let work = EVENT_LINGER * u32::try_from(seats).unwrap_or(u32::MAX);
    Width { initial: 1, last, linger: work / u32::try_from(last).unwrap_or(1) }
}

/// What a watch watches: group, resource, namespace, name; the last two may be empty.
type Watched = (String, String, String, String);

#[derive(Debug, Default)]
struct Counts {
    by_watched: HashMap<Watched, usize>,
    by_user: HashMap<String, usize>,
}

/// The watches that run now.
#[derive(Clone, Debug, Default)]
pub(super) struct Watches(Arc<Mutex<Counts>>);

/// A watch that runs until this is dropped.
#[derive(Debug)]
pub(super) struct Watching {
    watches: Watches,
    watched: Watched,
    user: String,
}

impl Watches {
    /// Counts a watch, unless the user has that many already.
    pub(super) fn begin(&self, user: &str, info: &RequestInfo, user_max: usize) -> Option<Watching> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = counts.by_user.get(user).copied().unwrap_or_default();
        if own >= user_max {
            return None;
        }
        let watched = (info.api_group.clone(), info.resource.clone(), info.namespace.clone(), info.name.clone());
        counts.by_user.insert(user.to_owned(), own + 1);
        *counts.by_watched.entry(watched.clone()).or_default() += 1;
        drop(counts);
        Some(Watching { watches: self.clone(), watched, user: user.to_owned() })
    }

    /// How many watches hear of a change of that object.
    pub(super) fn hearing(&self, info: &RequestInfo) -> usize {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (group, resource) = (&info.api_group, &info.resource);
        let mut places = vec![("", "")];
        if !info.namespace.is_empty() {
            places.push((&info.namespace, ""));
        }
        if !info.name.is_empty() {
            places.push(("", &info.name));
            places.push((&info.namespace, &info.name));
        }
        places.dedup();
        let count = |(namespace, name): &(&str, &str)| {
            let key = (group.clone(), resource.clone(), (*namespace).to_owned(), (*name).to_owned());
            counts.by_watched.get(&key).copied().unwrap_or_default()
        };
        places.iter().map(count).sum()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut counts = self.watches.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = &mut *counts;
        if let Some(count) = counts.by_user.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                counts.by_user.remove(&self.user);
            }
        }
        if let Some(count) = counts.by_watched.get_mut(&self.watched) {
            *count -= 1;
            if *count == 0 {
                counts.by_watched.remove(&self.watched);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    fn info(method: Method, uri: &str) -> (RequestInfo, String) {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        (RequestInfo::parse(&method, path, Some(query)), query.to_owned())
    }

    #[test]
    fn lists_cost_by_what_they_hold() {
        let extent = Extent { objects: 3000, object_bytes: 200 };
        for (uri, seats) in [
            ("/api/v1/pods", 6),
            ("/api/v1/pods?limit=500", 1),
            ("/api/v1/pods?limit=1000", 2),
            ("/api/v1/pods?fieldSelector=metadata.name%3Da", 1),
            ("/api/v1/pods?watch=1", 6),
            ("/api/v1/pods?watch=1&resourceVersion=0", 6),
            ("/api/v1/pods?watch=1&resourceVersion=7", 1),
            ("/api/v1/pods?watch=1&resourceVersion=7&sendInitialEvents=true", 6),
        ] {
            let (info, query) = info(Method::GET, uri);
            assert_eq!(of_list(&info, &query, extent, 0), Width::of(seats), "{uri}");
        }
        let (info, query) = info(Method::GET, "/api/v1/pods");
        assert_eq!(of_list(&info, &query, Extent { objects: 1 << 40, object_bytes: 1 << 40 }, 4), Width::of(4));
        assert_eq!(of_list(&info, &query, Extent::default(), 0), Width::of(1));
    }

    #[test]
    fn writes_cost_by_who_watches() {
        let (write, _) = info(Method::PUT, "/api/v1/namespaces/a/pods/x");
        assert_eq!(of_write(&write, 9, 0), Width::of(1));
        let wide = of_write(&write, 95, 0);
        assert_eq!((wide.initial, wide.last, wide.linger), (1, 10, Duration::from_millis(5)));
        let narrow = of_write(&write, 100, 5);
        assert_eq!((narrow.last, narrow.linger), (5, Duration::from_millis(10)));
        let (token, _) = info(Method::POST, "/api/v1/namespaces/a/serviceaccounts/x/token");
        assert_eq!(of_write(&token, 1000, 0), Width::of(1));
    }

    #[test]
    fn watches_are_counted_by_place_and_by_user() {
        let watches = Watches::default();
        let begin = |uri: &str| watches.begin("u", &info(Method::GET, uri).0, 4);
        let all = begin("/api/v1/pods?watch=1").unwrap();
        let some = begin("/api/v1/namespaces/a/pods?watch=1").unwrap();
        let one = begin("/api/v1/namespaces/a/pods?watch=1&fieldSelector=metadata.name%3Dx").unwrap();
        let other = begin("/api/v1/namespaces/b/pods?watch=1").unwrap();
        assert!(begin("/api/v1/pods?watch=1").is_none());
        let hearing = |path: &str| watches.hearing(&info(Method::PUT, path).0);
        assert_eq!(hearing("/api/v1/namespaces/a/pods/x"), 3);
        assert_eq!(hearing("/api/v1/namespaces/a/pods/y"), 2);
        assert_eq!(hearing("/api/v1/nodes/y"), 0);
        drop((all, some, one, other));
        assert_eq!(hearing("/api/v1/namespaces/a/pods/x"), 0);
        assert!(watches.0.lock().unwrap().by_user.is_empty());
    }
}
