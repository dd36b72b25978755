//! Between the versions of a custom resource, where a webhook converts them.

use kubewright_api::status::Status;
use serde_json::Value;

use super::Handler;
use crate::object;
use crate::registry::{Listed, Written};

impl Handler<'_> {
    /// The same handler for the version in which objects are stored, where a webhook converts.
    pub(in crate::server) fn at_home(&self) -> Self {
        Handler { core: self.core, context: self.context, served: self.served.home.as_ref().unwrap_or(self.served) }
    }

    async fn converted(&self, objects: Vec<Value>, api_version: &str) -> Result<Vec<Value>, Status> {
        match &self.served.webhook {
            Some(webhook) => self.core.converter.convert(webhook, objects, api_version).await,
            None => Ok(objects),
        }
    }

    async fn converted_one(&self, object: Value, api_version: &str) -> Result<Value, Status> {
        let converted = self.converted(vec![object], api_version).await?;
        converted.into_iter().next().ok_or_else(|| Status::internal("a conversion gave no object"))
    }

    /// What was read or written, in the request's version.
    pub(super) async fn shown(&self, written: Written) -> Result<Written, Status> {
        if self.served.webhook.is_none() {
            return Ok(written);
        }
        let object = self.converted_one(written.object, &self.served.api_version).await?;
        Ok(Written { object, bytes: written.bytes })
    }

    /// What was listed, in the request's version; `None` where that takes no webhook.
    pub(super) async fn shown_list(&self, listed: &Listed) -> Result<Option<Vec<Value>>, Status> {
        if self.served.webhook.is_none() {
            return Ok(None);
        }
        let objects = listed.objects.iter().map(|cached| cached.decode()).collect::<Result<_, _>>()?;
        self.converted(objects, &self.served.api_version).await.map(Some)
    }

    /// An object of a request in the version in which the write happens, with its defaults: the stored one, or the
    /// request's where a webhook converts, which the registry asks before it stores.
    pub(super) fn written_form(&self, mut object: Value) -> Value {
        if self.served.webhook.is_none() {
            return self.to_storage(object);
        }
        self.served.strategy().default(&mut object);
        object
    }

    /// The object as it is now, in the version in which objects are stored now. Nothing is stored.
    pub(super) async fn in_home_form(&self) -> Result<Value, Status> {
        let storage = &self.served.storage;
        let found = self.core.registry.get(storage, self.namespace(), self.name()).await?.object;
        if self.served.webhook.is_none() || found["apiVersion"] == storage.api_version.as_str() {
            return Ok(found);
        }
        self.converted_one(found, &storage.api_version).await
    }

    /// Stores an object in the version in which objects are stored now, if it was stored in another.
    pub(super) async fn migrate(&self) -> Result<(), Status> {
        if self.served.webhook.is_none() {
            return Ok(());
        }
        let (storage, registry) = (&self.served.storage, &self.core.registry);
        let converted = self.in_home_form().await?;
        let version = object::resource_version(&converted);
        let change = |current: &mut Value| {
            if object::resource_version(current) == version {
                *current = converted.clone();
            }
            Ok(())
        };
        registry.modify(storage, self.namespace(), self.name(), false, &change).await.map(drop)
    }
}
