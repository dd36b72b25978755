//! Addresses and node ports of Services.
//!
//! What is taken is never stored apart: it is what the Services that exist say, observed as they change, plus what
//! writes under way have reserved, and for a minute what those have of which nobody knows how they ended. So nothing
//! leaks and nothing needs repair. It is exact for one API server over a
//! store; several over one store would need to reserve in the store itself.

mod claims;
mod family;
mod range;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use kubewright_api::field::{FieldError, Path};
use kubewright_api::status::Status;
use serde_json::Value;

use self::claims::Claims;
pub use self::range::{AddressRange, PortRange, RangeError};
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

#[derive(Debug, Default)]
struct Taken {
    /// What each Service has, by namespace and name.
    services: BTreeMap<(String, String), Claims>,
    addresses: BTreeMap<IpAddr, usize>,
    ports: BTreeMap<u16, usize>,
    /// What writes under way have reserved.
    pending: BTreeMap<u64, Pending>,
    next_reservation: u64,
}

#[derive(Debug)]
struct Pending {
    /// Namespace and name of the Service.
    of: (String, String),
    claims: Claims,
    /// Since when nobody knows whether it was stored.
    unknown_since: Option<Instant>,
}

/// After so long what was stored has long been observed.
const UNKNOWN_MAX: Duration = Duration::from_secs(60);

impl Taken {
    fn count(&mut self, claims: &Claims) {
        for address in &claims.addresses {
            *self.addresses.entry(*address).or_default() += 1;
        }
        for port in &claims.ports {
            *self.ports.entry(*port).or_default() += 1;
        }
    }

    fn discount(&mut self, claims: &Claims) {
        for address in &claims.addresses {
            discount(&mut self.addresses, address);
        }
        for port in &claims.ports {
            discount(&mut self.ports, port);
        }
    }

    fn has_address(&self, address: IpAddr) -> bool {
        self.addresses.contains_key(&address)
            || self.pending.values().any(|pending| pending.claims.addresses.contains(&address))
    }

    fn has_port(&self, port: u16) -> bool {
        self.ports.contains_key(&port) || self.pending.values().any(|pending| pending.claims.ports.contains(&port))
    }

    fn reserve(&mut self, of: (String, String), claims: Claims) -> u64 {
        let id = self.next_reservation;
        self.next_reservation += 1;
        self.pending.insert(id, Pending { of, claims, unknown_since: None });
        id
    }
}

