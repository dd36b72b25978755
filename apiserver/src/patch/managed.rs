//! `metadata.managedFields`: which manager set which field.

use serde_json::{Map, Value, json};

use super::fields::{Comparison, FieldSet};
use super::typed::Typed;
use crate::object::typed::Schema;

/// Entries of updates that are kept apart; beyond it the oldest are merged into one, as upstream does.
const UPDATE_MANAGERS_MAX: usize = 10;
const ANCIENT: &str = "ancient-changes";
/// Fields that nobody manages.
const STRIPPED: [&[&str]; 9] = [
    &["apiVersion"],
    &["kind"],
    &["metadata", "name"],
    &["metadata", "namespace"],
    &["metadata", "creationTimestamp"],
    &["metadata", "uid"],
    &["metadata", "generation"],
    &["metadata", "managedFields"],
    &["metadata", "resourceVersion"],
];

/// What a manager does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Server-side apply.
    Apply,
    /// Anything else.
    Update,
}

impl Operation {
    const fn name(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

/// Who writes, and how.
#[derive(Clone, Debug)]
pub struct Manager<'a> {
    /// The manager's name (`fieldManager`, or the first part of the user agent).
    pub name: &'a str,
    /// What it does.
    pub operation: Operation,
    /// The subresource it writes through; empty for the object itself.
    pub subresource: &'a str,
    /// The version in which it writes, such as `apps/v1`.
    pub api_version: &'a str,
    /// The time now, as objects carry it.
    pub time: &'a str,
    /// Whether the kind has a status subresource, so that only writes through it manage `status`.
    pub status: bool,
}

/// One entry of `managedFields`.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) manager: String,
    pub(super) operation: Operation,
    pub(super) subresource: String,
    pub(super) api_version: String,
    pub(super) time: String,
    pub(super) fields: FieldSet,
}

impl Entry {
    fn decode(entry: &Value) -> Option<Self> {
        let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
        let operation = match entry["operation"].as_str()? {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return None,
        };
        if entry["fieldsType"] != "FieldsV1" || !entry["fieldsV1"].is_object() {
            return None;
        }
        Some(Self {
            manager: text("manager"),
            operation,
            subresource: text("subresource"),
            api_version: text("apiVersion"),
            time: text("time"),
            fields: FieldSet::decode(&entry["fieldsV1"]),
        })
    }

    fn encode(&self) -> Value {
        let mut entry = json!({
            "manager": self.manager, "operation": self.operation.name(), "apiVersion": self.api_version,
            "fieldsType": "FieldsV1", "fieldsV1": self.fields.encode(),
        });
        for (name, value) in [("time", &self.time), ("subresource", &self.subresource)] {
            if !value.is_empty() {
                entry[name] = value.as_str().into();
            }
        }
        entry
    }

    /// Whether it is that manager's entry. An applier has one entry whatever version it writes.
    pub(super) fn is_of(&self, manager: &Manager<'_>) -> bool {
        self.manager == manager.name
            && self.operation == manager.operation
            && self.subresource == manager.subresource
            && (self.operation == Operation::Apply || self.api_version == manager.api_version)
    }

    /// How messages name the manager.
    pub(super) fn describe(&self) -> String {
        let mut text = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            text.push_str(&format!(" with subresource {:?}", self.subresource));
        }
        if self.operation == Operation::Update {
            text.push_str(&format!(" using {}", self.api_version));
            if !self.time.is_empty() {
                text.push_str(&format!(" at {}", self.time));
            }
        }
        text
    }
}

/// Reads the entries of an object.
pub(super) fn entries(object: &Value) -> Vec<Entry> {
    object["metadata"]["managedFields"].as_array().into_iter().flatten().filter_map(Entry::decode).collect()
}

