//! The way in: every request passes the same layers, over the network and within the process alike.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{self, Poll};

use futures::future::BoxFuture;
use http::{Request, Response};
use kubewright_api::status::Status;
use tokio_util::sync::CancellationToken;
use tower::util::BoxCloneSyncService;
use tower::{Layer, Service};

use super::Core;
use crate::audit::{AuditObjects, AuditRequests, Auditor};
use crate::authn::Authentication;
use crate::authz::{Authorizer, AuthzMetrics};
use crate::body::{self, Body};
use crate::environment::Environment;
use crate::fairness::Fairness;
use crate::layers::{
    Authorize, CheckDeadline, Compress, Encode, Identify, Identity, Impersonate, LimitBody, LimitInFlight, Measure,
    Metrics, Protect, StepLayer,
};
use crate::request::Context;

/// A server's layers around its handlers.
pub(super) type Stack = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// How requests share the server.
pub(super) enum Share {
    /// By flow schemas and priority levels.
    Fair(StepLayer<Fairness>),
    /// So many at once.
    Plain(StepLayer<LimitInFlight>),
}

impl Share {
    pub(super) fn new(fairness: Option<Fairness>) -> Self {
        match fairness {
            Some(fairness) => Self::Fair(StepLayer::new(fairness)),
            None => Self::Plain(StepLayer::new(LimitInFlight::default())),
        }
    }

    fn timed(self, metrics: &Metrics) -> Self {
        match self {
            Self::Fair(fairness) => Self::Fair(fairness.timed(metrics.filter("priorityandfairness"))),
            Self::Plain(in_flight) => Self::Plain(in_flight.timed(metrics.filter("maxinflight"))),
        }
    }
}

/// The layers of a server, shared by all stacks made of them.
pub(crate) struct Gate {
    authentication: Authentication,
    authorize: StepLayer<Authorize>,
    impersonate: StepLayer<Impersonate>,
    share: Share,
    limit_body: StepLayer<LimitBody>,
    measure: StepLayer<Measure>,
    metrics: Metrics,
    protect: StepLayer<Protect>,
    environment: Arc<dyn Environment>,
    auditor: Option<Arc<Auditor>>,
    audit_requests: StepLayer<AuditRequests>,
    audit_objects: StepLayer<AuditObjects>,
    #[cfg(feature = "traces")]
    trace: StepLayer<crate::traces::TraceRequests>,
}

impl Gate {
    #[allow(clippy::too_many_arguments, reason = "each layer has its own")]
    pub(super) fn new(
        authentication: Authentication,
        authorizer: &Arc<dyn Authorizer>,
        authz_metrics: AuthzMetrics,
        metrics: Metrics,
        share: Share,
        environment: Arc<dyn Environment>,
        draining: CancellationToken,
        auditor: Option<Arc<Auditor>>,
    ) -> Self {
        Self {
            authentication,
            authorize: StepLayer::new(Authorize::new(Arc::clone(authorizer)).measured(authz_metrics))
                .timed(metrics.filter("authorization")),
            impersonate: StepLayer::new(Impersonate::new(Arc::clone(authorizer)))
                .timed(metrics.filter("impersonation")),
            share: share.timed(&metrics),
            limit_body: StepLayer::new(LimitBody::default()),
            measure: StepLayer::new(Measure::new(metrics.clone())),
            protect: StepLayer::new(Protect::new(draining, Arc::clone(&environment)).measured(metrics.clone())),
            audit_requests: StepLayer::new(AuditRequests::new(auditor.clone(), Arc::clone(&environment)))
                .timed(metrics.filter("audit")),
            metrics,
            audit_objects: StepLayer::new(AuditObjects::new(auditor.clone())),
            environment,
            auditor,
            #[cfg(feature = "traces")]
            trace: StepLayer::new(crate::traces::TraceRequests::new(None)),
        }
    }

    /// Traces requests so, if at all.
    #[cfg(feature = "traces")]
    pub(super) fn traced(mut self, traces: Option<crate::traces::Traces>) -> Self {
        self.trace = StepLayer::new(crate::traces::TraceRequests::new(traces));
        self
    }

    /// What is measured.
    #[cfg(feature = "serve")]
    pub(super) const fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Who asks by their credentials.
    pub(super) fn by_credentials(&self) -> Identity {
        Identity::Credentials(self.authentication.clone())
    }

    /// The layers around the handlers of `core`, for requests that come from there.
    pub(super) fn stack(&self, identity: Identity, core: &Arc<Core>) -> Stack {
        let handlers = Handlers(Arc::clone(core));
        #[cfg(feature = "traces")]
        let handlers = StepLayer::new(crate::traces::TraceHandlers).layer(handlers);
        let inner = self.authorize.layer(self.audit_objects.layer(handlers));
        match &self.share {
            Share::Fair(fairness) => self.outer(identity, fairness.layer(inner)),
            Share::Plain(in_flight) => self.outer(identity, in_flight.layer(inner)),
        }
    }

    fn outer<S>(&self, identity: Identity, inner: S) -> Stack
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        let identify = Identify::new(identity, Arc::clone(&self.environment)).audited(self.auditor.clone());
        let identify = StepLayer::new(identify).timed(self.metrics.filter("authentication"));
        let inner = self.impersonate.layer(self.limit_body.layer(inner));
        let inner = self.audit_requests.layer(StepLayer::new(CheckDeadline).layer(inner));
        #[cfg(feature = "traces")]
        let inner = self.trace.layer(inner);
        let inner = identify.layer(inner);
        let inner = StepLayer::new(Compress).layer(StepLayer::new(Encode).layer(self.measure.layer(inner)));
        BoxCloneSyncService::new(self.protect.layer(inner))
    }
}

/// The handlers, behind all layers.
#[derive(Clone)]
struct Handlers(Arc<Core>);

impl Service<Request<Body>> for Handlers {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let core = Arc::clone(&self.0);
        Box::pin(async move {
            if core.cancel.is_cancelled() {
                return Ok(body::status(&Status::unavailable("the server is shutting down")));
            }
            let Some(context) = request.extensions().get::<Context>().cloned() else {
                return Ok(body::status(&Status::internal("the request was not identified")));
            };
            Ok(core.dispatch(context, request).await)
        })
    }
}
