//! Whom a certificate belongs to.
//!
//! That an authority signed a certificate says that its owner is some member; not which. A certificate belongs to the
//! members whose names are in it, as its common name or among its alternative names. If it has no member's name, it
//! belongs to the members that are reached at a host in it. So members on one host are told apart by their names, and
//! a certificate for a host is enough where each member has a host of its own.

use std::collections::BTreeMap;
use std::net::IpAddr;

use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::config::Address;
use crate::Member;

/// The members that are known, also those that were removed: they may ask whether they were.
pub(super) type Known = BTreeMap<u64, Member>;

/// What a certificate says of its owner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Owner {
    common_names: Vec<String>,
    hosts: Vec<String>,
    addresses: Vec<IpAddr>,
}

impl Owner {
    /// Reads a certificate, which has been checked before.
    pub(super) fn of(certificate: &[u8]) -> Result<Self, String> {
        let (_, certificate) = X509Certificate::from_der(certificate).map_err(|error| error.to_string())?;
        let common_names = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
        let mut owner = Self { common_names: common_names.map(str::to_owned).collect(), ..Self::default() };
        let alternatives = certificate.subject_alternative_name().map_err(|error| error.to_string())?;
        for name in alternatives.iter().flat_map(|names| &names.value.general_names) {
            match name {
                GeneralName::DNSName(host) => owner.hosts.push((*host).to_owned()),
                GeneralName::IPAddress(bytes) => owner.addresses.extend(address(bytes)),
                _ => {}
            }
        }
        Ok(owner)
    }

    /// Whether this is the certificate of member `id`.
    ///
    /// Somebody who is not known may be a member all the same, of which this one has not heard yet: it is taken for
    /// one if the certificate is not plainly another's.
    pub(super) fn is(&self, id: u64, known: &Known) -> bool {
        let by_name: Vec<u64> = matching(known, |member| self.has_name(&member.name));
        if !by_name.is_empty() {
            return by_name.contains(&id);
        }
        let by_host: Vec<u64> = matching(known, |member| member.peer_urls.iter().any(|url| self.has_host(url)));
        by_host.contains(&id) || (!known.contains_key(&id) && by_host.len() != 1)
    }

    fn has_name(&self, name: &str) -> bool {
        let mut names = self.common_names.iter().chain(&self.hosts);
        !name.is_empty() && names.any(|found| found.eq_ignore_ascii_case(name))
    }

    fn has_host(&self, url: &str) -> bool {
        let Ok(Address { host, .. }) = Address::parse(url) else { return false };
        match host.parse::<IpAddr>() {
            Ok(address) => self.addresses.contains(&address),
            Err(_) => self.hosts.iter().any(|pattern| covers(pattern, &host)),
        }
    }
}

fn matching(known: &Known, holds: impl Fn(&Member) -> bool) -> Vec<u64> {
    known.iter().filter(|(_, member)| holds(member)).map(|(id, _)| *id).collect()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// Whether a name in a certificate is that of a host; a star stands for one label at its start.
fn covers(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(rest) => host.split_once('.').is_some_and(|(_, after)| after.eq_ignore_ascii_case(rest)),
        None => pattern.eq_ignore_ascii_case(host),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    fn owner(common_name: Option<&str>, alternatives: &[&str]) -> Owner {
        let names: Vec<String> = alternatives.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("parameters");
        params.distinguished_name = rcgen::DistinguishedName::new();
        if let Some(name) = common_name {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        let key = KeyPair::generate().expect("a key");
        Owner::of(params.self_signed(&key).expect("a certificate").der()).expect("readable")
    }

    fn known(members: &[(u64, &str, &str)]) -> Known {
        let member = |(id, name, url): &(u64, &str, &str)| (*id, Member::voter(*id).named(*name).peer_url(*url));
        members.iter().map(member).collect()
    }

    fn speaks_for(owner: &Owner, known: &Known) -> Vec<u64> {
        (1..=9).filter(|id| owner.is(*id, known)).collect()
    }

    #[test]
    fn a_name_decides_before_a_host() {
        let known = known(&[(1, "n1", "https://localhost:1"), (2, "n2", "https://localhost:2")]);
        assert_eq!(speaks_for(&owner(Some("n1"), &["localhost"]), &known), [1]);
        assert_eq!(speaks_for(&owner(None, &["localhost", "N2"]), &known), [2]);
        assert_eq!(speaks_for(&owner(None, &["n1", "n2"]), &known), [1, 2]);
        // Nobody can tell whose it is, and so not whether it is that of a member that is not known yet.
        assert_eq!(speaks_for(&owner(Some("peer"), &["localhost"]), &known), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn hosts_decide_where_there_are_no_names() {
        let known = known(&[(1, "n1", "https://a.peers:1"), (2, "n2", "https://[::1]:2"), (3, "", "10.0.0.3:3")]);
        assert_eq!(speaks_for(&owner(None, &["a.peers"]), &known), [1]);
        assert_eq!(speaks_for(&owner(None, &["::1"]), &known), [2]);
        assert_eq!(speaks_for(&owner(Some("member"), &["10.0.0.3"]), &known), [3]);
        assert_eq!(speaks_for(&owner(None, &["*.peers"]), &known), [1]);
        assert_eq!(speaks_for(&owner(None, &["*.a.peers", "10.0.0.33"]), &known), [4, 5, 6, 7, 8, 9], "of a newcomer");
        assert_eq!(speaks_for(&owner(None, &["d.peers"]), &Known::new()), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        assert!(Owner::of(b"nonsense").is_err());
        assert!(Owner::of(&[]).is_err());
    }
}
