//! Ranges of addresses and ports, and how a free one is chosen.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;

/// Addresses that a range may have at most; of a larger one only so many are used, as upstream does.
const ADDRESSES_MAX: u128 = 1 << 20;

/// Why a range can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?}: {problem}")]
pub struct RangeError {
    text: String,
    problem: &'static str,
}

/// The range of cluster IPs, such as `10.96.0.0/16`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressRange {
    net: IpNet,
}

impl Default for AddressRange {
    /// `10.96.0.0/16`.
    fn default() -> Self {
        Self { net: IpNet::new_assert(Ipv4Addr::new(10, 96, 0, 0).into(), 16) }
    }
}

impl AddressRange {
    /// Whether it has that address, not counting those that can't be used.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.net.contains(&address) && self.offset(address).is_some_and(|offset| (1..=self.size()).contains(&offset))
    }

    /// Its first usable address, which belongs to the `kubernetes` Service.
    #[must_use]
    pub fn first(&self) -> IpAddr {
        self.at(1)
    }

    /// `IPv4` or `IPv6`.
    #[must_use]
    pub fn family(&self) -> &'static str {
        if self.net.addr().is_ipv4() { "IPv4" } else { "IPv6" }
    }

    /// How many addresses can be used.
    fn size(&self) -> u128 {
        let bits = self.net.max_prefix_len() - self.net.prefix_len();
        let all = 1_u128.checked_shl(bits.into()).unwrap_or(u128::MAX).min(ADDRESSES_MAX);
        // Neither the network's own address nor, in IPv4, its broadcast address.
        all - if self.net.addr().is_ipv4() { 2 } else { 1 }
    }

    fn offset(&self, address: IpAddr) -> Option<u128> {
        match (self.net.network(), address) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                u128::from(u32::from(address)).checked_sub(u32::from(base).into())
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => u128::from(address).checked_sub(base.into()),
            _ => None,
        }
    }

    fn at(&self, offset: u128) -> IpAddr {
        match self.net.network() {
            // The offset is below 2^20 and within the network, so nothing is cut off.
            IpAddr::V4(base) => Ipv4Addr::from(u32::from(base) + u32::try_from(offset).unwrap_or(0)).into(),
            IpAddr::V6(base) => Ipv6Addr::from(u128::from(base) + offset).into(),
        }
    }

    /// A free address, from the upper part first: the lower one is for those that people choose themselves.
    pub(super) fn pick(&self, random: u64, free: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
        let size = self.size();
        let lower = if size <= 16 { 0 } else { (size / 16).clamp(16, 256).min(size) };
        let upper = search(lower + 1, size, random).find(|offset| free(self.at(*offset)));
        upper.or_else(|| search(1, lower, random).find(|offset| free(self.at(*offset)))).map(|offset| self.at(offset))
    }
}

/// Every number from `first` to `last`, from a random one on.
fn search(first: u128, last: u128, random: u64) -> impl Iterator<Item = u128> {
    let count = (last + 1).saturating_sub(first);
    let start = u128::from(random).checked_rem(count).unwrap_or(0);
    (0..count).map(move |step| first + (start + step) % count)
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.net.fmt(f)
    }
}

impl FromStr for AddressRange {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        let refuse = |problem| RangeError { text: text.to_owned(), problem };
        let net: IpNet = text.parse().map_err(|_| refuse("must be in CIDR notation, such as 10.96.0.0/16"))?;
        if net.max_prefix_len() - net.prefix_len() < 2 {
            return Err(refuse("must have at least four addresses"));
        }
        Ok(Self { net: net.trunc() })
    }
}

/// The range of node ports, such as `30000-32767`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl Default for PortRange {
    fn default() -> Self {
        Self { first: 30_000, last: 32_767 }
    }
}

impl PortRange {
    pub(super) fn contains(&self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    /// A free port, from the upper part first.
    pub(super) fn pick(&self, random: u64, free: impl Fn(u16) -> bool) -> Option<u16> {
        let (first, last) = (u128::from(self.first), u128::from(self.last));
        let size = last + 1 - first;
        let lower = if size <= 16 { 0 } else { (size / 32).clamp(16, 128).min(size) };
        let ports = search(first + lower, last, random).chain(search(first, first + lower - 1, random));
        ports.filter_map(|port| u16::try_from(port).ok()).find(|port| free(*port))
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl FromStr for PortRange {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        let parsed = text.split_once('-').and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
        match parsed {
            Some((first, last)) if 0 < first && first <= last => Ok(Self { first, last }),
            _ => Err(RangeError { text: text.to_owned(), problem: "must be two port numbers, such as 30000-32767" }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_know_their_ends() {
        let range: AddressRange = "10.0.0.0/24".parse().unwrap();
        assert_eq!(range.first().to_string(), "10.0.0.1");
        for (address, inside) in
            [("10.0.0.0", false), ("10.0.0.1", true), ("10.0.0.254", true), ("10.0.0.255", false), ("10.0.1.1", false)]
        {
            assert_eq!(range.contains(address.parse().unwrap()), inside, "{address}");
        }
        let six: AddressRange = "fd00::/108".parse().unwrap();
        assert!(six.contains("fd00::1".parse().unwrap()) && six.family() == "IPv6");
    }

    #[test]
    fn people_keep_the_lower_part_while_the_upper_one_lasts() {
        let range: AddressRange = "10.0.0.0/24".parse().unwrap();
        for random in 0..1000 {
            let IpAddr::V4(address) = range.pick(random, |_| true).unwrap() else { panic!("an IPv6 address") };
            assert!(address.octets()[3] > 16, "{address}");
        }
        let low: IpAddr = "10.0.0.3".parse().unwrap();
        assert_eq!(range.pick(7, |address| address == low), Some(low));
        assert_eq!(range.pick(7, |_| false), None);
    }

    #[test]
    fn malformed_ranges_are_refused() {
        for bad in ["10.0.0.0", "10.0.0.0/31", "x/8"] {
            assert!(bad.parse::<AddressRange>().is_err(), "{bad}");
        }
        for bad in ["30000", "5-4", "0-9", "a-b"] {
            assert!(bad.parse::<PortRange>().is_err(), "{bad}");
        }
    }
}
