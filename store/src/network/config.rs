//! How a replica finds the others and is known to them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::Error;

/// What replicas show one another, and what they want of one another, as PEM.
#[derive(Clone)]
#[non_exhaustive]
pub struct PeerTls {
    /// This replica's certificate and those between it and the authority. It must be good for a server and for a
    /// client, and name the host by which the others reach this replica. Who shows it may speak for the member whose
    /// name is in it (as common name or alternative name) and for no other; without any member's name, for those that
    /// are reached at a host in it. Replicas that share a host should have their names in their certificates.
    pub certificates: Vec<u8>,
    /// The certificate's key.
    pub key: Vec<u8>,
    /// Who signs replicas' certificates, and nobody else's: whoever has one can do to the store what a member can.
    pub ca: Vec<u8>,
}

impl fmt::Debug for PeerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key is nobody's business.
        f.debug_struct("PeerTls").finish_non_exhaustive()
    }
}

impl PeerTls {
    /// A replica with this certificate among those that `ca` signed.
    pub fn new(certificates: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>, ca: impl Into<Vec<u8>>) -> Self {
        Self { certificates: certificates.into(), key: key.into(), ca: ca.into() }
    }
}

/// How a [`PeerNetwork`](crate::PeerNetwork) is set up.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PeerConfig {
    /// This replica's number.
    pub id: u64,
    /// Where the replicas are, by number, as `host:port` or as URL: for a start. When the store knows its members,
    /// their URLs count.
    pub peers: BTreeMap<u64, Vec<String>>,
    /// Certificates. Without them whoever reaches the listener controls the store, and whoever is in between reads
    /// along: that is for loopback and for tests.
    pub tls: Option<PeerTls>,
    /// How long a connection may take to come about, the handshakes included. 2 s.
    pub connect_timeout: Duration,
    /// The longest pause between two tries to connect; the first is 50 ms, each is twice the one before. 1 s.
    pub back_off_max: Duration,
    /// How often the other side is asked for a sign of life. 1 s.
    pub keep_alive_interval: Duration,
    /// How long the sign of life may take before the connection is given up. 3 s.
    pub keep_alive_timeout: Duration,
    /// Messages that may wait for a connection; further ones are dropped. 4,096.
    pub waiting_max: usize,
    /// The same in bytes. 32 MiB.
    pub waiting_bytes_max: usize,
    /// The longest message that is taken. 64 MiB.
    pub message_bytes_max: usize,
    /// The most connections that others may have to this replica at a time. 256.
    pub connections_max: usize,
}

impl PeerConfig {
    /// Replica `id`, with nobody else yet and without certificates.
    pub fn new(id: u64) -> Self {
        Self {
            id,
            peers: BTreeMap::new(),
            tls: None,
            connect_timeout: Duration::from_secs(2),
            back_off_max: Duration::from_secs(1),
            keep_alive_interval: Duration::from_secs(1),
            keep_alive_timeout: Duration::from_secs(3),
            waiting_max: 4096,
            waiting_bytes_max: 32 << 20,
            message_bytes_max: 64 << 20,
            connections_max: 256,
        }
    }

    /// The same, with a replica that is reached at `address`.
    #[must_use]
    pub fn peer(mut self, id: u64, address: impl Into<String>) -> Self {
        self.peers.entry(id).or_default().push(address.into());
        self
    }

    /// The same, with certificates.
    #[must_use]
    pub fn tls(mut self, tls: PeerTls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// What can be wrong with it.
    pub(super) fn validate(&self) -> Result<(), Error> {
        let mut wrong = Vec::new();
        for address in self.peers.values().flatten() {
            if let Err(reason) = Address::parse(address) {
                wrong.push(format!("peer {address}: {reason}"));
            } else if self.tls.is_none() && address.starts_with("https://") {
                wrong.push(format!("peer {address}: there is no certificate to show it"));
            }
        }
        if self.waiting_max == 0 || self.waiting_bytes_max == 0 || self.message_bytes_max == 0 {
            wrong.push("waiting_max, waiting_bytes_max and message_bytes_max must be above 0".to_owned());
        }
        if wrong.is_empty() { Ok(()) } else { Err(Error::invalid(wrong.join("; "))) }
    }
}

/// Where a replica is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// The name or address, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

impl Address {
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = rest.rsplit_once(':').ok_or("it must have a port, as in host:2380")?;
        let port = port.parse().map_err(|_| "its port must be a number below 65536")?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = bare.unwrap_or(host);
        if host.is_empty() || host.contains('/') || (bare.is_none() && host.contains(':')) {
            return Err("it must be host:port, with brackets around an IPv6 address");
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

/// Both sides of TLS.
#[derive(Clone)]
pub(super) struct Identity {
    pub(super) client: Arc<ClientConfig>,
    pub(super) server: Arc<ServerConfig>,
}

impl Identity {
    pub(super) fn new(tls: &PeerTls) -> Result<Self, Error> {
        let bad = |what: &str, why: String| Error::invalid(format!("{what}: {why}"));
        let chain = certificates("the peer certificate", &tls.certificates)?;
        let key = PrivateKeyDer::from_pem_slice(&tls.key).map_err(|error| bad("the peer key", error.to_string()))?;
        let mut roots = RootCertStore::empty();
        for authority in certificates("the peers' authority", &tls.ca)? {
            roots.add(authority).map_err(|error| bad("the peers' authority", error.to_string()))?;
        }
        let roots = Arc::new(roots);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let pair = |error: rustls::Error| bad("peer certificate and key", error.to_string());
        let version = |error: rustls::Error| bad("tls", error.to_string());

        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone()).build();
        let verifier = verifier.map_err(|error| bad("the peers' authority", error.to_string()))?;
        let server = ServerConfig::builder_with_provider(provider.clone());
        let server = server.with_protocol_versions(&[&rustls::version::TLS13]).map_err(version)?;
        let server = server.with_client_cert_verifier(verifier).with_single_cert(chain.clone(), key.clone_key());
        let mut server = server.map_err(pair)?;

        let client = ClientConfig::builder_with_provider(provider);
        let client = client.with_protocol_versions(&[&rustls::version::TLS13]).map_err(version)?;
        let client = client.with_root_certificates(roots).with_client_auth_cert(chain, key);
        let mut client = client.map_err(pair)?;

        server.alpn_protocols = vec![b"h2".to_vec()];
        client.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self { client: Arc::new(client), server: Arc::new(server) })
    }
}

fn certificates(what: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| Error::invalid(format!("{what}: {error}")))?;
    if found.is_empty() {
        return Err(Error::invalid(format!("{what}: no certificate in it")));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        let address = |text| Address::parse(text).map(|address| (address.host, address.port));
        for text in ["n1:2380", "http://n1:2380", "https://n1:2380/"] {
            assert_eq!(address(text), Ok(("n1".to_owned(), 2380)), "{text}");
        }
        assert_eq!(address("[::1]:1"), Ok(("::1".to_owned(), 1)));
        for text in ["n1", "n1:", "n1:70000", ":1", "::1:1", "http://n1:1/path", ""] {
            assert!(address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let config = PeerConfig::new(1).peer(2, "nowhere").peer(3, "https://n3:1");
        let Err(Error::InvalidRequest { reason }) = config.validate() else { panic!("valid") };
        assert!(reason.contains("nowhere") && reason.contains("n3:1: there is no certificate"), "{reason}");
        assert!(Identity::new(&PeerTls::new("", "", "")).is_err());
    }
}
