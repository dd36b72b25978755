//! Server-side apply: merge a manager's configuration into an object, by who owns which field.

use std::collections::{BTreeMap, BTreeSet};

use kubewright_api::schema::Type;
use kubewright_api::status::Status;
use serde_json::{Map, Value};

use super::client_side;
use super::fields::{Comparison, FieldSet, Step};
use super::managed::{self, Entry, Manager, Operation};
use super::typed::{Merges, Typed};
use crate::object::typed::Schema;

/// Applies `config` on behalf of `manager`. `current` is the object as it is, `None` to create it.
///
/// Fields that the manager applied before and no longer names go, unless others own them too. Fields that others own
/// and that would change are conflicts, unless `force` takes them over.
///
/// # Errors
/// 409 with a cause for every conflict; 400 if the configuration carries `managedFields` or repeats a list element.
pub fn apply(
    current: Option<&Value>,
    config: &Value,
    schema: &Schema,
    manager: &Manager<'_>,
    force: bool,
) -> Result<Value, Status> {
    if !config["metadata"]["managedFields"].is_null() {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    let typed = Typed::root(schema);
    check_unique(config, typed, &mut String::new())?;
    let empty = Value::Object(Map::new());
    let live = current.unwrap_or(&empty);
    let mut entries = match current {
        Some(current) => adopt(managed::entries(current), current, typed, manager),
        None => Vec::new(),
    };
    let mut config = config.clone();
    strip(&mut config);
    let applied = managed::owned(FieldSet::of(&config, typed), manager);
    let mut new = merge(Some(live), &config, typed);
    if let Some(before) = entries.iter().find(|entry| entry.is_of(manager)) {
        let mut dropped = before.fields.clone();
        dropped.subtract(&applied);
        let mut others = applied.clone();
        for entry in entries.iter().filter(|entry| !entry.is_of(manager)) {
            others.add(&entry.fields);
        }
        prune(&mut new, &dropped, &others, typed, false);
    }
    // What the endpoint sets back is in nobody's way: a configuration with the status of an object that was read, say.
    let Comparison { set, removed } = Comparison::of(Some(live), Some(&new), typed);
    let comparison = Comparison { set: managed::owned(set, manager), removed: managed::owned(removed, manager) };
    if !force {
        check_conflicts(&entries, &comparison, manager, &client_side::taken_over(live, manager, typed))?;
    }
    take(&mut entries, &comparison, manager);
    managed::record(&mut entries, manager, |fields| *fields = applied);
    managed::set_entries(&mut new, entries);
    client_side::follow(&mut new, &config, manager);
    Ok(new)
}

/// Metadata that the server sets isn't applied.
fn strip(config: &mut Value) {
    if let Some(metadata) = config.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in ["creationTimestamp", "generation", "uid", "resourceVersion", "selfLink", "managedFields"] {
            metadata.remove(field);
        }
    }
}

/// An object that nobody has managed so far gets an entry that owns all of it.
fn adopt(entries: Vec<Entry>, current: &Value, typed: Typed<'_>, manager: &Manager<'_>) -> Vec<Entry> {
    if !entries.is_empty() {
        return entries;
    }
    let before = Manager { name: "before-first-apply", operation: Operation::Update, ..manager.clone() };
    let mut entries = Vec::new();
    managed::record(&mut entries, &before, |fields| *fields = managed::owned(FieldSet::of(current, typed), &before));
    entries
}

/// Refuses to change what others own, but for what the manager may take over.
fn check_conflicts(
    entries: &[Entry],
    comparison: &Comparison,
    manager: &Manager<'_>,
    taken_over: &FieldSet,
) -> Result<(), Status> {
    let mut conflicts: Vec<(String, String)> = Vec::new();
    for entry in entries.iter().filter(|entry| !entry.is_of(manager)) {
        let mut disputed = entry.fields.intersection(&comparison.set);
        disputed.subtract(taken_over);
        conflicts.extend(disputed.paths().into_iter().map(|path| (entry.describe(), path)));
    }
    if conflicts.is_empty() { Ok(()) } else { Err(conflict(&conflicts)) }
}

