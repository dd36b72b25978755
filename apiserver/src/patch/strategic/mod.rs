//! Strategic merge patch: a merge patch that knows, by the schema, how lists merge, and that carries directives.
//!
//! Source: `staging/src/k8s.io/apimachinery/pkg/util/strategicpatch` of Kubernetes.

mod order;

use std::collections::{HashMap, HashSet};

use kubewright_api::schema::{Field, Shape, Type};
use kubewright_api::status::Status;
use serde_json::{Map, Value};

use self::order::{check_order, order, set_order};
use super::restore::printed;

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const SET_ORDER: &str = "$setElementOrder/";

/// Applies a strategic merge patch to an object of that type.
///
/// # Errors
/// 400 if a directive has no sense, 500 if a list does not merge, both in upstream's words.
pub fn strategic(object: &Value, patch: &Value, ty: &'static Type) -> Result<Value, Status> {
    let (Value::Object(object), Value::Object(patch)) = (object, patch) else {
        return Err(Status::bad_request("a strategic merge patch must be an object"));
    };
    Ok(Value::Object(merge_maps(object.clone(), patch, Holder::Type(ty))?))
}

/// What holds the fields that are merged.
#[derive(Clone, Copy)]
enum Holder {
    Type(&'static Type),
    /// A map with values of that shape.
    Map(&'static Shape),
    Unknown,
}

impl Holder {
    fn of(shape: &'static Shape) -> Self {
        match shape {
            Shape::Map(inner) => Self::Map(inner),
            shape => shape.as_type().map_or(Self::Unknown, Self::Type),
        }
    }

    fn field(self, name: &str) -> Option<&'static Field> {
        match self {
            Self::Type(ty) => ty.field(name),
            Self::Map(_) | Self::Unknown => None,
        }
    }

    fn below(self, name: &str) -> Self {
        match self {
            Self::Type(ty) => ty.field(name).map_or(Self::Unknown, |field| Self::of(&field.shape)),
            Self::Map(shape) => Self::of(shape),
            Self::Unknown => Self::Unknown,
        }
    }

    /// What the elements of the list in that field are.
    fn elements(self, name: &str) -> Self {
        self.field(name).and_then(|field| field.shape.element()).map_or(Self::Unknown, Self::of)
    }
}

/// A directive has not the form that it must have.
fn malformed<T>(what: &str) -> Result<T, Status> {
    Err(Status::bad_request(format!("invalid patch format of {what}")))
}

/// What upstream doesn't expect a client to send: its answer has a code of the server's and no reason.
fn refuse<T>(why: impl Into<String>) -> Result<T, Status> {
    Err(Status::failure(500, "", why))
}

fn without_key<T>(item: &Value, key: &str) -> Result<T, Status> {
    refuse(format!("map: {} does not contain declared merge key: {key}", printed(item)))
}

type Object = Map<String, Value>;

fn merge_maps(mut original: Object, patch: &Object, holder: Holder) -> Result<Object, Status> {
    if let Some(directive) = patch.get(DIRECTIVE) {
        return match directive.as_str() {
            Some("replace") => {
                let mut whole = patch.clone();
                whole.remove(DIRECTIVE);
                Ok(whole)
            }
            Some("delete") => Ok(Object::new()),
            _ => {
                let (directive, patch) = (printed(directive), printed(&Value::Object(patch.clone())));
                refuse(format!("unknown patch type: {directive} in map: {patch}"))
            }
        };
    }
    if let Some(keys) = patch.get(RETAIN_KEYS) {
        retain_keys(&mut original, patch, keys)?;
    }
    for (directive, order) in patch {
        if let (Some(list), Some(order)) = (directive.strip_prefix(SET_ORDER), order.as_array()) {
            check_order(patch, list, order, holder)?;
        }
    }
    for (name, value) in patch {
        if name == RETAIN_KEYS || name.starts_with(SET_ORDER) {
            continue;
        }
        if let Some(list) = name.strip_prefix(DELETE_FROM) {
            delete_from(&mut original, list, value)?;
            continue;
        }
        let merged = match (original.remove(name), value) {
            (_, Value::Null) => continue,
            (Some(Value::Object(old)), Value::Object(new)) => Value::Object(merge_maps(old, new, holder.below(name))?),
            (Some(Value::Array(old)), Value::Array(new)) => Value::Array(merge_lists(old, new, name, holder)?),
            _ => match without_directives(value) {
                Some(value) => value,
                None => continue,
            },
        };
        original.insert(name.clone(), merged);
    }
    for (directive, order) in patch {
        if let Some(list) = directive.strip_prefix(SET_ORDER) {
            set_order(&mut original, list, order, holder)?;
        }
    }
    Ok(original)
}

fn retain_keys(original: &mut Object, patch: &Object, keys: &Value) -> Result<(), Status> {
    let Some(keys) = keys.as_array() else { return malformed("retainKeys") };
    let keys: HashSet<&str> = keys.iter().filter_map(Value::as_str).collect();
    let named = |name: &String| keys.contains(name.as_str());
    // Whatever the patch sets is retained.
    if patch.keys().any(|name| !name.starts_with('$') && !patch[name].is_null() && !named(name)) {
        return malformed("retainKeys");
    }
    original.retain(|name, _| named(name));
    Ok(())
}

fn delete_from(original: &mut Object, list: &str, values: &Value) -> Result<(), Status> {
    let Some(values) = values.as_array() else { return malformed("primitive list") };
    if let Some(Value::Array(elements)) = original.get_mut(list) {
        let values: HashSet<String> = values.iter().map(Value::to_string).collect();
        elements.retain(|element| !values.contains(&element.to_string()));
    }
    Ok(())
}

/// A value that comes new into the object: nulls and directives in it have done their work. `None` if it was nothing
/// but a directive.
fn without_directives(value: &Value) -> Option<Value> {
    match value {
        Value::Object(fields) => {
            if fields.get(DIRECTIVE).is_some_and(|directive| directive == "delete") {
                return None;
            }
            let kept = fields.iter().filter(|(name, value)| !name.starts_with('$') && !value.is_null());
            let cleaned = kept.filter_map(|(name, value)| Some((name.clone(), without_directives(value)?)));
            Some(Value::Object(cleaned.collect()))
        }
        Value::Array(elements) => {
            // An element that is only `$patch: replace` names no content of its own.
            let marker =
                |element: &&Value| element.as_object().is_some_and(|e| e.len() == 1 && e.contains_key(DIRECTIVE));
            Some(elements.iter().filter(|element| !marker(element)).filter_map(without_directives).collect())
        }
        scalar => Some(scalar.clone()),
    }
}

fn merge_lists(old: Vec<Value>, patch: &[Value], name: &str, holder: Holder) -> Result<Vec<Value>, Status> {
    let field = holder.field(name);
    if !field.is_some_and(|field| field.patch.merge) {
        return Ok(without_directives(&Value::Array(patch.to_vec())).and_then(into_array).unwrap_or_default());
    }
    let objects = old.iter().chain(patch).any(Value::is_object);
    if !objects {
        let mut merged = old.clone();
        merged.extend(patch.iter().cloned());
        return Ok(order(dedup(merged), patch, &old, &Value::to_string));
    }
    if !old.iter().chain(patch).all(Value::is_object) {
        let lists = Value::Array(vec![old.into(), patch.to_vec().into()]);
        return refuse(format!("list element types are not identical: {}", printed(&lists)));
    }
    let Some(key) = field.and_then(|field| field.patch.key) else {
        return refuse(format!("cannot merge lists without merge key for {name}"));
    };
    merge_objects(old, patch, key, holder.elements(name))
}

fn into_array(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(elements) => Some(elements),
        _ => None,
    }
}

