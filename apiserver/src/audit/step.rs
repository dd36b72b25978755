//! The steps that make events of requests.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures::FutureExt;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::event::Draft;
use super::policy::Verdict;
use super::{Auditor, Level, MaybeAuditor, Stage, mask};
use crate::authz::Attributes;
use crate::body::{self, Body};
use crate::environment::{self, Environment};
use crate::layers::{Next, Step, is_long_running};
use crate::object::protobuf;
use crate::request::{Context, RequestInfo, User, Warnings};

/// The header that names a request in the log.
const AUDIT_ID: &str = "audit-id";
/// Largest answer that is logged, in bytes.
const OBJECT_BYTES_MAX: u64 = 1 << 20;

/// A request's draft, in its extensions while it is on its way.
#[derive(Clone)]
struct Handle(Arc<Mutex<Draft>>);

impl Handle {
    fn draft(&self) -> MutexGuard<'_, Draft> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notes whom the request acts as.
pub(crate) fn impersonated(extensions: &http::Extensions, user: &User, constraint: Option<String>) {
    if let Some(handle) = extensions.get::<Handle>() {
        let mut draft = handle.draft();
        draft.impersonated = Some(user.clone());
        draft.impersonation_constraint = constraint;
    }
}

fn draft(
    parts: (&http::Uri, &HeaderMap, &http::Extensions),
    user: User,
    info: RequestInfo,
    level: Level,
    environment: &dyn Environment,
) -> Draft {
    let (uri, headers, extensions) = parts;
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let asked =
        text(AUDIT_ID).filter(|id| !id.is_empty() && id.len() <= 64 && id.bytes().all(|b| b.is_ascii_graphic()));
    let forwarded = text("x-forwarded-for").into_iter().flat_map(|list| list.split(','));
    let mut source_ips: Vec<String> = forwarded.map(|ip| ip.trim().to_owned()).filter(|ip| is_ip(ip)).collect();
    let peer = extensions.get::<std::net::SocketAddr>().map(|peer| peer.ip().to_string());
    source_ips.extend(peer.filter(|peer| source_ips.last() != Some(peer)));
    Draft {
        id: asked.map_or_else(|| environment::new_uid(environment), str::to_owned),
        level,
        uri: uri.path_and_query().map_or_else(String::new, ToString::to_string),
        verb: info.verb.clone(),
        user,
        impersonated: None,
        impersonation_constraint: None,
        source_ips,
        user_agent: text("user-agent").unwrap_or_default().chars().take(1024).collect(),
        info,
        received: environment::micro_time(environment.now()),
        request_object: None,
        response_object: None,
        annotations: BTreeMap::new(),
    }
}

fn is_ip(text: &str) -> bool {
    text.parse::<std::net::IpAddr>().is_ok()
}

/// Logs a request that was refused because it could not be told who asks.
pub(crate) fn refused_identity(auditor: &Auditor, parts: &Parts, info: &RequestInfo, environment: &dyn Environment) {
    let user = User::default();
    let verdict = auditor.verdict(&Attributes::new(&user, info));
    if verdict.level == Level::None || verdict.omit_stages.contains(&Stage::ResponseStarted) {
        return;
    }
    let from = (&parts.uri, &parts.headers, &parts.extensions);
    let draft = draft(from, user, info.clone(), verdict.level, environment);
    let status = json!({"metadata": {}, "code": 401, "message": "Authentication failed"});
    let at = draft.received.clone();
    auditor.take_now(draft.event(Stage::ResponseStarted, &at, Some(status)));
}

/// Logs requests: after it is known who asks, before it is decided whether they may.
pub struct AuditRequests {
    auditor: MaybeAuditor,
    environment: Arc<dyn Environment>,
}

impl fmt::Debug for AuditRequests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AuditRequests").field(&self.auditor).finish()
    }
}

