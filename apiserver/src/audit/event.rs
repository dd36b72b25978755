//! Events, as upstream writes them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Level;
use super::mask::{Held, mask};
use crate::authz::reviews::user_info;
use crate::object::size_of;
use crate::request::{RequestInfo, User};

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Stage {
    /// It was identified, and is about to be decided and answered.
    RequestReceived,
    /// The answer's headers were sent, and its body may take long: watches, connections.
    ResponseStarted,
    /// It was answered.
    ResponseComplete,
    /// Answering it panicked.
    Panic,
}

/// One event, as JSON.
#[derive(Clone, Debug, PartialEq)]
pub struct Event(pub(super) Value);

impl Event {
    /// The event as JSON of the kind `Event` of `audit.k8s.io/v1`.
    #[must_use]
    pub const fn json(&self) -> &Value {
        &self.0
    }

    /// How long it is as JSON, in bytes.
    pub(super) fn size(&self) -> usize {
        size_of(&self.0)
    }
}

/// What is known of a request while it is on its way.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) id: String,
    pub(super) level: Level,
    pub(super) uri: String,
    pub(super) verb: String,
    pub(super) user: User,
    pub(super) impersonated: Option<User>,
    /// The verb that allowed it, if only some of it is allowed.
    pub(super) impersonation_constraint: Option<String>,
    pub(super) source_ips: Vec<String>,
    pub(super) user_agent: String,
    pub(super) info: RequestInfo,
    pub(super) received: String,
    pub(super) request_object: Option<Value>,
    pub(super) response_object: Option<Value>,
    pub(super) annotations: BTreeMap<String, String>,
}

impl Draft {
    /// The event of that stage; the answer's code where there is one.
    pub(super) fn event(&self, stage: Stage, at: &str, status: Option<Value>) -> Event {
        let mut event = json!({
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": self.level.as_str(),
            "auditID": self.id,
            "stage": stage,
            "requestURI": self.uri,
            "verb": self.verb,
            "user": user_info(&self.user),
            "requestReceivedTimestamp": self.received,
            "stageTimestamp": at,
        });
        let mut set = |field: &str, value: Option<Value>| {
            if let Some(value) = value {
                event[field] = value;
            }
        };
        set("impersonatedUser", self.impersonated.as_ref().map(user_info));
        let constraint = self.impersonation_constraint.as_ref();
        set("authenticationMetadata", constraint.map(|verb| json!({"impersonationConstraint": verb})));
        set("sourceIPs", (!self.source_ips.is_empty()).then(|| json!(self.source_ips)));
        set("userAgent", (!self.user_agent.is_empty()).then(|| json!(self.user_agent)));
        set("objectRef", self.object_reference());
        set("responseStatus", status);
        set("requestObject", self.request_object.clone());
        set("responseObject", self.response_object.clone());
        // Patches by webhooks are objects too.
        let shown = |key: &&String| self.level >= Level::Request || !key.starts_with("patch.webhook.");
        let held = Held::of(&self.info);
        let told = |(key, note): (&String, &String)| match key.starts_with("patch.webhook.") {
            true => (key.clone(), masked_note(note, held)),
            false => (key.clone(), note.clone()),
        };
        let annotations: BTreeMap<_, _> = self.annotations.iter().filter(|(key, _)| shown(key)).map(told).collect();
        set("annotations", (!annotations.is_empty()).then(|| json!(annotations)));
        Event(event)
    }

    fn object_reference(&self) -> Option<Value> {
        if !self.info.is_resource_request {
            return None;
        }
        let created = self.response_object.as_ref().or(self.request_object.as_ref());
        let of_object = |field: &str| created.and_then(|object| object["metadata"][field].as_str()).unwrap_or_default();
        let name = if self.info.name.is_empty() { of_object("name") } else { &self.info.name };
        let mut reference = json!({});
        for (field, value) in [
            ("resource", self.info.resource.as_str()),
            ("namespace", &self.info.namespace),
            ("name", name),
            ("uid", of_object("uid")),
            ("apiGroup", &self.info.api_group),
            ("apiVersion", &self.info.api_version),
            ("subresource", &self.info.subresource),
        ] {
            if !value.is_empty() {
                reference[field] = value.into();
            }
        }
        Some(reference)
    }
}

/// What is noted of a webhook's patch, without what no log may hold.
fn masked_note(note: &str, held: Held) -> String {
    if held == Held::Nothing {
        return note.to_owned();
    }
    let Ok(mut note) = serde_json::from_str::<Value>(note) else { return String::new() };
    mask(&mut note["patch"], held);
    note.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_of_secrets_are_told_without_their_values() {
        let patch =
            json!([{"op": "replace", "path": "/data/a", "value": "aHVudGVy"}, {"op": "remove", "path": "/data/b"}]);
        let note = json!({"webhook": "w", "patch": patch, "patchType": "JSONPatch"}).to_string();
        let masked: Value = serde_json::from_str(&masked_note(&note, Held::Secrets)).unwrap();
        assert_eq!(masked["patch"][0], json!({"op": "replace", "path": "/data/a", "value": "***"}));
        assert_eq!((&masked["patch"][1]["path"], &masked["webhook"]), (&json!("/data/b"), &json!("w")));
        assert_eq!(masked_note(&note, Held::Nothing), note);
        assert_eq!(masked_note("no JSON", Held::Tokens), "");
    }
}
