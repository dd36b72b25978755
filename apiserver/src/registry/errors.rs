//! What clients hear when the store cannot do something.

use kubewright_api::status::Status;
use kubewright_store::Error;

pub(super) fn of_store(error: Error) -> Status {
    match error {
        Error::Compacted { requested, compacted } => too_old(requested.get(), compacted.get()),
        Error::FutureRevision { requested, current } => too_large_version(requested.get(), current.get()),
        Error::TooLarge { .. } => Status::too_large("limit is 3145728"),
        Error::Unavailable { .. } | Error::Closed | Error::NoSpace { .. } | Error::Lagged { .. } => {
            Status::unavailable(error.to_string())
        }
        error => Status::internal(error),
    }
}

/// 410: the history from there on is gone.
pub(crate) fn too_old(requested: u64, oldest: u64) -> Status {
    Status::expired(format!("too old resource version: {requested} ({oldest})"))
}

/// 504: nobody has got that far yet.
pub(super) fn too_large_version(requested: u64, current: u64) -> Status {
    Status::timeout(&format!("Too large resource version: {requested}, current: {current}"), 1).with_cause(
        "ResourceVersionTooLarge",
        "Too large resource version",
        "",
    )
}