/// Takes what changes away from others who own it.
fn take(entries: &mut [Entry], comparison: &Comparison, manager: &Manager<'_>) {
    for entry in entries.iter_mut().filter(|entry| !entry.is_of(manager)) {
        entry.fields.subtract(&comparison.set);
        entry.fields.subtract(&comparison.removed);
    }
}

fn conflict(conflicts: &[(String, String)]) -> Status {
    let message = if let [(owner, path)] = conflicts {
        format!("Apply failed with 1 conflict: conflict with {owner}: {path}")
    } else {
        let mut owners: Vec<&String> = conflicts.iter().map(|(owner, _)| owner).collect();
        owners.sort();
        owners.dedup();
        let lines = owners.into_iter().flat_map(|owner| {
            let paths = conflicts.iter().filter(move |(of, _)| of == owner).map(|(_, path)| format!("- {path}"));
            std::iter::once(format!("conflicts with {owner}:")).chain(paths)
        });
        let lines: Vec<String> = lines.collect();
        format!("Apply failed with {} conflicts: {}", conflicts.len(), lines.join("\n"))
    };
    conflicts.iter().fold(Status::failure(409, "Conflict", message), |status, (owner, path)| {
        status.with_cause("FieldManagerConflict", format!("conflict with {owner}"), path)
    })
}

/// An object with a configuration merged into it, nobody's ownership noted.
///
/// # Errors
/// The configuration sets units that can only be replaced whole; the paths of them.
pub(crate) fn merged(live: &Value, config: &Value, ty: Option<&'static Type>) -> Result<Value, String> {
    let schema = Schema::from(ty);
    let mut units = Vec::new();
    find_units(config, Typed::root(&schema), "", &mut units);
    if units.is_empty() { Ok(merge(Some(live), config, Typed::root(&schema))) } else { Err(units.join(", ")) }
}

fn find_units(value: &Value, typed: Typed<'_>, path: &str, units: &mut Vec<String>) {
    match (typed.merges(value), value) {
        (Merges::AsUnit, Value::Array(_) | Value::Object(_)) => units.push(path.to_owned()),
        (Merges::ByField, Value::Object(fields)) => {
            for (name, value) in fields {
                find_units(value, typed.field(name), &format!("{path}.{name}"), units);
            }
        }
        (Merges::ByKeys(_), Value::Array(elements)) => {
            for element in elements {
                find_units(element, typed.element(), path, units);
            }
        }
        _ => {}
    }
}

/// Merges what is applied into what is there.
fn merge(live: Option<&Value>, config: &Value, typed: Typed<'_>) -> Value {
    let Some(live) = live.filter(|live| !live.is_null()) else { return config.clone() };
    match (typed.merges(config), live, config) {
        (Merges::ByField, Value::Object(live), Value::Object(config)) => {
            let mut merged = live.clone();
            for (name, value) in config {
                merged.insert(name.clone(), merge(live.get(name), value, typed.field(name)));
            }
            Value::Object(merged)
        }
        (Merges::ByKeys(keys), Value::Array(live), Value::Array(config)) => {
            merge_lists(live, config, |element| Step::key(element, keys), typed)
        }
        (Merges::ByValue, Value::Array(live), Value::Array(config)) => merge_lists(live, config, Step::value, typed),
        _ => config.clone(),
    }
}

/// What is applied comes in its own order, and what is only there keeps its place before what comes next in either list.
fn merge_lists(live: &[Value], config: &[Value], step: impl Fn(&Value) -> Step, typed: Typed<'_>) -> Value {
    let (there, applied): (Vec<Step>, Vec<Step>) =
        (live.iter().map(&step).collect(), config.iter().map(&step).collect());
    let (places_there, places_applied) = (places(&there), places(&applied));
    let known: Vec<Option<usize>> = applied.iter().map(|own| places_there.get(own).copied()).collect();
    let wanted: Vec<Option<usize>> = there.iter().map(|own| places_applied.get(own).copied()).collect();
    let mut merged = Vec::with_capacity(live.len().max(config.len()));
    // Those in both lists, in the order in which they are applied.
    let mut shared = (0..applied.len()).filter(|at| known[*at].is_some());
    let (mut next, mut at, mut own, mut taken) = (shared.next(), 0, 0, vec![false; applied.len()]);
    while at < there.len() || own < applied.len() {
        match wanted.get(at) {
            Some(None) => {
                merged.push(live[at].clone());
                at += 1;
                continue;
            }
            // It came before, or comes once it is its turn.
            Some(Some(place)) if taken[*place] || (*place != own && next.is_some_and(|next| next != *place)) => {
                at += 1;
                continue;
            }
            _ => {}
        }
        merged.push(merge(known[own].map(|at| &live[at]), &config[own], typed.element()));
        taken[own] = true;
        if next == Some(own) {
            next = shared.next();
        }
        own += 1;
    }
    Value::Array(merged)
}