impl AuditRequests {
    /// Hands events to that auditor; without one does nothing.
    #[must_use]
    pub fn new(auditor: Option<Arc<Auditor>>, environment: Arc<dyn Environment>) -> Self {
        Self { auditor, environment }
    }

    async fn emit(&self, auditor: &Auditor, verdict: &Verdict, handle: &Handle, stage: Stage, status: Option<Value>) {
        if verdict.omit_stages.contains(&stage) {
            return;
        }
        let at = environment::micro_time(self.environment.now());
        let event = handle.draft().event(stage, &at, status);
        auditor.take(event).await;
    }
}

#[async_trait]
impl Step for AuditRequests {
    async fn call(&self, mut request: Request<Body>, next: Next) -> Response<Body> {
        let (Some(auditor), Some(context)) = (&self.auditor, request.extensions().get::<Context>().cloned()) else {
            return next(request).await;
        };
        let verdict = auditor.verdict(&Attributes::new(&context.user, &context.info));
        if verdict.level == Level::None {
            return next(request).await;
        }
        let from = (request.uri(), request.headers(), request.extensions());
        let info = RequestInfo::clone(&context.info);
        let long_running = is_long_running(&info);
        let draft = draft(from, User::clone(&context.user), info, verdict.level, &*self.environment);
        let id = draft.id.clone();
        let handle = Handle(Arc::new(Mutex::new(draft)));
        request.extensions_mut().insert(handle.clone());
        self.emit(auditor, &verdict, &handle, Stage::RequestReceived, None).await;
        // Whoever leaves before the answer, or whose time is up, is logged all the same.
        let mut end = End {
            auditor: Arc::clone(auditor),
            skip: verdict.omit_stages.contains(&Stage::ResponseComplete),
            handle: handle.clone(),
            status: cut_off(),
            warnings: context.warnings.clone(),
            environment: Arc::clone(&self.environment),
        };
        let answer = AssertUnwindSafe(next(request)).catch_unwind().await;
        let mut response = match answer {
            Ok(response) => response,
            Err(panic) => {
                end.skip = true;
                handle.draft().annotations = context.warnings.annotations();
                let status = json!({"metadata": {}, "status": "Failure", "reason": "InternalError", "code": 500,
                    "message": "APIServer panic'd"});
                self.emit(auditor, &verdict, &handle, Stage::Panic, Some(status)).await;
                // Whoever is around this step answers.
                resume_unwind(panic);
            }
        };
        if let Ok(value) = id.try_into() {
            response.headers_mut().insert(AUDIT_ID, value);
        }
        if long_running {
            let status = json!({"metadata": {}, "code": response.status().as_u16()});
            end.status = status.clone();
            handle.draft().annotations = context.warnings.annotations();
            self.emit(auditor, &verdict, &handle, Stage::ResponseStarted, Some(status)).await;
            return response.map(|body| {
                body.map_frame(move |frame| {
                    // Dropped with the body: when the last frame was sent, or the client went.
                    let _ = &end;
                    frame
                })
                .boxed_unsync()
            });
        }
        let (response, status) = look(response, &verdict, &handle).await;
        end.status = status.clone();
        handle.draft().annotations = context.warnings.annotations();
        self.emit(auditor, &verdict, &handle, Stage::ResponseComplete, Some(status)).await;
        end.skip = true;
        response
    }
}

/// The status of a request that was dropped before it was answered.
fn cut_off() -> Value {
    json!({"metadata": {}, "status": "Failure", "reason": "Timeout", "code": 504,
        "message": "the client left, or the time was up, before the answer; what was asked for may have been done"})
}

/// Logs the end of a request when it is dropped: of a long-running one, or before its answer.
struct End {
    auditor: Arc<Auditor>,
    skip: bool,
    handle: Handle,
    status: Value,
    warnings: Warnings,
    environment: Arc<dyn Environment>,
}

