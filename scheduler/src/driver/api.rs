//! Calls to the API server.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use serde_json::{Value, json};

use super::extender::Extenders;
use super::metrics::Metrics;
use super::{Clock, binding, devices};
use crate::framework::{Action, PodConditionUpdate, Preemption};
use crate::object::{Condition, Name, PodGroup, PodInfo, Time};

/// How often a call is tried that might succeed later.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(10);

/// The server's no, or why it could not be asked.
pub(super) struct CallError {
    pub(super) code: u16,
    pub(super) message: String,
}

impl CallError {
    pub(super) const NOT_FOUND: u16 = 404;

    /// Nobody knows whether the server did what it was asked for.
    pub(super) const fn is_unsure(&self) -> bool {
        self.code == 0 || self.code >= 500
    }

    pub(super) const fn is_conflict(&self) -> bool {
        self.code == 409
    }

    const fn is_passing(&self) -> bool {
        matches!(self.code, 0 | 429 | 500 | 503)
    }
}

impl From<kube::Error> for CallError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self { code: status.code, message: status.message },
            other => Self { code: 0, message: other.to_string() },
        }
    }
}

/// How long a call may take. API servers give up on a request after a minute.
const CALL_TIMEOUT: Duration = Duration::from_secs(65);

/// A JSON request. It ends, whatever the server does.
pub(super) async fn call(
    client: &Client,
    method: http::Method,
    path: &str,
    content: &str,
    body: &Value,
) -> Result<Value, CallError> {
    let request = http::Request::builder().method(method).uri(path).header(http::header::CONTENT_TYPE, content);
    let request = request.body(if body.is_null() { Vec::new() } else { body.to_string().into_bytes() });
    let request = request.map_err(|error| CallError { code: 400, message: error.to_string() })?;
    let late = |_| CallError { code: 0, message: format!("no answer within {} s", CALL_TIMEOUT.as_secs()) };
    Ok(tokio::time::timeout(CALL_TIMEOUT, client.request::<Value>(request)).await.map_err(late)??)
}

/// Tries a request again that may succeed later.
pub(super) async fn call_patiently(
    client: &Client,
    method: http::Method,
    path: &str,
    content: &str,
    body: &Value,
) -> Result<Value, CallError> {
    call_while(|error| error.is_passing() || error.is_conflict(), client, method, path, content, body).await
}

/// The same for a request that must not be tried again once its object was changed.
pub(super) async fn call_unless_changed(
    client: &Client,
    method: http::Method,
    path: &str,
    content: &str,
    body: &Value,
) -> Result<Value, CallError> {
    call_while(CallError::is_passing, client, method, path, content, body).await
}

async fn call_while(
    may_pass: impl Fn(&CallError) -> bool,
    client: &Client,
    method: http::Method,
    path: &str,
    content: &str,
    body: &Value,
) -> Result<Value, CallError> {
    let mut pause = PAUSE;
    for _ in 1..TRIES {
        match call(client, method.clone(), path, content, body).await {
            Err(error) if may_pass(&error) => tokio::time::sleep(pause).await,
            other => return other,
        }
        pause *= 5;
    }
    call(client, method, path, content, body).await
}

pub(super) const JSON: &str = "application/json";
pub(super) const STRATEGIC: &str = "application/strategic-merge-patch+json";
pub(super) const MERGE: &str = "application/merge-patch+json";

fn pod_path(pod: &PodInfo, subresource: &str) -> String {
    format!("/api/v1/namespaces/{}/pods/{}{subresource}", pod.namespace, pod.name)
}

/// What calls need.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) client: Client,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) extenders: Extenders,
    pub(super) metrics: Arc<dyn Metrics>,
}

impl Caller {
    /// Tells how long an extension point took, calls included. Gives the time.
    pub(super) fn took(&self, point: &'static str, profile: &str, worked: bool, since: Time) -> Time {
        let now = self.clock.now();
        let status = if worked { "Success" } else { "Error" };
        let labels = [("extension_point", point), ("profile", profile), ("status", status)];
        let seconds = now.duration_since(since).as_secs_f64().max(0.0);
        self.metrics.observe("framework_extension_point_duration_seconds", &labels, seconds);
        now
    }
}

/// Does what a decision asks for beside binding.
pub(super) async fn carry_out(caller: &Caller, action: Action) -> Result<(), CallError> {
    let Caller { client, clock, .. } = caller;
    match action {
        Action::UpdatePodStatus { pod, condition, nominated_node_name } => {
            update_status(client, &pod, condition.as_ref(), nominated_node_name.as_ref(), clock.now()).await
        }
        Action::UpdatePodGroupStatus { group, condition } => {
            update_group_status(client, &group, &condition, clock.now()).await
        }
        Action::Preempt(preemption) => preempt(client, &preemption, clock.now(), |_| {}).await,
        Action::FreeDevices { claim } => devices::free(client, &claim).await,
        Action::RemoveDeviceClaim { claim } => devices::remove(client, &claim.namespace, &claim.name).await,
        other => Box::pin(binding::bind_with(caller, "", vec![other], None)).await.result,
    }
}

