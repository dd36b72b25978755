//! Controllers that need more than caches and a plan.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::objects::ObjectKey;
use crate::plan::Applier;

/// A controller that asks the server while it decides.
#[async_trait]
pub(crate) trait AsyncController: Send + Sync + 'static {
    /// Does what the object of that key needs; returns when to look again though nothing changed.
    async fn reconcile(&self, key: &ObjectKey, environment: &Environment) -> Result<Option<Duration>, Error>;
}

/// A controller that runs itself.
pub(crate) trait Driver: Send + 'static {
    /// Runs until cancelled; every task it started has ended when it returns.
    fn run(self: Box<Self>, environment: Environment, cancel: CancellationToken) -> BoxFuture<'static, ()>;
}

/// What such controllers work with.
#[derive(Clone)]
pub(crate) struct Environment {
    /// Under which name events are recorded.
    pub(crate) component: &'static str,
    /// Carries out plans.
    pub(crate) applier: Arc<Applier>,
}
