//! The admission plugins, endpoints and hooks of a standard server.

use std::sync::Arc;

use async_trait::async_trait;
use kubewright_store::Store;
use tokio_util::sync::CancellationToken;

use super::Standard;
use crate::admission::{self, Admission};
use crate::allocate::ServiceAllocator;
use crate::authn::token::TokenRequests;
use crate::authz::rbac::EscalationCheck;
use crate::authz::reviews::Reviews;
use crate::device_access::DeviceAccess;
use crate::discovery::{Check, Groups, Health, Index, KEY_SET, MetricsPage, OpenApi, TokenKeys, Version};
use crate::objects::GroupResource;
use crate::server::Parts;
use crate::server::components::ComponentStatuses;

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

/// All plugins as one, for what is admitted outside of the registry.
type Together = Arc<[Arc<dyn Admission>]>;

impl Standard {
    /// Adds the standard admission plugins, endpoints and hooks.
    pub(in crate::server) fn install(
        &self,
        parts: &mut Parts,
        store: Arc<dyn Store>,
        unready: &CancellationToken,
        #[cfg(feature = "serve")] tunnels: &crate::connect::Tunnels,
    ) {
        parts.admission = self.admission(parts);
        let together: Together = [self.admission_metrics.together(parts.admission.clone())].into();
        self.storage_metrics.follow(&parts.registry);
        self.metrics.follow(&parts.registry);
        #[cfg(feature = "serve")]
        parts.endpoints.push(Arc::new(crate::aggregate::Aggregator::new(
            Arc::clone(&self.extensions),
            Arc::clone(&parts.objects),
            self.options.front_proxy_client.clone(),
            // Streams into pods must not keep others from their APIs.
            tunnels.beside(),
        )));
        self.add_pages(parts, store, unready);
        self.add_reviews(parts, &together);
        #[cfg(feature = "serve")]
        self.add_connections(parts, &together, tunnels);
        self.add_hooks(parts);
    }

    /// The plugins, in order, each measured.
    fn admission(&self, parts: &Parts) -> Vec<Arc<dyn Admission>> {
        let mut plugins = admission::standard(
            &parts.objects,
            &self.authorizer,
            &parts.environment,
            self.options.admission.clone(),
            &self.options.remote,
            &self.admission_metrics,
        );
        plugins.retain(|plugin| !self.options.admission_off.iter().any(|off| off == plugin.name()));
        if !parts.objects.serves(GroupResource::core("namespaces")) {
            plugins.retain(|plugin| plugin.name() != "NamespaceLifecycle");
        }
        if let Some(rbac) = &self.rbac {
            // Before quotas, which count what is let in.
            plugins.insert(0, Arc::new(EscalationCheck::new(rbac.clone(), Arc::clone(&self.authorizer))));
        }
        plugins.into_iter().map(|plugin| self.admission_metrics.measured(plugin)).collect()
    }

    /// What the server tells of itself: what it serves, how it is, what it measured, its keys.
    fn add_pages(&self, parts: &mut Parts, store: Arc<dyn Store>, unready: &CancellationToken) {
        let metrics = MetricsPage::new(self.metrics.clone());
        let metrics = metrics.of_store(self.storage_metrics.clone(), Arc::clone(&store));
        let store: Arc<dyn Check> = Arc::new(StoreCheck(store));
        let mut components = vec![("etcd-0".to_owned(), Arc::clone(&store))];
        components.extend(self.options.components.iter().cloned());
        let mut checks = vec![store];
        checks.extend(self.options.checks.iter().cloned());
        let names = checks.iter().map(|check| check.name().to_owned()).collect();
        let (resources, extensions) = (&parts.registry.resources, &self.extensions);
        parts.endpoints.extend([
            Arc::new(Index::new(Arc::clone(resources), Arc::clone(extensions), names)) as _,
            Arc::new(Groups::new(Arc::clone(resources), Arc::clone(extensions))) as _,
            Arc::new(OpenApi::new(Arc::clone(resources), Arc::clone(extensions))) as _,
            Arc::new(Version) as _,
            Arc::new(Health::new(checks, unready.clone()).measured(self.health_metrics.clone())) as _,
            Arc::new(metrics) as _,
            Arc::new(TokenKeys::new(Arc::clone(&self.issuer), self.key_set_url())) as _,
        ]);
        if let Some(statuses) = ComponentStatuses::new(&parts.registry.resources.infos().0, components) {
            parts.endpoints.push(Arc::new(statuses));
        }
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

    /// What is asked by creating an object that is never stored.
    fn add_reviews(&self, parts: &mut Parts, together: &Together) {
        let (issuer, together) = (Arc::clone(&self.issuer), Arc::clone(together));
        let (objects, environment) = (Arc::clone(&parts.objects), Arc::clone(&parts.environment));
        let tokens = TokenRequests::new(issuer, objects, environment, Arc::clone(&together));
        let reviews = Reviews::new(Arc::clone(&self.authorizer), self.rbac.clone(), Some(self.bearer.clone()));
        parts.endpoints.extend([Arc::new(tokens) as _, Arc::new(reviews.admitted(together)) as _]);
    }

    /// What leads to pods, services and nodes.
    #[cfg(feature = "serve")]
    fn add_connections(&self, parts: &mut Parts, together: &Together, tunnels: &crate::connect::Tunnels) {
        use crate::connect::{Connect, Proxy};

        let (objects, kubelets) = (Arc::clone(&parts.objects), self.options.kubelets.clone());
        let connect = Connect::new(objects, kubelets.clone(), Arc::clone(together), tunnels.clone());
        let proxy = Proxy::new(Arc::clone(&parts.objects), kubelets, Arc::clone(together), tunnels.clone());
        let proxy = proxy.loopback_pods(self.options.loopback_pods);
        parts.endpoints.extend([Arc::new(connect) as _, Arc::new(proxy) as _]);
    }

    /// What takes part in the writes of single resources.
    fn add_hooks(&self, parts: &Parts) {
        let (addresses, ports) = (self.options.service_addresses.clone(), self.options.node_ports);
        let allocator = Arc::new(ServiceAllocator::new(addresses, ports, Arc::clone(&parts.environment)));
        parts.hook(GroupResource::core("services"), Arc::clone(&allocator) as _);
        parts.objects.observe(GroupResource::core("services"), allocator);
        let devices = |resource| GroupResource::new("resource.k8s.io", resource);
        let claims = DeviceAccess::of_claims(Arc::clone(&parts.objects), Arc::clone(&self.authorizer));
        parts.hook(devices("resourceclaims"), Arc::new(claims));
        let templates = DeviceAccess::of_templates(Arc::clone(&parts.objects));
        parts.hook(devices("resourceclaimtemplates"), Arc::new(templates));
    }
}
