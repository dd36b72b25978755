//! The parts of a standard server, and the objects it makes when it starts.

use std::sync::Arc;

use async_trait::async_trait;
use kubewright_api::status::Status;
use kubewright_store::Store;
use tokio_util::sync::CancellationToken;

use super::Parts;
use super::components::ComponentStatuses;
use super::gate::{Gate, Share};
use super::options::{Authorities, Options};
use crate::admission::{self, Admission, AdmissionMetrics};
use crate::aggregate::{API_SERVICES, Availability, Extensions, LocalServices, at_start};
use crate::allocate::ServiceAllocator;
use crate::audit::{AuditMetrics, Auditor};
use crate::authn::token::{Issuer, SecretTokens, ServiceAccountTokens, SigningKey, TokenRequests};
use crate::authn::{
    AudienceAgnostic, Authentication, Authenticator, AuthnMetrics, Bearer, BootstrapTokens, JwtMetrics, StaticTokens,
    StructuredAuthentication, TokenAuthenticator, TokenWebhook,
};
use crate::authz::node::NodeAuthorizer;
use crate::authz::rbac::{EscalationCheck, Rbac};
use crate::authz::reviews::Reviews;
use crate::authz::{AllowAll, Authorizer, AuthorizerConfig, AuthzMetrics, Chain, Lent, SystemMasters, counted};
use crate::bootstrap;
use crate::bootstrap::BootstrapConfig;
use crate::bootstrap::extension_authentication::{Bundle, ExtensionAuthentication};
use crate::device_access::DeviceAccess;
use crate::discovery::{
    Check, Groups, Health, HealthMetrics, Index, KEY_SET, MetricsPage, OpenApi, TokenKeys, Version,
};
use crate::environment::Environment;
use crate::fairness::{Fairness, FairnessMetrics};
use crate::layers::Metrics;
use crate::objects::{GroupResource, Objects};
use crate::registry::StorageMetrics;
use crate::watched_file::ReloadMetrics;

/// The issuer of service account tokens where none is given; upstream's default.
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// Health: whether the store answers.
struct StoreCheck(Arc<dyn Store>);

#[async_trait]
impl Check for StoreCheck {
    fn name(&self) -> &str {
        // Upstream's name, by which monitoring asks.
        "etcd"
    }

    async fn check(&self) -> Result<(), String> {
        self.0.status().await.map(drop).map_err(|error| error.to_string())
    }
}

/// What the standard parts are made of.
pub(super) struct Standard {
    pub(super) authorizer: Arc<dyn Authorizer>,
    pub(super) audit_metrics: AuditMetrics,
    authentication: Authentication,
    bearer: Bearer,
    rbac: Option<Rbac>,
    issuer: Arc<Issuer>,
    metrics: Metrics,
    fairness_metrics: FairnessMetrics,
    authz_metrics: AuthzMetrics,
    admission_metrics: AdmissionMetrics,
    health_metrics: HealthMetrics,
    storage_metrics: StorageMetrics,
    extensions: Arc<Extensions>,
    options: Options,
}

impl Standard {
    pub(super) fn new(
        mut options: Options,
        objects: &Arc<dyn Objects>,
        environment: &Arc<dyn Environment>,
    ) -> Result<Self, String> {
        let issuer = match options.issuer.take() {
            Some(issuer) => issuer,
            None => Issuer::new(ISSUER, SigningKey::generate().map_err(|error| error.to_string())?),
        };
        let issuer = Arc::new(issuer);
        if let Some(authentication) = &options.authentication {
            authentication.disallow(&issuer.names()).map_err(|error| error.to_string())?;
        }
        if let Some(url) = options.jwks_uri.as_deref().filter(|url| !is_https(url)) {
            return Err(format!("service account JWKS URI {url:?}: must be an https URL"));
        }
        let bearer = bearer(&mut options, &issuer, objects, environment);
        let mut registry = prometheus_client::registry::Registry::default();
        let authentication = authentication(&mut options, &bearer, environment)?;
        let authentication = authentication.measured(AuthnMetrics::new(&mut registry));
        let admission_metrics = AdmissionMetrics::new(&mut registry);
        let health_metrics = HealthMetrics::new(&mut registry);
        let storage_metrics = StorageMetrics::new(&mut registry);
        let fairness_metrics = FairnessMetrics::new(&mut registry);
        let audit_metrics = AuditMetrics::new(&mut registry);
        crate::custom::show_metrics(&mut registry);
        let authz_metrics = AuthzMetrics::new(&mut registry);
        if let Some(authentication) = &options.authentication {
            let tokens = JwtMetrics::new(&mut registry);
            authentication.measure(tokens, ReloadMetrics::new(&mut registry, "authentication"));
        }
        if let Some(authorization) = &options.authorization {
            authorization.measure(ReloadMetrics::new(&mut registry, "authorization"));
        }
        #[cfg(feature = "encryption")]
        if let Some(encryption) = &options.encryption {
            encryption.measure(ReloadMetrics::new(&mut registry, "encryption"));
        }
        let (authorizer, rbac) = authorizer(&mut options, objects, &authz_metrics);
        let metrics = Metrics::with_registry(registry);
        let extensions = Extensions::observing(&**objects);
        Ok(Self {
            authorizer,
            audit_metrics,
            authentication,
            bearer,
            rbac,
            issuer,
            metrics,
            fairness_metrics,
            authz_metrics,
            admission_metrics,
            health_metrics,
            storage_metrics,
            extensions,
            options,
        })
    }

