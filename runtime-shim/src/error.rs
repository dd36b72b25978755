use std::{fmt, sync::Arc, time::Duration};

/// What an error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// A pod sandbox.
    Sandbox,
    /// A container.
    Container,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sandbox => "pod sandbox",
            Self::Container => "container",
        })
    }
}

/// The deeper cause of an [`Error`], shared so that errors can be cloned (injected twice, say).
pub type Cause = Arc<dyn std::error::Error + Send + Sync + 'static>;

/// Why a runtime did not do what it was asked, named for what the caller should do.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such object: treat it as gone. Stopping or removing what is gone is no error.
    #[error("{kind} {id:?} not found")]
    NotFound {
        /// What was looked for.
        kind: Kind,
        /// Its id.
        id: String,
    },
    /// There is one already of the same name and attempt: use that, or count the attempt up.
    #[error("{kind} {name:?} already exists")]
    AlreadyExists {
        /// What was to be made.
        kind: Kind,
        /// Its name and attempt.
        name: String,
    },
    /// The request itself is wrong: the same again fails again. Tell the user.
    #[error("{message}")]
    InvalidArgument {
        /// What is wrong with it.
        message: String,
    },
    /// The object is not in the state for this (starting twice, exec in an exited container): look again, then decide.
    #[error("{message}")]
    FailedPrecondition {
        /// Which state it is in and which it should be.
        message: String,
    },
    /// The image is not on this node: pull it.
    #[error("image {image:?} not found")]
    ImageNotFound {
        /// The image.
        image: String,
    },
    /// The image could not be pulled: back off, then try again (`ErrImagePull`).
    #[error("failed to pull image {image:?}: {message}")]
    ImagePull {
        /// The image.
        image: String,
        /// Why not.
        message: String,
    },
    /// The container's program could not be started. The container is now exited, with code 128 and reason
    /// [`StartError`](crate::reason::START_ERROR): back off, then make another attempt (`RunContainerError`).
    #[error("failed to start container {id:?}: {message}")]
    Start {
        /// The container's id.
        id: String,
        /// Why not.
        message: String,
    },
    /// It took longer than allowed. It may or may not have happened: look, then try again.
    #[error("{operation} timed out after {after:?}")]
    Timeout {
        /// What was tried.
        operation: String,
        /// How long it was allowed to take.
        after: Duration,
    },
    /// The runtime cannot be reached, or cannot work now: try again later, and report the node not ready.
    #[error("{message}")]
    Unavailable {
        /// What is away, and what would bring it back.
        message: String,
        /// The cause.
        #[source]
        source: Option<Cause>,
    },
    /// This runtime does not do that at all: do not ask again.
    #[error("{operation} is not supported by the {runtime} runtime")]
    Unsupported {
        /// What was asked.
        operation: String,
        /// Which runtime.
        runtime: String,
    },
    /// A limit was reached (processes, memory, disk): free some, then try again.
    #[error("{message}")]
    ResourceExhausted {
        /// Which limit.
        message: String,
        /// The cause.
        #[source]
        source: Option<Cause>,
    },
    /// Something else went wrong: try again with back-off, and log it.
    #[error("{message}")]
    Internal {
        /// What went wrong.
        message: String,
        /// The cause.
        #[source]
        source: Option<Cause>,
    },
}

impl Error {
    /// No such sandbox.
    pub fn sandbox_not_found(id: impl ToString) -> Self {
        Self::NotFound { kind: Kind::Sandbox, id: id.to_string() }
    }

    /// No such container.
    pub fn container_not_found(id: impl ToString) -> Self {
        Self::NotFound { kind: Kind::Container, id: id.to_string() }
    }

    /// A wrong request.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::InvalidArgument { message: message.into() }
    }

    /// The wrong state.
    pub fn precondition(message: impl Into<String>) -> Self {
        Self::FailedPrecondition { message: message.into() }
    }

    /// The runtime is away.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::Unavailable { message: message.into(), source: None }
    }

    /// Something else, with its cause.
    pub fn internal(message: impl Into<String>, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Internal { message: message.into(), source: Some(Arc::new(source)) }
    }

    /// Whether the object is not there.
    #[must_use]
    pub const fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// Whether the same call may succeed later without anything being changed first.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::ImagePull { .. }
                | Self::Timeout { .. }
                | Self::Unavailable { .. }
                | Self::ResourceExhausted { .. }
                | Self::Internal { .. }
        )
    }
}
