//! Empties namespaces that are being deleted, and lets them go.

mod conditions;

pub use conditions::{Remains, conditions};

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Error;
use crate::api::{Api, DeleteOptions, METADATA_LIST, decode, object_path};
use crate::cache::Cache;
use crate::discovery::{Served, discover};
use crate::manager::{AsyncController, Config, Environment, Made, Setup};
use crate::objects::{Namespace, ObjectKey, Pod, Time, kinds};
use crate::plan::{Propagation, merge_patch};

/// What must be gone before a namespace may go.
const FINALIZER: &str = "kubernetes";
/// How many resources are emptied at once.
const PARALLEL: usize = 8;
/// How long to wait for those who hold objects back by finalizers.
const PATIENCE: Duration = Duration::from_secs(8);

struct NamespaceController {
    namespaces: Arc<Cache<Namespace>>,
}

pub(crate) fn make(setup: &Setup<'_>, _: &Config) -> Result<Option<Made>, Error> {
    let namespaces = setup.cache::<Namespace>();
    setup.on::<Namespace>(|change, queue| {
        if let Some(namespace) = change.new.as_ref().filter(|namespace| namespace.metadata.deleting()) {
            queue.add(namespace.metadata.key());
        }
    });
    // The last pod's end lets the rest go at once.
    let terminating = namespaces.clone();
    setup.on::<Pod>(move |change, queue| {
        if let (Some(pod), None) = (&change.old, &change.new) {
            let key = ObjectKey::new("", &pod.metadata.namespace);
            if terminating.get(&key).is_some_and(|namespace| namespace.metadata.deleting()) {
                queue.add(key);
            }
        }
    });
    Ok(Some(Made::Async(Box::new(NamespaceController { namespaces }))))
}

#[async_trait]
impl AsyncController for NamespaceController {
    async fn reconcile(&self, key: &ObjectKey, environment: &Environment) -> Result<Option<Duration>, Error> {
        if !self.namespaces.get(key).is_some_and(|namespace| namespace.metadata.deleting()) {
            return Ok(None);
        }
        let api = &environment.applier.api;
        let path = object_path(&kinds::NAMESPACE.path(""), key, "");
        let live: Namespace = match api.get(&path, "application/json").await {
            Ok(live) => live,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        if !live.metadata.deleting() || !live.spec.finalizers.iter().any(|held| held == FINALIZER) {
            return Ok(None);
        }
        let remains = empty(api, &key.name).await?;
        report(api, key, &live, &remains, (environment.applier.clock)()).await?;
        if !remains.is_empty() {
            return Ok(Some(PATIENCE));
        }
        finalize(api, &path).await.map(|()| None)
    }
}

/// Deletes what is in a namespace: its pods first, everything else when they are gone.
async fn empty(api: &Api, namespace: &str) -> Result<Remains, Error> {
    let discovery = discover(api).await?;
    let deletable = |served: &Served| served.namespaced && served.can("delete") && served.can("list");
    let resources: Vec<Served> = discovery.once().into_iter().filter(deletable).collect();
    let is_pods = |served: &Served| served.group.is_empty() && served.plural == "pods";
    let (pods, others): (Vec<Served>, Vec<Served>) = resources.into_iter().partition(is_pods);
    let mut remains = Remains::without(discovery.failed);
    for batch in [pods, others] {
        let emptied = batch.into_iter().map(|served| async move {
            let outcome = empty_resource(api, &served, namespace).await;
            (format!("{}.{}", served.plural, served.group), outcome)
        });
        let mut outcomes = futures::stream::iter(emptied).buffer_unordered(PARALLEL);
        while let Some((resource, outcome)) = outcomes.next().await {
            match outcome {
                Ok(left) => remains.add(resource, left),
                Err(error) => remains.errors.push(error.message()),
            }
        }
        if remains.holds_objects() {
            break;
        }
    }
    remains.errors.sort();
    Ok(remains)
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Left {
    metadata: LeftMeta,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct LeftMeta {
    name: String,
    finalizers: Vec<String>,
}

/// Deletes all objects of one resource; returns each one's finalizers that is still there.
async fn empty_resource(api: &Api, served: &Served, namespace: &str) -> Result<Vec<Vec<String>>, Error> {
    let path = served.path(namespace);
    let before = list(api, &path).await?;
    if before.is_empty() {
        return Ok(Vec::new());
    }
    let options = DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
    if served.can("deletecollection") {
        api.delete_path(&path, &options).await?;
    } else {
        for left in before {
            let path = object_path(&path, &ObjectKey::new(namespace, &left.metadata.name), "");
            match api.delete_path(&path, &options).await {
                Ok(_) | Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(list(api, &path).await?.into_iter().map(|left| left.metadata.finalizers).collect())
}

async fn list(api: &Api, path: &str) -> Result<Vec<Left>, Error> {
    let (mut all, mut next) = (Vec::new(), String::new());
    loop {
        let page = match api.page::<Left>(path, "", &next, METADATA_LIST).await {
            Ok(page) => page,
            // A resource that went away has no objects.
            Err(Error::NotFound { .. }) => return Ok(all),
            Err(error) => return Err(error),
        };
        all.extend(page.items);
        next = page.metadata.next;
        if next.is_empty() {
            return Ok(all);
        }
    }
}

async fn report(api: &Api, key: &ObjectKey, live: &Namespace, remains: &Remains, now: Time) -> Result<(), Error> {
    let wanted = conditions(&live.status.conditions, remains, now);
    let old = json!({"phase": live.status.phase, "conditions": live.status.conditions});
    let new = json!({"phase": "Terminating", "conditions": wanted});
    let Some(difference) = merge_patch(&old, &new) else { return Ok(()) };
    let body = json!({"metadata": {"resourceVersion": live.metadata.resource_version}, "status": difference});
    match api.patch(kinds::NAMESPACE, key, "status", &body).await {
        // Someone else changed it; the conditions come with the next pass.
        Ok(_) | Err(Error::Conflict { .. } | Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

async fn finalize(api: &Api, path: &str) -> Result<(), Error> {
    let mut namespace: Value = match api.get(path, "application/json").await {
        Ok(namespace) => namespace,
        Err(Error::NotFound { .. }) => return Ok(()),
        Err(error) => return Err(error),
    };
    let held: Vec<String> = decode(&namespace["spec"]["finalizers"].to_string()).unwrap_or_default();
    let left: Vec<String> = held.into_iter().filter(|finalizer| finalizer != FINALIZER).collect();
    namespace["spec"]["finalizers"] = json!(left);
    match api.replace(&format!("{path}/finalize"), &namespace).await {
        Ok(_) | Err(Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Counts by name, in the order of names.
type Counts = BTreeMap<String, usize>;