    /// Adds the standard admission plugins, endpoints and hooks.
    pub(super) fn install(
        &self,
        parts: &mut Parts,
        store: Arc<dyn Store>,
        unready: &CancellationToken,
        draining: &CancellationToken,
    ) {
        let (objects, environment) = (Arc::clone(&parts.objects), Arc::clone(&parts.environment));
        #[cfg(not(feature = "serve"))]
        let _ = draining;
        parts.admission = admission::standard(
            &objects,
            &self.authorizer,
            &environment,
            self.options.admission.clone(),
            &self.options.remote,
            &self.admission_metrics,
        );
        parts.admission.retain(|plugin| !self.options.admission_off.iter().any(|off| off == plugin.name()));
        if !objects.serves(GroupResource::core("namespaces")) {
            parts.admission.retain(|plugin| plugin.name() != "NamespaceLifecycle");
        }
        if let Some(rbac) = &self.rbac {
            // Before quotas, which count what is let in.
            let check = EscalationCheck::new(rbac.clone(), Arc::clone(&self.authorizer));
            parts.admission.insert(0, Arc::new(check));
        }
        for plugin in &mut parts.admission {
            *plugin = self.admission_metrics.measured(Arc::clone(plugin));
        }
        let together: Arc<[Arc<dyn Admission>]> = [self.admission_metrics.together(parts.admission.clone())].into();
        let tokens = TokenRequests::new(
            Arc::clone(&self.issuer),
            Arc::clone(&objects),
            Arc::clone(&environment),
            Arc::clone(&together),
        );
        let reviews = Reviews::new(Arc::clone(&self.authorizer), self.rbac.clone(), Some(self.bearer.clone()));
        let reviews = reviews.admitted(Arc::clone(&together));
        self.storage_metrics.follow(&parts.registry);
        self.metrics.follow(&parts.registry);
        let metrics = MetricsPage::new(self.metrics.clone());
        let metrics = metrics.of_store(self.storage_metrics.clone(), Arc::clone(&store));
        let store: Arc<dyn Check> = Arc::new(StoreCheck(store));
        let mut components = vec![("etcd-0".to_owned(), Arc::clone(&store))];
        components.extend(self.options.components.iter().cloned());
        let mut checks = vec![store];
        checks.extend(self.options.checks.iter().cloned());
        #[cfg(feature = "serve")]
        parts.endpoints.push(Arc::new(crate::aggregate::Aggregator::new(
            Arc::clone(&self.extensions),
            Arc::clone(&objects),
            self.options.front_proxy_client.clone(),
            draining.clone(),
        )));
        let (resources, extensions) = (&parts.registry.resources, &self.extensions);
        let names = checks.iter().map(|check| check.name().to_owned()).collect();
        parts.endpoints.extend([
            Arc::new(Index::new(Arc::clone(resources), Arc::clone(extensions), names)) as _,
            Arc::new(Groups::new(Arc::clone(resources), Arc::clone(extensions))) as _,
            Arc::new(OpenApi::new(Arc::clone(resources), Arc::clone(extensions))) as _,
            Arc::new(Version) as _,
            Arc::new(Health::new(checks, unready.clone()).measured(self.health_metrics.clone())) as _,
            Arc::new(metrics) as _,
            Arc::new(TokenKeys::new(Arc::clone(&self.issuer), self.key_set_url())) as _,
            Arc::new(tokens) as _,
            Arc::new(reviews) as _,
        ]);
        if let Some(statuses) = ComponentStatuses::new(&resources.infos().0, components) {
            parts.endpoints.push(Arc::new(statuses));
        }
        #[cfg(feature = "serve")]
        parts.endpoints.push(Arc::new(crate::connect::Connect::new(
            Arc::clone(&objects),
            self.options.kubelets.clone(),
            Arc::clone(&together),
            draining.clone(),
        )));
        #[cfg(feature = "serve")]
        {
            let (objects, kubelets) = (Arc::clone(&objects), self.options.kubelets.clone());
            let proxy = crate::connect::Proxy::new(objects, kubelets, Arc::clone(&together), draining.clone());
            parts.endpoints.push(Arc::new(proxy.loopback_pods(self.options.loopback_pods)));
        }
        let allocator = Arc::new(ServiceAllocator::new(
            self.options.service_addresses.clone(),
            self.options.node_ports,
            environment,
        ));
        parts.hook(GroupResource::core("services"), Arc::clone(&allocator) as _);
        objects.observe(GroupResource::core("services"), allocator);
        let devices = |resource| GroupResource::new("resource.k8s.io", resource);
        parts.hook(devices("resourceclaims"), Arc::new(DeviceAccess::of_claims(Arc::clone(&objects))));
        parts.hook(devices("resourceclaimtemplates"), Arc::new(DeviceAccess::of_templates(objects)));
    }

