//! One operation of a path, in either flavor of document.

use serde_json::{Map, Value, json};

use super::Flavor;
use super::schemas::reference;

const PATCHES: [&str; 4] = [
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];

/// What one operation is made of.
pub(super) struct Operation<'a> {
    /// What it is called, uniquely in the document: clients are generated with functions of these names.
    pub(super) id: String,
    pub(super) tag: &'a str,
    pub(super) action: &'a str,
    pub(super) kind: (&'a str, &'a str, &'a str),
    pub(super) query: Vec<(&'a str, &'a str)>,
    pub(super) takes: Option<&'a str>,
    pub(super) gives: Option<&'a str>,
    pub(super) custom: bool,
    /// The subresource that it is about; empty for the object itself.
    pub(super) sub: &'a str,
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

    pub(super) fn write(&self, flavor: Flavor) -> Value {
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

/// Adds a path, with the parameters that it has itself.
pub(super) fn put_path(paths: &mut Map<String, Value>, path: &str, operations: Map<String, Value>, flavor: Flavor) {
    if operations.is_empty() {
        return;
    }
    let mut entry = Value::Object(operations);
    let names = ["namespace", "name", "path"].into_iter().filter(|name| path.contains(&format!("{{{name}}}")));
    let parameters: Vec<Value> = names.map(|name| parameter(name, "path", "string", flavor)).collect();
    entry["parameters"] = parameters.into();
    paths.insert(path.to_owned(), entry);
}
