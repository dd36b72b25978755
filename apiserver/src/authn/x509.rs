//! Client certificates: the common name is the user, the organizations are the groups.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use http::request::Parts;
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Authenticator, AuthnError};
use crate::environment::Environment;
use crate::request::User;
use crate::watched_file::{self, WatchedFile};

/// Where a certificate may carry the user's UID.
const USER_UID_OID: &str = "1.3.6.1.4.1.57683.2";

/// The certificates that a connection's client showed, in the extensions of its requests. The handshake proved that
/// the client holds the key; whether to believe the certificate is decided here, so that the answer can be a 401.
#[derive(Clone)]
pub struct PeerCertificates {
    chain: Arc<[CertificateDer<'static>]>,
    /// Signatures that hold are checked once a connection and set of authorities, times with every request.
    as_client: Arc<Mutex<Option<Believed>>>,
    as_proxy: Arc<Mutex<Option<Believed>>>,
}

/// Whom the authorities of that generation vouch for. What they refuse is not kept: a certificate may not be in force yet.
struct Believed {
    generation: u64,
    identity: Identity,
    /// How long the certificate was valid for when it was last looked at, in seconds.
    left: i64,
}

#[derive(Clone)]
struct Identity {
    user: User,
    not_after: i64,
}

impl fmt::Debug for PeerCertificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerCertificates({})", self.chain.len())
    }
}

impl PeerCertificates {
    /// What a client showed, its own certificate first; `None` if it showed nothing.
    #[must_use]
    pub fn new(chain: Option<&[CertificateDer<'_>]>) -> Option<Self> {
        let chain: Vec<_> = chain?.iter().map(|certificate| certificate.clone().into_owned()).collect();
        (!chain.is_empty()).then(|| Self { chain: chain.into(), as_client: Arc::default(), as_proxy: Arc::default() })
    }

    /// For how many seconds more the client's certificate is valid, if it was believed.
    pub(super) fn seconds_left(&self) -> Option<i64> {
        let believed = self.as_client.lock().unwrap_or_else(PoisonError::into_inner);
        believed.as_ref().map(|believed| believed.left)
    }
}

/// The authorities whose client certificates are believed. Clones are handles onto the same authorities, which can be
/// replaced while the server runs: from then on a certificate of one that is gone is refused, also on connections that
/// there are.
#[derive(Clone)]
pub struct ClientAuthorities(Arc<watch::Sender<Trusted>>);

/// Who is believed at a time.
#[derive(Clone)]
pub(crate) struct Trusted {
    verifier: Arc<dyn ClientCertVerifier>,
    pem: Arc<str>,
    generation: u64,
}

impl fmt::Debug for ClientAuthorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClientAuthorities").field(&self.0.borrow().generation).finish()
    }
}

impl ClientAuthorities {
    /// The authorities in the PEM text.
    ///
    /// # Errors
    /// The text holds no certificate of an authority.
    pub fn new(pem: &str) -> Result<Self, AuthnError> {
        let trusted = Trusted { verifier: verifier(pem)?, pem: pem.into(), generation: 0 };
        Ok(Self(Arc::new(watch::Sender::new(trusted))))
    }

    /// The authorities in that file, and what follows the file until cancelled.
    pub(crate) async fn from_file(
        path: PathBuf,
        cancel: CancellationToken,
    ) -> Result<(Self, impl Future<Output = ()> + Send), AuthnError> {
        let (file, text) = WatchedFile::open(path).await.map_err(AuthnError::new)?;
        let authorities = Self::new(&text)?;
        Ok((authorities.clone(), authorities.follow(file, cancel)))
    }

    /// Believes the authorities in this PEM text from now on.
    ///
    /// # Errors
    /// The text holds no certificate of an authority; nothing changes then.
    pub fn replace(&self, pem: &str) -> Result<(), AuthnError> {
        let verifier = verifier(pem)?;
        self.0.send_modify(|trusted| {
            *trusted = Trusted { verifier, pem: pem.into(), generation: trusted.generation + 1 };
        });
        Ok(())
    }

    /// The certificates as text.
    pub(crate) fn pem(&self) -> Arc<str> {
        Arc::clone(&self.0.borrow().pem)
    }

    /// Tells when other authorities are believed.
    pub(crate) fn changes(&self) -> watch::Receiver<Trusted> {
        self.0.subscribe()
    }

    fn trusted(&self) -> Trusted {
        self.0.borrow().clone()
    }

    /// Takes over what is written into the file until cancelled.
    async fn follow(self, file: WatchedFile, cancel: CancellationToken) {
        let (authorities, file) = (&self, &file);
        let reload = || async move {
            let Some(text) = file.changed().await? else { return Ok(false) };
            let replaced = authorities.replace(&text).map_err(|error| error.reason);
            file.see(text);
            replaced.map(|()| true)
        };
        watched_file::follow::<_, String>("bundle of client authorities", reload, |_| {}, cancel).await;
    }
}

fn verifier(pem: &str) -> Result<Arc<dyn ClientCertVerifier>, AuthnError> {
    let fault = |what: &dyn fmt::Display| AuthnError::new(format!("client authorities: {what}"));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate.map_err(|e| fault(&e))?).map_err(|e| fault(&e))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().map_err(|e| fault(&e))
}

