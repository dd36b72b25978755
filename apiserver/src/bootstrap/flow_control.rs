//! The flow schemas and priority levels that a server keeps: those that none may be without, and upstream's others.

use kubewright_api::status::Status;
use serde_json::{Value, json};

use crate::objects::{GroupResource, Objects};

const GROUP: &str = "flowcontrol.apiserver.k8s.io";
const AUTO_UPDATE: &str = "apf.kubernetes.io/autoupdate-spec";

/// Group, resource, object.
pub(crate) type Wanted = (&'static str, &'static str, Value);

fn metadata(name: &str) -> Value {
    json!({"name": name, "annotations": {AUTO_UPDATE: "true"}})
}

fn level(name: &str, spec: Value) -> Wanted {
    (
        GROUP,
        "prioritylevelconfigurations",
        json!({
            "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "PriorityLevelConfiguration",
            "metadata": metadata(name), "spec": spec,
        }),
    )
}

/// A level that has so many shares, lends so much of them, and lets wait what it can't run.
fn queuing(name: &str, shares: u32, lendable: u32, queues: u32, hand: u32) -> Wanted {
    let queuing = json!({"queues": queues, "handSize": hand, "queueLengthLimit": 50});
    let limited = json!({
        "nominalConcurrencyShares": shares, "lendablePercent": lendable,
        "limitResponse": {"type": "Queue", "queuing": queuing},
    });
    level(name, json!({"type": "Limited", "limited": limited}))
}

fn groups(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| json!({"kind": "Group", "group": {"name": name}})).collect()
}

fn user(name: &str) -> Value {
    json!({"kind": "User", "user": {"name": name}})
}

fn system_accounts() -> Value {
    json!({"kind": "ServiceAccount", "serviceAccount": {"name": "*", "namespace": "kube-system"}})
}

fn resources(verbs: &[&str], group: &str, resources: &[&str], cluster_scope: bool) -> Value {
    let mut rule = json!({"verbs": verbs, "apiGroups": [group], "resources": resources, "namespaces": ["*"]});
    if cluster_scope {
        rule["clusterScope"] = true.into();
    }
    rule
}

/// Everything.
fn everything(subjects: Vec<Value>) -> Value {
    json!({
        "subjects": subjects, "resourceRules": [resources(&["*"], "*", &["*"], true)],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
    })
}

/// What the rule says goes to that level, its flows told apart `by` something if it says so.
fn schema(name: &str, level: &str, precedence: u32, by: Option<&str>, rule: Value) -> Wanted {
    let mut spec = json!({
        "priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence, "rules": [rule],
    });
    if let Some(by) = by {
        spec["distinguisherMethod"] = json!({"type": by});
    }
    (
        GROUP,
        "flowschemas",
        json!({
            "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema",
            "metadata": metadata(name), "spec": spec,
        }),
    )
}

const EVERYONE: [&str; 2] = ["system:unauthenticated", "system:authenticated"];
const BY_USER: Option<&str> = Some("ByUser");
const BY_NAMESPACE: Option<&str> = Some("ByNamespace");

/// Those that a server goes by even if their objects are missing.
pub(crate) fn mandatory() -> Vec<Wanted> {
    vec![
        level("exempt", json!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}})),
        level(
            "catch-all",
            json!({"type": "Limited", "limited": {
                "nominalConcurrencyShares": 5, "lendablePercent": 0, "limitResponse": {"type": "Reject"},
            }}),
        ),
        schema("exempt", "exempt", 1, None, everything(groups(&["system:masters"]))),
        schema("catch-all", "catch-all", 10_000, BY_USER, everything(groups(&EVERYONE))),
    ]
}

/// Those that upstream suggests.
fn suggested() -> Vec<Wanted> {
    let probes = json!({
        "subjects": groups(&EVERYONE),
        "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}],
    });
    let election = json!({
        "subjects": [user("system:kube-controller-manager"), user("system:kube-scheduler"), system_accounts()],
        "resourceRules": [resources(&["get", "create", "update"], "coordination.k8s.io", &["leases"], false)],
    });
    let heartbeat = json!({
        "subjects": groups(&["system:nodes"]),
        "resourceRules": [
            resources(&["*"], "", &["nodes", "nodes/status"], true),
            resources(&["*"], "coordination.k8s.io", &["leases"], false),
        ],
    });
    let of_user = |name: &str| everything(vec![user(name)]);
    vec![
        queuing("system", 30, 33, 64, 6),
        queuing("node-high", 40, 25, 64, 6),
        queuing("leader-election", 10, 0, 16, 4),
        queuing("workload-high", 40, 50, 128, 6),
        queuing("workload-low", 100, 90, 128, 6),
        queuing("global-default", 20, 50, 128, 6),
        schema("probes", "exempt", 2, None, probes),
        schema("system-leader-election", "leader-election", 100, BY_USER, election),
        schema("system-node-high", "node-high", 400, BY_USER, heartbeat),
        schema("system-nodes", "system", 500, BY_USER, everything(groups(&["system:nodes"]))),
        schema(
            "kube-controller-manager",
            "workload-high",
            800,
            BY_NAMESPACE,
            of_user("system:kube-controller-manager"),
        ),
        schema("kube-scheduler", "workload-high", 800, BY_NAMESPACE, of_user("system:kube-scheduler")),
        schema("kube-system-service-accounts", "workload-high", 900, BY_NAMESPACE, everything(vec![system_accounts()])),
        schema("service-accounts", "workload-low", 9000, BY_USER, everything(groups(&["system:serviceaccounts"]))),
        schema("global-default", "global-default", 9900, BY_USER, everything(groups(&EVERYONE))),
    ]
}

pub(super) fn wanted() -> Vec<Wanted> {
    mandatory().into_iter().chain(suggested()).collect()
}

/// Whether a value says all that another says.
fn covers(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => {
            wanted.iter().all(|(name, value)| found.get(name).is_some_and(|found| covers(found, value)))
        }
        (Value::Array(found), Value::Array(wanted)) => {
            found.len() == wanted.len() && found.iter().zip(wanted).all(|(found, wanted)| covers(found, wanted))
        }
        _ => found == wanted,
    }
}

/// Whether an object may be brought back to what it should say: its annotation says so, or nobody has changed it yet.
fn is_ours(found: &Value) -> bool {
    match found["metadata"]["annotations"][AUTO_UPDATE].as_str() {
        Some(says) => says == "true",
        None => found["metadata"]["generation"] == 1,
    }
}

/// Makes those that are missing, and mends those that say something else; the mandatory ones whatever users want.
///
/// # Errors
/// What the store answers.
pub(crate) async fn keep(objects: &dyn Objects) -> Result<(), Status> {
    let mandatory = mandatory().into_iter().map(|wanted| (true, wanted));
    for (mandatory, (group, resource, wanted)) in mandatory.chain(suggested().into_iter().map(|wanted| (false, wanted)))
    {
        let place = GroupResource::new(group, resource);
        let name = wanted["metadata"]["name"].as_str().unwrap_or_default();
        let written = match objects.cached(place, "", name) {
            None => objects.create(place, wanted).await,
            Some(mut found) if (mandatory || is_ours(&found)) && !covers(&found["spec"], &wanted["spec"]) => {
                found["spec"] = wanted["spec"].clone();
                if mandatory {
                    found["metadata"]["annotations"][AUTO_UPDATE] = "true".into();
                }
                objects.update(place, found).await
            }
            Some(_) => continue,
        };
        match written {
            Err(status) if !matches!(status.reason.as_str(), "AlreadyExists" | "Conflict") => return Err(status),
            _ => {}
        }
    }
    Ok(())
}
