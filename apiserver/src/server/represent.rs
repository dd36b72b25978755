//! Answers in the form that was asked for: JSON, YAML or protobuf, whole, as a table, or metadata alone.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::BodyExt;
use jiff::Timestamp;
use kubewright_api::status::Status;
use serde_json::{Map, Value, json};

use super::list_body::{ListBody, protobuf_bytes};
use super::negotiate::{Encoding, Form, View};
use crate::body::{self, Body};
use crate::object::{protobuf, yaml};
use crate::registry::cache::Delivery;
use crate::registry::storage::Served;
use crate::registry::{Listed, Registry, Written};
use crate::table::{self, IncludeObject};

/// The form of an answer about some resource.
#[derive(Clone, Copy)]
pub(super) struct Representation<'a> {
    pub(super) form: Form,
    pub(super) include: IncludeObject,
    pub(super) served: &'a Served,
    pub(super) now: Timestamp,
}

impl Representation<'_> {
    /// Whether stored bytes can be handed out as they are.
    pub(super) fn is_natural(&self) -> bool {
        self.form.encoding == Encoding::Json && !self.form.pretty && self.is_stored_form()
    }

    /// Whether what is shown is what is stored, in one encoding or another.
    fn is_stored_form(&self) -> bool {
        self.form.view == View::Whole && self.served.is_natural()
    }

    /// An object.
    pub(super) fn object(&self, code: StatusCode, written: Written) -> Response<Body> {
        if self.is_natural() {
            return body::json_bytes(code, written.bytes);
        }
        let value = match self.form.view {
            View::Table => {
                let version = crate::object::meta_str(&written.object, "resourceVersion").to_owned();
                let row = self.row(&written.object);
                self.table(vec![row], json!({ "resourceVersion": version }), true)
            }
            _ => self.view(written.object),
        };
        self.document(code, &value)
    }

    /// A list.
    ///
    /// What a webhook converted is `shown` in place of what is listed.
    pub(super) fn list(&self, listed: Listed, shown: Option<Vec<Value>>) -> Result<Response<Body>, Status> {
        let mut metadata = json!({ "resourceVersion": listed.revision.to_string() });
        if let Some(token) = &listed.continue_token {
            metadata["continue"] = token.as_str().into();
        }
        if let Some(remaining) = listed.remaining {
            metadata["remainingItemCount"] = remaining.into();
        }
        if self.is_natural() {
            let head = format!(
                "{{\"kind\":\"{}\",\"apiVersion\":\"{}\",\"metadata\":{metadata},\"items\":[",
                self.served.info.list_kind, self.served.api_version
            );
            let types = if self.lists_types() {
                String::new()
            } else {
                let Served { api_version, info, .. } = self.served;
                format!("{{\"apiVersion\":\"{api_version}\",\"kind\":\"{}\",", info.kind)
            };
            let list = ListBody::json(head.into_bytes(), listed.objects, b"]}", types);
            return Ok(body::json_bytes(StatusCode::OK, Bytes::new()).map(|_| whole(list)));
        }
        if self.form.encoding == Encoding::Protobuf && self.is_stored_form() {
            for cached in &listed.objects {
                cached.protobuf(&self.served.storage)?;
            }
            let (api_version, kind) = (&self.served.api_version, &self.served.info.list_kind);
            let items = protobuf_bytes(&listed.objects);
            let head = protobuf::list_head(api_version, kind, &metadata, items).map_err(Status::internal)?;
            let list = ListBody::protobuf(head, listed.objects, protobuf::LIST_TAIL);
            return Ok(body::protobuf(StatusCode::OK, Bytes::new()).map(|_| whole(list)));
        }
        let decoded: Vec<Value> = match shown {
            Some(shown) => shown,
            None => listed.objects.iter().map(|cached| cached.decode()).collect::<Result<_, _>>()?,
        };
        let value = match self.form.view {
            View::Table => {
                let rows = decoded.iter().map(|object| self.row(object)).collect();
                self.table(rows, metadata, true)
            }
            view => {
                let items = decoded.into_iter().map(|object| self.item(object));
                let items: Vec<Value> = items.collect();
                let (api_version, kind) = match view {
                    View::Whole => (self.served.api_version.as_str(), self.served.info.list_kind.to_string()),
                    _ => ("meta.k8s.io/v1", "PartialObjectMetadataList".to_owned()),
                };
                json!({ "kind": kind, "apiVersion": api_version, "metadata": metadata, "items": items })
            }
        };
        Ok(self.document(StatusCode::OK, &value))
    }

    /// An event of a watch about an object.
    pub(super) fn event(&self, delivery: &Delivery, first: bool) -> Result<Bytes, Status> {
        match self.form.encoding {
            _ if self.is_natural() => Ok(delivery.line()),
            Encoding::Protobuf if self.is_stored_form() => delivery.frame(&self.served.storage),
            _ => self.event_showing(delivery, delivery.object.decode()?, first),
        }
    }

    /// An event of a watch that shows an object as it was converted.
    pub(super) fn event_showing(&self, delivery: &Delivery, object: Value, first: bool) -> Result<Bytes, Status> {
        self.event_of(delivery.kind.as_str(), &self.event_object(object, delivery.object.revision, first))
    }

    /// An event of a watch about whatever is given.
    pub(super) fn event_of(&self, kind: &str, object: &Value) -> Result<Bytes, Status> {
        if self.form.encoding != Encoding::Protobuf {
            return Ok(line(kind, object));
        }
        let object = protobuf::encode(object).map_err(Status::internal)?;
        Ok(protobuf::watch_frame(kind, &object).into())
    }

    /// The answer to a watch.
    pub(super) fn streamed(&self, body: Body) -> Response<Body> {
        let mut response = Response::new(body);
        let media_type = match self.form.encoding {
            Encoding::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
            _ => "application/json",
        };
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        response
    }

    /// What a watch shows of an object.
    fn event_object(&self, object: Value, revision: u64, first: bool) -> Value {
        match self.form.view {
            View::Table => {
                let version = revision.to_string();
                self.table(vec![self.row(&object)], json!({ "resourceVersion": version }), first)
            }
            _ => self.view(object),
        }
    }

    /// What a watch shows of a moment at which nothing changed.
    pub(super) fn bookmark_object(&self, revision: u64, initial_events_end: bool) -> Value {
        let mut metadata = json!({ "resourceVersion": revision.to_string(), "creationTimestamp": null });
        if initial_events_end {
            metadata["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
        }
        match self.form.view {
            View::Table => {
                let row = json!({ "cells": [], "object": {
                    "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
                } });
                self.table(vec![row], json!({ "resourceVersion": revision.to_string() }), false)
            }
            View::Whole => json!({
                "kind": self.served.info.kind, "apiVersion": self.served.api_version, "metadata": metadata,
            }),
            _ => {
                json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata })
            }
        }
    }

    /// A whole object or its metadata, in the served version.
    pub(super) fn view(&self, object: Value) -> Value {
        match self.form.view {
            View::Whole | View::Table => self.served.to_served(object),
            View::Partial | View::PartialList => json!({
                "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"],
            }),
        }
    }

    /// Whether the objects in a list say their version and kind, though the list says it: those of definitions do.
    fn lists_types(&self) -> bool {
        self.served.schema.built_in().is_none()
    }

    /// What a list shows of an object.
    pub(super) fn item(&self, object: Value) -> Value {
        let mut item = self.view(object);
        if self.form.view == View::Whole
            && !self.lists_types()
            && let Some(fields) = item.as_object_mut()
        {
            fields.retain(|name, _| name != "apiVersion" && name != "kind");
        }
        item
    }

    pub(super) fn row(&self, object: &Value) -> Value {
        // Columns read defaults, and objects may have been stored before a default came up.
        let mut whole = object.clone();
        match self.served.webhook {
            Some(_) => self.served.strategy().default(&mut whole),
            None => whole = Registry::defaulted(&self.served.storage, whole),
        }
        let cells = self.served.strategy().cells(&whole, self.now);
        let mut row = table::row(cells, &whole, self.include);
        if self.include == IncludeObject::Object && !self.served.is_natural() {
            row["object"] = self.served.to_served(object.clone());
        }
        row
    }

    pub(super) fn table(&self, rows: Vec<Value>, metadata: Value, with_columns: bool) -> Value {
        let columns = if with_columns { self.served.strategy().column_definitions() } else { Value::Null };
        let mut table = Map::new();
        table.insert("kind".into(), "Table".into());
        table.insert("apiVersion".into(), "meta.k8s.io/v1".into());
        table.insert("metadata".into(), metadata);
        table.insert("columnDefinitions".into(), columns);
        table.insert("rows".into(), rows.into());
        table.into()
    }

    /// A document in the format that was asked for.
    pub(super) fn document(&self, code: StatusCode, value: &Value) -> Response<Body> {
        match self.form.encoding {
            Encoding::Json if self.form.pretty => match serde_json::to_string_pretty(value) {
                Ok(text) => return body::json_bytes(code, text),
                Err(error) => return body::status(&Status::internal(error)),
            },
            Encoding::Json => return body::json(code, value),
            Encoding::Protobuf => {
                let bytes = protobuf::encode(value).map_err(Status::internal);
                return bytes.map_or_else(|status| body::status(&status), |bytes| body::protobuf(code, bytes));
            }
            Encoding::Yaml => {}
        }
        let mut response = body::json_bytes(code, yaml::write(value));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/yaml"));
        response
    }
}

/// A list as a body.
fn whole(list: ListBody) -> Body {
    list.map_err(|never| match never {}).boxed_unsync()
}

/// An event as a line of JSON.
fn line(kind: &str, object: &Value) -> Bytes {
    let mut line = json!({ "type": kind, "object": object }).to_string();
    line.push('\n');
    line.into()
}
