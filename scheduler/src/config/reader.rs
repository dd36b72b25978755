//! Reading objects field by field, so that every unknown or mistyped one is named with its path.

use std::time::Duration;

use kubewright_api::field::{FieldError, Path};
use serde_json::{Map, Value};

/// Everything that is wrong.
#[derive(Default)]
pub(super) struct Faults {
    pub(super) unknown: Vec<String>,
    pub(super) invalid: Vec<FieldError>,
}

impl Faults {
    pub(super) fn invalid(&mut self, path: &Path, value: impl Into<Value>, rule: &str) {
        self.invalid.push(FieldError::invalid(path, value.into(), rule));
    }
}

/// An object that is being read.
pub(super) struct Section<'a> {
    object: Option<&'a Map<String, Value>>,
    path: Path,
    read: Vec<&'static str>,
}

impl<'a> Section<'a> {
    pub(super) fn new(value: &'a Value, path: Path, faults: &mut Faults) -> Self {
        if !value.is_object() && !value.is_null() {
            faults.invalid(&path, value.clone(), "must be an object");
        }
        Self { object: value.as_object(), path, read: Vec::new() }
    }

    /// Where a field is.
    pub(super) fn path(&self, key: &str) -> Path {
        self.path.child(key)
    }

    /// The section's own place.
    pub(super) const fn own_path(&self) -> &Path {
        &self.path
    }

    /// A field's value, whatever it is; null counts as missing.
    pub(super) fn any(&mut self, key: &'static str) -> Option<&'a Value> {
        self.read.push(key);
        self.object?.get(key).filter(|value| !value.is_null())
    }

    fn typed<T>(
        &mut self,
        key: &'static str,
        faults: &mut Faults,
        read: impl FnOnce(&'a Value) -> Option<T>,
        rule: &str,
    ) -> Option<T> {
        let value = self.any(key)?;
        let typed = read(value);
        if typed.is_none() {
            faults.invalid(&self.path(key), value.clone(), rule);
        }
        typed
    }

    pub(super) fn text(&mut self, key: &'static str, faults: &mut Faults) -> Option<String> {
        self.typed(key, faults, |value| value.as_str().map(ToOwned::to_owned), "must be a string")
    }

    pub(super) fn flag(&mut self, key: &'static str, faults: &mut Faults) -> Option<bool> {
        self.typed(key, faults, Value::as_bool, "must be true or false")
    }

    pub(super) fn integer(&mut self, key: &'static str, faults: &mut Faults) -> Option<i64> {
        self.typed(key, faults, Value::as_i64, "must be a whole number")
    }

    /// A duration as Go writes it, such as `1m30s`.
    pub(super) fn duration(&mut self, key: &'static str, faults: &mut Faults) -> Option<Duration> {
        self.typed(key, faults, |value| go_duration(value.as_str()?), "must be a duration such as 15s")
    }

    pub(super) fn section(&mut self, key: &'static str, faults: &mut Faults) -> Option<Self> {
        let value = self.any(key)?;
        Some(Self::new(value, self.path(key), faults))
    }

    /// A list's elements with their places.
    pub(super) fn list(&mut self, key: &'static str, faults: &mut Faults) -> Vec<(&'a Value, Path)> {
        let path = self.path(key);
        let items = self.typed(key, faults, Value::as_array, "must be a list");
        items.into_iter().flatten().enumerate().map(|(at, item)| (item, path.index(at))).collect()
    }

    /// A list's elements as sections.
    pub(super) fn sections(&mut self, key: &'static str, faults: &mut Faults) -> Vec<Self> {
        let items = self.list(key, faults);
        items.into_iter().map(|(item, path)| Self::new(item, path, faults)).collect()
    }

    /// Names the fields that nobody read.
    pub(super) fn end(self, faults: &mut Faults) {
        let unread = self.object.into_iter().flat_map(Map::keys).filter(|key| !self.read.contains(&key.as_str()));
        faults.unknown.extend(unread.map(|key| self.path.child(key).to_string()));
    }
}

fn go_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    if rest == "0" {
        return Some(total);
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        let (seconds, unit) = [("ms", 0.001), ("us", 1e-6), ("ns", 1e-9), ("h", 3600.0), ("m", 60.0), ("s", 1.0)]
            .into_iter()
            .find_map(|(unit, seconds)| rest[end..].starts_with(unit).then_some((seconds, unit)))?;
        total += Duration::try_from_secs_f64(number * seconds).ok()?;
        rest = &rest[end + unit.len()..];
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations() {
        assert_eq!(go_duration("1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(go_duration("1.5h"), Some(Duration::from_mins(90)));
        assert_eq!(go_duration("100ms"), Some(Duration::from_millis(100)));
        assert_eq!((go_duration("15"), go_duration("x"), go_duration("0")), (None, None, Some(Duration::ZERO)));
    }
}
