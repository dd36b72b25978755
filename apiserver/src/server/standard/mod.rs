//! The parts of a standard server, and the objects it makes when it starts.

mod access;
mod install;

use std::sync::Arc;

use kubewright_api::status::Status;
use tokio_util::sync::CancellationToken;

use self::access::{authentication, authorizer, bearer};
use super::Parts;
use super::gate::{Gate, Share};
use super::options::{Authorities, Options};
use crate::admission::AdmissionMetrics;
use crate::aggregate::{API_SERVICES, Availability, Extensions, LocalServices, at_start};
use crate::audit::{AuditMetrics, Auditor};
use crate::authn::token::{Issuer, SigningKey};
use crate::authn::{Authentication, AuthnMetrics, Bearer, JwtMetrics};
use crate::authz::rbac::Rbac;
use crate::authz::{Authorizer, AuthzMetrics};
use crate::bootstrap;
use crate::bootstrap::BootstrapConfig;
use crate::bootstrap::extension_authentication::{Bundle, ExtensionAuthentication};
use crate::discovery::HealthMetrics;
use crate::environment::Environment;
use crate::fairness::{Fairness, FairnessMetrics};
use crate::layers::Metrics;
use crate::objects::{GroupResource, Objects};
use crate::registry::StorageMetrics;
use crate::watched_file::ReloadMetrics;

/// The issuer of service account tokens where none is given; upstream's default.
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

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
        let mut registry = prometheus_client::registry::Registry::default();
        let bearer = bearer(&mut options, &issuer, objects, environment, &mut registry);
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
