/// Why a kubelet could not be started, or stopped, named for what the caller should do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration cannot work: change it.
    #[error("invalid configuration: {0}")]
    InvalidConfig(String),
    /// A directory or a file cannot be used: fix its permissions, or choose another.
    #[error("cannot use {path}")]
    Unwritable {
        /// Which.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The port cannot be listened on: choose another, or 0.
    #[error("cannot listen on {address}")]
    Bind {
        /// Where.
        address: std::net::SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The container runtime does not answer: start it.
    #[error("the container runtime is not available: {message}")]
    RuntimeUnavailable {
        /// What it says.
        message: String,
    },
}
