//! What can go wrong, by what the caller should do.

use std::net::IpAddr;

/// An error of a pod network, a data plane or the service proxy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Every address of the range is in use: delete pods or widen the range.
    #[error("no address is left in {range}")]
    Exhausted {
        /// The range, in CIDR notation.
        range: String,
    },
    /// Another pod has the address.
    #[error("address {address} belongs to the pod with uid {holder}")]
    AddressInUse {
        /// The address asked for.
        address: IpAddr,
        /// Who has it.
        holder: String,
    },
    /// The configuration can't work; the message names the field and the fix.
    #[error("invalid configuration: {0}")]
    InvalidConfig(String),
    /// It may work later: try again.
    #[error("{what} is not available")]
    Unavailable {
        /// What was tried.
        what: String,
        /// Why it failed.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}