/// Believes client certificates that one of these authorities signed.
pub struct ClientCertificates {
    authorities: ClientAuthorities,
    environment: Arc<dyn Environment>,
}

impl fmt::Debug for ClientCertificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientCertificates")
    }
}

impl ClientCertificates {
    /// Believes what these authorities signed.
    #[must_use]
    pub fn new(authorities: ClientAuthorities, environment: Arc<dyn Environment>) -> Self {
        Self { authorities, environment }
    }

    /// The common name of a front proxy's certificate, if one of the authorities signed it and it is in force.
    pub(super) fn holder(&self, peer: &PeerCertificates) -> Option<String> {
        self.identify(peer, &peer.as_proxy).ok().map(|user| user.name)
    }

    fn identify(&self, peer: &PeerCertificates, believed: &Mutex<Option<Believed>>) -> Result<User, String> {
        let now = self.environment.now().as_second();
        let trusted = self.authorities.trusted();
        let mut believed = believed.lock().unwrap_or_else(PoisonError::into_inner);
        let known = believed.take_if(|known| known.generation == trusted.generation);
        let known = match known {
            Some(known) => known,
            None => {
                let identity = trusted.verify(&peer.chain, u64::try_from(now).unwrap_or_default());
                let identity = identity.map_err(|problem| format!("verifying certificate failed: {problem}"))?;
                Believed { generation: trusted.generation, identity, left: 0 }
            }
        };
        let known = believed.insert(known);
        known.left = known.identity.not_after - now;
        if known.left < 0 { Err("x509: certificate has expired".into()) } else { Ok(known.identity.user.clone()) }
    }
}

impl Trusted {
    fn verify(&self, chain: &[CertificateDer<'_>], now: u64) -> Result<Identity, String> {
        let (first, rest) = chain.split_first().ok_or("no certificate")?;
        let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now));
        self.verifier.verify_client_cert(first, rest, time).map_err(|error| error.to_string())?;
        let (_, parsed) = X509Certificate::from_der(first).map_err(|error| error.to_string())?;
        let mut user =
            User { name: text_of(parsed.subject().iter_common_name()).pop().unwrap_or_default(), ..User::default() };
        user.groups = text_of(parsed.subject().iter_organization());
        let uids = parsed.subject().iter_attributes().filter(|item| item.attr_type().to_id_string() == USER_UID_OID);
        let mut uids = text_of(uids);
        if uids.len() > 1 {
            return Err("expected 1 UID, but found multiple".into());
        }
        user.uid = uids.pop().unwrap_or_default();
        let digest = Sha256::digest(first.as_ref());
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        user.extra.insert("authentication.kubernetes.io/credential-id".into(), vec![format!("X509SHA256={hex}")]);
        Ok(Identity { user, not_after: parsed.validity().not_after.timestamp() })
    }
}

fn text_of<'a>(attributes: impl Iterator<Item = &'a x509_parser::prelude::AttributeTypeAndValue<'a>>) -> Vec<String> {
    attributes.filter_map(|item| item.as_str().ok().map(str::to_owned)).collect()
}

#[async_trait]
impl Authenticator for ClientCertificates {
    async fn authenticate(&self, parts: &Parts) -> Result<Option<User>, AuthnError> {
        let Some(peer) = parts.extensions.get::<PeerCertificates>() else { return Ok(None) };
        let user = self.identify(peer, &peer.as_client).map_err(AuthnError::new)?;
        // Without a name it is nobody's.
        Ok(Some(user).filter(|user| !user.name.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use jiff::{SignedDuration, Timestamp};

    use super::*;
    use crate::pki::{Authority, Profile};

    struct Clock(AtomicI64);

    impl Environment for Clock {
        fn now(&self) -> Timestamp {
            Timestamp::from_second(self.0.load(Ordering::Relaxed)).unwrap()
        }

        fn fill_random(&self, bytes: &mut [u8]) {
            bytes.fill(1);
        }
    }

    #[test]
    fn a_certificate_is_believed_once_it_is_in_force_and_no_longer() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let authority = Authority::generate("ca", now - SignedDuration::from_hours(48)).unwrap();
        let issued = authority.issue(&Profile::client("alice", &[]), now).unwrap();
        let shown = CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap();
        let peer = PeerCertificates::new(Some(&[shown])).unwrap();
        let clock = Arc::new(Clock(AtomicI64::new(now.as_second() - 3 * 86_400)));
        let authorities = ClientAuthorities::new(authority.certificate_pem()).unwrap();
        let certificates = ClientCertificates::new(authorities, clock.clone());
        let identify = |at: i64| {
            clock.0.store(at, Ordering::Relaxed);
            certificates.identify(&peer, &peer.as_client).map(|user| user.name)
        };
        assert!(identify(now.as_second() - 3 * 86_400).is_err(), "not yet in force");
        assert_eq!(identify(now.as_second()).as_deref(), Ok("alice"));
        let left = peer.seconds_left().unwrap();
        assert!((364 * 86_400..=366 * 86_400).contains(&left), "{left}");
        assert!(identify(now.as_second() + 366 * 86_400).is_err(), "expired");
        assert_eq!(identify(now.as_second()).as_deref(), Ok("alice"));
    }
}
