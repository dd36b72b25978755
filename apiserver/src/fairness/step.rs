//! The step: a request finds its level, waits for its turn, and gives its seat back.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use kubewright_api::status::Status;

use super::GROUP;
use super::keeper::FairnessKeeper;
use super::levels::{Class, LevelObserver, Levels, SchemaObserver, WAIT_MAX};
use super::metrics::FairnessMetrics;
use super::queues::Width;
use super::width::{self, Extent, Watches, Watching};
use crate::body::{self, Body, BoxError};
use crate::layers::{Allotted, Next, Step, Terminated, is_long_running};
use crate::objects::{GroupResource, Objects};
use crate::request::{Context, RequestInfo, SYSTEM_MASTERS};

/// How much there is of a resource, by group and plural name.
pub type Extents = Arc<dyn Fn(&str, &str) -> Extent + Send + Sync>;

/// How much runs at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FairnessConfig {
    /// How many seats the server has (default: 600, upstream's 400 for reading and 200 for writing).
    pub seats: usize,
    /// How many watches one user may have at a time (default: 10,000); `system:masters` may have any number.
    pub watches_per_user_max: usize,
}

impl Default for FairnessConfig {
    fn default() -> Self {
        Self { seats: 600, watches_per_user_max: 10_000 }
    }
}

impl FairnessConfig {
    /// The same with so many seats.
    #[must_use]
    pub const fn seats(mut self, seats: usize) -> Self {
        self.seats = seats;
        self
    }

    /// The same with so many watches for each user.
    #[must_use]
    pub const fn watches_per_user(mut self, watches_max: usize) -> Self {
        self.watches_per_user_max = watches_max;
        self
    }
}

/// The step. Clones share the levels.
#[derive(Clone)]
pub struct Fairness {
    levels: Arc<Levels>,
    watches: Watches,
    watches_per_user_max: usize,
    extents: Extents,
}

impl fmt::Debug for Fairness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fairness")
    }
}

impl Fairness {
    /// Goes by the flow schemas and priority levels among these objects.
    #[must_use]
    pub fn new(config: FairnessConfig, objects: &dyn Objects, metrics: FairnessMetrics, extents: Extents) -> Self {
        let levels = Levels::new(config.seats, metrics);
        let place = |resource| GroupResource::new(GROUP, resource);
        objects.observe(place("prioritylevelconfigurations"), Arc::new(LevelObserver(Arc::clone(&levels))));
        objects.observe(place("flowschemas"), Arc::new(SchemaObserver(Arc::clone(&levels))));
        let watches_per_user_max = config.watches_per_user_max;
        Self { levels, watches: Watches::default(), watches_per_user_max, extents }
    }

    /// What keeps the objects and lends seats.
    #[must_use]
    pub fn keeper(&self, objects: Arc<dyn Objects>) -> FairnessKeeper {
        FairnessKeeper::new(Arc::clone(&self.levels), objects)
    }

    fn width(&self, info: &RequestInfo, query: &str, class: &Class) -> Width {
        match info.verb.as_str() {
            "list" | "watch" if info.is_resource_request => {
                let extent = (self.extents)(&info.api_group, &info.resource);
                width::of_list(info, query, extent, class.level.seats_max())
            }
            "create" | "update" | "patch" | "delete" if info.is_resource_request => {
                let watches = self.watches.hearing(info);
                class.meter.heard_by(watches);
                width::of_write(info, watches, class.level.seats_max())
            }
            _ => Width::of(1),
        }
    }

    fn watch(&self, context: &Context) -> Result<Watching, Status> {
        let user = &context.user;
        let most = if user.in_group(SYSTEM_MASTERS) { usize::MAX } else { self.watches_per_user_max };
        self.watches.begin(&user.name, &context.info, most).ok_or_else(|| {
            let why = format!("too many watches, please end some: a user may have {most} at a time");
            Status::too_many_requests(&why, 1)
        })
    }
}

/// How long a request may wait: a quarter of what it has, which its client may have shortened.
fn wait_max<B>(request: &Request<B>) -> Duration {
    request.extensions().get::<Allotted>().map_or(WAIT_MAX, |allotted| allotted.0 / 4)
}

/// Tells the client where its request belonged.
fn tell(response: &mut Response<Body>, class: &Class) {
    const SCHEMA: HeaderName = HeaderName::from_static("x-kubernetes-pf-flowschema-uid");
    const LEVEL: HeaderName = HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid");
    for (name, uid) in [(SCHEMA, &class.schema.uid), (LEVEL, &class.level.uid)] {
        if let Ok(value) = HeaderValue::from_str(uid) {
            response.headers_mut().insert(name, value);
        }
    }
}

#[async_trait]
impl Step for Fairness {
    async fn call(&self, request: Request<Body>, next: Next) -> Response<Body> {
        let Some(context) = request.extensions().get::<Context>() else {
            return body::status(&Status::internal("the request was not identified"));
        };
        let info = &context.info;
        let is_watch = info.is_resource_request && info.verb == "watch";
        if is_long_running(info) && !is_watch {
            return next(request).await;
        }
        let Some(class) = self.levels.classify(&context.user, info) else {
            return body::status(&Status::internal("no flow schema matches the request"));
        };
        let width = self.width(info, request.uri().query().unwrap_or_default(), &class);
        let watching = match is_watch.then(|| self.watch(context)).transpose() {
            Ok(watching) => watching,
            Err(refused) => {
                let mut refused = body::status(&refused);
                refused.extensions_mut().insert(Terminated);
                return refused;
            }
        };
        let arrived = Instant::now();
        let entered = self.levels.enter(&class, width, wait_max(&request)).await;
        context.warnings.waited_for(arrived.elapsed());
        let seat = match entered {
            Ok(seat) => seat.of_watch(is_watch),
            Err(seconds) => {
                let message = "Too many requests, please try again later.";
                let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
                let mut refused = body::status(&Status::too_many_requests(message, seconds));
                tell(&mut refused, &class);
                refused.extensions_mut().insert(Terminated);
                return refused;
            }
        };
        let mut response = next(request).await;
        // What a watch costs is to begin it; from then on it is counted by those who write.
        drop(seat);
        tell(&mut response, &class);
        match watching {
            Some(watching) => response.map(|inner| Watched { inner, _watching: watching }.boxed_unsync()),
            None => response,
        }
    }
}

/// The body of a watch, which counts until it ends.
struct Watched {
    inner: Body,
    _watching: Watching,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_waits_a_quarter_of_its_time_at_most() {
        let mut request = Request::new(());
        assert_eq!(wait_max(&request), WAIT_MAX);
        for (allotted, expected) in [(60, 15.0), (8, 2.0), (1, 0.25)] {
            request.extensions_mut().insert(Allotted(Duration::from_secs(allotted)));
            assert_eq!(wait_max(&request), Duration::from_secs_f64(expected));
        }
    }
}
