//! Controllers that need more than a cache and a plan run themselves.

use std::sync::Arc;

use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::plan::Applier;

/// A controller that runs itself.
pub(crate) trait Driver: Send + 'static {
    /// Runs until cancelled; every task it started has ended when it returns.
    fn run(self: Box<Self>, environment: Environment, cancel: CancellationToken) -> BoxFuture<'static, ()>;
}

/// What such a controller works with.
#[derive(Clone)]
pub(crate) struct Environment {
    /// Under which name events are recorded.
    pub(crate) component: &'static str,
    /// Carries out plans.
    pub(crate) applier: Arc<Applier>,
}
