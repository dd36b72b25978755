//! The documents of a set of resources.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{Flavor, descriptions, operations, pages, schemas};
use crate::custom::{self, Openapi};
use crate::registry::ResourceInfo;

const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";
const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
/// A kind whose version, name and metadata are described as every kind's are.
const ANY_KIND: &str = "io.k8s.api.core.v1.ConfigMap";

/// A resource and, where it isn't built in, its published schema.
pub(super) type Row = (Arc<ResourceInfo>, Option<Arc<Value>>);

/// The document of version 3, of these resources.
pub(super) fn v3(rows: &[Row]) -> Value {
    let (paths, schemas) = parts(rows, Flavor::V3);
    v3_of(paths, schemas)
}

/// The document of version 3 of a page that tells what there is.
pub(super) fn v3_of_page(page: &pages::Page) -> Value {
    let (mut paths, mut wanted) = (Map::new(), BTreeSet::new());
    page.add(Flavor::V3, &mut paths, &mut wanted);
    v3_of(paths, schemas::closure(wanted, Flavor::V3))
}

fn v3_of(paths: Map<String, Value>, schemas: Map<String, Value>) -> Value {
    json!({
        "openapi": "3.0.0", "info": info(), "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": schemes()},
    })
}

/// The document of version 2, of these resources.
pub(super) fn v2(rows: &[Row]) -> Value {
    let (paths, definitions) = parts(rows, Flavor::V2);
    json!({
        "swagger": "2.0", "info": info(), "paths": paths, "definitions": definitions,
        "securityDefinitions": schemes(), "security": [{"BearerToken": []}],
    })
}

fn info() -> Value {
    json!({"title": "Kubernetes", "version": crate::discovery::GIT_VERSION})
}

fn schemes() -> Value {
    json!({"BearerToken": {"type": "apiKey", "name": "authorization", "in": "header",
        "description": "Bearer Token authentication"}})
}

fn parts(rows: &[Row], flavor: Flavor) -> (Map<String, Value>, Map<String, Value>) {
    let mut paths = Map::new();
    let mut wanted = BTreeSet::new();
    let mut own = Map::new();
    let versions = rows.iter().map(|(row, _)| (row.group.to_string(), row.version.to_string()));
    let mut pages = pages::of_versions(versions);
    if flavor == Flavor::V2 {
        pages.extend(pages::of_server(rows.iter().map(|(row, _)| row.group.to_string())));
    }
    pages.iter().for_each(|page| page.add(flavor, &mut paths, &mut wanted));
    for (row, schema) in rows {
        operations::add(row, schema.is_some(), flavor, &mut paths, &mut wanted);
        if let Some(schema) = schema {
            wanted.extend([OBJECT_META, LIST_META]);
            let name = operations::custom_name(row, &row.kind);
            own.insert(operations::custom_name(row, &row.list_kind), list_schema(row, &name, flavor));
            own.insert(name, custom_schema(row, schema, flavor));
        }
    }
    let mut schemas = schemas::closure(wanted, flavor);
    schemas.append(&mut own);
    (paths, schemas)
}

fn custom_schema(row: &ResourceInfo, schema: &Value, flavor: Flavor) -> Value {
    let openapi = if flavor == Flavor::V2 { Openapi::V2 } else { Openapi::V3 };
    let mut published = custom::publish(schema, &row.group, &row.version, &row.kind, openapi);
    if published["properties"].is_object() {
        describe(&mut published["properties"]);
    }
    published
}

/// Says what version, kind and metadata of an object are.
fn describe(properties: &mut Value) {
    for name in ["apiVersion", "kind", "metadata"] {
        if let Some(text) = descriptions::of_field(ANY_KIND, name).filter(|_| properties[name].is_object()) {
            properties[name]["description"] = text.into();
        }
    }
}

fn list_schema(row: &ResourceInfo, item: &str, flavor: Flavor) -> Value {
    let metadata = schemas::referred_to(LIST_META, flavor);
    let mut schema = json!({
        "type": "object", "required": ["items"],
        "description": format!("{} is a list of {}", row.list_kind, row.kind),
        "properties": {
            "apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": metadata,
            "items": {"type": "array", "items": schemas::referred_to(item, flavor)},
        },
        "x-kubernetes-group-version-kind":
            [{"group": row.group, "version": row.version, "kind": row.list_kind}],
    });
    describe(&mut schema["properties"]);
    schema
}
