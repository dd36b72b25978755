//! `componentstatuses`: how the parts of the control plane are, as the deprecated kind tells it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use kubewright_api::selector::{FieldSelector, LabelSelector};
use kubewright_api::status::Status;
use serde_json::{Value, json};

use super::Endpoint;
use super::negotiate::{self, View};
use super::pretty;
use super::query::{ListOptions, Query};
use super::represent::Representation;
use crate::body::{self, Body};
use crate::discovery::Check;
use crate::kinds;
use crate::registry::ResourceInfo;
use crate::registry::storage::{Served, Storage};
use crate::request::{Context, RequestInfo};

const RESOURCE: &str = "componentstatuses";
const DEPRECATED: &str = "v1 ComponentStatus is deprecated in v1.19+";
/// Whoever says nothing so long is not well.
const LIMIT: Duration = Duration::from_secs(20);

/// Answers requests for the states of components, by asking them.
pub(super) struct ComponentStatuses {
    components: Vec<(String, Arc<dyn Check>)>,
    served: Served,
}

impl ComponentStatuses {
    /// Of these components; `None` where the kind isn't served.
    pub(super) fn new(infos: &[Arc<ResourceInfo>], components: Vec<(String, Arc<dyn Check>)>) -> Option<Self> {
        let info = infos.iter().find(|info| info.group.is_empty() && info.plural == RESOURCE)?;
        let ty = kubewright_api::schema::of_kind(&info.group, &info.version, &info.kind);
        let strategy = kinds::strategy(&info.group, &info.plural);
        let storage = Arc::new(Storage::new(Arc::clone(info), strategy.into(), ty.into()));
        let served = Served::new(Arc::clone(info), None, ty.into(), strategy.into(), storage);
        Some(Self { components, served })
    }

    async fn answer(&self, context: &Context, request: &Parts) -> Result<Response<Body>, Status> {
        if request.method != Method::GET || context.info.verb == "watch" {
            return Err(Status::method_not_allowed());
        }
        context.warnings.deprecated(DEPRECATED);
        let query = Query::parse(request.uri.query());
        let name = context.info.name_in_path();
        let form =
            negotiate::choose(&request.headers, name.is_empty(), pretty::wanted_by(&request.headers, &query), true)?;
        let (include, now) = (query.include_object()?, context.now);
        let shown = Representation { form, include, served: &self.served, now };
        if !name.is_empty() {
            let component = self.components.iter().find(|(known, _)| known == name);
            let component = component.ok_or_else(|| Status::not_found("", "componentstatus", name))?;
            let object = status(component).await;
            let value = match form.view {
                View::Table => shown.table(vec![shown.row(&object)], json!({}), true),
                _ => shown.view(object),
            };
            return Ok(shown.document(StatusCode::OK, &value));
        }
        let options = ListOptions::parse(&query, false)?;
        let selected = self.components.iter().filter(|(name, _)| selects(&options.labels, &options.fields, name));
        let objects = join_all(selected.map(status)).await;
        let value = match form.view {
            View::Table => shown.table(objects.iter().map(|object| shown.row(object)).collect(), json!({}), true),
            view => {
                let items: Vec<Value> = objects.into_iter().map(|object| shown.item(object)).collect();
                let (version, kind) = match view {
                    View::Whole => ("v1", "ComponentStatusList"),
                    _ => ("meta.k8s.io/v1", "PartialObjectMetadataList"),
                };
                json!({"kind": kind, "apiVersion": version, "metadata": {}, "items": items})
            }
        };
        Ok(shown.document(StatusCode::OK, &value))
    }
}

/// Components have no labels, and no field but their name that could be selected by.
fn selects(labels: &LabelSelector, fields: &FieldSelector, name: &str) -> bool {
    const LABELS: [(&str, &str); 0] = [];
    labels.matches(&LABELS) && fields.matches(|field| (field == "metadata.name").then_some(name))
}

async fn status((name, check): &(String, Arc<dyn Check>)) -> Value {
    let found = tokio::time::timeout(LIMIT, check.check()).await;
    let found = found.unwrap_or_else(|_| Err(format!("no answer in {} s", LIMIT.as_secs())));
    let condition = match found {
        Ok(()) => json!({"type": "Healthy", "status": "True", "message": "ok"}),
        Err(why) => json!({"type": "Healthy", "status": "False", "message": why}),
    };
    json!({"apiVersion": "v1", "kind": "ComponentStatus",
        "metadata": {"name": name}, "conditions": [condition]})
}

#[async_trait]
impl Endpoint for ComponentStatuses {
    fn handles(&self, info: &RequestInfo) -> bool {
        info.is_resource_request
            && info.api_group.is_empty()
            && info.resource == RESOURCE
            && info.subresource.is_empty()
            && info.namespace.is_empty()
    }

    async fn call(&self, request: Request<Body>) -> Response<Body> {
        let (parts, _) = request.into_parts();
        let Some(context) = parts.extensions.get::<Context>() else {
            return body::status(&Status::internal("the request was not identified"));
        };
        self.answer(context, &parts).await.unwrap_or_else(|status| body::status(&status))
    }
}