/// Where elements stand first. Lists come from clients: looking through them for each element would take a time that
/// grows with the square of their length.
fn places(list: &[Step]) -> BTreeMap<&Step, usize> {
    let mut places = BTreeMap::new();
    for (at, step) in list.iter().enumerate() {
        places.entry(step).or_insert(at);
    }
    places
}

/// Removes the fields of `dropped` that nobody in `others` owns. Says whether nothing of the value is left.
///
/// An element of a list or a value of a map (`is_one_of_many`) goes whole if nobody else owns it itself, whoever owns
/// something in it: what is left would lack what tells it from the others.
fn prune(value: &mut Value, dropped: &FieldSet, others: &FieldSet, typed: Typed<'_>, is_one_of_many: bool) -> bool {
    if dropped.is_empty() {
        return false;
    }
    if dropped.here && (others.is_empty() || (is_one_of_many && !others.here)) {
        return true;
    }
    let nobody = FieldSet::default();
    let goes = |step: &Step, value: &mut Value, typed: Typed<'_>, is_one_of_many: bool| {
        let Some(dropped) = dropped.at(step) else { return false };
        prune(value, dropped, others.at(step).unwrap_or(&nobody), typed, is_one_of_many)
    };
    match (typed.merges(value), &mut *value) {
        (Merges::ByField, Value::Object(fields)) => {
            fields
                .retain(|name, value| !goes(&Step::Field(name.clone()), value, typed.field(name), !typed.names(name)));
            fields.is_empty() && others.is_empty()
        }
        (Merges::ByKeys(keys), Value::Array(elements)) => {
            elements.retain_mut(|element| !goes(&Step::key(element, keys), element, typed.element(), true));
            elements.is_empty() && others.is_empty()
        }
        (Merges::ByValue, Value::Array(elements)) => {
            elements.retain_mut(|element| !goes(&Step::value(element), element, typed.element(), true));
            elements.is_empty() && others.is_empty()
        }
        _ => dropped.here && others.is_empty(),
    }
}

/// Refuses lists that name an element twice, which nobody could own.
fn check_unique(value: &Value, typed: Typed<'_>, path: &mut String) -> Result<(), Status> {
    match (typed.merges(value), value) {
        (Merges::ByField, Value::Object(fields)) => {
            for (name, value) in fields {
                let length = path.len();
                path.push('.');
                path.push_str(name);
                check_unique(value, typed.field(name), path)?;
                path.truncate(length);
            }
        }
        (Merges::ByKeys(keys), Value::Array(elements)) => {
            refuse_repeated(elements.iter().map(|element| Step::key(element, keys)), path)?;
            for element in elements {
                check_unique(element, typed.element(), path)?;
            }
        }
        (Merges::ByValue, Value::Array(elements)) => refuse_repeated(elements.iter().map(Step::value), path)?,
        _ => {}
    }
    Ok(())
}

fn refuse_repeated(steps: impl Iterator<Item = Step>, path: &str) -> Result<(), Status> {
    let mut seen = BTreeSet::new();
    for step in steps {
        if seen.contains(&step) {
            let (Step::Field(element) | Step::Key(element) | Step::Value(element)) = step;
            let message = format!("failed to create typed patch object: {path}: duplicate entries for key [{element}]");
            return Err(Status::internal(message));
        }
        seen.insert(step);
    }
    Ok(())
}

#[cfg(test)]
#[path = "apply_test.rs"]
mod tests;
