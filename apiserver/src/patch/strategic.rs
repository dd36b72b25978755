//! Strategic merge patch: a merge patch that knows, by the schema, how lists merge, and that carries directives.
//!
//! Source: `staging/src/k8s.io/apimachinery/pkg/util/strategicpatch` of Kubernetes.

use kubewright_api::schema::{Field, Shape, Type};
use kubewright_api::status::Status;
use serde_json::{Map, Value};

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
    let named = |name: &String| keys.iter().any(|key| key == name.as_str());
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
        elements.retain(|element| !values.contains(element));
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
        return Ok(order(dedup(merged), patch, &old, &Value::clone));
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
    let mut remaining = old.clone();
    let mut plain: Vec<&Value> = Vec::new();
    let mut replace = false;
    for item in patch {
        match item.get(DIRECTIVE).map(|directive| directive.as_str()) {
            None => plain.push(item),
            Some(Some("delete")) => match item.get(key) {
                Some(value) => remaining.retain(|other| other.get(key) != Some(value)),
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
    if replace {
        return Ok(plain.into_iter().filter_map(without_directives).collect());
    }
    for item in &plain {
        let Some(value) = item.get(key) else { return without_key(item, key) };
        let place = remaining.iter().position(|other| other.get(key) == Some(value));
        match (place.map(|at| remaining.remove(at)), item) {
            (Some(Value::Object(other)), Value::Object(item)) => {
                let at = place.unwrap_or(remaining.len());
                remaining.insert(at, Value::Object(merge_maps(other, item, element)?));
            }
            _ => remaining.extend(without_directives(item)),
        }
    }
    let plain: Vec<Value> = plain.into_iter().cloned().collect();
    Ok(order(remaining, &plain, &old, &|item| item.get(key).cloned().unwrap_or_default()))
}

fn dedup(list: Vec<Value>) -> Vec<Value> {
    let mut seen = Vec::with_capacity(list.len());
    for element in list {
        if !seen.contains(&element) {
            seen.push(element);
        }
    }
    seen
}

/// Puts what the patch names into the patch's order and the rest into the server's, then merges the two: an element of
/// the server's goes before the first of the patch's that it preceded on the server.
fn order(merged: Vec<Value>, patch: &[Value], server: &[Value], id: &dyn Fn(&Value) -> Value) -> Vec<Value> {
    let place = |list: &[Value], item: &Value| list.iter().position(|other| id(other) == id(item));
    let (mut named, mut rest): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|item| place(patch, item).is_some());
    named.sort_by_key(|item| place(patch, item));
    rest.sort_by_key(|item| place(server, item));
    let mut ordered = Vec::with_capacity(named.len() + rest.len());
    let mut rest = rest.into_iter().peekable();
    for item in named {
        let at = place(server, &item);
        while let Some(other) = rest.next_if(|other| matches!((place(server, other), at), (Some(l), Some(r)) if l < r))
        {
            ordered.push(other);
        }
        ordered.push(item);
    }
    ordered.extend(rest);
    ordered
}

/// `$setElementOrder/LIST`: the order of the elements that the client knows of.
fn set_order(original: &mut Object, list: &str, wanted: &Value, holder: Holder) -> Result<(), Status> {
    let Some(wanted) = wanted.as_array() else { return malformed("setElementOrder list") };
    let Some(Value::Array(elements)) = original.get_mut(list) else { return Ok(()) };
    let key = holder.field(list).and_then(|field| field.patch.key);
    let id = |item: &Value| match key {
        Some(key) if item.is_object() => item.get(key).cloned().unwrap_or_default(),
        _ => item.clone(),
    };
    let server = std::mem::take(elements);
    *elements = order(server.clone(), wanted, &server, &id);
    Ok(())
}

/// Whether the elements that the patch names, deleted ones aside, stand in the order that it sets.
fn check_order(patch: &Object, list: &str, wanted: &[Value], holder: Holder) -> Result<(), Status> {
    let deleted = |item: &&Value| item.get(DIRECTIVE).is_some_and(|directive| directive == "delete");
    let named: Vec<&Value> =
        patch.get(list).and_then(Value::as_array).into_iter().flatten().filter(|item| !deleted(item)).collect();
    if named.is_empty() || wanted.is_empty() {
        return Ok(());
    }
    let key = holder.field(list).and_then(|field| field.patch.key);
    let same = |one: &Value, other: &Value| match key {
        Some(key) if one.is_object() => one.get(key) == other.get(key),
        _ => one == other,
    };
    let mut rest = named.iter().peekable();
    for item in wanted {
        rest.next_if(|named| same(named, item));
    }
    if rest.peek().is_none() {
        return Ok(());
    }
    let named = printed(&named.into_iter().cloned().collect());
    let wanted = printed(&wanted.to_vec().into());
    let directive = SET_ORDER.trim_end_matches('/');
    refuse(format!("The order in patch list:\n{named}\n doesn't match {directive} list:\n{wanted}\n"))
}

#[cfg(test)]
mod tests {
    use kubewright_api::schema;
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(object: Value, patch: Value, expected: Value) {
        let ty = schema::of_kind("", "v1", "Pod").unwrap();
        assert_eq!(strategic(&object, &patch, ty).unwrap(), expected);
    }

    fn containers(list: Value) -> Value {
        json!({"spec": {"containers": list}})
    }

    #[test]
    fn containers_merge_by_name_and_new_ones_come_first() {
        check(
            containers(json!([{"name": "a", "image": "1"}, {"name": "b", "image": "1"}])),
            containers(json!([{"name": "b", "image": "2"}, {"name": "c", "image": "3"}])),
            containers(json!([{"name": "a", "image": "1"}, {"name": "b", "image": "2"}, {"name": "c", "image": "3"}])),
        );
        check(
            containers(json!([{"name": "a"}])),
            containers(json!([{"name": "b"}])),
            containers(json!([{"name": "b"}, {"name": "a"}])),
        );
    }

    #[test]
    fn elements_are_deleted_and_lists_replaced_by_directive() {
        let two = containers(json!([{"name": "a"}, {"name": "b"}]));
        check(two.clone(), containers(json!([{"name": "a", "$patch": "delete"}])), containers(json!([{"name": "b"}])));
        check(two, containers(json!([{"$patch": "replace"}, {"name": "c"}])), containers(json!([{"name": "c"}])));
    }

    #[test]
    fn lists_without_a_strategy_are_replaced() {
        check(
            containers(json!([{"name": "a", "command": ["x", "y"]}])),
            containers(json!([{"name": "a", "command": ["z"]}])),
            containers(json!([{"name": "a", "command": ["z"]}])),
        );
    }

    #[test]
    fn scalars_merge_as_a_set() {
        check(
            json!({"metadata": {"finalizers": ["a", "b"]}}),
            json!({"metadata": {"finalizers": ["c"], "$deleteFromPrimitiveList/finalizers": ["a"]}}),
            json!({"metadata": {"finalizers": ["c", "b"]}}),
        );
    }

    #[test]
    fn nulls_delete_and_maps_are_replaced_or_retained() {
        let object = json!({"metadata": {"labels": {"a": "1", "b": "2"}, "annotations": {"x": "y"}}});
        check(
            object.clone(),
            json!({"metadata": {"labels": {"a": null, "c": "3"}, "annotations": null}}),
            json!({"metadata": {"labels": {"b": "2", "c": "3"}}}),
        );
        check(
            object,
            json!({"metadata": {"labels": {"$patch": "replace", "c": "3"}}}),
            json!({"metadata": {"labels": {"c": "3"}, "annotations": {"x": "y"}}}),
        );
        check(
            json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}),
            json!({"spec": {"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}]}}),
            json!({"spec": {"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]}}),
        );
    }

    #[test]
    fn element_order_is_set_by_directive() {
        check(
            containers(json!([{"name": "a"}, {"name": "b"}, {"name": "c"}])),
            json!({"spec": {"$setElementOrder/containers": [{"name": "c"}, {"name": "a"}], "containers": [{"name": "a", "image": "1"}]}}),
            containers(json!([{"name": "b"}, {"name": "c"}, {"name": "a", "image": "1"}])),
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let ty = schema::of_kind("", "v1", "Pod").unwrap();
        let ordered =
            |order: Value| json!({"spec": {"$setElementOrder/containers": order, "containers": [{"name": "a"}]}});
        for (patch, code, message) in [
            (json!([]), 400, "a strategic merge patch must be an object"),
            (json!({"$patch": "bogus"}), 500, "unknown patch type: bogus in map: map[$patch:bogus]"),
            (json!({"$retainKeys": "x"}), 400, "invalid patch format of retainKeys"),
            (json!({"$retainKeys": ["x"], "spec": {}}), 400, "invalid patch format of retainKeys"),
            (containers(json!([{"image": "x"}])), 500, "map: map[image:x] does not contain declared merge key: name"),
            (containers(json!(["x"])), 500, "list element types are not identical: [[map[name:a]] [x]]"),
            (ordered(json!({})), 400, "invalid patch format of setElementOrder list"),
            (
                ordered(json!([{"name": "b"}])),
                500,
                "The order in patch list:\n[map[name:a]]\n doesn't match $setElementOrder list:\n[map[name:b]]\n",
            ),
        ] {
            let object = containers(json!([{"name": "a"}]));
            let status = strategic(&object, &patch, ty).unwrap_err();
            assert_eq!((status.code, status.message.as_str()), (code, message), "{patch}");
        }
    }
}
