//! Paths and operations of a resource.

use std::collections::BTreeSet;

use kubewright_api::schema;
use serde_json::{Map, Value, json};

use super::schemas::reference;
use super::{Flavor, path_of};
use crate::registry::{ResourceInfo, SubresourceInfo};

const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";

const PATCHES: [&str; 4] = [
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];

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

/// What one operation is made of.
struct Operation<'a> {
    /// What it is called, uniquely in the document: clients are generated with functions of these names.
    id: String,
    tag: &'a str,
    action: &'a str,
    kind: (&'a str, &'a str, &'a str),
    query: Vec<(&'a str, &'a str)>,
    takes: Option<&'a str>,
    gives: Option<&'a str>,
    custom: bool,
    /// The subresource that it is about; empty for the object itself.
    sub: &'a str,
}

/// What parameters are for.
fn purpose(name: &str) -> &'static str {
    match name {
        "allowWatchBookmarks" => {
            "Send events of type BOOKMARK too, which tell how far a watch has come. Only in watches."
        }
        "continue" => {
            "Where the list goes on: the token that came with the part before, asked for with the same parameters."
        }
        "dryRun" => "With `All`, the request is carried out but for the storing of anything.",
        "fieldManager" => "Who is noted as the manager of the fields that are set; at most 128 printable characters.",
        "fieldSelector" => "What fields the objects must have to be in the list of returned objects.",
        "fieldValidation" => {
            "What to do about unknown and repeated fields: `Ignore` drops them, `Warn` tells of them in warnings, `Strict` \
             refuses the request."
        }
        "gracePeriodSeconds" => "So many seconds to end in an orderly way; 0 deletes at once.",
        "labelSelector" => "What labels the objects must have to be in the list of returned objects.",
        "limit" => "At most so many objects at once; a token tells how to go on.",
        "name" => "The object's name.",
        "namespace" => "The object's namespace.",
        "orphanDependents" => "Deprecated: use `propagationPolicy`.",
        "path" => "The path behind the proxy.",
        "propagationPolicy" => {
            "What becomes of dependents: `Orphan` leaves them, `Background` and `Foreground` delete them after \
            or before the object."
        }
        "resourceVersion" => "Of which version, or of which at least, what is returned must be.",
        "resourceVersionMatch" => "How `resourceVersion` is meant: `Exact` or `NotOlderThan`.",
        "sendInitialEvents" => "Begin a watch with events of all there is, and a bookmark after them.",
        "timeoutSeconds" => "End the request after so many seconds, whatever it does.",
        "watch" => "Watch for changes to the described resources: they are returned one by one, as they come.",
        _ => "",
    }
}

fn parameter(name: &str, place: &str, kind: &str, flavor: Flavor) -> Value {
    let mut value = json!({"name": name, "in": place});
    if !purpose(name).is_empty() {
        value["description"] = purpose(name).into();
    }
    if place == "path" {
        value["required"] = true.into();
    }
    match flavor {
        Flavor::V2 => value["type"] = kind.into(),
        Flavor::V3 => value["schema"] = json!({"type": kind}),
    }
    value
}

impl Operation<'_> {
    /// What it does.
    fn description(&self) -> String {
        let kind = self.kind.2;
        let whose = if self.sub.is_empty() { String::new() } else { format!("{} of the specified ", self.sub) };
        match self.action {
            "list" => format!("list or watch objects of kind {kind}"),
            "deletecollection" => format!("delete a collection of objects of kind {kind}"),
            "connect" => format!("connect requests to {}{kind}", if self.sub.is_empty() { "" } else { "the " }),
            "post" => format!("create a {whose}{kind}"),
            "put" => format!("replace the {whose}{kind}"),
            "patch" => format!("partially update the {whose}{kind}"),
            "delete" => format!("delete the {whose}{kind}"),
            _ => format!("read the {whose}{kind}"),
        }
    }

    fn write(&self, flavor: Flavor) -> Value {
        let (group, version, kind) = self.kind;
        let mut parameters: Vec<Value> =
            self.query.iter().map(|(name, kind)| parameter(name, "query", kind, flavor)).collect();
        let mut value = json!({
            "description": self.description(), "operationId": self.id, "tags": [self.tag],
            "x-kubernetes-action": self.action,
            "x-kubernetes-group-version-kind": {"group": group, "version": version, "kind": kind},
        });
        let media: Vec<&str> = if self.action == "patch" && self.custom {
            PATCHES[..3].to_vec()
        } else if self.action == "patch" {
            PATCHES.to_vec()
        } else {
            vec!["application/json", "application/yaml"]
        };
        let body = self.takes.map(|name| {
            // A patch is no object of the kind.
            if self.action == "patch" { json!({"type": "object"}) } else { reference(name, flavor) }
        });
        let answer = self.gives.map(|name| reference(name, flavor));
        let mut ok = json!({"description": "OK"});
        match flavor {
            Flavor::V2 => {
                value["consumes"] = json!(media);
                value["produces"] = json!(["application/json", "application/yaml"]);
                if let Some(schema) = body {
                    let required = self.action != "delete" && self.action != "deletecollection";
                    parameters.push(json!({"name": "body", "in": "body", "required": required, "schema": schema}));
                }
                if let Some(schema) = answer {
                    ok["schema"] = schema;
                }
            }
            Flavor::V3 => {
                if let Some(schema) = body {
                    let content: Map<String, Value> =
                        media.iter().map(|media| ((*media).to_owned(), json!({"schema": schema}))).collect();
                    value["requestBody"] = json!({"content": content});
                }
                if let Some(schema) = answer {
                    ok["content"] =
                        json!({"application/json": {"schema": schema}, "application/yaml": {"schema": schema}});
                }
            }
        }
        value["parameters"] = parameters.into();
        value["responses"] = json!({"200": ok, "401": {"description": "Unauthorized"}});
        value
    }
}

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