/// Writes the entries into an object: the empty ones dropped, the rest in upstream's order.
pub(super) fn set_entries(object: &mut Value, mut entries: Vec<Entry>) {
    entries.retain(|entry| !entry.fields.is_empty());
    entries.sort_by(|a, b| {
        let key =
            |e: &Entry| (e.operation, e.time.clone(), e.manager.clone(), e.api_version.clone(), e.subresource.clone());
        key(a).cmp(&key(b))
    });
    merge_ancient(&mut entries);
    let Some(object) = object.as_object_mut() else { return };
    let metadata = object.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
    if let Some(metadata) = metadata.as_object_mut() {
        if entries.is_empty() {
            metadata.remove("managedFields");
        } else {
            metadata.insert("managedFields".into(), entries.iter().map(Entry::encode).collect());
        }
    }
}

/// Entries are sorted by time; the oldest updates beyond the limit become one entry a version.
fn merge_ancient(entries: &mut Vec<Entry>) {
    let updates = entries.iter().filter(|entry| entry.operation == Operation::Update).count();
    let mut surplus = (updates + 1).saturating_sub(UPDATE_MANAGERS_MAX);
    if updates <= UPDATE_MANAGERS_MAX {
        return;
    }
    let mut kept: Vec<Entry> = Vec::with_capacity(entries.len());
    for mut entry in entries.drain(..) {
        if entry.operation == Operation::Apply || surplus == 0 || !entry.subresource.is_empty() {
            kept.push(entry);
            continue;
        }
        surplus -= 1;
        entry.manager = ANCIENT.into();
        match kept.iter_mut().find(|k| k.manager == ANCIENT && k.api_version == entry.api_version) {
            Some(ancient) => {
                ancient.fields.add(&entry.fields);
                ancient.time = entry.time;
            }
            None => kept.push(entry),
        }
    }
    *entries = kept;
}

/// What of a set a manager may own.
pub(super) fn owned(mut set: FieldSet, manager: &Manager<'_>) -> FieldSet {
    for path in STRIPPED {
        set.remove(path);
    }
    if manager.subresource == "status" {
        let keep = |step: &super::fields::Step| matches!(step, super::fields::Step::Field(name) if name == "status" || name == "metadata");
        set.below.retain(|step, _| keep(step));
    } else if manager.status && manager.subresource.is_empty() {
        set.remove(&["status"]);
    }
    if let Some(metadata) = set.below.get_mut(&super::fields::Step::Field("metadata".into())) {
        metadata.here = false;
    }
    set.below.retain(|_, below| !below.is_empty());
    set
}

/// Notes in `new` what an update, patch or creation changed: the manager owns what it set, others lose it.
///
/// What the client sent in `metadata.managedFields` counts: an empty list resets all ownership, and entries are what others
/// own from now on (`kubectl` moves what it applied at the client so). Nothing, and what makes no sense, changes nothing;
/// neither does what is sent to a subresource.
pub fn note_update(new: &mut Value, old: Option<&Value>, schema: &Schema, manager: &Manager<'_>) {
    let sent = new["metadata"]["managedFields"].as_array().filter(|_| manager.subresource.is_empty());
    let reset = old.is_some() && sent.is_some_and(|list| is_reset(list));
    let sent = sent.and_then(|list| list.iter().map(Entry::decode).collect::<Option<Vec<_>>>());
    let mut entries = match sent.filter(|entries| !entries.is_empty()) {
        _ if reset => Vec::new(),
        Some(entries) => entries,
        None => old.map(entries).unwrap_or_default(),
    };
    let nothing = Value::Object(Map::new());
    let comparison = Comparison::of(Some(old.unwrap_or(&nothing)), Some(new), Typed::root(schema));
    let (set, removed) = (owned(comparison.set, manager), owned(comparison.removed, manager));
    for entry in &mut entries {
        entry.fields.subtract(&removed);
        if !entry.is_of(manager) {
            entry.fields.subtract(&set);
        }
    }
    if !reset && !set.is_empty() {
        record(&mut entries, manager, |fields| fields.add(&set));
    }
    set_entries(new, entries);
}

fn is_reset(list: &[Value]) -> bool {
    list.is_empty() || list.iter().all(|entry| entry.as_object().is_some_and(Map::is_empty))
}

