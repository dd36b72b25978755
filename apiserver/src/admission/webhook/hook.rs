//! Webhooks as their configurations describe them, kept read.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use kubewright_api::status::Status;
use serde_json::Value;

use crate::admission::AdmissionAttributes;
use crate::admission::conditions::Conditions;
use crate::admission::matching::{Matcher, ready};
use crate::objects::{GroupResource, Objects, Observer};

/// One webhook.
#[derive(Debug)]
pub(super) struct Hook {
    pub(super) configuration: String,
    pub(super) name: String,
    /// What tells webhooks apart, also those of one name: configuration, name and how many of that name came before.
    pub(super) id: String,
    pub(super) matcher: Matcher,
    pub(super) conditions: Conditions,
    pub(super) ignores_failures: bool,
    /// Whether calls change nothing elsewhere, if they are told that it is a dry run.
    pub(super) safe_to_try: bool,
    pub(super) timeout: Duration,
    /// Whether it is called again after others changed the object.
    pub(super) reinvoke: bool,
    /// `clientConfig`
    pub(super) client: Value,
    pub(super) review_versions: Vec<String>,
}

impl Hook {
    fn read(configuration: &str, webhook: &Value, nth: usize) -> Result<Self, String> {
        let text = |field: &str| webhook[field].as_str().unwrap_or_default();
        let ignores_failures = text("failurePolicy") == "Ignore";
        let seconds = webhook["timeoutSeconds"].as_u64().unwrap_or(10).clamp(1, 30);
        let name = text("name").to_owned();
        Ok(Self {
            configuration: configuration.to_owned(),
            id: format!("{configuration}/{name}/{nth}"),
            matcher: Matcher::read(webhook)?,
            conditions: Conditions::compile(&webhook["matchConditions"], ignores_failures),
            ignores_failures,
            safe_to_try: matches!(text("sideEffects"), "None" | "NoneOnDryRun"),
            timeout: Duration::from_secs(seconds),
            reinvoke: text("reinvocationPolicy") == "IfNeeded",
            client: webhook["clientConfig"].clone(),
            review_versions: serde_json::from_value(webhook["admissionReviewVersions"].clone()).unwrap_or_default(),
            name,
        })
    }
}

/// All webhooks of one sort, in the order of their configurations' names.
#[derive(Debug, Default)]
pub(super) struct Hooks {
    /// The resource of their configurations.
    resource: &'static str,
    by_configuration: Mutex<BTreeMap<String, Vec<Arc<Hook>>>>,
    all: RwLock<Arc<[Arc<Hook>]>>,
}

impl Hooks {
    /// Those that the configurations of that resource describe, from now on.
    pub(super) fn observing(objects: &dyn Objects, resource: &'static str) -> Arc<Self> {
        let hooks = Arc::new(Self { resource, ..Self::default() });
        objects.observe(GroupResource::new("admissionregistration.k8s.io", resource), Arc::clone(&hooks) as _);
        hooks
    }

    pub(super) fn all(&self) -> Arc<[Arc<Hook>]> {
        Arc::clone(&self.all.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether there is nothing to ask, and that is known.
    pub(super) fn is_empty(&self, objects: &dyn Objects, a: &AdmissionAttributes<'_>) -> bool {
        self.all.read().unwrap_or_else(PoisonError::into_inner).is_empty() && self.ready(objects, a).is_ok()
    }

    /// Fails while a configuration can't be read.
    pub(super) fn ready(&self, objects: &dyn Objects, a: &AdmissionAttributes<'_>) -> Result<(), Status> {
        ready(objects, &[self.resource], a)
    }
}

impl Observer for Hooks {
    /// Its webhooks go on being asked; nothing else is let in meanwhile.
    fn unreadable(&self, _: &str, _: &str) {}

    fn changed(&self, _: &str, name: &str, object: Option<&Value>) {
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        let mut read = Vec::new();
        for webhook in object.and_then(|object| object["webhooks"].as_array()).into_iter().flatten() {
            let nth = seen.entry(webhook["name"].as_str().unwrap_or_default()).or_default();
            match Hook::read(name, webhook, *nth) {
                Ok(hook) => read.push(Arc::new(hook)),
                // Validation let it in, so it is a fault of ours.
                Err(error) => tracing::error!(configuration = name, %error, "a webhook can't be understood"),
            }
            *nth += 1;
        }
        let mut hooks = self.by_configuration.lock().unwrap_or_else(PoisonError::into_inner);
        if read.is_empty() {
            hooks.remove(name);
        } else {
            hooks.insert(name.to_owned(), read);
        }
        *self.all.write().unwrap_or_else(PoisonError::into_inner) = hooks.values().flatten().cloned().collect();
    }
}
