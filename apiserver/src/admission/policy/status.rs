//! What the server says of a policy: which of its expressions make no sense
//! for the kinds that it is for. A task of the server's own writes it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{GROUP, typechecking};
use crate::objects::{GroupResource, Objects, Observer};

const RESOURCE: GroupResource<'static> = GroupResource::new(GROUP, "validatingadmissionpolicies");

#[derive(Default)]
struct Changed {
    names: Mutex<BTreeSet<String>>,
    notify: Notify,
}

impl Observer for Changed {
    fn changed(&self, _: &str, name: &str, object: Option<&Value>) {
        let Some(object) = object else { return };
        if object["status"]["observedGeneration"] != object["metadata"]["generation"] {
            self.names.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
            self.notify.notify_one();
        }
    }
}

/// Writes the status of `ValidatingAdmissionPolicy`s whose specification changed.
pub struct PolicyStatuses {
    objects: Arc<dyn Objects>,
    changed: Arc<Changed>,
}

impl fmt::Debug for PolicyStatuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PolicyStatuses")
    }
}

impl PolicyStatuses {
    /// Looks after the policies among these objects.
    #[must_use]
    pub fn new(objects: Arc<dyn Objects>) -> Self {
        let changed = Arc::new(Changed::default());
        objects.observe(RESOURCE, Arc::clone(&changed) as _);
        Self { objects, changed }
    }

    /// Runs until cancelled.
    pub async fn run(self, cancel: CancellationToken) {
        while cancel.run_until_cancelled(self.changed.notify.notified()).await.is_some() {
            let names = std::mem::take(&mut *self.changed.names.lock().unwrap_or_else(PoisonError::into_inner));
            for name in names {
                self.write(&name).await;
            }
        }
    }

    async fn write(&self, name: &str) {
        let Some(mut object) = self.objects.cached(RESOURCE, "", name) else { return };
        let warnings = typechecking::warnings(&*self.objects, &object);
        let checking = if warnings.is_empty() { json!({}) } else { json!({"expressionWarnings": warnings}) };
        object["status"] = json!({"observedGeneration": object["metadata"]["generation"], "typeChecking": checking});
        // A conflict means that it changed, and then it comes again.
        if let Err(error) = self.objects.update_status(RESOURCE, object).await {
            tracing::debug!(policy = name, %error, "the status of a policy was not written");
        }
    }
}