/// Changes the manager's entry, making one if there is none; its time moves only if the fields change.
pub(super) fn record(entries: &mut Vec<Entry>, manager: &Manager<'_>, change: impl FnOnce(&mut FieldSet)) {
    let at = entries.iter().position(|entry| entry.is_of(manager)).unwrap_or_else(|| {
        entries.push(Entry {
            manager: manager.name.to_owned(),
            operation: manager.operation,
            subresource: manager.subresource.to_owned(),
            api_version: manager.api_version.to_owned(),
            time: String::new(),
            fields: FieldSet::default(),
        });
        entries.len() - 1
    });
    let entry = &mut entries[at];
    let before = entry.fields.clone();
    change(&mut entry.fields);
    manager.api_version.clone_into(&mut entry.api_version);
    if entry.fields != before || entry.time.is_empty() {
        manager.time.clone_into(&mut entry.time);
    }
}

#[cfg(test)]
mod tests {
    use kubewright_api::schema;

    use super::*;

    fn manager(name: &'static str) -> Manager<'static> {
        Manager {
            name,
            operation: Operation::Update,
            subresource: "",
            api_version: "v1",
            time: "2026-01-01T00:00:00Z",
            status: true,
        }
    }

    fn ty() -> Schema {
        schema::of_kind("", "v1", "Pod").into()
    }

    #[test]
    fn updates_take_over_what_they_set() {
        let mut first = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "labels": {"x": "1", "y": "1"}}, "status": {"phase": "Pending"}});
        note_update(&mut first, None, &ty(), &manager("creator"));
        let fields = &first["metadata"]["managedFields"][0]["fieldsV1"];
        assert_eq!(fields, &json!({"f:metadata": {"f:labels": {".": {}, "f:x": {}, "f:y": {}}}}));
        let mut second = first.clone();
        second["metadata"]["labels"] = json!({"x": "2"});
        note_update(&mut second, Some(&first), &ty(), &manager("changer"));
        let found: Vec<_> = entries(&second).iter().map(|e| (e.manager.clone(), e.fields.paths())).collect();
        assert_eq!(
            found,
            [
                ("changer".to_owned(), vec![".metadata.labels.x".to_owned()]),
                ("creator".to_owned(), vec![".metadata.labels".to_owned()]),
            ]
        );
        let mut same = second.clone();
        note_update(&mut same, Some(&second), &ty(), &manager("third"));
        assert_eq!(same, second);
    }

    #[test]
    fn entries_that_a_client_sends_count() {
        let mut first = json!({"metadata": {"name": "a", "labels": {"x": "1"}}});
        note_update(&mut first, None, &ty(), &manager("creator"));
        let mut moved = first.clone();
        moved["metadata"]["managedFields"][0]["manager"] = "kubectl".into();
        moved["metadata"]["managedFields"][0]["operation"] = "Apply".into();
        let sent = moved.clone();
        note_update(&mut moved, Some(&first), &ty(), &manager("mover"));
        assert_eq!(moved, sent);
        let mut nonsense = first.clone();
        nonsense["metadata"]["managedFields"][0]["operation"] = "Guess".into();
        note_update(&mut nonsense, Some(&first), &ty(), &manager("mover"));
        assert_eq!(nonsense, first);
        let through_status = Manager { subresource: "status", ..manager("mover") };
        let mut ignored = sent;
        note_update(&mut ignored, Some(&first), &ty(), &through_status);
        assert_eq!(ignored, first);
    }

    #[test]
    fn old_managers_are_merged() {
        let mut object = json!({"metadata": {}});
        for at in 0..15 {
            let old = object.clone();
            object["metadata"]["labels"][format!("l{at}")] = "x".into();
            let time = format!("2026-01-01T00:00:{at:02}Z");
            let name = format!("m{at}");
            note_update(&mut object, Some(&old), &ty(), &Manager { name: &name, time: &time, ..manager("") });
        }
        let entries = entries(&object);
        assert!(entries.len() <= UPDATE_MANAGERS_MAX, "{}", entries.len());
        assert!(entries.iter().any(|entry| entry.manager == ANCIENT));
        let total: usize = entries.iter().map(|entry| entry.fields.paths().len()).sum();
        assert_eq!(total, 16, "fifteen labels and the map itself");
    }
}
