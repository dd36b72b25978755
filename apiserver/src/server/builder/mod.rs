//! Putting a server together.

mod start;

use std::net::SocketAddr;
#[cfg(feature = "serve")]
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kubewright_api::status::Status;
use kubewright_store::Store;

use super::Parts;
use super::core::Settings;
use super::options::{Authorities, Options};
use crate::admission::{AdmissionConfig, PodSecurityConfig};
use crate::allocate::{AddressRange, PortRange};
use crate::audit::AuditConfig;
use crate::authn::token::Issuer;
use crate::authn::{Anonymous, Authenticator, StructuredAuthentication, TokenWebhookConfig};
use crate::authz::{Authorizer, StructuredAuthorization};
#[cfg(feature = "serve")]
use crate::connect::DialNode;
use crate::discovery::Check;
#[cfg(feature = "encryption")]
use crate::encryption::Encryption;
use crate::environment::{Environment, SystemEnvironment};
use crate::fairness::FairnessConfig;
use crate::objects::GroupResource;
use crate::registry::OwnResource;
use crate::registry::cache::Limits;
use crate::registry::table::Choice;
use crate::remote::Remote;
use crate::request::User;

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The store cannot be read. Look into the store.
    #[error("the store cannot be read: {reason}")]
    Store {
        /// What the store said.
        reason: String,
    },
    /// A key or certificate can't be used.
    #[error("invalid configuration: {problem}")]
    Configuration {
        /// What is wrong with which.
        problem: String,
    },
    /// An object that every server has could not be made.
    #[error("bootstrap failed: {0}")]
    Bootstrap(#[source] Status),
}

type Customize = Box<dyn FnOnce(&mut Parts) + Send>;

/// Builds an [`ApiServer`](super::ApiServer).
#[must_use]
pub struct Builder {
    store: Arc<dyn Store>,
    environment: Arc<dyn Environment>,
    bare: bool,
    options: Options,
    limits: Limits,
    choice: Choice,
    settings: Settings,
    customize: Vec<Customize>,
}

