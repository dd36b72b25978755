//! What a server can be told about its standard parts.

use std::net::SocketAddr;
#[cfg(feature = "serve")]
use std::path::PathBuf;
use std::sync::Arc;

use crate::admission::AdmissionConfig;
use crate::allocate::{AddressRange, PortRange};
use crate::audit::AuditConfig;
#[cfg(feature = "serve")]
use crate::authn::ClientAuthorities;
use crate::authn::token::Issuer;
use crate::authn::{Anonymous, Authenticator, StructuredAuthentication, TokenWebhookConfig};
use crate::authz::{Authorizer, StructuredAuthorization};
#[cfg(feature = "serve")]
use crate::connect::DialNode;
use crate::discovery::Check;
#[cfg(feature = "encryption")]
use crate::encryption::Encryption;
use crate::fairness::FairnessConfig;
use crate::remote::{self, Remote};
use crate::request::User;

/// Certificates of authorities.
pub(super) enum Authorities {
    /// As text (PEM).
    Text(String),
    /// In a file, which is followed.
    #[cfg(feature = "serve")]
    File(PathBuf),
}

/// See the methods of [`Builder`](super::Builder) for what each means.
pub(super) struct Options {
    pub(super) allow_all: bool,
    pub(super) authenticators: Vec<Arc<dyn Authenticator>>,
    pub(super) authorizers: Vec<Arc<dyn Authorizer>>,
    pub(super) static_tokens: Vec<(String, User)>,
    pub(super) issuer: Option<Issuer>,
    pub(super) jwks_uri: Option<String>,
    pub(super) anonymous: Option<Anonymous>,
    pub(super) authentication: Option<StructuredAuthentication>,
    pub(super) authorization: Option<StructuredAuthorization>,
    pub(super) token_webhook: Option<TokenWebhookConfig>,
    pub(super) service_addresses: AddressRange,
    pub(super) node_ports: PortRange,
    pub(super) advertise: Option<SocketAddr>,
    pub(super) kubernetes_service_port: u16,
    pub(super) client_authorities: Option<Authorities>,
    /// What became of them.
    #[cfg(feature = "serve")]
    pub(super) client_trust: Option<ClientAuthorities>,
    pub(super) front_proxy_authorities: Option<String>,
    /// Certificate and key.
    pub(super) front_proxy_client: Option<(Arc<str>, Arc<str>)>,
    pub(super) admission_off: Vec<String>,
    pub(super) bootstrap_tokens: bool,
    #[cfg(feature = "serve")]
    pub(super) front_proxy: Option<(Authorities, Vec<String>)>,
    /// What became of them.
    #[cfg(feature = "serve")]
    pub(super) proxy_trust: Option<(ClientAuthorities, Vec<String>)>,
    pub(super) admission: AdmissionConfig,
    pub(super) remote: Arc<dyn Remote>,
    pub(super) audit: Option<AuditConfig>,
    #[cfg(feature = "encryption")]
    pub(super) encryption: Option<Encryption>,
    #[cfg(feature = "traces")]
    pub(super) traces: Option<crate::traces::Traces>,
    pub(super) fairness: Option<FairnessConfig>,
    /// What must be well, beside the store.
    pub(super) checks: Vec<Arc<dyn Check>>,
    /// What `componentstatuses` tells of, beside the store.
    pub(super) components: Vec<(String, Arc<dyn Check>)>,
    #[cfg(feature = "serve")]
    pub(super) kubelets: Option<Arc<dyn DialNode>>,
    #[cfg(feature = "serve")]
    pub(super) loopback_pods: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            allow_all: false,
            authenticators: Vec::new(),
            authorizers: Vec::new(),
            static_tokens: Vec::new(),
            issuer: None,
            jwks_uri: None,
            anonymous: None,
            authentication: None,
            authorization: None,
            token_webhook: None,
            service_addresses: AddressRange::default(),
            node_ports: PortRange::default(),
            advertise: None,
            kubernetes_service_port: 443,
            client_authorities: None,
            #[cfg(feature = "serve")]
            client_trust: None,
            front_proxy_authorities: None,
            front_proxy_client: None,
            admission_off: Vec::new(),
            bootstrap_tokens: false,
            #[cfg(feature = "serve")]
            front_proxy: None,
            #[cfg(feature = "serve")]
            proxy_trust: None,
            admission: AdmissionConfig::default(),
            remote: remote::standard(),
            audit: None,
            #[cfg(feature = "encryption")]
            encryption: None,
            #[cfg(feature = "traces")]
            traces: None,
            fairness: Some(FairnessConfig::default()),
            checks: Vec::new(),
            components: Vec::new(),
            #[cfg(feature = "serve")]
            kubelets: None,
            #[cfg(feature = "serve")]
            loopback_pods: false,
        }
    }
}
