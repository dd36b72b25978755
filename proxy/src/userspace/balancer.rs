//! Which endpoint a client gets: at random, or the one it had before under session affinity.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::rules::Backends;

/// Clients remembered per frontend; beyond it the longest unseen is forgotten.
const CLIENTS_MAX: usize = 16_384;

/// Chooses among the endpoints of one frontend.
#[derive(Debug)]
pub(super) struct Balancer {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    backends: Backends,
    clients: HashMap<IpAddr, (SocketAddr, Instant)>,
}

impl Balancer {
    pub(super) fn new(backends: Backends) -> Self {
        Self { state: Mutex::new(State { backends, clients: HashMap::new() }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code below panics between changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows a change of endpoints; clients of endpoints that are gone are forgotten.
    pub(super) fn replace(&self, backends: Backends) {
        let mut state = self.state();
        state.clients.retain(|_, (endpoint, _)| backends.endpoints.contains(endpoint));
        state.backends = backends;
    }

    /// Whether the endpoint may still be used.
    pub(super) fn has(&self, endpoint: SocketAddr) -> bool {
        self.state().backends.endpoints.contains(&endpoint)
    }

    /// An endpoint for the client, none of `failed`; `random` is any number.
    pub(super) fn pick(&self, client: IpAddr, now: Instant, random: u64, failed: &[SocketAddr]) -> Option<SocketAddr> {
        let mut state = self.state();
        let affinity = state.backends.affinity_seconds.map(|seconds| Duration::from_secs(seconds.into()));
        if let Some(lifetime) = affinity
            && let Some((endpoint, seen)) = state.clients.get_mut(&client)
            && now.duration_since(*seen) < lifetime
            && !failed.contains(endpoint)
        {
            *seen = now;
            return Some(*endpoint);
        }
        let usable: Vec<SocketAddr> =
            state.backends.endpoints.iter().filter(|e| !failed.contains(e)).copied().collect();
        let at = usize::try_from(random % u64::try_from(usable.len().max(1)).ok()?).ok()?;
        let endpoint = *usable.get(at)?;
        if affinity.is_some() {
            state.remember(client, endpoint, now);
        }
        Some(endpoint)
    }
}

impl State {
    fn remember(&mut self, client: IpAddr, endpoint: SocketAddr, now: Instant) {
        if self.clients.len() >= CLIENTS_MAX && !self.clients.contains_key(&client) {
            let oldest = self.clients.iter().min_by_key(|(_, (_, seen))| *seen).map(|(client, _)| *client);
            if let Some(oldest) = oldest {
                self.clients.remove(&oldest);
            }
        }
        self.clients.insert(client, (endpoint, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn balancer(endpoints: &[&str], affinity_seconds: Option<u32>) -> Balancer {
        let endpoints = endpoints.iter().map(|e| e.parse().unwrap()).collect();
        Balancer::new(Backends { endpoints, affinity_seconds, ..Backends::default() })
    }

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(1, 2, 3, 4));

    #[test]
    fn all_endpoints_are_used_and_failed_ones_are_not() {
        let balancer = balancer(&["10.0.0.1:1", "10.0.0.2:1"], None);
        let now = Instant::now();
        let picked: Vec<_> =
            (0..4).map(|random| balancer.pick(CLIENT, now, random, &[]).unwrap().to_string()).collect();
        assert_eq!(picked, ["10.0.0.1:1", "10.0.0.2:1", "10.0.0.1:1", "10.0.0.2:1"]);
        let first: SocketAddr = "10.0.0.1:1".parse().unwrap();
        let second: SocketAddr = "10.0.0.2:1".parse().unwrap();
        assert_eq!(balancer.pick(CLIENT, now, 0, &[first]), Some(second));
        assert_eq!(balancer.pick(CLIENT, now, 0, &[first, second]), None);
    }

    #[test]
    fn affinity_holds_until_it_expires_or_the_endpoint_goes() {
        let balancer = balancer(&["10.0.0.1:1", "10.0.0.2:1"], Some(10));
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let first = balancer.pick(CLIENT, start, 0, &[]).unwrap();
        assert_eq!(balancer.pick(CLIENT, after(9), 1, &[]), Some(first));
        assert_eq!(balancer.pick(CLIENT, after(18), 1, &[]), Some(first));
        assert_ne!(balancer.pick(CLIENT, after(30), 1, &[]), Some(first));
        let rest = Backends { endpoints: vec![first], affinity_seconds: Some(10), ..Backends::default() };
        balancer.replace(rest);
        assert_eq!(balancer.pick(CLIENT, after(31), 1, &[]), Some(first));
    }
}
