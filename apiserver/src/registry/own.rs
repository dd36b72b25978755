//! The server's own handle onto its objects.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use kubewright_api::status::Status;
use serde_json::Value;

use super::cache::Selection;
use super::storage::Served;
use super::{Call, DeleteOptions, Registry, UpdateRules};
use crate::object;
use crate::objects::{GroupResource, Objects, Observer};
use crate::request::{SYSTEM_MASTERS, User, Warnings};

/// The server's objects as it uses them itself.
#[derive(Clone)]
pub(crate) struct OwnObjects {
    registry: Arc<Registry>,
    user: Arc<User>,
}

impl OwnObjects {
    pub(crate) fn new(registry: Arc<Registry>) -> Self {
        Self { registry, user: Arc::new(User::new("system:apiserver", &[SYSTEM_MASTERS])) }
    }

    /// The resource in its stored version, whether or not clients are served that one.
    fn served(&self, resource: GroupResource<'_>) -> Result<Arc<Served>, Status> {
        let storage = self.registry.storage(resource).ok_or_else(Status::no_such_path)?;
        let info = &storage.info;
        let served = self.registry.served(&info.group, &info.version, &info.plural);
        Ok(served.unwrap_or_else(|| {
            let (schema, strategy) = (storage.schema.clone(), storage.strategy.clone());
            Arc::new(Served::new(Arc::clone(&storage.info), None, schema, strategy, Arc::clone(&storage)))
        }))
    }

    async fn replace(&self, resource: GroupResource<'_>, object: Value, subresource: &str) -> Result<Value, Status> {
        let served = self.served(resource)?;
        let object = Registry::defaulted(&served.storage, object);
        let (namespace, name) = (object::namespace(&object).to_owned(), object::name(&object).to_owned());
        let warnings = Warnings::default();
        let call = self.call(&served, &namespace, &name, subresource, &warnings);
        let (written, _) = self.registry.update(&call, &|_| Ok(object.clone()), UpdateRules::default()).await?;
        Ok(written.object)
    }

    fn call<'a>(
        &'a self,
        served: &'a Served,
        namespace: &'a str,
        name: &'a str,
        subresource: &'a str,
        warnings: &'a Warnings,
    ) -> Call<'a> {
        Call {
            served,
            user: &self.user,
            verb: "update",
            now: self.registry.environment.now(),
            namespace,
            name,
            subresource,
            kind: &served.info.kind,
            admission: &[],
            options: &Value::Null,
            dry_run: false,
            warnings,
            manager: "kube-apiserver",
            converter: None,
        }
    }
}

#[async_trait]
impl Objects for OwnObjects {
    fn cached(&self, resource: GroupResource<'_>, namespace: &str, name: &str) -> Option<Value> {
        let storage = self.registry.storage(resource)?;
        let object = storage.cache.get(&storage.path_of(namespace, name))?.decode().ok()?;
        Some(Registry::defaulted(&storage, object))
    }

    fn cached_list(&self, resource: GroupResource<'_>, namespace: Option<&str>) -> Vec<Value> {
        let Some(storage) = self.registry.storage(resource) else { return Vec::new() };
        let path_prefix = namespace.map(|namespace| format!("{namespace}/")).unwrap_or_default();
        let selection = Selection { path_prefix, ..Selection::default() };
        let decoded = storage.cache.readable(&selection);
        let decoded = decoded.iter().filter_map(|cached| cached.decode().ok());
        decoded.map(|object| Registry::defaulted(&storage, object)).collect()
    }

    fn readable(&self, resource: GroupResource<'_>, namespace: Option<&str>) -> Result<(), Status> {
        let Some(storage) = self.registry.storage(resource) else { return Ok(()) };
        storage.cache.check_readable(namespace)
    }

    fn serves(&self, resource: GroupResource<'_>) -> bool {
        self.registry.storage(resource).is_some()
    }

    fn of_kind(&self, group: &str, version: &str, kind: &str) -> Option<(String, bool)> {
        let info = self.registry.resources.of_kind(group, version, kind)?;
        Some((info.plural.to_string(), info.namespaced()))
    }

    fn custom_versions(&self, resource: GroupResource<'_>) -> Vec<(String, String)> {
        self.registry.resources.custom_versions(resource.group, resource.resource)
    }

    async fn convert_custom(
        &self,
        resource: GroupResource<'_>,
        mut object: Value,
        api_version: &str,
    ) -> Result<Value, Status> {
        let version = api_version.rsplit('/').next().unwrap_or_default();
        let served = self.registry.served(resource.group, version, resource.resource);
        let served = served.ok_or_else(|| Status::internal(format!("{api_version} is not served")))?;
        let converter = self.registry.converter.get().and_then(Weak::upgrade);
        match served.webhook.as_deref().zip(converter) {
            Some((webhook, converter)) => {
                let converted = converter.convert(webhook, vec![object], api_version).await?;
                object = converted.into_iter().next().ok_or_else(|| Status::internal("a conversion gave no object"))?;
            }
            None => object["apiVersion"] = api_version.into(),
        }
        served.strategy().default(&mut object);
        Ok(object)
    }

    fn observe(&self, resource: GroupResource<'_>, observer: Arc<dyn Observer>) {
        if let Some(storage) = self.registry.storage(resource) {
            storage.cache.observe(observer);
        }
    }

    async fn get(&self, resource: GroupResource<'_>, namespace: &str, name: &str) -> Result<Value, Status> {
        let served = self.served(resource)?;
        let written = self.registry.get(&served.storage, namespace, name).await?;
        Ok(Registry::defaulted(&served.storage, written.object))
    }

    async fn create(&self, resource: GroupResource<'_>, object: Value) -> Result<Value, Status> {
        let served = self.served(resource)?;
        let object = Registry::defaulted(&served.storage, object);
        let (namespace, warnings) = (object::namespace(&object).to_owned(), Warnings::default());
        let call = self.call(&served, &namespace, "", "", &warnings);
        Ok(self.registry.create(&call, object).await?.object)
    }

    async fn update(&self, resource: GroupResource<'_>, object: Value) -> Result<Value, Status> {
        self.replace(resource, object, "").await
    }

    async fn update_status(&self, resource: GroupResource<'_>, object: Value) -> Result<Value, Status> {
        self.replace(resource, object, "status").await
    }

    async fn delete(&self, resource: GroupResource<'_>, namespace: &str, name: &str) -> Result<Value, Status> {
        let (served, warnings) = (self.served(resource)?, Warnings::default());
        let call = self.call(&served, namespace, name, "", &warnings);
        let options = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
        Ok(self.registry.delete(&call, &options).await?.last.object)
    }
}
