//! What one Service gets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use kubewright_api::field::{FieldError, Path};
use serde_json::Value;

use super::claims::{self, Claims};
use super::taken::Taken;
use super::{ServiceAllocator, family};

/// Chooses addresses and ports for one Service.
pub(super) struct Allocation<'a> {
    pub(super) allocator: &'a ServiceAllocator,
    /// What the Service has already.
    pub(super) held: &'a Claims,
    pub(super) taken: &'a Taken,
    /// What it newly claims.
    pub(super) fresh: Claims,
}

impl Allocation<'_> {
    /// Fills in what the Service lacks; gives what it newly claims.
    pub(super) fn fill_in(mut self, service: &mut Value) -> Result<Claims, FieldError> {
        family::default_families(service, &self.allocator.addresses)?;
        self.address(service)?;
        self.ports(service)?;
        Ok(self.fresh)
    }

    fn address(&mut self, service: &mut Value) -> Result<(), FieldError> {
        if !claims::wants_address(service) {
            return Ok(());
        }
        let path = Path::new("spec").child("clusterIPs");
        let asked = service["spec"]["clusterIP"].as_str().unwrap_or_default().to_owned();
        if asked.is_empty() {
            let free = |address: IpAddr| !self.taken.has_address(address);
            let Some(address) = self.allocator.addresses.pick(self.allocator.random(), free) else {
                let value = service["spec"]["clusterIPs"].clone();
                return Err(FieldError::invalid(&path, value, "failed to allocate IP: range is full"));
            };
            service["spec"]["clusterIP"] = address.to_string().into();
            service["spec"]["clusterIPs"] = vec![address.to_string()].into();
            self.fresh.addresses.insert(address);
            return Ok(());
        }
        // A malformed address is validation's to refuse.
        let Ok(address) = asked.parse::<IpAddr>() else { return Ok(()) };
        if self.held.addresses.contains(&address) {
            return Ok(());
        }
        let refuse = |why: String| {
            let why = format!("failed to allocate IP {address}: {why}");
            Err(FieldError::invalid(&path, vec![address.to_string()], why))
        };
        if !self.allocator.addresses.contains(address) {
            let range = &self.allocator.addresses;
            return refuse(format!(
                "the provided IP ({address}) is not in the valid range. The range of valid IPs is {range}"
            ));
        }
        if self.taken.has_address(address) {
            return refuse("provided IP is already allocated".into());
        }
        service["spec"]["clusterIPs"] = vec![address.to_string()].into();
        self.fresh.addresses.insert(address);
        Ok(())
    }

    fn ports(&mut self, service: &mut Value) -> Result<(), FieldError> {
        if claims::wants_node_ports(service) {
            self.check_asked_ports(service)?;
            self.fill_in_ports(service)?;
        }
        if claims::wants_health_check_port(service) {
            let (path, field) =
                (Path::new("spec").child("healthCheckNodePort"), &mut service["spec"]["healthCheckNodePort"]);
            match claims::number(field) {
                0 => *field = self.free_port(&path)?.into(),
                asked => self.check_asked_port(asked, &path)?,
            }
        }
        Ok(())
    }

    fn check_asked_ports(&mut self, service: &Value) -> Result<(), FieldError> {
        for (at, port) in claims::ports(service).enumerate() {
            let asked = claims::number(&port["nodePort"]);
            if asked != 0 && !self.fresh.ports.contains(&asked) {
                self.check_asked_port(asked, &Path::new("spec").child("ports").index(at).child("nodePort"))?;
            }
        }
        Ok(())
    }

    fn check_asked_port(&mut self, asked: u16, path: &Path) -> Result<(), FieldError> {
        if self.held.ports.contains(&asked) {
            return Ok(());
        }
        let range = &self.allocator.ports;
        if !range.contains(asked) {
            let why = format!("provided port is not in the valid range. The range of valid ports is {range}");
            return Err(FieldError::invalid(path, asked, why));
        }
        if self.taken.has_port(asked) || self.fresh.ports.contains(&asked) {
            return Err(FieldError::invalid(path, asked, "provided port is already allocated"));
        }
        self.fresh.ports.insert(asked);
        Ok(())
    }

    /// Ports that differ in their protocol alone share their node port.
    fn fill_in_ports(&mut self, service: &mut Value) -> Result<(), FieldError> {
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
                None => self.free_port(&path)?,
            };
            let entry = chosen.entry(number).or_default();
            entry.0 = node_port;
            entry.1.insert(protocol);
            service["spec"]["ports"][at]["nodePort"] = node_port.into();
        }
        Ok(())
    }

    fn free_port(&mut self, path: &Path) -> Result<u16, FieldError> {
        let free = |port: u16| {
            !self.taken.has_port(port) && !self.fresh.ports.contains(&port) && !self.held.ports.contains(&port)
        };
        let port = self.allocator.ports.pick(self.allocator.random(), free);
        let port = port.ok_or_else(|| FieldError::invalid(path, 0, "failed to allocate a nodePort: range is full"))?;
        self.fresh.ports.insert(port);
        Ok(port)
    }
}
