//! Delete and deletecollection.

use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use http::{Request, Response, StatusCode};
use kubewright_api::field::{FieldError, Path};
use kubewright_api::status::Status;
use serde_json::{Value, json};

use super::super::query::{ListOptions, Query, dry_run, invalid};
use super::{Handler, content_type};
use crate::body::Body;
use crate::object::decode::Format;
use crate::object::{self, parse};
use crate::registry::cache::Cached;
use crate::registry::{DeleteOptions, ListParams, Listed, Preconditions};

/// So many objects of a collection are deleted at the same time.
const AT_ONCE: usize = 256;

impl Handler<'_> {
    pub(super) async fn delete(&self, request: Request<Body>) -> Result<Response<Body>, Status> {
        let (parts, body) = request.into_parts();
        let query = Query::parse(parts.uri.query());
        let representation = self.representation(&parts.headers, &query, false)?;
        let wire = self.options(&query, content_type(&parts.headers), body).await?;
        let (options, dry) = read_options(&wire)?;
        let call = self.call(self.name(), &wire, dry, "");
        let deleted = self.core.registry.delete(&call, &options).await?;
        let returned = !deleted.gone || self.served.strategy().returns_deleted_object();
        // Accepted: it will be gone once its dependents are.
        let waits = !deleted.gone && options.orphan_dependents == Some(false);
        let code = if waits { StatusCode::ACCEPTED } else { StatusCode::OK };
        if returned {
            return Ok(representation.object(code, self.shown(deleted.last).await?));
        }
        let info = &self.served.info;
        let uid = object::uid(&deleted.last.object);
        let status = Status::success(&info.group, &info.plural, self.name(), uid);
        Ok(representation.document(code, &serde_json::to_value(status).map_err(Status::internal)?))
    }

    pub(super) async fn delete_collection(&self, request: Request<Body>) -> Result<Response<Body>, Status> {
        let (parts, body) = request.into_parts();
        let query = Query::parse(parts.uri.query());
        let representation = self.representation(&parts.headers, &query, true)?;
        let list_options = ListOptions::parse(&query, false)?;
        let selection = self.selection(&list_options)?;
        let wire = self.options(&query, content_type(&parts.headers), body).await?;
        let (options, dry) = read_options(&wire)?;
        let params = ListParams {
            limit: list_options.limit,
            continue_token: list_options.continue_token.clone(),
            ..ListParams::default()
        };
        let listed = self.core.registry.list(&self.served.storage, &selection, &params).await?;
        // As many at once as the store likes to write in one go.
        let (mut rest, mut running) = (listed.objects.iter(), FuturesUnordered::new());
        loop {
            let room = AT_ONCE - running.len();
            running
                .extend(rest.by_ref().take(room).map(|object| self.delete_one(object, &wire, &options, dry).boxed()));
            let Some(done) = running.next().await else { break };
            done?;
        }
        drop(running);
        let listed = Listed { remaining: None, ..listed };
        let shown = self.shown_list(&listed).await?;
        representation.list(listed, shown)
    }

    /// Deletes an object of a collection, unless someone else was first.
    async fn delete_one(
        &self,
        object: &Cached,
        wire: &Value,
        options: &DeleteOptions,
        dry: bool,
    ) -> Result<(), Status> {
        let mut call = self.call(self.name(), wire, dry, "");
        (call.namespace, call.name) = (object.namespace(), object.name());
        match self.core.registry.delete(&call, options).await {
            Err(status) if status.code != 404 => Err(status),
            _ => Ok(()),
        }
    }

    /// The options of a deletion as JSON: those of the body, or else those of the query string.
    async fn options(&self, query: &Query, content_type: &str, body: Body) -> Result<Value, Status> {
        let bytes = self.body(body).await?;
        let mut options = json!({});
        if bytes.is_empty() {
            for field in ["propagationPolicy", "gracePeriodSeconds", "orphanDependents"] {
                let text = query.get(field);
                match text {
                    "" => {}
                    _ if field == "propagationPolicy" => options[field] = text.into(),
                    _ => options[field] = serde_json::from_str(text).unwrap_or_else(|_| text.into()),
                }
            }
        } else {
            let parsed = match Format::of_content_type(content_type)? {
                Format::Json => parse::json(&bytes),
                Format::Yaml => parse::yaml(&bytes),
            };
            options = parsed.map_err(Status::bad_request)?.value;
            let kind = options["kind"].as_str().unwrap_or("DeleteOptions");
            if kind != "DeleteOptions" {
                return Err(Status::bad_request("decoded object cannot be converted to DeleteOptions"));
            }
        }
        if !options.is_object() {
            return Err(Status::bad_request("decoded object cannot be converted to DeleteOptions"));
        }
        if query.dry_run("DeleteOptions")? {
            options["dryRun"] = json!(["All"]);
        }
        options["kind"] = "DeleteOptions".into();
        options["apiVersion"] = "meta.k8s.io/v1".into();
        Ok(options)
    }
}

/// What the options mean, and whether nothing shall be stored.
pub(super) fn read_options(wire: &Value) -> Result<(DeleteOptions, bool), Status> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let typed = |field: &str, fits: bool, go: &str| {
        if fits || wire[field].is_null() {
            return Ok(());
        }
        let found = parse::go_kind(&wire[field]);
        Err(Status::bad_request(format!(
            "json: cannot unmarshal {found} into Go struct field DeleteOptions.{field} of type {go}"
        )))
    };
    typed("gracePeriodSeconds", wire["gracePeriodSeconds"].is_i64(), "int64")?;
    typed("orphanDependents", wire["orphanDependents"].is_boolean(), "bool")?;
    typed("propagationPolicy", wire["propagationPolicy"].is_string(), "v1.DeletionPropagation")?;
    // What is misread here deletes for good.
    let texts = wire["dryRun"].as_array().is_some_and(|values| values.iter().all(Value::is_string));
    typed("dryRun", texts, "[]string")?;
    typed("preconditions", wire["preconditions"].is_object(), "v1.Preconditions")?;
    for (field, go) in [("uid", "types.UID"), ("resourceVersion", "string")] {
        let value = &wire["preconditions"][field];
        if !value.is_string() && !value.is_null() {
            let found = parse::go_kind(value);
            let message = format!(
                "json: cannot unmarshal {found} into Go struct field Preconditions.preconditions.{field} of type {go}"
            );
            return Err(Status::bad_request(message));
        }
    }
    let options = DeleteOptions {
        grace_period_seconds: wire["gracePeriodSeconds"].as_i64(),
        propagation: text(&wire["propagationPolicy"]),
        orphan_dependents: wire["orphanDependents"].as_bool(),
        preconditions: Preconditions {
            uid: text(&wire["preconditions"]["uid"]),
            resource_version: text(&wire["preconditions"]["resourceVersion"]),
        },
    };
    if let Some(policy) = &options.propagation {
        let path = Path::new("propagationPolicy");
        if options.orphan_dependents.is_some() {
            let why = "orphanDependents and deletionPropagation cannot be both set";
            return Err(invalid("DeleteOptions", &[FieldError::invalid(&path, policy.as_str(), why)]));
        }
        let known = ["Background", "Foreground", "Orphan"];
        if !known.contains(&policy.as_str()) {
            let allowed = ["Foreground", "Background", "Orphan", "nil"];
            let fault = FieldError::not_supported_in_order(&path, policy.as_str(), &allowed);
            return Err(invalid("DeleteOptions", &[fault]));
        }
    }
    let values = wire["dryRun"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let dry = dry_run(values, "DeleteOptions")?;
    Ok((options, dry))
}