    /// Where the discovery document says that the keys of service account tokens are: as configured, or at the address by
    /// which pods reach the server.
    fn key_set_url(&self) -> String {
        let options = &self.options;
        options.jwks_uri.clone().unwrap_or_else(|| match options.advertise {
            Some(address) => format!("https://{address}{KEY_SET}"),
            None => format!("https://kubernetes.default.svc{KEY_SET}"),
        })
    }

    /// Has all plugins measured together.
    pub(super) fn measure_admission(&self, parts: &mut Parts) {
        if !parts.admission.is_empty() {
            parts.admission = vec![self.admission_metrics.together(std::mem::take(&mut parts.admission))];
        }
    }

    /// Who goes first under load, where its configuration is served.
    pub(super) fn fairness(&self, parts: &Parts) -> Option<Fairness> {
        let config = self.options.fairness?;
        let served = ["flowschemas", "prioritylevelconfigurations"]
            .iter()
            .all(|name| parts.objects.serves(GroupResource::new("flowcontrol.apiserver.k8s.io", name)));
        let registry = Arc::clone(&parts.registry);
        let extents = Arc::new(move |group: &str, resource: &str| registry.extent(GroupResource::new(group, resource)));
        served.then(|| Fairness::new(config, &*parts.objects, self.fairness_metrics.clone(), extents))
    }

    /// What keeps looking whether the servers behind APIServices answer; nothing where there can be none.
    pub(super) fn availability(&self, parts: &Parts) -> Option<Availability> {
        parts.objects.serves(API_SERVICES).then(|| Availability {
            extensions: Arc::clone(&self.extensions),
            objects: Arc::clone(&parts.objects),
            environment: Arc::clone(&parts.environment),
            remote: Arc::clone(&self.options.remote),
            identity: self.options.front_proxy_client.clone(),
        })
    }

    /// What keeps the APIServices of groups that come and go; nothing where there can be none.
    pub(super) fn local_services(&self, parts: &Parts) -> Option<LocalServices> {
        parts.objects.serves(API_SERVICES).then(|| LocalServices {
            resources: Arc::clone(&parts.registry.resources),
            objects: Arc::clone(&parts.objects),
            extensions: Arc::clone(&self.extensions),
        })
    }

    /// The layers around the handlers.
    pub(super) fn gate(
        &self,
        parts: &Parts,
        fairness: Option<Fairness>,
        draining: CancellationToken,
        auditor: Option<Arc<Auditor>>,
    ) -> Gate {
        let gate = Gate::new(
            self.authentication.clone(),
            &self.authorizer,
            self.authz_metrics.clone(),
            self.metrics.clone(),
            Share::new(fairness),
            Arc::clone(&parts.environment),
            draining,
            auditor,
        );
        #[cfg(feature = "traces")]
        let gate = gate.traced(self.options.traces.clone());
        gate
    }

    /// Whom extension servers are to believe.
    pub(super) fn extension_authentication(&self) -> ExtensionAuthentication {
        let options = &self.options;
        let text = |authorities: &Authorities| match authorities {
            Authorities::Text(pem) => Some(Bundle::Fixed(pem.as_str().into())),
            #[cfg(feature = "serve")]
            Authorities::File(_) => None,
        };
        let clients = options.client_authorities.as_ref().and_then(text);
        let named = options.front_proxy_authorities.as_deref();
        let proxies = named.map(|pem| (Bundle::Fixed(pem.into()), vec!["front-proxy-client".to_owned()]));
        #[cfg(feature = "serve")]
        let clients = options.client_trust.clone().map(Bundle::Followed).or(clients);
        #[cfg(feature = "serve")]
        let proxies = proxies.or_else(|| {
            let (trust, names) = options.proxy_trust.clone()?;
            Some((Bundle::Followed(trust), names))
        });
        ExtensionAuthentication { clients, proxies }
    }

