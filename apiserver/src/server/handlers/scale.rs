//! The `scale` subresource: replicas of any kind that has some, in one form.

use http::{Method, Request, Response, StatusCode};
use kubewright_api::field::{FieldError, Path};
use kubewright_api::status::Status;
use serde_json::{Value, json};

use super::super::query::{Query, options_json};
use super::patch::Patch;
use super::{Handler, content_type, field_manager};
use crate::body::Body;
use crate::object::{self, decode};
use crate::registry::{Registry, Scaling, UpdateRules};

const API_VERSION: &str = "autoscaling/v1";

/// Makes the new scale of the current one.
type ScaleChange<'a> = Box<dyn Fn(&Value) -> Result<Value, Status> + Send + Sync + 'a>;

impl Handler<'_> {
    pub(in crate::server) async fn scale(&self, request: Request<Body>) -> Result<Response<Body>, Status> {
        let Some(scale) = self.served.strategy().scale() else { return Err(Status::no_such_path()) };
        let (parts, body) = request.into_parts();
        let query = Query::parse(parts.uri.query());
        let representation = self.representation(&parts.headers, &query, false)?;
        if parts.method == Method::GET {
            let storage = &self.served.storage;
            let object = Registry::defaulted(storage, self.in_home_form().await?);
            if let Some(path) = scale.missing_replicas(&object) {
                return Err(Status::internal(format!("the spec replicas field {path:?} does not exist")));
            }
            return Ok(representation.document(StatusCode::OK, &scale_of(scale, &object)));
        }
        let validation = query.field_validation("UpdateOptions")?;
        let dry_run = query.dry_run("UpdateOptions")?;
        let bytes = self.body(body).await?;
        let expected = decode::Expected::new(API_VERSION, "Scale");
        let warnings = &self.context.warnings;
        let wanted: ScaleChange<'_> = match parts.method {
            Method::PUT => {
                let format = decode::Format::of_content_type(content_type(&parts.headers))?;
                let given = decode::object(&bytes, format, &expected, validation, warnings)?;
                Box::new(move |_| Ok(given.clone()))
            }
            Method::PATCH => {
                let patch = Patch::read(content_type(&parts.headers), &bytes, &expected.schema)?;
                Box::new(move |current| {
                    let mut patched = patch.apply(current)?;
                    let shaped = decode::shape(&mut patched, patch.duplicates(), &expected, validation, warnings);
                    shaped.map_err(|unfit| patch.unfit(current, &unfit, &expected))?;
                    Ok(patched)
                })
            }
            _ => return Err(Status::method_not_allowed()),
        };
        let options = options_json("UpdateOptions", &query);
        let manager = field_manager(&query, &parts.headers);
        let call = self.call(self.name(), &options, dry_run, &manager);
        let call = crate::registry::Call { subresource: "", ..call };
        // What is stored in another version is converted before: in the store, but for a dry run, which leaves it alone.
        let imagined = match dry_run {
            true => Some(self.in_home_form().await?),
            false => self.migrate().await.map(|()| None)?,
        };
        let change = |current: Option<&Value>| {
            let current = current.ok_or_else(|| call.not_found())?;
            let same = |form: &&Value| object::resource_version(form) == object::resource_version(current);
            let current = imagined.as_ref().filter(same).unwrap_or(current);
            let wanted = wanted(&scale_of(scale, current))?;
            self.scaled(scale, current, &wanted)
        };
        let rules = UpdateRules { subresource: Some("scale"), ..UpdateRules::default() };
        let (written, _) = self.core.registry.update(&call, &change, rules).await?;
        Ok(representation.document(StatusCode::OK, &scale_of(scale, &written.object)))
    }

    /// The object with the wanted replicas.
    fn scaled(&self, scale: &dyn Scaling, current: &Value, wanted: &Value) -> Result<Value, Status> {
        let name = object::name(wanted);
        if !name.is_empty() && name != self.name() {
            return Err(Status::bad_request(format!(
                "the name of the object ({name}) does not match the name on the URL ({})",
                self.name()
            )));
        }
        let replicas = wanted["spec"]["replicas"].as_i64().unwrap_or(0);
        if replicas < 0 {
            let path = Path::new("spec").child("replicas");
            let fault = FieldError::invalid(&path, replicas, "must be greater than or equal to 0");
            return Err(Status::invalid("autoscaling", "Scale", self.name(), &[fault]));
        }
        let mut object = current.clone();
        scale.set_replicas(&mut object, replicas);
        let metadata = object::metadata_mut(&mut object);
        match wanted["metadata"].get("resourceVersion").filter(|version| *version != "") {
            Some(version) => metadata.insert("resourceVersion".into(), version.clone()),
            None => metadata.remove("resourceVersion"),
        };
        if let Some(uid) = wanted["metadata"].get("uid").filter(|uid| *uid != "") {
            metadata.insert("uid".into(), uid.clone());
        }
        Ok(object)
    }
}

fn scale_of(scale: &dyn Scaling, object: &Value) -> Value {
    let mut metadata = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object["metadata"].get(field) {
            metadata[field] = value.clone();
        }
    }
    let mut status = json!({ "replicas": scale.current_replicas(object) });
    let selector = scale.selector(object);
    if !selector.is_empty() {
        status["selector"] = selector.into();
    }
    let spec = json!({ "replicas": scale.replicas(object) });
    json!({ "kind": "Scale", "apiVersion": API_VERSION, "metadata": metadata, "spec": spec, "status": status })
}
