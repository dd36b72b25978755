//! What can go wrong between a controller and the API server.

/// What can go wrong, named by what the caller should do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Someone else changed the object first: look again and retry.
    #[error("conflict: {message}")]
    Conflict {
        /// The server's words.
        message: String,
    },
    /// An object of that name is there already: look again.
    #[error("{message}")]
    AlreadyExists {
        /// The server's words.
        message: String,
    },
    /// The object or resource is not there (any more): look again.
    #[error("{message}")]
    NotFound {
        /// The server's words.
        message: String,
    },
    /// The version asked for is too old: list again.
    #[error("expired: {message}")]
    Expired {
        /// The server's words.
        message: String,
    },
    /// The namespace is being deleted and takes nothing new: stop.
    #[error("{message}")]
    NamespaceTerminating {
        /// The server's words.
        message: String,
    },
    /// The server refused; it will again until an object or a permission changes: retry, ever less often.
    #[error("{message}")]
    Refused {
        /// The HTTP code.
        code: u16,
        /// The server's words.
        message: String,
    },
    /// The server can't be reached, is overloaded or failed: retry, ever less often.
    #[error("{message}")]
    Unavailable {
        /// What happened.
        message: String,
        /// The cause.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The server's answer can't be understood: report it.
    #[error("cannot decode the server's answer: {source}")]
    Undecodable {
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
    /// No controller has that name: choose another.
    #[error("unknown controller {name:?}")]
    UnknownController {
        /// The name that was asked for.
        name: String,
    },
    /// A setting is wrong: correct it.
    #[error("{message}")]
    Configuration {
        /// Which, and why.
        message: String,
    },
}

impl Error {
    /// Whether it is a normal consequence of several writers, not worth a warning.
    #[must_use]
    pub fn is_race(&self) -> bool {
        matches!(self, Self::Conflict { .. } | Self::AlreadyExists { .. } | Self::NotFound { .. })
    }

    /// The server's words, without ours around them.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::Conflict { message } | Self::Expired { message } => message.clone(),
            other => other.to_string(),
        }
    }

    fn from_status(status: kube::core::Status) -> Self {
        let message = status.message;
        let terminating = |details: &kube::core::response::StatusDetails| {
            details.causes.iter().any(|cause| cause.reason == "NamespaceTerminating")
        };
        match (status.code, status.reason.as_str()) {
            (_, "AlreadyExists") => Self::AlreadyExists { message },
            (409, _) => Self::Conflict { message },
            (404, _) => Self::NotFound { message },
            (410, _) => Self::Expired { message },
            (403, _) if status.details.as_ref().is_some_and(terminating) => Self::NamespaceTerminating { message },
            (code @ (408 | 429 | 500..), reason) => {
                let message = if message.is_empty() { format!("{code} {reason}") } else { message };
                Self::Unavailable { message, source: None }
            }
            (code, _) => Self::Refused { code, message },
        }
    }
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::from_status(*status),
            kube::Error::SerdeError(source) => Self::Undecodable { source },
            other => Self::Unavailable { message: other.to_string(), source: Some(Box::new(other)) },
        }
    }
}

impl From<kube::core::Status> for Error {
    fn from(status: kube::core::Status) -> Self {
        Self::from_status(status)
    }
}
