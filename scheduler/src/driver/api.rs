//! Calls to the API server.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use serde_json::{Value, json};

use super::extender::Extenders;
use super::metrics::Metrics;
use super::{Clock, devices, volumes};
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

    const fn is_passing(&self) -> bool {
        matches!(self.code, 0 | 409 | 429 | 500 | 503)
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

/// A JSON request.
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
    Ok(client.request::<Value>(request).await?)
}

pub(super) async fn call_patiently(
    client: &Client,
    method: http::Method,
    path: &str,
    content: &str,
    body: &Value,
) -> Result<Value, CallError> {
    let mut pause = PAUSE;
    for _ in 1..TRIES {
        match call(client, method.clone(), path, content, body).await {
            Err(error) if error.is_passing() => tokio::time::sleep(pause).await,
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
    fn took(&self, point: &'static str, profile: &str, worked: bool, since: Time) -> Time {
        let now = self.clock.now();
        let status = if worked { "Success" } else { "Error" };
        let labels = [("extension_point", point), ("profile", profile), ("status", status)];
        let seconds = now.duration_since(since).as_secs_f64().max(0.0);
        self.metrics.observe("framework_extension_point_duration_seconds", &labels, seconds);
        now
    }
}

/// Does all that binding a pod takes, one after the other. If something fails, the pod's claims to devices are given back.
pub(super) async fn bind_with(caller: &Caller, profile: &str, actions: Vec<Action>) -> Result<(), CallError> {
    let mut claims = devices::Held::default();
    let mut since = caller.clock.now();
    for action in actions {
        let binds = matches!(action, Action::Bind { .. } | Action::BindThrough { .. });
        if binds {
            since = caller.took("PreBind", profile, true, since);
        }
        let result = match action {
            Action::ReserveDevices { claim, allocation, pod } => {
                claims.reserve(caller, &claim, allocation.as_deref(), &pod).await
            }
            Action::MakeDeviceClaim { devices, allocation, pod } => {
                claims.make(caller, &devices, &allocation, &pod).await
            }
            Action::AwaitDevices { claims: named, extended, pod, timeout, .. } => {
                claims.await_ready(caller, &named, extended, &pod, timeout).await
            }
            other => carry_out(caller, other).await,
        };
        if binds || result.is_err() {
            caller.took(if binds { "Bind" } else { "PreBind" }, profile, result.is_ok(), since);
        }
        if let Err(error) = result {
            claims.give_back(caller).await;
            return Err(error);
        }
    }
    Ok(())
}

/// Does what a decision asks for.
pub(super) async fn carry_out(caller: &Caller, action: Action) -> Result<(), CallError> {
    let Caller { client, clock, extenders, .. } = caller;
    match action {
        Action::BindThrough { extender, pod, node, otherwise } => {
            match (extenders.bind(extender, &pod, &node).await, otherwise.as_deref()) {
                (Err(message), Some(Action::Bind { pod, node })) => {
                    tracing::info!(extender, message, "an extender that can be ignored did not bind a pod");
                    bind(client, pod, node).await
                }
                (result, _) => result.map_err(|message| CallError { code: 0, message }),
            }
        }
        Action::Bind { pod, node } => bind(client, &pod, &node).await,
        Action::UpdatePodStatus { pod, condition, nominated_node_name } => {
            update_status(client, &pod, condition.as_ref(), nominated_node_name.as_ref(), clock.now()).await
        }
        Action::UpdatePodGroupStatus { group, condition } => {
            update_group_status(client, &group, &condition, clock.now()).await
        }
        Action::Preempt(preemption) => preempt(client, &preemption, clock.now(), |_| {}).await,
        Action::KeepVolume { volume, claim } => volumes::keep(client, &volume, &claim).await,
        Action::SelectNode { claim, node } => volumes::select_node(client, &claim, &node).await,
        Action::FreeDevices { claim } => devices::free(client, &claim).await,
        Action::RemoveDeviceClaim { claim } => devices::remove(client, &claim.namespace, &claim.name).await,
        Action::ReserveDevices { .. } | Action::MakeDeviceClaim { .. } | Action::AwaitDevices { .. } => {
            Box::pin(bind_with(caller, "", vec![action])).await
        }
        Action::AwaitClaims { claims, node, timeout } => volumes::await_claims(client, &claims, &node, timeout).await,
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
        update_status(client, pod, None, Some(&Name::default()), now).await?;
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