fn discount<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
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

    /// Fills in what the Service lacks; gives what it newly claims.
    fn allocate(&self, service: &mut Value, held: &Claims, taken: &Taken) -> Result<Claims, Status> {
        let mut fresh = Claims::default();
        family::default_families(service, &self.addresses)
            .and_then(|()| self.allocate_address(service, held, taken, &mut fresh))
            .and_then(|()| self.allocate_ports(service, held, taken, &mut fresh))
            .map_err(|error| invalid(service, error))?;
        Ok(fresh)
    }

    fn allocate_address(
        &self,
        service: &mut Value,
        held: &Claims,
        taken: &Taken,
        fresh: &mut Claims,
    ) -> Result<(), FieldError> {
        if !claims::wants_address(service) {
            return Ok(());
        }
        let path = Path::new("spec").child("clusterIPs");
        let asked = service["spec"]["clusterIP"].as_str().unwrap_or_default().to_owned();
        if asked.is_empty() {
            let free = |address: IpAddr| !taken.has_address(address);
            let Some(address) = self.addresses.pick(self.random(), free) else {
                let value = service["spec"]["clusterIPs"].clone();
                return Err(FieldError::invalid(&path, value, "failed to allocate IP: range is full"));
            };
            service["spec"]["clusterIP"] = address.to_string().into();
            service["spec"]["clusterIPs"] = vec![address.to_string()].into();
            fresh.addresses.insert(address);
            return Ok(());
        }
        // A malformed address is validation's to refuse.
        let Ok(address) = asked.parse::<IpAddr>() else { return Ok(()) };
        if held.addresses.contains(&address) {
            return Ok(());
        }
        let refuse = |why: String| {
            let why = format!("failed to allocate IP {address}: {why}");
            Err(FieldError::invalid(&path, vec![address.to_string()], why))
        };
        if !self.addresses.contains(address) {
            let range = &self.addresses;
            return refuse(format!(
                "the provided IP ({address}) is not in the valid range. The range of valid IPs is {range}"
            ));
        }
        if taken.has_address(address) {
            return refuse("provided IP is already allocated".into());
        }
        service["spec"]["clusterIPs"] = vec![address.to_string()].into();
        fresh.addresses.insert(address);
        Ok(())
    }

    fn allocate_ports(
        &self,
        service: &mut Value,
        held: &Claims,
        taken: &Taken,
        fresh: &mut Claims,
    ) -> Result<(), FieldError> {
        if claims::wants_node_ports(service) {
            self.check_asked_ports(service, held, taken, fresh)?;
            self.fill_in_ports(service, held, taken, fresh)?;
        }
        if claims::wants_health_check_port(service) && claims::number(&service["spec"]["healthCheckNodePort"]) == 0 {
            let port = self.free_port(held, taken, fresh, &Path::new("spec").child("healthCheckNodePort"))?;
            service["spec"]["healthCheckNodePort"] = port.into();
        }
        Ok(())
    }

    fn check_asked_ports(
        &self,
        service: &Value,
        held: &Claims,
        taken: &Taken,
        fresh: &mut Claims,
    ) -> Result<(), FieldError> {
        for (at, port) in claims::ports(service).enumerate() {
            let asked = claims::number(&port["nodePort"]);
            if asked == 0 || held.ports.contains(&asked) || fresh.ports.contains(&asked) {
                continue;
            }
            let path = Path::new("spec").child("ports").index(at).child("nodePort");
            if !self.ports.contains(asked) {
                let why =
                    format!("provided port is not in the valid range. The range of valid ports is {}", self.ports);
                return Err(FieldError::invalid(&path, asked, why));
            }
            if taken.has_port(asked) {
                return Err(FieldError::invalid(&path, asked, "provided port is already allocated"));
            }
            fresh.ports.insert(asked);
        }
        Ok(())
    }

    /// Ports that differ in their protocol alone share their node port.
    fn fill_in_ports(
        &self,
        service: &mut Value,
        held: &Claims,
        taken: &Taken,
        fresh: &mut Claims,
    ) -> Result<(), FieldError> {
        let mut chosen: BTreeMap<u16, (u16, BTreeSet<String>)> = BTreeMap::new();
        let protocol = |port: &Value| port["protocol"].as_str().unwrap_or("TCP").to_owned();
        for port in claims::ports(service).filter(|port| claims::number(&port["nodePort"]) != 0) {
            let entry = chosen.entry(claims::number(&port["port"])).or_default();
            entry.0 = claims::number(&port["nodePort"]);
            entry.1.insert(protocol(port));
        }
        let count = claims::ports(service).count();
        for at in 0..count {
            let port = &service["spec"]["ports"][at];
            if claims::number(&port["nodePort"]) != 0 {
                continue;
            }
            let (number, protocol) = (claims::number(&port["port"]), protocol(port));
            let shared =
                chosen.get(&number).filter(|(_, protocols)| !protocols.contains(&protocol)).map(|(port, _)| *port);
            let path = Path::new("spec").child("ports").index(at).child("nodePort");
            let node_port = match shared {
                Some(port) => port,
                None => self.free_port(held, taken, fresh, &path)?,
            };
            let entry = chosen.entry(number).or_default();
            entry.0 = node_port;
            entry.1.insert(protocol);
            service["spec"]["ports"][at]["nodePort"] = node_port.into();
        }
        Ok(())
    }

    fn free_port(&self, held: &Claims, taken: &Taken, fresh: &mut Claims, path: &Path) -> Result<u16, FieldError> {
        let free = |port: u16| !taken.has_port(port) && !fresh.ports.contains(&port) && !held.ports.contains(&port);
        let port = self.ports.pick(self.random(), free);
        let port = port.ok_or_else(|| FieldError::invalid(path, 0, "failed to allocate a nodePort: range is full"))?;
        fresh.ports.insert(port);
        Ok(port)
    }
}

