//! What `kubectl get pods` shows.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::registry::Column;
use crate::table::{AGE, NAME, or_none, since, text, text_of, wide};

pub(super) static COLUMNS: [Column; 9] = [
    NAME,
    text("Ready", "How many of its containers are ready.", |pod, _| {
        let summary = Summary::of(pod);
        json!(format!("{}/{}", summary.ready, summary.containers))
    }),
    text("Status", "What its containers do, all in all.", |pod, _| json!(Summary::of(pod).reason)),
    text("Restarts", "How often its containers were restarted, and how long ago the last time was.", |pod, now| {
        let summary = Summary::of(pod);
        match summary.last_restart {
            Some(at) if summary.restarts != 0 => {
                json!(format!("{} ({} ago)", summary.restarts, since(&json!(at.to_string()), now)))
            }
            _ => json!(summary.restarts.to_string()),
        }
    }),
    AGE,
    wide(text("IP", "Its first address.", |pod, _| {
        let many = text_of(&pod["status"]["podIPs"][0]["ip"]);
        or_none(if many.is_empty() { text_of(&pod["status"]["podIP"]) } else { many })
    })),
    wide(text("Node", "The node that it runs on.", |pod, _| or_none(text_of(&pod["spec"]["nodeName"])))),
    wide(text("Nominated Node", "The node where room is made for it.", |pod, _| {
        or_none(text_of(&pod["status"]["nominatedNodeName"]))
    })),
    wide(text("Readiness Gates", "How many of its readiness gates are passed.", |pod, _| readiness_gates(pod))),
];

