//! What a server is put together of.

use std::sync::Arc;

use crate::admission::Admission;
use crate::authz::Authorizer;
use crate::environment::Environment;
use crate::objects::{GroupResource, Objects};
use crate::registry::{CommitHook, Registry};
use crate::server::Endpoint;

/// The exchangeable parts of a server that is being built, and the objects and environment they may use.
#[non_exhaustive]
pub struct Parts {
    /// The server's objects.
    pub objects: Arc<dyn Objects>,
    /// Time and randomness.
    pub environment: Arc<dyn Environment>,
    /// Decides who may do what.
    pub authorizer: Arc<dyn Authorizer>,
    /// Admission plugins in order.
    pub admission: Vec<Arc<dyn Admission>>,
    /// Asked in order whether they answer a request.
    pub endpoints: Vec<Arc<dyn Endpoint>>,
    pub(crate) registry: Arc<Registry>,
}

impl Parts {
    /// Lets a hook take part in the writes of a resource. Each resource has at most one; the first stays.
    pub fn hook(&self, resource: GroupResource<'_>, hook: Arc<dyn CommitHook>) {
        if let Some(storage) = self.registry.storage(resource) {
            let _ = storage.hook.set(hook);
        }
    }
}