fn invalid(service: &Value, error: FieldError) -> Status {
    Status::invalid("", "Service", service["metadata"]["name"].as_str().unwrap_or_default(), &[error])
}

/// What a write under way has reserved. It ends when what was stored is observed, or when it is known that nothing was.
struct Held {
    taken: Arc<Mutex<Taken>>,
    id: u64,
    begun: bool,
}

impl Reservation for Held {
    fn begin(&mut self) {
        self.begun = true;
    }

    fn end(mut self: Box<Self>, stored: bool) {
        self.begun = stored;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let pending = &mut self.taken.lock().unwrap_or_else(PoisonError::into_inner).pending;
        if !self.begun {
            pending.remove(&self.id);
        } else if let Some(pending) = pending.get_mut(&self.id) {
            // Stored, if at all, and not observed so far.
            pending.unknown_since = Some(Instant::now());
        }
    }
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
        taken.pending.retain(|_, pending| pending.unknown_since.is_none_or(|since| since.elapsed() < UNKNOWN_MAX));
        let fresh = self.allocate(object, &held, &taken)?;
        if fresh.is_empty() {
            return Ok(None);
        }
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        let id = taken.reserve((text("namespace"), text("name")), fresh);
        Ok(Some(Box::new(Held { taken: Arc::clone(&self.taken), id, begun: false })))
    }

    fn deleted(&self, _object: &Value) {}
}

