//! What can go wrong in a test's cluster.

use std::time::Duration;

use kubewright_apiserver::server::BuildError;

/// Why a cluster could not do what a test asked of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The API server could not start.
    #[error("the API server could not start: {0}")]
    Server(#[source] Box<BuildError>),
    /// A request of the kit's own was refused.
    #[error("{doing}: {source}")]
    Request {
        /// What the request was for.
        doing: String,
        /// The answer.
        #[source]
        source: Box<kube::Error>,
    },
    /// A manifest can't be read. Mend the manifest.
    #[error("document {document} of the manifests: {problem}")]
    Manifest {
        /// Which, counted from 1.
        document: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// There is no such controller, or it can't run so.
    #[error("controllers: {problem}")]
    Controllers {
        /// What is wrong.
        problem: String,
    },
    /// Something that was waited for did not come true.
    #[error("{what} did not become as wanted within {limit:?}; it was last seen as {last}")]
    Timeout {
        /// The kind and name waited for.
        what: String,
        /// For how long, by the cluster's clock.
        limit: Duration,
        /// Its last state in JSON, or `absent`.
        last: String,
    },
}

impl From<BuildError> for Error {
    fn from(error: BuildError) -> Self {
        Self::Server(Box::new(error))
    }
}

impl Error {
    pub(super) fn request(doing: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let doing = doing.into();
        move |error| Self::Request { doing, source: Box::new(error) }
    }
}