/// Binds a pod to a node. Not tried twice: after an answer that was lost the first may have succeeded.
pub(super) async fn bind(client: &Client, pod: &PodInfo, node: &Name) -> Result<(), CallError> {
    let binding = json!({
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
        "target": {"kind": "Node", "name": node},
    });
    call(client, http::Method::POST, &pod_path(pod, "/binding"), JSON, &binding).await.map(drop)
}

/// Sets a condition and the promised node, where they differ from what the pod says already.
pub(super) async fn update_status(
    client: &Client,
    pod: &PodInfo,
    condition: Option<&PodConditionUpdate>,
    nominated: Option<&Name>,
    now: Time,
) -> Result<(), CallError> {
    let mut status = json!({});
    if let Some(condition) = condition.filter(|update| differs(pod, update)) {
        status["conditions"] = json!([condition_json(pod, condition, now)]);
    }
    if let Some(node) = nominated.filter(|node| **node != pod.nominated_node_name) {
        status["nominatedNodeName"] = if node.is_empty() { Value::Null } else { json!(node) };
    }
    if status == json!({}) {
        return Ok(());
    }
    let patch = json!({"metadata": {"uid": pod.uid}, "status": status});
    call_patiently(client, http::Method::PATCH, &pod_path(pod, "/status"), STRATEGIC, &patch).await.map(drop)
}

fn present<'a>(pod: &'a PodInfo, kind: &str) -> Option<&'a Condition> {
    pod.conditions.iter().find(|condition| *condition.kind == *kind)
}

fn word(holds: bool) -> &'static str {
    if holds { "True" } else { "False" }
}

fn differs(pod: &PodInfo, update: &PodConditionUpdate) -> bool {
    present(pod, update.kind).is_none_or(|old| {
        old.status != word(update.status) || old.reason != update.reason || old.message != update.message.as_str()
    })
}

fn condition_json(pod: &PodInfo, update: &PodConditionUpdate, now: Time) -> Value {
    let mut condition = json!({
        "type": update.kind,
        "status": word(update.status),
        "reason": update.reason,
        "message": update.message,
        "lastProbeTime": null,
    });
    if pod.generation > 0 {
        condition["observedGeneration"] = json!(pod.generation);
    }
    if present(pod, update.kind).is_none_or(|old| old.status != word(update.status)) {
        condition["lastTransitionTime"] = json!(whole_second(now).to_string());
    }
    condition
}

/// API objects tell times in seconds.
pub(super) fn whole_second(now: Time) -> Time {
    Time::from_second(now.as_second()).unwrap_or(now)
}

/// Sets a pod group's condition.
async fn update_group_status(
    client: &Client,
    group: &PodGroup,
    update: &PodConditionUpdate,
    now: Time,
) -> Result<(), CallError> {
    let mut condition = json!({
        "type": update.kind,
        "status": word(update.status),
        "reason": update.reason,
        "message": update.message,
        "observedGeneration": group.generation,
    });
    if group.scheduled.as_ref().is_none_or(|old| old.status != word(update.status)) {
        condition["lastTransitionTime"] = json!(whole_second(now).to_string());
    }
    let PodGroup { namespace, name, uid, .. } = group;
    let path = format!("/apis/scheduling.k8s.io/v1alpha2/namespaces/{namespace}/podgroups/{name}/status");
    let patch = json!({"metadata": {"uid": uid}, "status": {"conditions": [condition]}});
    call_patiently(client, http::Method::PATCH, &path, STRATEGIC, &patch).await.map(drop)
}

/// Deletes the victims of a preemption, last of all the last one, and takes back promises to lesser pods. Tells of each
/// victim that was deleted.
pub(super) async fn preempt(
    client: &Client,
    preemption: &Preemption,
    now: Time,
    mut deleted: impl FnMut(&PodInfo),
) -> Result<(), CallError> {
    for pod in &preemption.lower_nominated {
        // The room is made all the same.
        if let Err(error) = update_status(client, pod, None, Some(&Name::default()), now).await {
            tracing::warn!(object.ref = %pod.name, error = error.message, "a promise could not be taken back");
        }
    }
    let preemptor = &preemption.preemptor;
    let for_whom = if preemption.group.is_some() { "podgroup" } else { "pod" };
    for victim in preemption.victims.iter().filter(|victim| victim.deletion_timestamp.is_none()) {
        let scheduler = &preemptor.spec.scheduler_name;
        let condition = PodConditionUpdate {
            kind: "DisruptionTarget",
            status: true,
            reason: "PreemptionByScheduler",
            message: format!("{scheduler}: preempting to accommodate a higher priority {for_whom}"),
        };
        let gone = |error: &CallError| error.code == CallError::NOT_FOUND;
        match update_status(client, victim, Some(&condition), None, now).await {
            Err(error) if gone(&error) => continue,
            result => result?,
        }
        let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": victim.uid}});
        match call_patiently(client, http::Method::DELETE, &pod_path(victim, ""), JSON, &options).await {
            Err(error) if gone(&error) || error.code == 409 => {}
            Err(error) => return Err(error),
            Ok(_) => deleted(victim),
        }
    }
    Ok(())
}