fn readiness_gates(pod: &Value) -> Value {
    let gates = list(&pod["spec"]["readinessGates"]);
    if gates.is_empty() {
        return json!("<none>");
    }
    let passed = gates.iter().filter(|gate| condition(pod, gate["conditionType"].as_str().unwrap_or_default()));
    json!(format!("{}/{}", passed.count(), gates.len()))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn condition(pod: &Value, kind: &str) -> bool {
    list(&pod["status"]["conditions"])
        .iter()
        .any(|condition| condition["type"] == kind && condition["status"] == "True")
}

fn finished_at(status: &Value) -> Option<Timestamp> {
    status["lastState"]["terminated"]["finishedAt"].as_str()?.parse().ok()
}

/// All that is shown about the state of a pod's containers.
struct Summary {
    reason: String,
    containers: usize,
    ready: usize,
    restarts: i64,
    last_restart: Option<Timestamp>,
}

impl Summary {
    fn of(pod: &Value) -> Self {
        let status = &pod["status"];
        let mut summary = Self {
            reason: text_of(if text_of(&status["reason"]).is_empty() { &status["phase"] } else { &status["reason"] }),
            containers: list(&pod["spec"]["containers"]).len(),
            ready: 0,
            restarts: 0,
            last_restart: None,
        };
        let gated = list(&status["conditions"])
            .iter()
            .any(|condition| condition["type"] == "PodScheduled" && condition["reason"] == "SchedulingGated");
        if gated {
            summary.reason = "SchedulingGated".into();
        }
        let (sidecar_restarts, sidecar_last, initializing) = summary.init_containers(pod);
        if !initializing || condition(pod, "Initialized") {
            summary.restarts = sidecar_restarts;
            summary.last_restart = sidecar_last;
            summary.main_containers(pod);
        }
        if pod["metadata"]["deletionTimestamp"].is_string() {
            if status["reason"] == "NodeLost" {
                summary.reason = "Unknown".into();
            } else if !matches!(status["phase"].as_str(), Some("Succeeded" | "Failed")) {
                summary.reason = "Terminating".into();
            }
        }
        summary
    }

    /// Gives restarts of sidecars, the last of them, and whether an init container is still to run.
    fn init_containers(&mut self, pod: &Value) -> (i64, Option<Timestamp>, bool) {
        let specs = list(&pod["spec"]["initContainers"]);
        let is_sidecar =
            |name: &Value| specs.iter().any(|spec| spec["name"] == *name && spec["restartPolicy"] == "Always");
        self.containers += specs.iter().filter(|spec| spec["restartPolicy"] == "Always").count();
        let (mut restarts, mut last) = (0, None);
        for (at, status) in list(&pod["status"]["initContainerStatuses"]).iter().enumerate() {
            let sidecar = is_sidecar(&status["name"]);
            let count = status["restartCount"].as_i64().unwrap_or_default();
            self.restarts += count;
            self.last_restart = self.last_restart.max(finished_at(status));
            if sidecar {
                restarts += count;
                last = last.max(finished_at(status));
            }
            let (ended, waiting) = (&status["state"]["terminated"], text_of(&status["state"]["waiting"]["reason"]));
            if ended.is_object() && ended["exitCode"].as_i64().unwrap_or_default() == 0 {
                continue;
            }
            if sidecar && status["started"] == true {
                self.ready += usize::from(status["ready"] == true);
                continue;
            }
            self.reason = if ended.is_object() {
                format!("Init:{}", ended_reason(ended))
            } else if !waiting.is_empty() && waiting != "PodInitializing" {
                format!("Init:{waiting}")
            } else {
                format!("Init:{at}/{}", specs.len())
            };
            return (restarts, last, true);
        }
        (restarts, last, false)
    }

    fn main_containers(&mut self, pod: &Value) {
        let mut running = false;
        for status in list(&pod["status"]["containerStatuses"]).iter().rev() {
            self.restarts += status["restartCount"].as_i64().unwrap_or_default();
            self.last_restart = self.last_restart.max(finished_at(status));
            let state = &status["state"];
            let waiting = text_of(&state["waiting"]["reason"]);
            if !waiting.is_empty() {
                self.reason = waiting;
            } else if state["terminated"].is_object() {
                self.reason = ended_reason(&state["terminated"]);
            } else if status["ready"] == true && state["running"].is_object() {
                running = true;
                self.ready += 1;
            }
        }
        if self.reason == "Completed" && running {
            self.reason = if condition(pod, "Ready") { "Running" } else { "NotReady" }.into();
        }
    }
}

fn ended_reason(ended: &Value) -> String {
    match (text_of(&ended["reason"]), ended["signal"].as_i64().unwrap_or_default()) {
        (reason, _) if !reason.is_empty() => reason,
        (_, 0) => format!("ExitCode:{}", ended["exitCode"].as_i64().unwrap_or_default()),
        (_, signal) => format!("Signal:{signal}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries() {
        let now: Timestamp = "2026-01-01T01:00:00Z".parse().unwrap();
        let check = |pod: Value, expected: [&str; 3]| {
            let cells: Vec<Value> = COLUMNS[1..4].iter().map(|column| (column.cell)(&pod, now)).collect();
            assert_eq!(cells, expected, "{pod}");
        };
        let two = json!({"containers": [{"name": "a"}, {"name": "b"}]});
        check(json!({"spec": two, "status": {"phase": "Pending"}}), ["0/2", "Pending", "0"]);
        let running = json!({"ready": true, "restartCount": 0, "state": {"running": {}}});
        let crashed = json!({
            "ready": false, "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"finishedAt": "2026-01-01T00:55:00Z"}},
        });
        let status = json!({"phase": "Running", "containerStatuses": [running, crashed]});
        check(json!({"spec": two, "status": status}), ["1/2", "CrashLoopBackOff", "3 (5m ago)"]);
        let ended = json!({"restartCount": 0, "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}});
        let status = json!({"phase": "Succeeded", "containerStatuses": [ended, ended]});
        check(json!({"spec": two, "status": status}), ["0/2", "Completed", "0"]);
        let init = json!({"containers": [{"name": "a"}], "initContainers": [{"name": "i"}, {"name": "j"}]});
        let failed = json!({"name": "i", "restartCount": 1, "state": {"terminated": {"exitCode": 1}}});
        let status = json!({"phase": "Pending", "initContainerStatuses": [failed]});
        check(json!({"spec": init, "status": status}), ["0/1", "Init:ExitCode:1", "1"]);
        let waiting = json!({"name": "i", "state": {"waiting": {"reason": "PodInitializing"}}});
        let status = json!({"phase": "Pending", "initContainerStatuses": [waiting]});
        check(json!({"spec": init, "status": status}), ["0/1", "Init:0/2", "0"]);
        let dying = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "spec": two,
            "status": {"phase": "Running", "containerStatuses": [running, running]}});
        check(dying, ["2/2", "Terminating", "0"]);
    }
}