/// The names of a resource's operations.
struct Names {
    tag: String,
    /// `AppsV1`.
    version: String,
    namespaced: bool,
    kind: String,
}

/// `rbac.authorization.k8s.io` is `RbacAuthorization`.
fn camel(group: &str) -> String {
    let parts = group.trim_end_matches(".k8s.io").split(['.', '-']);
    parts.map(first_upper).collect()
}

fn first_upper(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

impl Names {
    fn of(row: &ResourceInfo) -> Self {
        let group = if row.group.is_empty() { "core" } else { &*row.group };
        let group = camel(group);
        let lower = {
            let mut letters = group.chars();
            letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect::<String>())
        };
        Self {
            tag: format!("{lower}_{}", row.version),
            version: format!("{group}{}", first_upper(&row.version)),
            namespaced: row.namespaced(),
            kind: row.kind.to_string(),
        }
    }

    /// The operation of that verb: on everything, a collection or one object, or on a subresource.
    fn id(&self, action: &str, method: &str, sub: &str) -> String {
        let verb = match action {
            "post" => "create",
            "put" => "replace",
            "get" => "read",
            "deletecollection" => "delete",
            other => other,
        };
        let collection = if action == "deletecollection" { "Collection" } else { "" };
        let method = if action == "connect" { first_upper(method) } else { String::new() };
        let space = if self.namespaced { "Namespaced" } else { "" };
        format!("{verb}{}{collection}{method}{space}{}{}", self.version, self.kind, camel(sub))
    }

    fn list_everywhere(&self) -> String {
        format!("list{}{}ForAllNamespaces", self.version, self.kind)
    }
}

fn put_path(paths: &mut Map<String, Value>, path: &str, operations: Map<String, Value>, flavor: Flavor) {
    if operations.is_empty() {
        return;
    }
    let mut entry = Value::Object(operations);
    let names = ["namespace", "name", "path"].into_iter().filter(|name| path.contains(&format!("{{{name}}}")));
    let parameters: Vec<Value> = names.map(|name| parameter(name, "path", "string", flavor)).collect();
    entry["parameters"] = parameters.into();
    paths.insert(path.to_owned(), entry);
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

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// A page that tells what there is: its path, its operation and the type of its answer.
pub(super) struct Page {
    pub(super) path: String,
    id: String,
    kind: &'static str,
}

impl Page {
    fn new(path: &str, id: impl Into<String>, kind: &'static str) -> Self {
        Self { path: path.to_owned(), id: id.into(), kind }
    }

    /// Adds the page, and the type that it speaks of.
    pub(super) fn add(&self, flavor: Flavor, paths: &mut Map<String, Value>, types: &mut BTreeSet<&'static str>) {
        let ty = schema::of_name(&format!("{META}.{}", self.kind)).map(|ty| ty.name);
        types.extend(ty);
        let operation = Operation {
            id: self.id.clone(),
            tag: "",
            action: "get",
            kind: ("", "v1", self.kind),
            query: Vec::new(),
            takes: None,
            gives: ty,
            custom: false,
            sub: "",
        };
        let mut operation = operation.write(flavor);
        if let Some(fields) = operation.as_object_mut() {
            fields.retain(|name, _| !name.starts_with("x-") && name != "tags");
            fields.insert("description".into(), format!("read {}", self.path).into());
        }
        put_path(paths, &self.path, Map::from_iter([("get".to_owned(), operation)]), flavor);
    }
}

/// The pages beside those of versions: of all groups, of one group each, and of the server itself.
pub(super) fn pages(groups: impl Iterator<Item = String>) -> Vec<Page> {
    let configuration = "getServiceAccountIssuerOpenIDConfiguration";
    let mut pages = vec![
        Page::new("/api/", "getCoreAPIVersions", "APIVersions"),
        Page::new("/apis/", "getAPIVersions", "APIGroupList"),
        Page::new("/version/", "getCodeVersion", ""),
        Page::new("/.well-known/openid-configuration/", configuration, ""),
        Page::new("/openid/v1/jwks/", "getServiceAccountIssuerOpenIDKeyset", ""),
    ];
    let groups: BTreeSet<String> = groups.filter(|group| !group.is_empty()).collect();
    let of_group =
        |group: &String| Page::new(&format!("/apis/{group}/"), format!("get{}APIGroup", camel(group)), "APIGroup");
    pages.extend(groups.iter().map(of_group));
    pages
}

/// The pages of these groups' versions.
pub(super) fn version_pages(versions: impl Iterator<Item = (String, String)>) -> Vec<Page> {
    let versions: BTreeSet<(String, String)> = versions.collect();
    let of_version = |(group, version): (String, String)| {
        let name = camel(if group.is_empty() { "core" } else { group.as_str() });
        let id = format!("get{name}{}APIResources", first_upper(&version));
        Page::new(&format!("/{}/", path_of(&group, &version)), id, "APIResourceList")
    };
    versions.into_iter().map(of_version).collect()
}
