//! Keys and ranges of keys.

use std::borrow::Borrow;
use std::fmt;
use std::ops::{Bound, Deref};

use bytes::Bytes;

/// A key: any bytes, ordered bytewise. Cloning shares the bytes.
///
/// ```
/// use kubewright_store::Key;
///
/// let key = Key::from("/registry/pods/default/web-0");
/// assert!(key.starts_with(b"/registry/pods/"));
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Key(Bytes);

impl Key {
    /// A key over bytes that live for the whole program; nothing is copied.
    pub const fn from_static(bytes: &'static [u8]) -> Self {
        Self(Bytes::from_static(bytes))
    }

    /// A key with its own copy of `bytes`.
    pub fn copy_from(bytes: &[u8]) -> Self {
        Self(Bytes::copy_from_slice(bytes))
    }

    /// The shared bytes of the key.
    pub const fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// The smallest key above this one: this key followed by a zero byte.
    pub fn successor(&self) -> Self {
        let mut next = Vec::with_capacity(self.0.len() + 1);
        next.extend_from_slice(&self.0);
        next.push(0);
        Self(next.into())
    }
}

impl Deref for Key {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl From<&str> for Key {
    fn from(key: &str) -> Self {
        Self::copy_from(key.as_bytes())
    }
}

impl From<String> for Key {
    fn from(key: String) -> Self {
        key.into_bytes().into()
    }
}

impl From<&[u8]> for Key {
    fn from(key: &[u8]) -> Self {
        Self::copy_from(key)
    }
}

impl From<Vec<u8>> for Key {
    fn from(key: Vec<u8>) -> Self {
        // Room that it has to grow would be kept for as long as the key.
        Self(key.into_boxed_slice().into())
    }
}

impl From<Bytes> for Key {
    fn from(key: Bytes) -> Self {
        Self(key)
    }
}

impl From<&Self> for Key {
    fn from(key: &Self) -> Self {
        key.clone()
    }
}

impl From<Key> for Bytes {
    fn from(key: Key) -> Self {
        key.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

/// A set of adjacent keys: one key, every key with a prefix, or everything between two keys.
///
/// ```
/// use kubewright_store::KeyRange;
///
/// let pods = KeyRange::prefix("/registry/pods/");
/// assert!(pods.contains(b"/registry/pods/default/web-0"));
/// assert!(!pods.contains(b"/registry/podtemplates/default/web"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyRange {
    start: Key,
    end: End,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum End {
    /// The range is `start` alone.
    Exact,
    Before(Key),
    Unbounded,
}

impl KeyRange {
    /// Exactly one key.
    pub fn key(key: impl Into<Key>) -> Self {
        Self { start: key.into(), end: End::Exact }
    }

    /// Every key that starts with `prefix`. An empty prefix means every key.
    pub fn prefix(prefix: impl Into<Key>) -> Self {
        let start = prefix.into();
        let end = prefix_end(&start).map_or(End::Unbounded, End::Before);
        Self { start, end }
    }

    /// Every key from `start` on and below `end`. Empty when `end <= start`.
    pub fn between(start: impl Into<Key>, end: impl Into<Key>) -> Self {
        Self { start: start.into(), end: End::Before(end.into()) }
    }

    /// Every key from `start` on.
    pub fn starting_at(start: impl Into<Key>) -> Self {
        Self { start: start.into(), end: End::Unbounded }
    }

    /// Every key.
    pub fn all() -> Self {
        Self::starting_at(Key::default())
    }

    /// The part of this range above `key`: where the page after one that ended with `key` starts.
    pub fn after(&self, key: &Key) -> Self {
        let start = key.successor();
        let end = match &self.end {
            End::Exact => End::Before(start.clone()),
            other => other.clone(),
        };
        Self { start: start.max(self.start.clone()), end }
    }

    /// The first key that may be in the range.
    pub const fn start(&self) -> &Key {
        &self.start
    }

    /// The first key above the range; `None` when the range has no upper end.
    pub fn end(&self) -> Option<Key> {
        match &self.end {
            End::Exact => Some(self.start.successor()),
            End::Before(end) => Some(end.clone()),
            End::Unbounded => None,
        }
    }

    /// The key, when the range is exactly one.
    pub const fn as_exact(&self) -> Option<&Key> {
        match self.end {
            End::Exact => Some(&self.start),
            _ => None,
        }
    }

    /// The prefix, when the range is every key that starts with one.
    pub fn as_prefix(&self) -> Option<&Key> {
        let is_prefix = match &self.end {
            End::Exact => false,
            End::Before(end) => prefix_end(&self.start).as_ref() == Some(end),
            End::Unbounded => prefix_end(&self.start).is_none(),
        };
        is_prefix.then_some(&self.start)
    }

    /// Whether `key` is in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        match &self.end {
            End::Exact => key == &*self.start,
            End::Before(end) => key >= &*self.start && key < &**end,
            End::Unbounded => key >= &*self.start,
        }
    }

    /// Whether no key can be in the range.
    pub fn is_empty(&self) -> bool {
        matches!(&self.end, End::Before(end) if *end <= self.start)
    }

    /// Bounds for `BTreeMap::range`; `None` for an empty range, on which that method would panic.
    pub(crate) fn bounds(&self) -> Option<Bounds<'_>> {
        if self.is_empty() {
            return None;
        }
        let start = Bound::Included(&*self.start);
        Some(match &self.end {
            End::Exact => (start, start),
            End::Before(end) => (start, Bound::Excluded(&**end)),
            End::Unbounded => (start, Bound::Unbounded),
        })
    }
}

/// Where a range starts and ends, as `BTreeMap::range` wants it.
type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// The first key above every key with the prefix; `None` when there is none.
fn prefix_end(prefix: &[u8]) -> Option<Key> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_range_ends_at_the_next_prefix() {
        let range = KeyRange::prefix("a/");
        assert_eq!(range.end(), Some(Key::from("a0")));
        assert!(range.contains(b"a/") && range.contains(b"a/\xff\xff"));
        assert!(!range.contains(b"a0") && !range.contains(b"a"));
    }

    #[test]
    fn a_prefix_of_only_ff_has_no_end() {
        assert_eq!(KeyRange::prefix(&b"\xff\xff"[..]).end(), None);
        let range = KeyRange::prefix(&b"a\xff"[..]);
        assert_eq!(range.end(), Some(Key::from("b")));
        assert!(range.contains(b"a\xffz") && !range.contains(b"b"));
    }

    #[test]
    fn ranges_say_what_they_are() {
        assert!(KeyRange::prefix("a").as_prefix().is_some());
        assert!(KeyRange::between("a", "b").as_prefix().is_some());
        assert!(KeyRange::between("a", "c").as_prefix().is_none());
        assert!(KeyRange::key("a").as_prefix().is_none());
        assert_eq!(KeyRange::key("a").as_exact(), Some(&Key::from("a")));
        assert!(KeyRange::all().as_prefix().is_some());
        assert!(KeyRange::between("b", "a").is_empty());
        assert!(KeyRange::between("b", "a").bounds().is_none());
    }

    #[test]
    fn the_next_page_starts_above_the_last_key() {
        let range = KeyRange::prefix("a/").after(&Key::from("a/7"));
        assert!(!range.contains(b"a/7") && range.contains(b"a/7\0") && range.contains(b"a/8"));
        assert!(!range.contains(b"b"));
        assert!(KeyRange::key("a").after(&Key::from("a")).is_empty());
    }
}
