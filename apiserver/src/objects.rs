//! The server's own handle onto its objects: what authorization, admission, allocation and bootstrap read and write.

use std::sync::Arc;

use async_trait::async_trait;
use kubewright_api::status::Status;
use serde_json::Value;

/// A resource without its version: what storage, authorization and admission go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupResource<'a> {
    /// API group; empty for the core group.
    pub group: &'a str,
    /// Plural name.
    pub resource: &'a str,
}

impl<'a> GroupResource<'a> {
    /// The resource of that group and plural name.
    #[must_use]
    pub const fn new(group: &'a str, resource: &'a str) -> Self {
        Self { group, resource }
    }

    /// The resource of that plural name in the core group.
    #[must_use]
    pub const fn core(resource: &'a str) -> Self {
        Self { group: "", resource }
    }
}

/// Hears of every change of a resource.
///
/// Called in the order of the changes, one at a time, and before any write that made them is acknowledged: what an
/// observer builds is exact for everyone who saw an answer. It must be quick and must not call back into the objects.
pub trait Observer: Send + Sync + 'static {
    /// An object was created or changed (`Some`), or deleted (`None`).
    fn changed(&self, namespace: &str, name: &str, object: Option<&Value>);

    /// An object is there, but it can't be read any more: its key was taken away, or its bytes are broken. Nobody knows
    /// what it says. Whoever grants something by it takes it for deleted, as here; whoever refuses something by it must
    /// not. When it can be read again, [`changed`](Self::changed) tells.
    fn unreadable(&self, namespace: &str, name: &str) {
        self.changed(namespace, name, None);
    }
}

/// The server's objects, in their storage version, without authorization and admission.
///
/// Reads named `cached` come from the watch cache, which holds every write that this server has acknowledged.
#[async_trait]
pub trait Objects: Send + Sync + 'static {
    /// An object out of the watch cache; the namespace of a cluster-scoped object is empty.
    fn cached(&self, resource: GroupResource<'_>, namespace: &str, name: &str) -> Option<Value>;

    /// All objects of a resource, or those of one namespace, out of the watch cache.
    fn cached_list(&self, resource: GroupResource<'_>, namespace: Option<&str>) -> Vec<Value>;

    /// Whether everything that is stored of a resource, or in one namespace of it, can be read: what can't be is in
    /// neither [`cached`](Self::cached) nor [`cached_list`](Self::cached_list).
    ///
    /// # Errors
    /// 500 about the first object that can't be.
    fn readable(&self, resource: GroupResource<'_>, namespace: Option<&str>) -> Result<(), Status> {
        let _ = (resource, namespace);
        Ok(())
    }

    /// Whether the resource is served at all.
    fn serves(&self, resource: GroupResource<'_>) -> bool {
        let _ = resource;
        true
    }

    /// The plural name of a kind that is served at that version, and whether it lives in namespaces.
    fn of_kind(&self, group: &str, version: &str, kind: &str) -> Option<(String, bool)> {
        let known = kubewright_api::resources::of_kind(group, version, kind)?;
        Some((known.plural.to_owned(), known.namespaced()))
    }

    /// The versions in which a custom resource is served, and its kind in each.
    fn custom_versions(&self, resource: GroupResource<'_>) -> Vec<(String, String)> {
        let _ = resource;
        Vec::new()
    }

    /// An object of a custom resource in another of its versions, such as `example.com/v2`, with that version's defaults.
    ///
    /// # Errors
    /// The webhook that converts them does not.
    async fn convert_custom(
        &self,
        resource: GroupResource<'_>,
        mut object: Value,
        api_version: &str,
    ) -> Result<Value, Status> {
        let _ = resource;
        object["apiVersion"] = api_version.into();
        Ok(object)
    }

    /// Tells an observer of every object there is and of every change from now on, without a gap.
    fn observe(&self, resource: GroupResource<'_>, observer: Arc<dyn Observer>);

    /// Reads the newest state of an object from the store.
    async fn get(&self, resource: GroupResource<'_>, namespace: &str, name: &str) -> Result<Value, Status>;

    /// Creates an object: defaults and validates it as a request would.
    async fn create(&self, resource: GroupResource<'_>, object: Value) -> Result<Value, Status>;

    /// Replaces an object; a `metadata.resourceVersion` in it must be the newest.
    async fn update(&self, resource: GroupResource<'_>, object: Value) -> Result<Value, Status>;

    /// Replaces the status of an object.
    async fn update_status(&self, resource: GroupResource<'_>, object: Value) -> Result<Value, Status>;

    /// Deletes an object at once, finalizers permitting; gives what was there.
    async fn delete(&self, resource: GroupResource<'_>, namespace: &str, name: &str) -> Result<Value, Status>;
}
