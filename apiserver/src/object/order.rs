//! Faults of a document in the order in which Go's decoder comes by them.

use std::collections::{HashMap, HashSet};
use std::fmt;

use kubewright_api::field::Path;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// The faults in the order of the keys in the JSON that give rise to them; the others after them.
pub(super) fn in_order(json: &[u8], mut faults: Vec<String>) -> Vec<String> {
    let mut paths = Vec::new();
    let mut parser = serde_json::Deserializer::from_slice(json);
    // It was parsed before; should it fail, what was found so far will do.
    let _ = Walk { path: &Path::root(), paths: &mut paths }.deserialize(&mut parser);
    let (mut seen, mut places) = (HashSet::new(), HashMap::new());
    for (place, path) in paths.iter().enumerate() {
        let what = if seen.insert(path) { "unknown" } else { "duplicate" };
        places.entry(format!("{what} field {path:?}")).or_insert(place);
    }
    faults.sort_by_key(|fault| places.get(fault).copied().unwrap_or(usize::MAX));
    faults
}

/// Notes the paths of all keys.
struct Walk<'a> {
    path: &'a Path,
    paths: &'a mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        for at in 0.. {
            let path = self.path.index(at);
            if seq.next_element_seed(Walk { path: &path, paths: self.paths })?.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            let path = self.path.child(&key);
            self.paths.push(path.to_string());
            map.next_value_seed(Walk { path: &path, paths: self.paths })?;
        }
        Ok(())
    }
}