fn merge_objects(old: Vec<Value>, patch: &[Value], key: &str, element: Holder) -> Result<Vec<Value>, Status> {
    let Some((plain, deleted)) = read_directives(patch, key)? else {
        let plain = patch.iter().filter(|item| item.get(DIRECTIVE).is_none());
        return Ok(plain.filter_map(without_directives).collect());
    };
    let id = |item: &Value| item[key].to_string();
    let stays = |item: &&Value| item.get(key).is_none_or(|value| !deleted.contains(&value.to_string()));
    let mut merged: Vec<Value> = old.iter().filter(stays).cloned().collect();
    let mut places: HashMap<String, usize> = HashMap::with_capacity(merged.len());
    for (at, item) in merged.iter().enumerate().filter(|(_, item)| item.get(key).is_some()) {
        places.entry(id(item)).or_insert(at);
    }
    for item in &plain {
        if item.get(key).is_none() {
            return without_key(item, key);
        }
        match (places.get(&id(item)).map(|at| &mut merged[*at]), item) {
            (Some(Value::Object(other)), Value::Object(item)) => {
                *other = merge_maps(std::mem::take(other), item, element)?;
            }
            _ => {
                places.insert(id(item), merged.len());
                merged.extend(without_directives(item));
            }
        }
    }
    let plain: Vec<Value> = plain.into_iter().cloned().collect();
    Ok(order(merged, &plain, &old, &id))
}

/// The elements of a patch without directives, and the keys of those that are to be deleted.
type Elements<'a> = (Vec<&'a Value>, HashSet<String>);

/// What a patch says of the elements of a list; `None` if the list is to be replaced.
fn read_directives<'a>(patch: &'a [Value], key: &str) -> Result<Option<Elements<'a>>, Status> {
    let (mut plain, mut deleted, mut replace) = (Vec::new(), HashSet::new(), false);
    for item in patch {
        match item.get(DIRECTIVE).map(|directive| directive.as_str()) {
            None => plain.push(item),
            Some(Some("delete")) => match item.get(key) {
                Some(value) => drop(deleted.insert(value.to_string())),
                None => return without_key(item, key),
            },
            Some(Some("replace")) => replace = true,
            Some(Some("merge")) => return refuse("merging lists cannot yet be specified in the patch"),
            Some(directive) => {
                let directive = directive.map_or_else(|| printed(&item[DIRECTIVE]), str::to_owned);
                return refuse(format!("unknown patch type: {directive} in map: {}", printed(item)));
            }
        }
    }
    Ok((!replace).then_some((plain, deleted)))
}

fn dedup(list: Vec<Value>) -> Vec<Value> {
    let mut seen = HashSet::with_capacity(list.len());
    list.into_iter().filter(|element| seen.insert(element.to_string())).collect()
}

#[cfg(test)]
mod tests;
