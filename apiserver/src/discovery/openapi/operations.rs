//! Paths and operations of a resource.

use std::collections::BTreeSet;

use kubewright_api::schema;
use serde_json::{Map, Value};

use super::names::Names;
use super::operation::{Operation, put_path};
use super::{Flavor, path_of};
use crate::registry::{ResourceInfo, SubresourceInfo};

const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";

const LIST: &[(&str, &str)] = &[
    ("allowWatchBookmarks", "boolean"),
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
];
const WRITE: &[(&str, &str)] = &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")];
const DELETE: &[(&str, &str)] = &[
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
];

/// Names and types of query parameters.
type Query = &'static [(&'static str, &'static str)];

fn type_of(group: &str, version: &str, kind: &str) -> Option<&'static str> {
    schema::of_kind(group, version, kind).map(|ty| ty.name)
}

/// The name of a schema that is not built in: the group backwards, the version, the kind.
pub(super) fn custom_name(row: &ResourceInfo, kind: &str) -> String {
    let backwards: Vec<&str> = row.group.split('.').rev().collect();
    format!("{}.{}.{kind}", backwards.join("."), row.version)
}

/// Method, action and query of a verb on one object.
fn on_object(verb: &str) -> Option<(&'static str, &'static str, Query)> {
    Some(match verb {
        "get" => ("get", "get", &[]),
        "update" => ("put", "put", WRITE),
        "patch" => ("patch", "patch", WRITE),
        "delete" => ("delete", "delete", DELETE),
        "create" => ("post", "post", WRITE),
        _ => return None,
    })
}

/// Adds a resource's paths, and the types that they speak of.
pub(super) fn add(
    row: &ResourceInfo,
    custom: bool,
    flavor: Flavor,
    paths: &mut Map<String, Value>,
    types: &mut BTreeSet<&'static str>,
) {
    let root = format!("/{}", path_of(&row.group, &row.version));
    let space = if row.namespaced() { "/namespaces/{namespace}" } else { "" };
    let collection = format!("{root}{space}/{}", row.plural);
    let (own, own_list) = (custom_name(row, &row.kind), custom_name(row, &row.list_kind));
    let built_in = type_of(&row.group, &row.version, &row.kind);
    let built_in_list = type_of(&row.group, &row.version, &row.list_kind).or(built_in);
    types.extend(
        [built_in, built_in_list, type_of("", "v1", "DeleteOptions"), Some(STATUS), Some(DELETE_OPTIONS)]
            .into_iter()
            .flatten(),
    );
    let object = if custom { Some(own.as_str()) } else { built_in };
    let list = if custom { Some(own_list.as_str()) } else { built_in_list };
    let kind = (&*row.group, &*row.version, &*row.kind);
    let names = Names::of(row);
    let named = |id, action, query: &[(&'static str, &'static str)], takes, gives| {
        Operation { id, tag: &names.tag, action, kind, query: query.to_vec(), takes, gives, custom, sub: "" }
            .write(flavor)
    };
    let operation = |action, query: &[(&'static str, &'static str)], takes, gives| {
        named(names.id(action, action, ""), action, query, takes, gives)
    };
    let mut on_collection = Map::new();
    if row.has_verb("list") {
        on_collection.insert("get".into(), operation("list", LIST, None, list));
    }
    if row.has_verb("create") {
        on_collection.insert("post".into(), operation("post", WRITE, object, object));
    }
    if row.has_verb("deletecollection") {
        let query = [DELETE, LIST].concat();
        let delete = operation("deletecollection", &query, Some(DELETE_OPTIONS), Some(STATUS));
        on_collection.insert("delete".into(), delete);
    }
    if row.namespaced() && row.has_verb("list") {
        let all = named(names.list_everywhere(), "list", LIST, None, list);
        let all = Map::from_iter([("get".to_owned(), all)]);
        put_path(paths, &format!("{root}/{}", row.plural), all, flavor);
    }
    put_path(paths, &collection, on_collection, flavor);
    let mut on_one = Map::new();
    for verb in ["get", "update", "patch", "delete"].into_iter().filter(|verb| row.has_verb(verb)) {
        let Some((method, action, query)) = on_object(verb) else { continue };
        let (takes, gives) = match verb {
            "get" => (None, object),
            "delete" => (Some(DELETE_OPTIONS), Some(STATUS)),
            _ => (object, object),
        };
        on_one.insert(method.into(), operation(action, query, takes, gives));
    }
    put_path(paths, &format!("{collection}/{{name}}"), on_one, flavor);
    for sub in &row.subresources {
        let whole = object.filter(|_| custom && sub.kind == row.kind && sub.group == row.group);
        let path = format!("{collection}/{{name}}/{}", sub.name);
        add_subresource((sub, &names), whole, &path, flavor, paths, types);
        if sub.name == "proxy" {
            add_subresource((sub, &names), whole, &format!("{path}/{{path}}"), flavor, paths, types);
        }
    }
}

fn add_subresource(
    (sub, names): (&SubresourceInfo, &Names),
    whole: Option<&str>,
    path: &str,
    flavor: Flavor,
    paths: &mut Map<String, Value>,
    types: &mut BTreeSet<&'static str>,
) {
    let built_in = type_of(&sub.group, &sub.version, &sub.kind);
    let connects = sub.kind.ends_with("Options");
    types.extend(built_in);
    let object = whole.or(built_in);
    let mut operations = Map::new();
    let methods = sub.verbs.iter().filter_map(|verb| on_object(verb));
    // Whatever else a server behind the proxy may be asked.
    let more = [("head", "", &[] as Query), ("options", "", &[])].into_iter().filter(|_| sub.name == "proxy");
    for (method, action, query) in methods.chain(more) {
        let action = if connects { "connect" } else { action };
        let mut id = names.id(action, method, &sub.name);
        if path.ends_with("{path}") {
            id.push_str("WithPath");
        }
        let operation = Operation {
            id,
            tag: &names.tag,
            action,
            kind: (&sub.group, &sub.version, &sub.kind),
            custom: whole.is_some(),
            query: if connects { Vec::new() } else { query.to_vec() },
            takes: object.filter(|_| method != "get" && !connects),
            gives: object.filter(|_| !connects),
            sub: &sub.name,
        };
        operations.insert(method.into(), operation.write(flavor));
    }
    put_path(paths, path, operations, flavor);
}
