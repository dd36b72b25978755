//! What the test's clients asked for.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use kubewright_apiserver::request::RequestInfo;

/// Requests that are remembered; older ones are forgotten.
const REMEMBERED_MAX: usize = 10_000;

/// One request of a test's client, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recorded {
    /// Who asked.
    pub user: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`; for other paths the method in
    /// lower case.
    pub verb: String,
    /// API group; empty for the core group.
    pub group: String,
    /// Plural name of the resource; the path for what is no resource.
    pub resource: String,
    /// Subresource; empty if there is none.
    pub subresource: String,
    /// Namespace; empty if there is none.
    pub namespace: String,
    /// Name; empty if there is none.
    pub name: String,
    /// The HTTP status of the answer; `None` if there was no answer.
    pub code: Option<u16>,
}

impl Recorded {
    pub(super) fn new(user: &str, info: &RequestInfo, code: Option<u16>) -> Self {
        let resource = if info.is_resource_request { &info.resource } else { &info.path };
        Self {
            user: user.to_owned(),
            verb: info.verb.clone(),
            group: info.api_group.clone(),
            resource: resource.clone(),
            subresource: info.subresource.clone(),
            namespace: info.namespace.clone(),
            name: info.name.clone(),
            code,
        }
    }

    /// Whether it asked for a change.
    #[must_use]
    pub fn is_write(&self) -> bool {
        matches!(self.verb.as_str(), "create" | "update" | "patch" | "delete" | "deletecollection")
    }
}

/// The newest requests.
#[derive(Debug, Default)]
pub(super) struct Log(Mutex<VecDeque<Recorded>>);

impl Log {
    pub(super) fn add(&self, request: Recorded) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() == REMEMBERED_MAX {
            all.pop_front();
        }
        all.push_back(request);
    }

    /// All of them, and forgets them.
    pub(super) fn take(&self) -> Vec<Recorded> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).into()
    }
}
