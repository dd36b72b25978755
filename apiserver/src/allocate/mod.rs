//! Addresses and node ports of Services.
//!
//! What is taken is never stored apart: it is what the Services that exist say, observed as they change, plus what
//! writes under way have reserved, and for a minute what those have of which nobody knows how they ended. So nothing
//! leaks and nothing needs repair. It is exact for one API server over a store; several over one store would need to
//! reserve in the store itself.

mod allocation;
mod claims;
mod family;
mod range;
mod taken;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use kubewright_api::field::FieldError;
use kubewright_api::status::Status;
use serde_json::Value;

use self::allocation::Allocation;
use self::claims::Claims;
pub use self::range::{AddressRange, PortRange, RangeError};
use self::taken::{Held, Taken};
use crate::environment::Environment;
use crate::objects::Observer;
use crate::registry::{CommitHook, Reservation};

/// Allocates cluster IPs and node ports; both the hook of the `services` resource and its observer.
#[derive(Debug)]
pub struct ServiceAllocator {
    addresses: AddressRange,
    ports: PortRange,
    environment: Arc<dyn Environment>,
    taken: Arc<Mutex<Taken>>,
}

impl ServiceAllocator {
    /// An allocator out of these ranges. Register it as the hook and as an observer of `services`.
    #[must_use]
    pub fn new(addresses: AddressRange, ports: PortRange, environment: Arc<dyn Environment>) -> Self {
        Self { addresses, ports, environment, taken: Arc::default() }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        // Nothing between two changes that belong together can panic.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn random(&self) -> u64 {
        let mut bytes = [0; 8];
        self.environment.fill_random(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

fn invalid(service: &Value, error: FieldError) -> Status {
    Status::invalid("", "Service", service["metadata"]["name"].as_str().unwrap_or_default(), &[error])
}

#[async_trait]
impl CommitHook for ServiceAllocator {
    async fn before(
        &self,
        object: &mut Value,
        old: Option<&Value>,
        _dry_run: bool,
    ) -> Result<Option<Box<dyn Reservation>>, Status> {
        let held = old.map(Claims::of).unwrap_or_default();
        let mut taken = self.taken();
        taken.forget_unknown();
        let allocation = Allocation { allocator: self, held: &held, taken: &taken, fresh: Claims::default() };
        let fresh = allocation.fill_in(object).map_err(|error| invalid(object, error))?;
        if fresh.is_empty() {
            return Ok(None);
        }
        if let Some((namespace, name)) = taken.unknown() {
            let why =
                format!("the Service {namespace}/{name} can't be read: nobody knows what addresses and ports it has");
            return Err(Status::internal(why));
        }
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        let id = taken.reserve((text("namespace"), text("name")), fresh);
        Ok(Some(Box::new(Held::new(&self.taken, id))))
    }

    fn deleted(&self, _object: &Value) {}
}

impl Observer for ServiceAllocator {
    fn changed(&self, namespace: &str, name: &str, object: Option<&Value>) {
        self.taken().observe((namespace.to_owned(), name.to_owned()), object.map(Claims::of));
    }

    fn unreadable(&self, namespace: &str, name: &str) {
        self.taken().lose((namespace.to_owned(), name.to_owned()));
    }
}

#[cfg(test)]
mod tests;
