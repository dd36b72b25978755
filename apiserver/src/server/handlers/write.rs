//! Create and update.

use http::{Request, Response, StatusCode};
use kubewright_api::status::Status;
use serde_json::Value;

use super::super::query::{Query, options_json};
use super::{Handler, content_type, field_manager};
use crate::body::Body;
use crate::object::{self, decode};
use crate::registry::{Registry, UpdateRules};

impl Handler<'_> {
    pub(super) async fn create(&self, request: Request<Body>) -> Result<Response<Body>, Status> {
        let (parts, body) = request.into_parts();
        let query = Query::parse(parts.uri.query());
        let representation = self.representation(&parts.headers, &query, false)?;
        let dry_run = query.dry_run("CreateOptions")?;
        let object = self.decode(&query, content_type(&parts.headers), body, "CreateOptions").await?;
        let options = options_json("CreateOptions", &query);
        let manager = field_manager(&query, &parts.headers);
        let name = object::name(&object).to_owned();
        let call = self.call(&name, &options, dry_run, &manager);
        let object = self.written_form(object);
        let written = self.core.registry.create(&call, object).await?;
        Ok(representation.object(StatusCode::CREATED, self.shown(written).await?))
    }

    pub(super) async fn update(&self, request: Request<Body>) -> Result<Response<Body>, Status> {
        let (parts, body) = request.into_parts();
        let query = Query::parse(parts.uri.query());
        let representation = self.representation(&parts.headers, &query, false)?;
        let dry_run = query.dry_run("UpdateOptions")?;
        let object = self.decode(&query, content_type(&parts.headers), body, "UpdateOptions").await?;
        self.check_named(&object)?;
        let options = options_json("UpdateOptions", &query);
        let manager = field_manager(&query, &parts.headers);
        let call = self.call(self.name(), &options, dry_run, &manager);
        let mut object = self.written_form(object);
        object::metadata_mut(&mut object).insert("name".into(), self.name().into());
        let create = self.context.info.subresource.is_empty() && self.served.strategy().allow_create_on_update();
        let rules = UpdateRules { create, ..UpdateRules::default() };
        let (written, created) = self.core.registry.update(&call, &|_| Ok(object.clone()), rules).await?;
        let code = if created { StatusCode::CREATED } else { StatusCode::OK };
        Ok(representation.object(code, self.shown(written).await?))
    }

    /// Decodes a body of the request's kind.
    async fn decode(&self, query: &Query, content_type: &str, body: Body, options_kind: &str) -> Result<Value, Status> {
        let validation = query.field_validation(options_kind)?;
        let format = decode::Format::of_content_type(content_type)?;
        let bytes = self.body(body).await?;
        let expected = self.expected();
        decode::object(&bytes, format, &expected, validation, &self.context.warnings)
    }

    /// What a body of this resource shall be.
    pub(super) fn expected(&self) -> decode::Expected<'_> {
        let expected = decode::Expected::of(&self.served.api_version, &self.served.info.kind, &self.served.schema);
        decode::Expected { must_be_said: self.served.defined, ..expected }
    }

    /// An object of the request's version as it is stored, with its defaults.
    pub(super) fn to_storage(&self, object: Value) -> Value {
        Registry::defaulted(&self.served.storage, self.served.to_storage(object))
    }

    /// An object that replaces another says its name, and it is that of the request.
    pub(super) fn check_named(&self, object: &Value) -> Result<(), Status> {
        if object::name(object).is_empty() {
            let why = "was undeterminable: name must be provided";
            return Err(Status::bad_request(format!("the name of the object ({} based on URL) {why}", self.name())));
        }
        self.check_identity(object)
    }

    pub(super) fn check_identity(&self, object: &Value) -> Result<(), Status> {
        let (name, namespace) = (object::name(object), object::namespace(object));
        if !name.is_empty() && name != self.name() {
            return Err(Status::bad_request(format!(
                "the name of the object ({name}) does not match the name on the URL ({})",
                self.name()
            )));
        }
        if !namespace.is_empty() && self.served.info.namespaced() && namespace != self.namespace() {
            return Err(Status::bad_request(format!(
                "the namespace of the object ({namespace}) does not match the namespace on the request ({})",
                self.namespace()
            )));
        }
        Ok(())
    }
}
