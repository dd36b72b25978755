//! Admission policies: rules in the API itself, as expressions. `ValidatingAdmissionPolicy` refuses, warns and notes;
//! `MutatingAdmissionPolicy` changes.

mod compiled;
mod mutating;
mod params;
mod status;
mod typechecking;
mod validating;

pub use mutating::MutatingPolicies;
pub use status::PolicyStatuses;
pub use validating::ValidatingPolicies;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use kubewright_api::status::Status;
use serde_json::Value;

use self::compiled::{Binding, Policy};
use super::AdmissionAttributes;
use super::asked::shown_namespace;
use super::matching::ready;
use crate::objects::{GroupResource, Objects, Observer};

const GROUP: &str = "admissionregistration.k8s.io";
/// What all expressions of a policy may cost together, for one request and one set of parameters.
const BUDGET: u64 = crate::cel::RUNTIME_BUDGET;

/// A policy that has bindings, with them.
type Bound = (Arc<Policy>, Vec<Arc<Binding>>);

/// Policies and bindings of one sort, kept compiled.
#[derive(Debug, Default)]
struct Policies {
    /// The names of what describes them, and of their bindings.
    resources: [&'static str; 2],
    known: Mutex<Known>,
    /// Those of them that do anything, in the order of their names.
    bound: RwLock<Arc<[Bound]>>,
}

#[derive(Debug, Default)]
struct Known {
    policies: BTreeMap<String, Arc<Policy>>,
    bindings: BTreeMap<String, Arc<Binding>>,
}

struct Definitions(Arc<Policies>);
struct Bindings(Arc<Policies>);

impl Observer for Definitions {
    /// It stays in force; nothing else is let in meanwhile.
    fn unreadable(&self, _: &str, _: &str) {}

    fn changed(&self, _: &str, name: &str, object: Option<&Value>) {
        self.0.change(|known| match object {
            // Changes of its status are no reason to compile it again.
            Some(object) if known.policies.get(name).is_some_and(|known| known.is_of(object)) => {}
            Some(object) => _ = known.policies.insert(name.to_owned(), Arc::new(Policy::compile(name, object))),
            None => _ = known.policies.remove(name),
        });
    }
}

impl Observer for Bindings {
    fn unreadable(&self, _: &str, _: &str) {}

    fn changed(&self, _: &str, name: &str, object: Option<&Value>) {
        self.0.change(|known| match object {
            Some(object) => _ = known.bindings.insert(name.to_owned(), Arc::new(Binding::read(name, object))),
            None => _ = known.bindings.remove(name),
        });
    }
}

impl Policies {
    fn observing(objects: &dyn Objects, policies: &'static str, bindings: &'static str) -> Arc<Self> {
        let all = Arc::new(Self { resources: [policies, bindings], ..Self::default() });
        objects.observe(GroupResource::new(GROUP, policies), Arc::new(Definitions(Arc::clone(&all))));
        objects.observe(GroupResource::new(GROUP, bindings), Arc::new(Bindings(Arc::clone(&all))));
        all
    }

    fn change(&self, change: impl FnOnce(&mut Known)) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut known);
        let mut by_policy: BTreeMap<&str, Vec<Arc<Binding>>> = BTreeMap::new();
        for binding in known.bindings.values() {
            by_policy.entry(&binding.policy).or_default().push(Arc::clone(binding));
        }
        let of = |(name, bindings)| Some((Arc::clone(known.policies.get(name)?), bindings));
        let bound = by_policy.into_iter().filter_map(of).collect();
        *self.bound.write().unwrap_or_else(PoisonError::into_inner) = bound;
    }

    /// Whether nothing is to be judged, and that is known.
    fn is_empty(&self, objects: &dyn Objects, a: &AdmissionAttributes<'_>) -> bool {
        self.bound.read().unwrap_or_else(PoisonError::into_inner).is_empty() && self.ready(objects, a).is_ok()
    }

    /// Fails while a policy or a binding can't be read.
    fn ready(&self, objects: &dyn Objects, a: &AdmissionAttributes<'_>) -> Result<(), Status> {
        ready(objects, &self.resources, a)
    }

    fn bound(&self) -> Arc<[Bound]> {
        Arc::clone(&self.bound.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What is said where an object can't be had in the version that a policy looks at.
fn unconverted(status: &Status) -> String {
    format!("failed to convert object version: {}", status.message)
}

/// The namespace of the request as expressions see it; nothing for requests about no namespace's content.
async fn namespace_object(a: &AdmissionAttributes<'_>, objects: &dyn Objects) -> Result<Option<Value>, Status> {
    if a.namespace.is_empty() || (a.group.is_empty() && a.resource == "namespaces") {
        return Ok(None);
    }
    let namespaces = GroupResource::core("namespaces");
    let found = match objects.cached(namespaces, "", a.namespace) {
        Some(found) => found,
        // Made through another server, perhaps.
        None => objects.get(namespaces, "", a.namespace).await?,
    };
    Ok(Some(shown_namespace(&found)))
}
