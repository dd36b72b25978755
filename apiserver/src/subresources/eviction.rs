//! Evicting a pod, as far as its disruption budget allows.

use jiff::Timestamp;
use kubewright_api::selector::LabelSelector;
use kubewright_api::status::Status;
use serde_json::{Value, json};

use super::conditions;
use crate::environment::time;
use crate::object;

/// Evictions of one budget that wait to be confirmed.
const DISRUPTED_PODS_MAX: usize = 2000;
const CAUSE: &str = "DisruptionBudget";
const REFUSED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

/// What an eviction needs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict<'a> {
    /// Nothing: the pod can go. If it must still be as it was seen, that is said.
    Free {
        /// Whether the pod must not have changed.
        unchanged: bool,
    },
    /// A disruption of that budget.
    Budget(&'a Value),
}

/// What evicting that pod needs, given the budgets of its namespace.
///
/// # Errors
/// 500 if more than one budget covers the pod.
pub fn judge<'a>(pod: &Value, budgets: &'a [Value]) -> Result<Verdict<'a>, Status> {
    let phase = pod["status"]["phase"].as_str().unwrap_or_default();
    if matches!(phase, "Succeeded" | "Failed") || object::is_terminating(pod) {
        return Ok(Verdict::Free { unchanged: false });
    }
    if phase == "Pending" {
        return Ok(Verdict::Free { unchanged: true });
    }
    let mut covering = budgets.iter().filter(|budget| covers(budget, pod));
    let Some(budget) = covering.next() else { return Ok(Verdict::Free { unchanged: false }) };
    if covering.next().is_some() {
        let why = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
        return Err(Status::failure(500, "", why));
    }
    let ready = conditions::find(pod, "Ready").is_some_and(|condition| condition["status"] == "True");
    let number = |field: &str| budget["status"][field].as_i64().unwrap_or(0);
    let (healthy, desired) = (number("currentHealthy"), number("desiredHealthy"));
    let always = budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow";
    if !ready && (always || (healthy >= desired && desired > 0)) {
        return Ok(Verdict::Free { unchanged: true });
    }
    Ok(Verdict::Budget(budget))
}

fn covers(budget: &Value, pod: &Value) -> bool {
    let Ok(selector) = serde_json::from_value::<LabelSelector>(budget["spec"]["selector"].clone()) else {
        return false;
    };
    selector.matches(&pod["metadata"]["labels"].as_object().cloned().unwrap_or_default())
}

/// Takes one disruption from a budget, for that pod.
///
/// # Errors
/// 429 if it has none left, 403 if its numbers make no sense.
pub fn take(budget: &mut Value, pod: &str, now: Timestamp) -> Result<(), Status> {
    let name = object::name(budget).to_owned();
    let number = |budget: &Value, field: &str| budget["status"][field].as_i64().unwrap_or(0);
    if number(budget, "observedGeneration") < budget["metadata"]["generation"].as_i64().unwrap_or(0) {
        return Err(still_processed(&name));
    }
    let allowed = number(budget, "disruptionsAllowed");
    if allowed < 0 {
        return Err(Status::forbidden("policy", "poddisruptionbudget", &name, "pdb disruptions allowed is negative"));
    }
    let waiting = budget["status"]["disruptedPods"].as_object().map_or(0, serde_json::Map::len);
    if waiting > DISRUPTED_PODS_MAX {
        let why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller";
        return Err(Status::forbidden("policy", "poddisruptionbudget", &name, why));
    }
    if allowed == 0 {
        return Err(Status::too_many_requests(REFUSED, 0).with_cause(CAUSE, exhausted(budget, &name), ""));
    }
    budget["status"]["disruptionsAllowed"] = (allowed - 1).into();
    budget["status"]["disruptedPods"][pod] = time(now).into();
    if allowed == 1 {
        let generation = number(budget, "observedGeneration");
        let condition = json!({
            "type": "DisruptionAllowed", "status": "False", "reason": "InsufficientPods", "message": "",
            "observedGeneration": generation,
        });
        conditions::set(budget, condition, now);
    }
    Ok(())
}

/// Why a budget has nothing left.
fn exhausted(budget: &Value, name: &str) -> String {
    let number = |field: &str| budget["status"][field].as_i64().unwrap_or(0);
    let refused = conditions::find(budget, "DisruptionAllowed").filter(|condition| condition["status"] == "False");
    let text = |field: &str| refused.and_then(|condition| condition[field].as_str()).unwrap_or_default();
    match (text("reason"), text("message")) {
        ("SyncFailed", message) if !message.is_empty() => {
            format!(
                "The disruption budget {name} does not allow evicting pods currently because it failed sync: {message}"
            )
        }
        _ if number("currentHealthy") <= number("desiredHealthy") => format!(
            "The disruption budget {name} needs {} healthy pods and has {} currently",
            number("desiredHealthy"),
            number("currentHealthy")
        ),
        (reason, message) if !message.is_empty() => {
            format!("The disruption budget {name} does not allow evicting pods currently ({reason}): {message}")
        }
        _ => format!("The disruption budget {name} does not allow evicting pods currently"),
    }
}

/// 429: try again once the budget has been looked at.
#[must_use]
pub fn still_processed(budget: &str) -> Status {
    let why = format!("The disruption budget {budget} is still being processed by the server.");
    Status::too_many_requests(REFUSED, 10).with_cause(CAUSE, why, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(allowed: i64) -> Value {
        json!({
            "metadata": { "name": "b", "generation": 1 },
            "spec": { "selector": { "matchLabels": { "app": "a" } } },
            "status": { "observedGeneration": 1, "disruptionsAllowed": allowed, "currentHealthy": 2, "desiredHealthy": 2 },
        })
    }

    fn pod(phase: &str, ready: &str) -> Value {
        let conditions = json!([{ "type": "Ready", "status": ready }]);
        json!({ "metadata": { "name": "p", "labels": { "app": "a" } }, "status": { "phase": phase, "conditions": conditions } })
    }

    #[test]
    fn only_pods_that_serve_need_a_budget() {
        let budgets = [budget(1)];
        assert_eq!(judge(&pod("Running", "True"), &budgets).unwrap(), Verdict::Budget(&budgets[0]));
        assert_eq!(judge(&pod("Running", "False"), &budgets).unwrap(), Verdict::Free { unchanged: true });
        assert_eq!(judge(&pod("Failed", "False"), &budgets).unwrap(), Verdict::Free { unchanged: false });
        assert_eq!(judge(&pod("Running", "True"), &[]).unwrap(), Verdict::Free { unchanged: false });
        assert_eq!(judge(&pod("Running", "True"), &[budget(1), budget(1)]).unwrap_err().code, 500);
    }

    #[test]
    fn a_budget_runs_out() {
        let mut budget = budget(1);
        take(&mut budget, "p", Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(budget["status"]["disruptedPods"]["p"], "1970-01-01T00:00:00Z");
        assert_eq!(conditions::find(&budget, "DisruptionAllowed").unwrap()["status"], "False");
        let status = take(&mut budget, "q", Timestamp::UNIX_EPOCH).unwrap_err();
        assert_eq!((status.code, status.message.as_str()), (429, REFUSED));
        let cause = &status.details.unwrap().causes[0];
        assert_eq!(cause.message, "The disruption budget b needs 2 healthy pods and has 2 currently");
    }
}
