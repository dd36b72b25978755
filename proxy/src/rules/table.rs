//! The rule table: which address, port and protocol lead to which endpoints.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// A transport protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        })
    }
}

/// Where clients connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frontend {
    /// The address: a cluster IP, an external IP, or a node's.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// The protocol.
    pub protocol: Protocol,
}

impl fmt::Display for Frontend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", SocketAddr::new(self.address, self.port), self.protocol)
    }
}

/// Where their connections go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backends {
    /// `namespace/name:port` of the Service, for messages.
    pub service: String,
    /// The endpoints, sorted and distinct. Empty means: refuse.
    pub endpoints: Vec<SocketAddr>,
    /// For how many seconds a client's address stays with its endpoint; `None` without affinity.
    pub affinity_seconds: Option<u32>,
    /// Drop instead of refuse when there are no endpoints: the Service has some, but none that this node may use.
    pub drop_if_empty: bool,
}

/// Every frontend of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleTable {
    /// In the order of addresses.
    pub frontends: BTreeMap<Frontend, Backends>,
}

/// What turns one table into another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// A frontend comes or has other backends.
    Set(Frontend, &'a Backends),
    /// A frontend goes.
    Remove(Frontend),
}

impl RuleTable {
    /// What turns `self` into `next`, removals first.
    #[must_use]
    pub fn changes<'a>(&self, next: &'a Self) -> Vec<Change<'a>> {
        let gone = self.frontends.keys().filter(|frontend| !next.frontends.contains_key(frontend));
        let set = next.frontends.iter().filter(|(frontend, backends)| self.frontends.get(frontend) != Some(backends));
        gone.map(|frontend| Change::Remove(*frontend)).chain(set.map(|(f, b)| Change::Set(*f, b))).collect()
    }
}

impl fmt::Display for RuleTable {
    /// One line a frontend, for people and for tests.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (frontend, backends) in &self.frontends {
            write!(f, "{frontend} {} -> ", backends.service)?;
            match (&backends.endpoints[..], backends.drop_if_empty) {
                ([], true) => f.write_str("drop")?,
                ([], false) => f.write_str("reject")?,
                (endpoints, _) => {
                    let list: Vec<String> = endpoints.iter().map(ToString::to_string).collect();
                    f.write_str(&list.join(" "))?;
                }
            }
            if let Some(seconds) = backends.affinity_seconds {
                write!(f, " affinity {seconds}s")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
