//! The parts of a standard server, and the objects it makes when it starts.

use std::sync::Arc;

use async_trait::async_trait;
use kubewright_api::status::Status;
use kubewright_store::Store;
use tokio_util::sync::CancellationToken;

use super::Parts;
use super::components::ComponentStatuses;
use super::gate::{Gate, Share};
use super::options::Options;
use crate::admission;
use crate::aggregate::{API_SERVICES, Availability, Extensions, LocalServices, at_start};
use crate::allocate::ServiceAllocator;
use crate::audit::Auditor;
use crate::authn::token::{Issuer, ServiceAccountTokens, SigningKey, TokenRequests};
use crate::authn::{Authentication, Authenticator, Bearer, BootstrapTokens, StaticTokens, TokenAuthenticator};
use crate::authz::node::NodeAuthorizer;
use crate::authz::rbac::{EscalationCheck, Rbac};
use crate::authz::reviews::Reviews;
use crate::authz::{AllowAll, Authorizer, Chain, SystemMasters};
use crate::bootstrap;
use crate::bootstrap::BootstrapConfig;
use crate::discovery::{Check, Groups, Health, MetricsPage, OpenApi, TokenKeys, Version};
use crate::environment::Environment;
use crate::fairness::{Fairness, FairnessMetrics};
use crate::layers::Metrics;
use crate::objects::{GroupResource, Objects};

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
    authentication: Authentication,
    bearer: Bearer,
    rbac: Option<Rbac>,
    issuer: Arc<Issuer>,
    metrics: Metrics,
    fairness_metrics: FairnessMetrics,
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
        let bearer = bearer(&mut options, &issuer, objects, environment);
        let authentication = authentication(&mut options, &bearer, environment)?;
        let (authorizer, rbac) = authorizer(&mut options, objects);
        let mut registry = prometheus_client::registry::Registry::default();
        let fairness_metrics = FairnessMetrics::new(&mut registry);
        let metrics = Metrics::with_registry(registry);
        let extensions = Extensions::observing(&**objects);
        Ok(Self { authorizer, authentication, bearer, rbac, issuer, metrics, fairness_metrics, extensions, options })
    }

    /// Adds the standard admission plugins, endpoints and hooks.
    pub(super) fn install(&self, parts: &mut Parts, store: Arc<dyn Store>, draining: &CancellationToken) {
        let (objects, environment) = (Arc::clone(&parts.objects), Arc::clone(&parts.environment));
        parts.admission = admission::standard(
            &objects,
            &self.authorizer,
            &environment,
            self.options.pod_security.clone(),
            &self.options.remote,
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
        let tokens = TokenRequests::new(
            Arc::clone(&self.issuer),
            Arc::clone(&objects),
            Arc::clone(&environment),
            parts.admission.clone().into(),
        );
        let reviews = Reviews::new(Arc::clone(&self.authorizer), self.rbac.clone(), Some(self.bearer.clone()));
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
        parts.endpoints.extend([
            Arc::new(Groups::new(Arc::clone(resources), Arc::clone(extensions))) as _,
            Arc::new(OpenApi::new(Arc::clone(resources), Arc::clone(extensions))) as _,
            Arc::new(Version) as _,
            Arc::new(Health::new(checks, draining.clone())) as _,
            Arc::new(MetricsPage::new(self.metrics.clone())) as _,
            Arc::new(TokenKeys::new(Arc::clone(&self.issuer))) as _,
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
            parts.admission.clone().into(),
            draining.clone(),
        )));
        #[cfg(feature = "serve")]
        parts.endpoints.push(Arc::new(crate::connect::Proxy::new(
            Arc::clone(&objects),
            self.options.kubelets.clone(),
            parts.admission.clone().into(),
            draining.clone(),
        )));
        let allocator = Arc::new(ServiceAllocator::new(
            self.options.service_addresses.clone(),
            self.options.node_ports,
            environment,
        ));
        parts.hook(GroupResource::core("services"), Arc::clone(&allocator) as _);
        objects.observe(GroupResource::core("services"), allocator);
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
        Gate::new(
            self.authentication.clone(),
            &self.authorizer,
            self.metrics.clone(),
            Share::new(fairness),
            Arc::clone(&parts.environment),
            draining,
            auditor,
        )
    }

    /// Makes the objects that a standard server makes when it starts.
    pub(super) async fn bootstrap(&self, parts: &Parts) -> Result<(), Status> {
        let config = BootstrapConfig {
            service_addresses: self.options.service_addresses.clone(),
            advertise: self.options.advertise,
            client_authorities: self.options.client_authorities.clone(),
            front_proxy_authorities: self.options.front_proxy_authorities.clone(),
            with_policy: self.rbac.is_some(),
            service_port: self.options.kubernetes_service_port,
            now: parts.environment.now(),
        };
        bootstrap::run(&*parts.objects, &config).await?;
        let services = at_start(&parts.registry.resources.infos().0);
        bootstrap::ensure_all(&*parts.objects, services).await
    }
}

fn bearer(
    options: &mut Options,
    issuer: &Arc<Issuer>,
    objects: &Arc<dyn Objects>,
    environment: &Arc<dyn Environment>,
) -> Bearer {
    let mut authenticators: Vec<Arc<dyn TokenAuthenticator>> = Vec::new();
    if !options.static_tokens.is_empty() {
        authenticators.push(Arc::new(StaticTokens::new(std::mem::take(&mut options.static_tokens))));
    }
    let accounts = ServiceAccountTokens::new(Arc::clone(issuer), Arc::clone(objects), Arc::clone(environment));
    authenticators.push(Arc::new(accounts));
    if options.bootstrap_tokens {
        authenticators.push(Arc::new(BootstrapTokens::new(Arc::clone(objects), Arc::clone(environment))));
    }
    Bearer::new(authenticators, issuer.audiences.clone())
}

fn authentication(
    options: &mut Options,
    bearer: &Bearer,
    environment: &Arc<dyn Environment>,
) -> Result<Authentication, String> {
    let mut authenticators: Vec<Arc<dyn Authenticator>> = std::mem::take(&mut options.authenticators);
    #[cfg(feature = "serve")]
    if let Some((pem, names)) = options.front_proxy.take() {
        let proxy = crate::authn::RequestHeader::new(&pem, names, Arc::clone(environment));
        authenticators.push(Arc::new(proxy.map_err(|error| error.to_string())?));
    }
    #[cfg(feature = "serve")]
    if let Some(pem) = &options.client_authorities {
        let certificates = crate::authn::ClientCertificates::new(pem, Arc::clone(environment));
        authenticators.push(Arc::new(certificates.map_err(|error| format!("client authorities: {error}"))?));
    }
    #[cfg(not(feature = "serve"))]
    let _ = environment;
    authenticators.push(Arc::new(bearer.clone()));
    Ok(Authentication::new(authenticators, options.anonymous))
}

fn authorizer(options: &mut Options, objects: &Arc<dyn Objects>) -> (Arc<dyn Authorizer>, Option<Rbac>) {
    if options.allow_all {
        return (Arc::new(AllowAll), None);
    }
    let rbac = Rbac::observing(&**objects);
    let mut chain: Vec<Arc<dyn Authorizer>> = vec![Arc::new(SystemMasters)];
    chain.append(&mut options.authorizers);
    chain.push(Arc::new(NodeAuthorizer::observing(&**objects, bootstrap::rbac::node_rules())));
    chain.push(Arc::new(rbac.clone()));
    (Arc::new(Chain::new(chain)), Some(rbac))
}
