//! The parts of a standard server, and the objects it makes when it starts.

use kubewright_api::status::Status;

use super::Parts;

/// Adds the standard parts.
pub(super) fn install(parts: &mut Parts) {
    let _ = parts;
}

/// Makes the objects that a standard server makes when it starts.
pub(super) async fn bootstrap(parts: &Parts) -> Result<(), Status> {
    let _ = parts;
    Ok(())
}