impl Builder {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            environment: Arc::new(SystemEnvironment),
            bare: false,
            options: Options::default(),
            limits: Limits::default(),
            choice: Choice::default(),
            settings: Settings::default(),
            customize: Vec::new(),
        }
    }

    /// Takes time and randomness from there.
    pub fn environment(mut self, environment: Arc<dyn Environment>) -> Self {
        self.environment = environment;
        self
    }

    /// Allows everyone everything: no authorization, and so no bootstrap roles and bindings either.
    pub fn allow_all(mut self) -> Self {
        self.options.allow_all = true;
        self
    }

    /// Asks this authenticator too who a request comes from, before the standard ones.
    pub fn authenticator(mut self, authenticator: Arc<dyn Authenticator>) -> Self {
        self.options.authenticators.push(authenticator);
        self
    }

    /// Asks this authorizer too who may do what, before the standard ones (Node and RBAC).
    pub fn authorizer(mut self, authorizer: Arc<dyn Authorizer>) -> Self {
        self.options.authorizers.push(authorizer);
        self
    }

    /// Takes these bearer tokens for these users.
    pub fn static_tokens(mut self, tokens: impl IntoIterator<Item = (String, User)>) -> Self {
        self.options.static_tokens.extend(tokens);
        self
    }

    /// Issues and takes service account tokens of this issuer (default: one with a key of its own, made anew).
    pub fn service_account_issuer(mut self, issuer: Issuer) -> Self {
        self.options.issuer = Some(issuer);
        self
    }

    /// Says where others find the keys of service account tokens, an https URL (default: at the advertised address). The
    /// discovery document names it.
    pub fn service_account_jwks_uri(mut self, url: impl Into<String>) -> Self {
        self.options.jwks_uri = Some(url.into());
        self
    }

    /// Takes client certificates that these authorities (PEM) signed.
    /// Needs feature `serve`; without it no connection carries any.
    pub fn client_authorities(mut self, pem: impl Into<String>) -> Self {
        self.options.client_authorities = Some(Authorities::Text(pem.into()));
        self
    }

    /// Takes client certificates that the authorities in this file (PEM) signed, and follows the file while the server
    /// runs.
    #[cfg(feature = "serve")]
    pub fn client_authorities_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.options.client_authorities = Some(Authorities::File(path.into()));
        self
    }

    /// Tells extension servers that the certificate of a front proxy, whose name is `front-proxy-client`, is signed by these
    /// authorities (PEM; default: those of [`front_proxy`](Self::front_proxy), where the feature `serve` is on).
    pub fn front_proxy_authorities(mut self, pem: impl Into<String>) -> Self {
        self.options.front_proxy_authorities = Some(pem.into());
        self
    }

    /// Shows this certificate and key (PEM) to the servers behind APIServices, so that they believe whom it says a request
    /// comes from. Needs feature `serve`; without it there are none.
    pub fn front_proxy_client(mut self, certificate: &str, key: &str) -> Self {
        self.options.front_proxy_client = Some((certificate.into(), key.into()));
        self
    }

    /// Takes bootstrap tokens, which are Secrets in `kube-system` (default: it does not).
    pub fn bootstrap_tokens(mut self) -> Self {
        self.options.bootstrap_tokens = true;
        self
    }

    /// Believes the `X-Remote-…` headers of clients whose certificate these authorities (PEM) signed for one of these
    /// common names. The authorities must sign for nobody else.
    #[cfg(feature = "serve")]
    pub fn front_proxy(mut self, authorities: impl Into<String>, names: Vec<String>) -> Self {
        self.options.front_proxy = Some((Authorities::Text(authorities.into()), names));
        self
    }

    /// As [`front_proxy`](Self::front_proxy) with the authorities in this file (PEM), which is followed while the server runs.
    #[cfg(feature = "serve")]
    pub fn front_proxy_file(mut self, path: impl Into<PathBuf>, names: Vec<String>) -> Self {
        self.options.front_proxy = Some((Authorities::File(path.into()), names));
        self
    }

    /// Leaves out the admission plugin of that name, such as `ServiceAccount` where nothing makes service accounts.
    pub fn without_admission(mut self, plugin: &str) -> Self {
        self.options.admission_off.push(plugin.to_owned());
        self
    }

    /// Holds pods to the Pod Security Standards so (default: as the labels of their namespaces say).
    pub fn pod_security(mut self, config: PodSecurityConfig) -> Self {
        self.options.admission.pod_security = config;
        self
    }

    /// Tells admission plugins what upstream's `AdmissionConfiguration` says (default: as upstream without one). It takes
    /// the place of what [`pod_security`](Self::pod_security) said before.
    pub fn admission_config(mut self, config: AdmissionConfig) -> Self {
        self.options.admission = config;
        self
    }

    /// Reaches webhooks and other servers so (default: over TLS where feature `serve` is on, and else not at all).
    pub fn remote(mut self, remote: Arc<dyn Remote>) -> Self {
        self.options.remote = remote;
        self
    }

    /// Keeps an audit log (default: none).
    pub fn audit(mut self, config: AuditConfig) -> Self {
        self.options.audit = Some(config);
        self
    }

    /// Tells of this part of the control plane, too, in `componentstatuses` (default: of the store alone, as `etcd-0`).
    /// Upstream's names are `scheduler` and `controller-manager`.
    pub fn component(mut self, name: &str, check: Arc<dyn Check>) -> Self {
        self.options.components.push((name.to_owned(), check));
        self
    }

    /// Traces requests so (default: it does not).
    #[cfg(feature = "traces")]
    pub fn traces(mut self, traces: crate::traces::Traces) -> Self {
        self.options.traces = Some(traces);
        self
    }

    /// Encrypts objects in the store so (default: it does not).
    #[cfg(feature = "encryption")]
    pub fn encryption(mut self, encryption: Encryption) -> Self {
        self.options.encryption = Some(encryption);
        self
    }

    /// Says how much runs at once (default: upstream's 600 seats, shared out by API priority and fairness).
    pub fn fairness(mut self, config: FairnessConfig) -> Self {
        self.options.fairness = Some(config);
        self
    }

    /// Goes by no flow schemas: 400 requests that read and 200 that write run at once, whoever's they are.
    pub fn without_fairness(mut self) -> Self {
        self.options.fairness = None;
        self
    }

    /// Says who may come without credentials (default: who asks for `/livez`, `/readyz` or `/healthz`).
    pub fn anonymous(mut self, anonymous: Anonymous) -> Self {
        self.options.anonymous = Some(anonymous);
        self
    }

    /// Takes tokens of these issuers too, and lets anonymous requests in where that configuration says.
    pub fn authentication(mut self, authentication: StructuredAuthentication) -> Self {
        self.options.authentication = Some(authentication);
        self
    }

    /// Asks a webhook whose the tokens are that nobody else knows.
    pub fn token_webhook(mut self, config: TokenWebhookConfig) -> Self {
        self.options.token_webhook = Some(config);
        self
    }

    /// Asks the authorizers of this configuration who may do what, in place of Node and RBAC.
    pub fn authorization(mut self, authorization: StructuredAuthorization) -> Self {
        self.options.authorization = Some(authorization);
        self
    }

    /// Takes cluster IPs from this range (default: `10.96.0.0/16`).
    pub fn service_addresses(mut self, range: AddressRange) -> Self {
        self.options.service_addresses = range;
        self
    }

    /// Takes node ports from this range (default: `30000-32767`).
    pub fn node_ports(mut self, range: PortRange) -> Self {
        self.options.node_ports = range;
        self
    }

    /// Reaches kubelets so, for logs, exec, attach and port-forward (default: not at all).
    #[cfg(feature = "serve")]
    pub fn kubelets(mut self, dial: Arc<dyn DialNode>) -> Self {
        self.options.kubelets = Some(dial);
        self
    }

    /// Has `pods/proxy` and `services/proxy` reach pods at loopback addresses too (default: refused), for runtimes whose
    /// pods share the server's host. Who may write the status of pods then reaches what listens on that host alone.
    #[cfg(feature = "serve")]
    pub fn loopback_pods(mut self) -> Self {
        self.options.loopback_pods = true;
        self
    }

    /// Says where pods reach the server: the endpoint of the `kubernetes` Service, and that Service's port (upstream's
    /// is 443). Without it there is no such Service.
    pub fn advertise(mut self, address: SocketAddr, service_port: u16) -> Self {
        self.options.advertise = Some(address);
        self.options.kubernetes_service_port = service_port;
        self
    }

    /// Serves of the built-in resources only these; none if there are none.
    ///
    /// What the rest of the server needs of those left out is left out too: no roles, no RBAC but for
    /// `system:masters`; no namespaces, no check that an object's namespace exists.
    pub fn only_resources<'a>(mut self, resources: impl IntoIterator<Item = GroupResource<'a>>) -> Self {
        let name = |resource: GroupResource<'_>| format!("{}/{}", resource.group, resource.resource);
        self.choice.built_in = Some(resources.into_iter().map(name).collect());
        self
    }

    /// Serves of the built-in resources only namespaces and definitions of custom resources: a server of whatever
    /// kinds its users define.
    pub fn only_custom_resources(self) -> Self {
        let definitions = GroupResource::new("apiextensions.k8s.io", "customresourcedefinitions");
        self.only_resources([definitions, GroupResource::core("namespaces")])
    }

    /// Serves a resource of the embedder's own too.
    pub fn resource(mut self, resource: OwnResource) -> Self {
        self.choice.own.push(resource);
        self
    }

    /// Leaves out the standard authorizers, admission plugins, endpoints and bootstrap objects.
    pub fn bare(mut self) -> Self {
        self.bare = true;
        self
    }

    /// Watchers that asked for bookmarks get one this often (default: a minute).
    pub fn bookmark_interval(mut self, interval: Duration) -> Self {
        self.settings.bookmark_interval = interval;
        self
    }

    /// Keeps at most so many changes and bytes of history for each resource, for watchers that resume or are slow
    /// (default: 8192 changes, 16 MiB).
    pub fn watch_history(mut self, changes_max: usize, bytes_max: usize) -> Self {
        self.limits = Limits { changes_max, bytes_max };
        self
    }

    /// Keeps the store's history at least so long, for lists of older versions and watches that resume (default: five
    /// minutes).
    pub fn history(mut self, history: Duration) -> Self {
        self.settings.history = history;
        self
    }

    /// Changes the parts that the server is put together of.
    pub fn customize(mut self, change: impl FnOnce(&mut Parts) + Send + 'static) -> Self {
        self.customize.push(Box::new(change));
        self
    }
}
