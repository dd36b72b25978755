//! Keeps the objects of priority and fairness as they should be, and lends seats. A task of the server's own runs it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::GROUP;
use super::levels::Levels;
use crate::bootstrap::flow_control;
use crate::environment;
use crate::objects::{GroupResource, Objects};

/// How often seats are lent anew; upstream's period.
const ADJUST_EVERY: Duration = Duration::from_secs(10);
/// How often objects are looked after that nobody changed, in adjustments.
const KEEP_EVERY: u32 = 6;

const SCHEMAS: GroupResource<'static> = GroupResource::new(GROUP, "flowschemas");

/// Keeps the default objects, says of flow schemas whether their levels exist, and lends seats.
pub struct FairnessKeeper {
    levels: Arc<Levels>,
    objects: Arc<dyn Objects>,
}

impl fmt::Debug for FairnessKeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FairnessKeeper")
    }
}

impl FairnessKeeper {
    pub(super) fn new(levels: Arc<Levels>, objects: Arc<dyn Objects>) -> Self {
        Self { levels, objects }
    }

    /// Runs until cancelled.
    pub async fn run(self, environment: Arc<dyn environment::Environment>, cancel: CancellationToken) {
        let mut turn = 0u32;
        let mut ticks = tokio::time::interval(ADJUST_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // The first tick comes at once.
        ticks.tick().await;
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                () = self.levels.changed.notified() => self.tell(&*environment).await,
                _ = ticks.tick() => {
                    self.levels.adjust();
                    turn = turn.wrapping_add(1);
                    if turn.is_multiple_of(KEEP_EVERY) {
                        self.keep().await;
                    }
                }
            }
        }
    }

    pub(super) async fn keep(&self) {
        if let Err(error) = flow_control::keep(&*self.objects).await {
            tracing::warn!(%error, "the default flow schemas and priority levels could not be kept");
        }
    }

    /// Writes of each flow schema whether its level exists.
    pub(super) async fn tell(&self, environment: &dyn environment::Environment) {
        for mut schema in self.objects.cached_list(SCHEMAS, None) {
            let level = schema["spec"]["priorityLevelConfiguration"]["name"].as_str().unwrap_or_default();
            let wanted = condition(level, self.levels.has_level(level));
            let conditions = schema["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let found = conditions.iter().find(|condition| condition["type"] == "Dangling");
            let says =
                |found: &Value| ["status", "reason", "message"].iter().all(|field| found[field] == wanted[field]);
            if found.is_some_and(says) {
                continue;
            }
            let mut next = wanted.clone();
            next["lastTransitionTime"] = match found {
                Some(found) if found["status"] == wanted["status"] => found["lastTransitionTime"].clone(),
                _ => environment::time(environment.now()).into(),
            };
            let mut conditions: Vec<Value> =
                conditions.into_iter().filter(|condition| condition["type"] != "Dangling").collect();
            conditions.push(next);
            if !schema["status"].is_object() {
                schema["status"] = json!({});
            }
            schema["status"]["conditions"] = conditions.into();
            // A conflict means that it changed, and then it comes again.
            if let Err(error) = self.objects.update_status(SCHEMAS, schema).await {
                tracing::debug!(%error, "the status of a flow schema was not written");
            }
        }
    }
}

fn condition(level: &str, exists: bool) -> Value {
    let refers = format!("This FlowSchema references the PriorityLevelConfiguration object named {level:?}");
    let (status, reason, rest) =
        if exists { ("False", "Found", "and it exists") } else { ("True", "NotFound", "but there is no such object") };
    json!({"type": "Dangling", "status": status, "reason": reason, "message": format!("{refers} {rest}")})
}
