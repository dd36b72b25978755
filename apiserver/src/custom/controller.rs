//! Looks after definitions: decides their names, establishes them, and deletes their objects before they go.

use std::sync::Arc;
use std::time::Duration;

use kubewright_api::status::Status;
use serde_json::Value;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::conditions;
use crate::environment::{Environment, time};
use crate::object;
use crate::objects::{GroupResource, Objects, Observer};

const DEFINITIONS: GroupResource<'_> = GroupResource::new("apiextensions.k8s.io", "customresourcedefinitions");
/// What keeps a definition until its objects are gone.
pub(crate) const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";
/// How often objects that something else keeps are looked at again.
const RETRY: Duration = Duration::from_millis(500);

/// The task that looks after definitions.
pub(crate) struct Definitions {
    objects: Arc<dyn Objects>,
    environment: Arc<dyn Environment>,
    changed: Arc<Changed>,
}

#[derive(Default)]
struct Changed(Notify);

impl Observer for Changed {
    fn changed(&self, _: &str, _: &str, _: Option<&Value>) {
        self.0.notify_one();
    }
}

impl Definitions {
    pub(crate) fn new(objects: Arc<dyn Objects>, environment: Arc<dyn Environment>) -> Self {
        let changed = Arc::new(Changed::default());
        objects.observe(DEFINITIONS, Arc::clone(&changed) as _);
        Self { objects, environment, changed }
    }

    /// Runs until cancelled.
    pub(crate) async fn run(self, cancel: CancellationToken) {
        loop {
            let waits = self.pass().await;
            let retry = async { if waits { tokio::time::sleep(RETRY).await } else { std::future::pending().await } };
            tokio::select! {
                () = cancel.cancelled() => return,
                () = self.changed.0.notified() => {}
                () = retry => {}
            }
        }
    }

    /// Brings every definition forward. Says whether one of them waits for something that no event tells of.
    async fn pass(&self) -> bool {
        let mut waits = false;
        let names: Vec<String> = self.cached().iter().map(|object| object::name(object).to_owned()).collect();
        for name in names {
            // Anew for each, for names go to who comes first.
            let all = self.cached();
            let Some(object) = all.iter().find(|object| object::name(object) == name) else { continue };
            let done = if object::is_terminating(object) {
                self.finalize(object).await
            } else {
                self.establish(object, &all).await.map(|()| true)
            };
            match done {
                Ok(done) => waits |= !done,
                Err(status) if matches!(status.code, 404 | 409) => {}
                Err(error) => {
                    tracing::warn!(%error, name, "a definition could not be brought forward; trying again");
                    waits = true;
                }
            }
        }
        waits
    }

    fn cached(&self) -> Vec<Value> {
        let mut all = self.objects.cached_list(DEFINITIONS, None);
        all.sort_by_key(object::resource_version);
        all
    }

    fn now(&self) -> String {
        time(self.environment.now())
    }

    async fn establish(&self, object: &Value, all: &[Value]) -> Result<(), Status> {
        let mut wanted = object.clone();
        if conditions::decide(&mut wanted, all, &self.now()) {
            self.objects.update_status(DEFINITIONS, wanted).await?;
        }
        Ok(())
    }

    /// Deletes the objects of a definition that goes. Says whether none are left.
    async fn finalize(&self, object: &Value) -> Result<bool, Status> {
        if !object::finalizers(object).any(|finalizer| finalizer == CLEANUP) {
            return Ok(true);
        }
        let mut object = object.clone();
        if !conditions::is_true(&object, conditions::TERMINATING) {
            let message = "CustomResource deletion is in progress";
            let reason = "InstanceDeletionInProgress";
            conditions::set(&mut object, conditions::TERMINATING, true, reason, message, &self.now());
            object = self.objects.update_status(DEFINITIONS, object).await?;
        }
        let group = object["spec"]["group"].as_str().unwrap_or_default().to_owned();
        let plural = object["spec"]["names"]["plural"].as_str().unwrap_or_default().to_owned();
        let resource = GroupResource::new(&group, &plural);
        // One that never was established shares its name with what others defined.
        if conditions::is_true(&object, conditions::ESTABLISHED) {
            for instance in self.objects.cached_list(resource, None) {
                if object::is_terminating(&instance) {
                    continue;
                }
                match self.objects.delete(resource, object::namespace(&instance), object::name(&instance)).await {
                    Err(status) if status.code != 404 => return Err(status),
                    _ => {}
                }
            }
            // What can't be read can't be deleted either, and is there.
            if self.objects.readable(resource, None).is_err() || !self.objects.cached_list(resource, None).is_empty() {
                return Ok(false);
            }
        }
        let message = "removed all instances";
        conditions::set(&mut object, conditions::TERMINATING, false, "InstanceDeletionCompleted", message, &self.now());
        let mut object = self.objects.update_status(DEFINITIONS, object).await?;
        if let Some(list) = object["metadata"]["finalizers"].as_array_mut() {
            list.retain(|finalizer| finalizer != CLEANUP);
        }
        self.objects.update(DEFINITIONS, object).await?;
        Ok(true)
    }
}
