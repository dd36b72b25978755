//! Subresources of pods that are no part of the pod: binding, eviction.

use http::{Request, Response, StatusCode};
use kubewright_api::status::Status;
use serde_json::{Value, json};

use super::super::query::{Query, options_json};
use super::delete::read_options;
use super::{Handler, content_type};
use crate::admission::Operation;
use crate::body::{self, Body};
use crate::object::{self, decode};
use crate::objects::GroupResource;
use crate::registry::cache::Selection;
use crate::registry::{Call, DeleteOptions, Preconditions};
use crate::subresources::eviction::{self, Verdict};
use crate::subresources::{binding, conditions};

impl Handler<'_> {
    /// `pods/binding`, and `bindings` which name the pod in the body.
    pub(in crate::server) async fn bind(&self, request: Request<Body>) -> Result<Response<Body>, Status> {
        let (given, options, dry_run) = self.posted(request, "v1", "Binding").await?;
        let name = object::name(&given).to_owned();
        if !self.name().is_empty() && name != self.name() {
            return Err(Status::bad_request("name in URL does not match name in Binding object"));
        }
        let call = self.call(&name, &options, dry_run, "");
        let call = Call { subresource: "binding", kind: "Binding", ..call };
        let given = call.admit(Operation::Create, given, None).await?;
        let faults = binding::faults(&given);
        if !faults.is_empty() {
            return Err(Status::invalid("", "Binding", &name, &faults));
        }
        let given = call.validate(Operation::Create, given, None).await?;
        let conflict = |why: &str| Status::conflict("", "pods/binding", &name, why);
        let now = self.context.now;
        let change = |pod: &mut Value| {
            let version = object::meta_str(&given, "resourceVersion");
            check(pod, object::uid(&given), version).map_err(|why| conflict(&why))?;
            binding::bind(pod, &given, now).map_err(|why| conflict(&why))
        };
        let storage = &self.served.storage;
        self.core.registry.modify(storage, self.namespace(), &name, dry_run, &change).await?;
        Ok(created())
    }

    /// `pods/eviction`.
    pub(in crate::server) async fn evict(&self, request: Request<Body>) -> Result<Response<Body>, Status> {
        let (given, options, mut dry_run) = self.posted(request, "policy/v1", "Eviction").await?;
        if object::name(&given) != self.name() {
            return Err(Status::bad_request("name in URL does not match name in Eviction object"));
        }
        let (delete_options, also_dry) = read_options(&given["deleteOptions"])?;
        dry_run |= also_dry;
        let call = self.call(self.name(), &options, dry_run, "");
        let call = Call { subresource: "eviction", kind: "Eviction", ..call };
        let given = call.admit(Operation::Create, given, None).await?;
        call.validate(Operation::Create, given, None).await?;
        self.evict_within_budget(&delete_options, dry_run).await?;
        Ok(created())
    }

    async fn evict_within_budget(&self, options: &DeleteOptions, dry_run: bool) -> Result<(), Status> {
        let registry = &self.core.registry;
        let pod = registry.get(&self.served.storage, self.namespace(), self.name()).await?.object;
        registry.wait_for_latest().await?;
        let budgets = self.budgets()?;
        let (unchanged, budget) = match eviction::judge(&pod, &budgets)? {
            Verdict::Free { unchanged } => (unchanged, None),
            Verdict::Budget(budget) => (false, Some(object::name(budget).to_owned())),
        };
        if let (Some(name), Some(storage)) = (&budget, registry.storage(PDBS)) {
            let take = |budget: &mut Value| eviction::take(budget, self.name(), self.context.now);
            registry.modify(&storage, self.namespace(), name, dry_run, &take).await?;
        }
        let mut options = options.clone();
        let own_version = options.preconditions.resource_version.is_some();
        if unchanged && !own_version {
            let version = object::meta_str(&pod, "resourceVersion").to_owned();
            options.preconditions.resource_version = Some(version);
        }
        match self.mark_and_delete(options, dry_run).await {
            Err(status) if status.reason == "Conflict" && unchanged && !own_version => {
                Err(eviction::still_processed(budget.as_deref().unwrap_or_default()))
            }
            other => other,
        }
    }

    fn budgets(&self) -> Result<Vec<Value>, Status> {
        let selection = Selection { path_prefix: format!("{}/", self.namespace()), ..Selection::default() };
        let Some(storage) = self.core.registry.storage(PDBS) else { return Ok(Vec::new()) };
        let (budgets, _) = storage.cache.list(&selection, 0)?;
        budgets.iter().map(|budget| budget.decode()).collect()
    }

    /// Notes in the pod why it goes, and deletes it.
    async fn mark_and_delete(&self, mut options: DeleteOptions, dry_run: bool) -> Result<(), Status> {
        let (registry, now) = (&self.core.registry, self.context.now);
        let Preconditions { uid, resource_version } = options.preconditions.clone();
        let mark = |pod: &mut Value| {
            let (uid, version) = (uid.as_deref().unwrap_or_default(), resource_version.as_deref().unwrap_or_default());
            check(pod, uid, version).map_err(|why| Status::conflict("", "Pod", object::name(pod), &why))?;
            let condition = json!({
                "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
                "message": "Eviction API: evicting",
            });
            conditions::set(pod, condition, now);
            Ok(())
        };
        let marked = registry.modify(&self.served.storage, self.namespace(), self.name(), dry_run, &mark).await?;
        if options.preconditions.resource_version.is_some() {
            let version = object::meta_str(&marked.object, "resourceVersion").to_owned();
            options.preconditions.resource_version = Some(version);
        }
        let wire = json!({});
        let call = self.call(self.name(), &wire, dry_run, "");
        registry.delete(&Call { subresource: "", admission: &[], ..call }, &options).await?;
        Ok(())
    }

    /// The object that was posted, the options as JSON, and whether nothing shall be stored.
    async fn posted(
        &self,
        request: Request<Body>,
        api_version: &str,
        kind: &str,
    ) -> Result<(Value, Value, bool), Status> {
        let (parts, body) = request.into_parts();
        let query = Query::parse(parts.uri.query());
        let validation = query.field_validation("CreateOptions")?;
        let dry_run = query.dry_run("CreateOptions")?;
        let format = decode::Format::of_content_type(content_type(&parts.headers))?;
        let bytes = self.body(body).await?;
        let expected = decode::Expected::new(api_version, kind);
        let object = decode::object(&bytes, format, &expected, validation, &self.context.warnings)?;
        let namespace = object::namespace(&object);
        if !namespace.is_empty() && namespace != self.namespace() {
            let why = "the namespace of the provided object does not match the namespace sent on the request";
            return Err(Status::bad_request(why));
        }
        Ok((object, options_json("CreateOptions", &query), dry_run))
    }
}

const PDBS: GroupResource<'static> = GroupResource::new("policy", "poddisruptionbudgets");

/// Whether an object is the one that was meant; empty means any.
fn check(object: &Value, uid: &str, version: &str) -> Result<(), String> {
    for (what, wanted, actual) in
        [("UID", uid, object::uid(object)), ("ResourceVersion", version, object::meta_str(object, "resourceVersion"))]
    {
        if !wanted.is_empty() && wanted != actual {
            return Err(format!(
                "Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {actual}"
            ));
        }
    }
    Ok(())
}

fn created() -> Response<Body> {
    let mut status = Status::failure(201, "", "");
    status.status = "Success".into();
    body::json(StatusCode::CREATED, &status)
}