impl Observer for ServiceAllocator {
    fn changed(&self, namespace: &str, name: &str, object: Option<&Value>) {
        let mut taken = self.taken();
        let key = (namespace.to_owned(), name.to_owned());
        if let Some(before) = taken.services.remove(&key) {
            taken.discount(&before);
        }
        if let Some(object) = object {
            let claims = Claims::of(object);
            taken.count(&claims);
            taken.pending.retain(|_, pending| pending.of != key || !claims.has(&pending.claims));
            taken.services.insert(key, claims);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::environment::SystemEnvironment;

    fn allocator(addresses: &str, ports: &str) -> ServiceAllocator {
        ServiceAllocator::new(addresses.parse().unwrap(), ports.parse().unwrap(), Arc::new(SystemEnvironment))
    }

    fn service(spec: Value) -> Value {
        json!({"metadata": {"name": "s", "namespace": "n"}, "spec": spec})
    }

    async fn refused(allocator: &ServiceAllocator, spec: Value) -> String {
        allocator.before(&mut service(spec), None, false).await.err().expect("it is refused").message
    }

    #[tokio::test]
    async fn addresses_are_distinct_until_the_range_is_full() {
        let allocator = allocator("10.0.0.0/29", "30000-30010");
        let mut seen = BTreeSet::new();
        let mut kept = Vec::new();
        for _ in 0..6 {
            let mut object = service(json!({"ports": [{"port": 80}]}));
            kept.push(allocator.before(&mut object, None, false).await.unwrap());
            assert_eq!(object["spec"]["clusterIPs"][0], object["spec"]["clusterIP"]);
            assert_eq!(object["spec"]["ipFamilies"], json!(["IPv4"]));
            seen.insert(object["spec"]["clusterIP"].as_str().unwrap().to_owned());
        }
        assert_eq!(seen.len(), 6);
        assert!(refused(&allocator, json!({})).await.contains("range is full"));
        drop(kept);
        assert!(allocator.before(&mut service(json!({})), None, false).await.is_ok());
    }

    #[tokio::test]
    async fn what_services_have_is_taken_until_they_are_gone() {
        let allocator = allocator("10.0.0.0/24", "30000-30010");
        let spec = json!({"type": "NodePort", "clusterIP": "10.0.0.9", "ports": [{"port": 80, "nodePort": 30001}]});
        let object = service(spec.clone());
        allocator.changed("n", "s", Some(&object));
        let message = refused(&allocator, spec).await;
        assert!(
            message.ends_with("spec.clusterIPs: Invalid value: [\"10.0.0.9\"]: failed to allocate IP 10.0.0.9: provided IP is already allocated"),
            "{message}"
        );
        let message =
            refused(&allocator, json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30001}]})).await;
        assert!(
            message.ends_with("spec.ports[0].nodePort: Invalid value: 30001: provided port is already allocated"),
            "{message}"
        );
        assert!(
            allocator.before(&mut object.clone(), Some(&object), false).await.unwrap().is_none(),
            "it keeps its own"
        );
        allocator.changed("n", "s", None);
        assert!(allocator.before(&mut object.clone(), None, false).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn what_may_have_been_stored_is_taken_until_it_is_seen() {
        let allocator = allocator("10.0.0.0/24", "30000-30010");
        let spec = json!({"type": "NodePort", "clusterIP": "10.0.0.9", "ports": [{"port": 80, "nodePort": 30001}]});
        let mut object = service(spec.clone());
        let reserve = async |object: &mut Value| allocator.before(object, None, false).await.unwrap().unwrap();
        let is_taken = async || allocator.before(&mut service(spec.clone()), None, false).await.is_err();
        // Nothing was asked of the store, or it refused.
        drop(reserve(&mut object).await);
        let mut refused = reserve(&mut object).await;
        refused.begin();
        refused.end(false);
        assert!(!is_taken().await);
        // The client went while it was being stored, and it is observed only later.
        let mut cut_off = reserve(&mut object).await;
        cut_off.begin();
        drop(cut_off);
        assert!(is_taken().await);
        allocator.changed("n", "s", Some(&object));
        assert!(is_taken().await);
        // Once it was observed nothing is left of the reservation.
        allocator.changed("n", "s", None);
        assert!(!is_taken().await);
        // It never comes: a minute later it is free.
        let mut lost = reserve(&mut object).await;
        lost.begin();
        drop(lost);
        let long_ago = Instant::now().checked_sub(UNKNOWN_MAX);
        allocator.taken().pending.values_mut().for_each(|pending| pending.unknown_since = long_ago);
        assert!(!is_taken().await);
    }

    #[tokio::test]
    async fn what_is_out_of_range_is_refused() {
        let allocator = allocator("10.0.0.0/24", "30000-30010");
        assert!(
            refused(&allocator, json!({"clusterIP": "10.1.0.1"}))
                .await
                .contains("The range of valid IPs is 10.0.0.0/24")
        );
        let spec = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]});
        assert!(refused(&allocator, spec).await.contains("The range of valid ports is 30000-30010"));
    }

    #[tokio::test]
    async fn protocols_share_a_node_port_and_headless_services_have_no_address() {
        let allocator = allocator("10.0.0.0/24", "30000-30010");
        let ports = json!([{"port": 53, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}, {"port": 54}]);
        let mut object = service(json!({"type": "NodePort", "ports": ports}));
        let _held = allocator.before(&mut object, None, false).await.unwrap();
        let ports = &object["spec"]["ports"];
        assert_eq!(ports[0]["nodePort"], ports[1]["nodePort"]);
        assert_ne!(ports[0]["nodePort"], ports[2]["nodePort"]);
        let mut headless = service(json!({"clusterIP": "None", "clusterIPs": ["None"], "selector": {"a": "b"}}));
        assert!(allocator.before(&mut headless, None, false).await.unwrap().is_none());
        assert_eq!(headless["spec"]["ipFamilyPolicy"], "SingleStack");
    }
}
