//! In which order the elements of a merged list stand.

use std::collections::HashMap;

use kubewright_api::status::Status;
use serde_json::Value;

use super::{DIRECTIVE, Holder, Object, SET_ORDER, malformed, refuse};
use crate::patch::restore::printed;

/// Where the elements of a list stand first, by what identifies them. Lists come from clients: looking through them for
/// each element would take a time that grows with the square of their length.
fn places(list: &[Value], id: &dyn Fn(&Value) -> String) -> HashMap<String, usize> {
    let mut places = HashMap::with_capacity(list.len());
    for (at, item) in list.iter().enumerate() {
        places.entry(id(item)).or_insert(at);
    }
    places
}

/// Puts what the patch names into the patch's order and the rest into the server's, then merges the two: an element of
/// the server's goes before the first of the patch's that it preceded on the server.
pub(super) fn order(
    merged: Vec<Value>,
    patch: &[Value],
    server: &[Value],
    id: &dyn Fn(&Value) -> String,
) -> Vec<Value> {
    let (in_patch, on_server) = (places(patch, id), places(server, id));
    let mut ordered = Vec::with_capacity(merged.len());
    let (mut named, mut rest) = (Vec::new(), Vec::new());
    for item in merged {
        let id = id(&item);
        let place = on_server.get(&id).copied();
        match in_patch.get(&id) {
            Some(at) => named.push((*at, place, item)),
            None => rest.push((place, item)),
        }
    }
    named.sort_by_key(|(at, ..)| *at);
    rest.sort_by_key(|(place, _)| *place);
    let mut rest = rest.into_iter().peekable();
    for (_, at, item) in named {
        while let Some((_, other)) = rest.next_if(|(place, _)| matches!((place, at), (Some(l), Some(r)) if *l < r)) {
            ordered.push(other);
        }
        ordered.push(item);
    }
    ordered.extend(rest.map(|(_, item)| item));
    ordered
}

/// `$setElementOrder/LIST`: the order of the elements that the client knows of.
pub(super) fn set_order(original: &mut Object, list: &str, wanted: &Value, holder: Holder) -> Result<(), Status> {
    let Some(wanted) = wanted.as_array() else { return malformed("setElementOrder list") };
    let Some(Value::Array(elements)) = original.get_mut(list) else { return Ok(()) };
    let key = holder.field(list).and_then(|field| field.patch.key);
    let id = |item: &Value| match key {
        Some(key) if item.is_object() => item[key].to_string(),
        _ => item.to_string(),
    };
    let server = std::mem::take(elements);
    *elements = order(server.clone(), wanted, &server, &id);
    Ok(())
}

/// Whether the elements that the patch names, deleted ones aside, stand in the order that it sets.
pub(super) fn check_order(patch: &Object, list: &str, wanted: &[Value], holder: Holder) -> Result<(), Status> {
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