    /// Makes the objects that a standard server makes when it starts.
    pub(super) async fn bootstrap(&self, parts: &Parts) -> Result<(), Status> {
        let config = BootstrapConfig {
            service_addresses: self.options.service_addresses.clone(),
            advertise: self.options.advertise,
            with_policy: self.rbac.is_some(),
            service_port: self.options.kubernetes_service_port,
            now: parts.environment.now(),
        };
        bootstrap::run(&*parts.objects, &config).await?;
        self.extension_authentication().ensure(&*parts.objects).await?;
        let services = at_start(&parts.registry.resources.infos().0);
        bootstrap::ensure_all(&*parts.objects, services).await
    }
}

fn is_https(url: &str) -> bool {
    url.parse::<http::Uri>().is_ok_and(|url| url.scheme_str() == Some("https") && url.authority().is_some())
}

fn bearer(
    options: &mut Options,
    issuer: &Arc<Issuer>,
    objects: &Arc<dyn Objects>,
    environment: &Arc<dyn Environment>,
) -> Bearer {
    let mut authenticators: Vec<Arc<dyn TokenAuthenticator>> = Vec::new();
    let audiences = &issuer.audiences;
    if !options.static_tokens.is_empty() {
        let tokens = StaticTokens::new(std::mem::take(&mut options.static_tokens));
        authenticators.push(Arc::new(AudienceAgnostic::new(tokens, audiences.clone())));
    }
    let accounts = ServiceAccountTokens::new(Arc::clone(issuer), Arc::clone(objects), Arc::clone(environment));
    authenticators.push(Arc::new(accounts));
    let secrets = SecretTokens::new(Arc::clone(issuer), Arc::clone(objects), Arc::clone(environment));
    authenticators.push(Arc::new(AudienceAgnostic::new(secrets, audiences.clone())));
    if options.bootstrap_tokens {
        let tokens = BootstrapTokens::new(Arc::clone(objects), Arc::clone(environment));
        authenticators.push(Arc::new(AudienceAgnostic::new(tokens, audiences.clone())));
    }
    if let Some(issuers) = options.authentication.clone() {
        authenticators.push(Arc::new(AudienceAgnostic::new(issuers, audiences.clone())));
    }
    if let Some(config) = options.token_webhook.take() {
        let (remote, environment) = (Arc::clone(&options.remote), Arc::clone(environment));
        authenticators.push(Arc::new(TokenWebhook::new(config, audiences.clone(), remote, environment)));
    }
    Bearer::new(authenticators, audiences.clone())
}

fn authentication(
    options: &mut Options,
    bearer: &Bearer,
    environment: &Arc<dyn Environment>,
) -> Result<Authentication, String> {
    let mut authenticators: Vec<Arc<dyn Authenticator>> = std::mem::take(&mut options.authenticators);
    #[cfg(feature = "serve")]
    if let Some((trust, names)) = options.proxy_trust.clone() {
        let proxy = crate::authn::RequestHeader::new(trust, names, Arc::clone(environment));
        authenticators.push(Arc::new(proxy.map_err(|error| error.to_string())?));
    }
    #[cfg(feature = "serve")]
    if let Some(trust) = &options.client_trust {
        let certificates = crate::authn::ClientCertificates::new(trust.clone(), Arc::clone(environment));
        authenticators.push(Arc::new(certificates));
    }
    #[cfg(not(feature = "serve"))]
    let _ = environment;
    authenticators.push(Arc::new(bearer.clone()));
    let configured = options.authentication.as_ref().and_then(StructuredAuthentication::anonymous);
    if configured.is_some() && options.anonymous.is_some() {
        let why = "anonymous: Forbidden: may not be chosen when the authentication configuration has it";
        return Err(why.to_owned());
    }
    let anonymous = configured.or_else(|| options.anonymous.take()).unwrap_or_default();
    Ok(Authentication::new(authenticators, anonymous))
}

fn authorizer(
    options: &mut Options,
    objects: &Arc<dyn Objects>,
    metrics: &AuthzMetrics,
) -> (Arc<dyn Authorizer>, Option<Rbac>) {
    if options.allow_all {
        return (Arc::new(AllowAll), None);
    }
    let rbac = Rbac::observing(&**objects);
    let node: Arc<dyn Authorizer> = Arc::new(NodeAuthorizer::observing(&**objects, bootstrap::rbac::node_rules()));
    let mut chain: Vec<Arc<dyn Authorizer>> = vec![Arc::new(SystemMasters)];
    chain.append(&mut options.authorizers);
    let Some(configured) = options.authorization.clone() else {
        chain.push(counted(&AuthorizerConfig::Node, node, metrics));
        chain.push(counted(&AuthorizerConfig::Rbac, Arc::new(rbac.clone()), metrics));
        return (Arc::new(Chain::new(chain)), Some(rbac));
    };
    configured.lend(Lent { node, rbac: Arc::new(rbac.clone()), metrics: metrics.clone() });
    let has_rbac = configured.has_rbac();
    chain.push(Arc::new(configured));
    (Arc::new(Chain::new(chain)), has_rbac.then_some(rbac))
}
