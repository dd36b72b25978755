//! Faults of a document in the order in which Go's decoder comes by them.

use std::collections::HashMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// The faults in the order of the keys in the JSON that give rise to them; the others after them.
///
/// Keys are told apart by hashes of what would be said of them, which are carried on from key to key: written out, the
/// paths of all keys could be millions of times as long as the document.
pub(super) fn in_order(json: &[u8], faults: Vec<String>) -> Vec<String> {
    let mut keys = Keys { count: 0, told: HashMap::new() };
    keys.told.extend(faults.iter().map(|fault| (Fnv::EMPTY.then(fault), Told::default())));
    let mut parser = serde_json::Deserializer::from_slice(json);
    let start = Walk {
        unknown: Fnv::EMPTY.then("unknown field \""),
        duplicate: Fnv::EMPTY.then("duplicate field \""),
        root: true,
        keys: &mut keys,
    };
    // It was parsed before; should it fail, what was found so far will do.
    let _ = start.deserialize(&mut parser);
    let place = |fault: &String| keys.told.get(&Fnv::EMPTY.then(fault)).and_then(|told| told.at).unwrap_or(usize::MAX);
    let mut placed: Vec<(usize, String)> = faults.into_iter().map(|fault| (place(&fault), fault)).collect();
    placed.sort_by_key(|(place, _)| *place);
    placed.into_iter().map(|(_, fault)| fault).collect()
}

/// FNV-1a, of a text that grows. Two texts with one hash at most stand in the wrong order.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Fnv(u64);

impl Fnv {
    const EMPTY: Self = Self(0xcbf2_9ce4_8422_2325);

    fn then(self, text: &str) -> Self {
        Self(text.bytes().fold(self.0, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)))
    }
}

/// What is known of a fault.
#[derive(Clone, Copy, Default)]
struct Told {
    /// How often the key was there.
    seen: usize,
    /// The number of the key that gives rise to the fault.
    at: Option<usize>,
}

struct Keys {
    count: usize,
    told: HashMap<Fnv, Told>,
}

impl Keys {
    fn note(&mut self, unknown: Fnv, duplicate: Fnv) {
        if let Some(told) = self.told.get_mut(&unknown) {
            told.at.get_or_insert(self.count);
        }
        if let Some(told) = self.told.get_mut(&duplicate) {
            told.seen += 1;
            if told.seen > 1 {
                told.at.get_or_insert(self.count);
            }
        }
        self.count += 1;
    }
}

/// Notes the keys of a value.
struct Walk<'a> {
    /// What begins to be said of a key in the value: that it is unknown, or there twice.
    unknown: Fnv,
    duplicate: Fnv,
    root: bool,
    keys: &'a mut Keys,
}

impl Walk<'_> {
    /// The same for a value within, at that step.
    fn within(&mut self, step: &str) -> Walk<'_> {
        Walk { unknown: self.unknown.then(step), duplicate: self.duplicate.then(step), root: false, keys: self.keys }
    }
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

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        for at in 0.. {
            if seq.next_element_seed(self.within(&format!("[{at}]")))?.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            // As it is told: in quotes, of which those around it are left out.
            let quoted = format!("{key:?}");
            let bare = &quoted[1..quoted.len() - 1];
            let below = if self.root { self.within(bare) } else { self.within(&format!(".{bare}")) };
            below.keys.note(below.unknown.then("\""), below.duplicate.then("\""));
            map.next_value_seed(below)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_come_in_the_order_of_their_keys() {
        let told = |what: &str, path: &str| format!("{what} field {path:?}");
        let json = br#"{"z": 1, "a": {"y\"": 1, "b": [{"c": 1}, {"c": 2, "c": 3}]}, "z": 2}"#;
        let faults = vec![
            told("duplicate", "z"),
            "something else".to_owned(),
            told("duplicate", "a.b[1].c"),
            told("unknown", "a.y\""),
            told("unknown", "z"),
        ];
        let expected = vec![
            told("unknown", "z"),
            told("unknown", "a.y\""),
            told("duplicate", "a.b[1].c"),
            told("duplicate", "z"),
            "something else".to_owned(),
        ];
        assert_eq!(in_order(json, faults), expected);
    }
}
