//! What answers requests about stored objects.

mod convert;
mod delete;
mod patch;
mod pods;
mod read;
mod scale;
mod write;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, header};
use kubewright_api::status::Status;
use serde_json::Value;

use super::negotiate;
use super::query::Query;
use super::represent::Representation;
use super::{Core, pretty, transcode};
use crate::body::Body;
use crate::registry::Call;
use crate::registry::storage::Served;
use crate::request::Context;

/// Answers one request.
pub(super) struct Handler<'a> {
    pub(super) core: &'a Core,
    pub(super) context: &'a Context,
    pub(super) served: &'a Arc<Served>,
}

impl<'a> Handler<'a> {
    /// Requests for `/pods`.
    pub(super) async fn collection(&self, request: Request<Body>) -> Result<Response<Body>, Status> {
        let verb = match (request.method(), self.context.info.verb.as_str()) {
            (&Method::GET, "watch") => "watch",
            (&Method::GET, _) => "list",
            (&Method::POST, _) => "create",
            (&Method::DELETE, _) => "deletecollection",
            _ => "",
        };
        if !self.served.info.has_verb(verb) {
            return Err(Status::method_not_allowed());
        }
        match verb {
            "watch" => self.watch(&request.into_parts().0).await,
            "list" => self.list(&request.into_parts().0).await,
            "create" if self.served.info.namespaced() && self.context.info.namespace.is_empty() => {
                Err(Status::method_not_allowed())
            }
            "create" => self.create(request).await,
            _ => self.delete_collection(request).await,
        }
    }

    /// Requests for `/pods/{name}`, and for subresources that are the object itself.
    pub(super) async fn object(&self, request: Request<Body>) -> Result<Response<Body>, Status> {
        let watched = self.context.info.verb == "watch";
        match *request.method() {
            Method::GET if watched => self.watch(&request.into_parts().0).await,
            Method::GET => self.get(&request.into_parts().0).await,
            Method::PUT => self.update(request).await,
            Method::PATCH => self.patch(request).await,
            Method::DELETE => self.delete(request).await,
            _ => Err(Status::method_not_allowed()),
        }
    }

    fn representation(&self, headers: &HeaderMap, query: &Query, list: bool) -> Result<Representation<'a>, Status> {
        let pretty = pretty::wanted_by(headers, query);
        let form = negotiate::choose(headers, list, pretty, self.served.schema.built_in().is_some())?;
        let include = query.include_object()?;
        Ok(Representation { form, include, served: self.served, now: self.context.now })
    }

    fn call<'b>(&'b self, name: &'b str, options: &'b Value, dry_run: bool, manager: &'b str) -> Call<'b> {
        Call {
            served: self.served,
            user: &self.context.user,
            verb: &self.context.info.verb,
            now: self.context.now,
            namespace: self.namespace(),
            name,
            subresource: &self.context.info.subresource,
            kind: &self.served.info.kind,
            admission: &self.core.admission,
            options,
            dry_run,
            warnings: &self.context.warnings,
            manager,
            converter: Some(&self.core.converter),
        }
    }

    /// The namespace that objects of this request are in; a Namespace itself is in none.
    fn namespace(&self) -> &'a str {
        if self.served.info.namespaced() { &self.context.info.namespace } else { "" }
    }

    fn name(&self) -> &'a str {
        self.context.info.name_in_path()
    }

    /// Reads a body, up to the limit.
    async fn body(&self, body: Body) -> Result<Bytes, Status> {
        transcode::read(body, self.core.settings.body_bytes_max).await
    }
}

fn content_type(headers: &HeaderMap) -> &str {
    headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Who is noted in `managedFields`: the manager that the request names, or the client's own name.
fn field_manager(query: &Query, headers: &HeaderMap) -> String {
    match query.get("fieldManager") {
        "" => {
            let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
            let name = agent.split('/').next().unwrap_or_default();
            let printable: String = name.chars().filter(|c| !c.is_control()).take(128).collect();
            if printable.is_empty() { "unknown".into() } else { printable }
        }
        manager => manager.to_owned(),
    }
}
