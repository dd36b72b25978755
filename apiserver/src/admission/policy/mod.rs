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
use std::sync::{Arc, PoisonError, RwLock};

use kubewright_api::status::Status;
use serde_json::Value;

use self::compiled::{Binding, Policy};
use super::AdmissionAttributes;
use super::conditions::shown_namespace;
use crate::objects::{GroupResource, Objects, Observer};

const GROUP: &str = "admissionregistration.k8s.io";
/// What all expressions of a policy may cost together, for one request and one set of parameters.
const BUDGET: u64 = crate::cel::RUNTIME_BUDGET;

/// Policies and bindings of one sort, kept compiled.
#[derive(Debug, Default)]
struct Policies {
    policies: RwLock<BTreeMap<String, Arc<Policy>>>,
    bindings: RwLock<BTreeMap<String, Arc<Binding>>>,
}

struct Definitions(Arc<Policies>);
struct Bindings(Arc<Policies>);

impl Observer for Definitions {
    fn changed(&self, _: &str, name: &str, object: Option<&Value>) {
        let mut policies = self.0.policies.write().unwrap_or_else(PoisonError::into_inner);
        match object {
            // Changes of its status are no reason to compile it again.
            Some(object) if policies.get(name).is_some_and(|known| known.is_of(object)) => {}
            Some(object) => _ = policies.insert(name.to_owned(), Arc::new(Policy::compile(name, object))),
            None => _ = policies.remove(name),
        }
    }
}

impl Observer for Bindings {
    fn changed(&self, _: &str, name: &str, object: Option<&Value>) {
        let mut bindings = self.0.bindings.write().unwrap_or_else(PoisonError::into_inner);
        match object {
            Some(object) => _ = bindings.insert(name.to_owned(), Arc::new(Binding::read(name, object))),
            None => _ = bindings.remove(name),
        }
    }
}

impl Policies {
    fn observing(objects: &dyn Objects, policies: &str, bindings: &str) -> Arc<Self> {
        let all = Arc::new(Self::default());
        objects.observe(GroupResource::new(GROUP, policies), Arc::new(Definitions(Arc::clone(&all))));
        objects.observe(GroupResource::new(GROUP, bindings), Arc::new(Bindings(Arc::clone(&all))));
        all
    }

    fn is_empty(&self) -> bool {
        self.bindings.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Each policy that has bindings, with them, in the order of their names.
    fn bound(&self) -> Vec<(Arc<Policy>, Vec<Arc<Binding>>)> {
        let policies = self.policies.read().unwrap_or_else(PoisonError::into_inner).clone();
        let bindings = self.bindings.read().unwrap_or_else(PoisonError::into_inner).clone();
        let with_bindings = policies.into_values().map(|policy| {
            let own = bindings.values().filter(|binding| binding.policy == policy.name);
            (Arc::clone(&policy), own.cloned().collect::<Vec<_>>())
        });
        with_bindings.filter(|(_, bindings)| !bindings.is_empty()).collect()
    }
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
