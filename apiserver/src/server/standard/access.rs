//! Who a request comes from, and what they may do.

use std::sync::Arc;

use crate::authn::token::{Issuer, SecretTokens, ServiceAccountTokens};
use crate::authn::{
    AudienceAgnostic, Authentication, Authenticator, Bearer, BootstrapTokens, StaticTokens, StructuredAuthentication,
    TokenAuthenticator, TokenCacheMetrics, TokenWebhook,
};
use crate::authz::node::NodeAuthorizer;
use crate::authz::rbac::Rbac;
use crate::authz::{AllowAll, Authorizer, AuthorizerConfig, AuthzMetrics, Chain, Lent, SystemMasters, counted};
use crate::bootstrap;
use crate::environment::Environment;
use crate::objects::Objects;
use crate::server::options::Options;

/// Whose a bearer token is: those who are asked, in order.
pub(super) fn bearer(
    options: &mut Options,
    issuer: &Arc<Issuer>,
    objects: &Arc<dyn Objects>,
    environment: &Arc<dyn Environment>,
    metrics: &mut prometheus_client::registry::Registry,
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
        let webhook = TokenWebhook::new(config, audiences.clone(), remote, environment);
        authenticators.push(Arc::new(webhook.measured(TokenCacheMetrics::new(metrics))));
    }
    Bearer::new(authenticators, audiences.clone())
}

/// Who a request comes from: those who are asked, in order.
pub(super) fn authentication(
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

/// Who may do what; the roles too, where they count.
pub(super) fn authorizer(
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
