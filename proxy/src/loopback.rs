//! A pod network out of loopback addresses: every pod gets an address of its own below `127.0.0.0/8`, on which an
//! ordinary user may listen. For pods that are plain processes on one host.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use ipnet::Ipv4Net;

use crate::{AttachRequest, Attachment, Error, PodNetwork};

/// Hands out loopback addresses.
///
/// ```
/// use kubewright_proxy::loopback::LoopbackPodNetwork;
///
/// assert!(LoopbackPodNetwork::new("127.65.0.0/16").is_ok());
/// assert!(LoopbackPodNetwork::new("10.0.0.0/16").is_err());
/// ```
#[derive(Debug)]
pub struct LoopbackPodNetwork {
    range: Ipv4Net,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    by_uid: BTreeMap<String, Ipv4Addr>,
    holders: BTreeMap<Ipv4Addr, String>,
    /// Where the search for a free address goes on, so that a freed one rests before it is used again.
    cursor: u32,
}

impl LoopbackPodNetwork {
    /// A network of the addresses in `range`, such as `127.65.0.0/16`, without its first and last.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] if the range is malformed, outside `127.0.0.0/8` or too small.
    pub fn new(range: &str) -> Result<Self, Error> {
        let invalid = |why: &str| Error::InvalidConfig(format!("pod range {range:?}: {why}"));
        let parsed: Ipv4Net = range.parse().map_err(|_| invalid("must be in CIDR notation, such as 127.65.0.0/16"))?;
        if !parsed.network().is_loopback() || parsed.prefix_len() < 8 {
            return Err(invalid("must lie within 127.0.0.0/8"));
        }
        if parsed.prefix_len() > 30 {
            return Err(invalid("must have at least four addresses, a prefix of /30 or shorter"));
        }
        Ok(Self { range: parsed.trunc(), state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change below is complete before the guard is dropped, so a panic elsewhere leaves no half-made state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn size(&self) -> u32 {
        u32::from(self.range.broadcast()) - u32::from(self.range.network()) - 1
    }

    fn free(&self, state: &mut State) -> Option<Ipv4Addr> {
        let first = u32::from(self.range.network()) + 1;
        for _ in 0..self.size() {
            let address = Ipv4Addr::from(first + state.cursor);
            state.cursor = (state.cursor + 1) % self.size();
            if !state.holders.contains_key(&address) {
                return Some(address);
            }
        }
        None
    }
}

#[async_trait]
impl PodNetwork for LoopbackPodNetwork {
    async fn attach(&self, request: &AttachRequest) -> Result<Attachment, Error> {
        let mut state = self.state();
        let uid = request.uid.clone();
        let known = state.by_uid.get(&uid).copied();
        let held = request.held.iter().find_map(|address| match address {
            IpAddr::V4(address) if self.range.contains(address) => Some(*address),
            _ => None,
        });
        let address = match (known, held) {
            (Some(address), _) => address,
            (None, Some(address)) => match state.holders.get(&address) {
                Some(holder) => return Err(Error::AddressInUse { address: address.into(), holder: holder.clone() }),
                None => address,
            },
            (None, None) => self.free(&mut state).ok_or_else(|| Error::Exhausted { range: self.range.to_string() })?,
        };
        state.by_uid.insert(uid.clone(), address);
        state.holders.insert(address, uid.clone());
        Ok(Attachment { uid, addresses: vec![address.into()] })
    }

    async fn detach(&self, uid: &str) -> Result<(), Error> {
        let mut state = self.state();
        if let Some(address) = state.by_uid.remove(uid) {
            state.holders.remove(&address);
        }
        Ok(())
    }

    async fn attachments(&self) -> Result<Vec<Attachment>, Error> {
        let state = self.state();
        let attachment =
            |(uid, address): (&String, &Ipv4Addr)| Attachment { uid: uid.clone(), addresses: vec![(*address).into()] };
        Ok(state.by_uid.iter().map(attachment).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uid: &str) -> AttachRequest {
        AttachRequest::new("ns", uid, uid)
    }

    #[tokio::test]
    async fn addresses_are_distinct_stable_and_bounded() {
        let network = LoopbackPodNetwork::new("127.65.0.0/29").unwrap();
        let mut seen = Vec::new();
        for uid in ["a", "b", "c", "d", "e", "f"] {
            let first = network.attach(&request(uid)).await.unwrap();
            assert_eq!(network.attach(&request(uid)).await.unwrap(), first);
            seen.extend(first.addresses);
        }
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 6);
        assert!(matches!(network.attach(&request("g")).await, Err(Error::Exhausted { .. })));
        network.detach("c").await.unwrap();
        network.detach("c").await.unwrap();
        assert_eq!(network.attach(&request("g")).await.unwrap().addresses.len(), 1);
        assert_eq!(network.attachments().await.unwrap().len(), 6);
    }

    #[tokio::test]
    async fn held_addresses_are_given_back_unless_taken() {
        let network = LoopbackPodNetwork::new("127.65.0.0/16").unwrap();
        let held: IpAddr = "127.65.3.4".parse().unwrap();
        let given = network.attach(&request("a").held(vec![held])).await.unwrap();
        assert_eq!(given.addresses, [held]);
        let other = network.attach(&request("b").held(vec![held])).await;
        assert!(matches!(other, Err(Error::AddressInUse { holder, .. }) if holder == "a"));
    }

    #[tokio::test]
    async fn a_freed_address_rests() {
        let network = LoopbackPodNetwork::new("127.65.0.0/24").unwrap();
        let first = network.attach(&request("a")).await.unwrap();
        network.detach("a").await.unwrap();
        assert_ne!(network.attach(&request("b")).await.unwrap().addresses, first.addresses);
    }
}
