//! Conversion between the versions of a custom resource by its definition's webhook.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use kubewright_api::status::Status;
use serde_json::{Value, json};

use crate::environment::{self, Environment};
use crate::objects::Objects;
use crate::remote::{self, Remote};

/// How long a webhook may take, as upstream gives it.
const TIMEOUT: Duration = Duration::from_secs(30);
const REVIEW_VERSION: &str = "v1";

/// A definition's webhook.
#[derive(Debug, PartialEq)]
pub(crate) struct ConversionWebhook {
    client: Value,
    versions: Vec<String>,
}

impl ConversionWebhook {
    /// The webhook of a definition's `spec.conversion`, if versions are converted so.
    pub(crate) fn read(conversion: &Value) -> Option<Self> {
        if conversion["strategy"] != "Webhook" {
            return None;
        }
        let webhook = &conversion["webhook"];
        let versions = webhook["conversionReviewVersions"].as_array().into_iter().flatten();
        Some(Self {
            client: webhook["clientConfig"].clone(),
            versions: versions.filter_map(Value::as_str).map(str::to_owned).collect(),
        })
    }
}

/// Asks webhooks.
pub(crate) struct Converter {
    objects: Arc<dyn Objects>,
    environment: Arc<dyn Environment>,
    remote: Arc<dyn Remote>,
    turn: AtomicUsize,
}

impl Converter {
    pub(crate) fn new(objects: Arc<dyn Objects>, environment: Arc<dyn Environment>, remote: Arc<dyn Remote>) -> Self {
        Self { objects, environment, remote, turn: AtomicUsize::new(0) }
    }

    /// The same objects, all in that version. Those that are in it already stay as they are; the others are sent in one
    /// review.
    ///
    /// # Errors
    /// 500 if the webhook cannot be asked, refuses, or answers with other objects than it was given.
    pub(crate) async fn convert(
        &self,
        webhook: &ConversionWebhook,
        objects: Vec<Value>,
        api_version: &str,
    ) -> Result<Vec<Value>, Status> {
        let foreign: Vec<&Value> = objects.iter().filter(|object| object["apiVersion"] != api_version).collect();
        let Some(first) = foreign.first() else { return Ok(objects) };
        let named = format!("{}, Kind={}", text(&first["apiVersion"]), text(&first["kind"]));
        let failed = |why: String| Status::internal(format!("conversion webhook for {named} failed: {why}"));
        let converted = self.ask(webhook, &foreign, api_version).await.map_err(failed)?;
        if converted.len() != foreign.len() {
            let why = format!("returned {} objects, expected {}", converted.len(), foreign.len());
            return Err(Status::internal(format!("conversion webhook for {named} {why}")));
        }
        let mut converted = converted.into_iter().enumerate();
        let mut out = Vec::with_capacity(objects.len());
        for object in objects {
            if object["apiVersion"] == api_version {
                out.push(object);
            } else if let Some((at, new)) = converted.next() {
                let checked = accept(object, new, api_version).map_err(|why| {
                    Status::internal(format!(
                        "conversion webhook for {named} returned invalid object at index {at}: {why}"
                    ))
                })?;
                out.push(checked);
            }
        }
        Ok(out)
    }

    async fn ask(
        &self,
        webhook: &ConversionWebhook,
        objects: &[&Value],
        api_version: &str,
    ) -> Result<Vec<Value>, String> {
        if !webhook.versions.iter().any(|version| version == REVIEW_VERSION) {
            return Err("no supported conversion review versions".into());
        }
        let uid = environment::new_uid(&*self.environment);
        let review = json!({ "apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview",
            "request": { "uid": uid, "desiredAPIVersion": api_version, "objects": objects } });
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let (target, shown) = remote::of_client_config(&webhook.client, &*self.objects, turn)?;
        let path = target.url.path_and_query().map_or("/", |path| path.as_str());
        let joint = if path.contains('?') { '&' } else { '?' };
        let seconds = TIMEOUT.as_secs();
        let request = Request::post(format!("{path}{joint}timeout={seconds}s"))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json")
            .body(Bytes::from(review.to_string()));
        let request = request.map_err(|error| error.to_string())?;
        let shown = format!("Post {:?}", format!("{shown}{joint}timeout={seconds}s"));
        let answer = tokio::time::timeout(TIMEOUT, self.remote.send(&target, request)).await;
        let answer = answer.map_err(|_| format!("{shown}: context deadline exceeded"))?;
        let answer = answer.map_err(|error| format!("{shown}: {error}"))?;
        if !answer.status().is_success() {
            let code = answer.status();
            return Err(format!("{shown}: an error on the server ({code}) has prevented the request from succeeding"));
        }
        let answer: Value = serde_json::from_slice(answer.body()).map_err(|error| error.to_string())?;
        converted(answer, &uid)
    }
}

/// The objects in a webhook's answer.
fn converted(mut answer: Value, uid: &str) -> Result<Vec<Value>, String> {
    let (api_version, kind) = (text(&answer["apiVersion"]), text(&answer["kind"]));
    if (api_version, kind) != ("apiextensions.k8s.io/v1", "ConversionReview") {
        return Err(format!(
            "expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got {api_version}, \
             Kind={kind}"
        ));
    }
    let response = answer.get_mut("response").filter(|response| response.is_object()).ok_or("no response provided")?;
    if response["uid"] != uid {
        return Err(format!("expected response.uid={uid:?}, got {:?}", text(&response["uid"])));
    }
    let result = &response["result"];
    if result["status"] != "Success" {
        return Err(match text(&result["message"]) {
            "" => format!("response.result.status was '{}', not 'Success'", text(&result["status"])),
            message => message.to_owned(),
        });
    }
    Ok(response["convertedObjects"].as_array_mut().map(std::mem::take).unwrap_or_default())
}

/// The converted object with the metadata that a webhook may not touch: all but labels and annotations.
fn accept(old: Value, mut new: Value, api_version: &str) -> Result<Value, String> {
    if new["apiVersion"] != api_version {
        let got = text(&new["apiVersion"]);
        return Err(format!("invalid groupVersion (expected {api_version}, received {got})"));
    }
    if new["kind"] != old["kind"] {
        let (expected, got) = (text(&old["kind"]), text(&new["kind"]));
        return Err(format!("invalid kind (expected {expected}, received {got})"));
    }
    if !new["metadata"].is_object() {
        return Err("missing metadata in converted object".into());
    }
    for (field, shown) in [("name", "name"), ("namespace", "namespace"), ("uid", "UID")] {
        let (before, after) = (text(&old["metadata"][field]), text(&new["metadata"][field]));
        if before != after {
            return Err(format!("must have the same {shown}: {before} != {after}"));
        }
    }
    let mut metadata = old["metadata"].clone();
    for field in ["labels", "annotations"] {
        let given = new["metadata"][field].take();
        let Some(entries) = given.as_object() else {
            if !given.is_null() {
                return Err(format!("invalid metadata.{field} in converted object"));
            }
            if let Some(metadata) = metadata.as_object_mut() {
                metadata.remove(field);
            }
            continue;
        };
        if let Some((key, _)) = entries.iter().find(|(_, value)| !value.is_string()) {
            return Err(format!("metadata.{field}[{key}] must be a string in converted object"));
        }
        metadata[field] = given;
    }
    new["metadata"] = metadata;
    Ok(new)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