impl Drop for End {
    fn drop(&mut self) {
        if self.skip {
            return;
        }
        let at = environment::micro_time(self.environment.now());
        let event = {
            let mut draft = self.handle.draft();
            draft.annotations = self.warnings.annotations();
            draft.event(Stage::ResponseComplete, &at, Some(std::mem::take(&mut self.status)))
        };
        self.auditor.take_now(event);
    }
}

/// The answer's status for the log, and the answer itself if it is to be logged.
async fn look(response: Response<Body>, verdict: &Verdict, handle: &Handle) -> (Response<Body>, Value) {
    let code = response.status().as_u16();
    let mut status = json!({"metadata": {}, "code": code});
    let wanted = verdict.level == Level::RequestResponse || code >= 400;
    let small = response.body().size_hint().exact().is_some_and(|size| size <= OBJECT_BYTES_MAX);
    if !wanted || !small {
        return (response, status);
    }
    let (parts, body) = response.into_parts();
    let Ok(bytes) = body.collect().await.map(http_body_util::Collected::to_bytes) else {
        return (Response::from_parts(parts, body::empty()), status);
    };
    if let Some(object) = read(&parts.headers, &bytes) {
        if object["kind"] == "Status" {
            for field in ["status", "message", "reason", "details"] {
                if let Some(value) = object.get(field) {
                    status[field] = value.clone();
                }
            }
        }
        if verdict.level == Level::RequestResponse {
            let mut draft = handle.draft();
            draft.response_object = Some(shown(object, &draft.info, verdict.omit_managed_fields));
        }
    }
    (Response::from_parts(parts, body::full(bytes)), status)
}

/// A body as its headers say it is encoded.
fn read(headers: &HeaderMap, bytes: &[u8]) -> Option<Value> {
    let media_type = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    if media_type.ends_with(b"yaml") {
        serde_yaml_ng::from_slice(bytes).ok()
    } else if media_type.starts_with(protobuf::MEDIA_TYPE.as_bytes()) {
        protobuf::decode(bytes).ok()
    } else {
        serde_json::from_slice(bytes).ok()
    }
}

fn shown(mut object: Value, info: &RequestInfo, omit_managed_fields: bool) -> Value {
    mask::mask(&mut object, mask::Held::of(info));
    if omit_managed_fields {
        mask::omit_managed_fields(&mut object);
    }
    object
}

/// Adds what was sent to the event; behind the limit of bodies, so that they are read already.
#[derive(Debug)]
pub struct AuditObjects {
    auditor: MaybeAuditor,
}

impl AuditObjects {
    /// Adds objects to the events of that auditor; without one does nothing.
    #[must_use]
    pub const fn new(auditor: Option<Arc<Auditor>>) -> Self {
        Self { auditor }
    }
}

#[async_trait]
impl Step for AuditObjects {
    async fn call(&self, request: Request<Body>, next: Next) -> Response<Body> {
        let handle = request.extensions().get::<Handle>().cloned();
        let (Some(auditor), Some(handle)) = (&self.auditor, handle) else { return next(request).await };
        let (level, connects, attributes) = {
            let draft = handle.draft();
            (draft.level, is_long_running(&draft.info), Attributes::new(&draft.user, &draft.info))
        };
        // What is sent through a connection is no object, and may be of any size.
        if level < Level::Request || connects || request.body().size_hint().exact().is_none_or(|size| size == 0) {
            return next(request).await;
        }
        let (parts, body) = request.into_parts();
        let Ok(bytes) = body.collect().await.map(http_body_util::Collected::to_bytes) else {
            return next(Request::from_parts(parts, body::empty())).await;
        };
        if let Some(object) = read(&parts.headers, &bytes) {
            let omit = auditor.policy.verdict(&attributes).omit_managed_fields;
            let mut draft = handle.draft();
            draft.request_object = Some(shown(object, &draft.info, omit));
        }
        next(Request::from_parts(parts, body::full(bytes))).await
    }
}
