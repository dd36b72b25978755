//! What kube-scheduler 1.36 said about clusters and pods drawn at random, held against what this scheduler says.
//!
//! Each line of the files in `tests/upstream` is a cluster, pods to be tried on it one by one, and kube-scheduler's
//! answers: every node's no with its plugin, kind and reasons; every other node's score by plugin; the message for a pod
//! that fits nowhere; and who would be preempted on each node.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use kubewright_scheduler::framework::{Code, PluginScore, Status};
use kubewright_scheduler::object::{Name, PodInfo, Time, Workload, WorkloadKind};
use kubewright_scheduler::plugins::default_profile;
use kubewright_scheduler::schedule::{DeviceChange, Room, Scheduler, SchedulerConfig, StorageChange, Trial, WhatIf};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

#[derive(Deserialize)]
struct Case {
    name: String,
    objects: Vec<Value>,
    pods: Vec<Value>,
    answers: Vec<Answer>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Answer {
    refused: Option<No>,
    nodes: BTreeMap<String, No>,
    message: String,
    scores: BTreeMap<String, BTreeMap<String, i64>>,
    victims: BTreeMap<String, Victims>,
    picked: BTreeSet<String>,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct No {
    code: String,
    plugin: String,
    reasons: Vec<String>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Victims {
    pods: Vec<String>,
}

const fn code(code: Code) -> &'static str {
    match code {
        Code::Error => "Error",
        Code::Unschedulable => "Unschedulable",
        Code::UnschedulableAndUnresolvable => "UnschedulableAndUnresolvable",
        Code::Pending => "Pending",
    }
}

fn no(status: &Status) -> No {
    let mut reasons: Vec<String> = status.reasons().iter().map(ToString::to_string).collect();
    // Extended resources are named in any order.
    reasons.sort();
    let plugin = status.plugin().map(ToString::to_string).unwrap_or_default();
    No { code: code(status.code()).to_owned(), plugin, reasons }
}

fn object<T: DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{error}: {value}"))
}

fn put(scheduler: &mut Scheduler, value: &Value) {
    let now = Time::UNIX_EPOCH;
    let mut workload = |kind| {
        let workload = Workload::read(kind, value).expect("a workload");
        scheduler.put_workload(kind, workload);
    };
    match value["kind"].as_str().unwrap_or_default() {
        "Service" => workload(WorkloadKind::Service),
        "ReplicationController" => workload(WorkloadKind::ReplicationController),
        "ReplicaSet" => workload(WorkloadKind::ReplicaSet),
        "StatefulSet" => workload(WorkloadKind::StatefulSet),
        "Node" => scheduler.put_node(object::<kubewright_scheduler::object::Node>(value), now),
        "Pod" => scheduler.put_pod(object::<PodInfo>(value), now),
        "Namespace" => scheduler.put_namespace(object(value), now),
        "PodDisruptionBudget" => scheduler.put_budget(object(value)),
        "PersistentVolumeClaim" => scheduler.change_storage(StorageChange::PutClaim(object(value)), now),
        "PersistentVolume" => scheduler.change_storage(StorageChange::PutVolume(object(value)), now),
        "StorageClass" => scheduler.change_storage(StorageChange::PutClass(object(value)), now),
        "CSINode" => scheduler.change_storage(StorageChange::PutCsiNode(object(value)), now),
        "CSIDriver" => scheduler.change_storage(StorageChange::PutCsiDriver(object(value)), now),
        "CSIStorageCapacity" => scheduler.change_storage(StorageChange::PutCapacity(object(value)), now),
        "VolumeAttachment" => scheduler.change_storage(StorageChange::PutAttachment(object(value)), now),
        "ResourceClaim" => scheduler.change_devices(DeviceChange::PutClaim(object(value)), now),
        "DeviceClass" => scheduler.change_devices(DeviceChange::PutClass(object(value)), now),
        "ResourceSlice" => scheduler.change_devices(DeviceChange::PutSlice(object(value)), now),
        other => panic!("no such kind: {other}"),
    }
}

fn scheduler(case: &Case) -> Scheduler {
    let profile = default_profile("default-scheduler").build().unwrap();
    let mut scheduler = Scheduler::new(SchedulerConfig::default(), vec![profile]).unwrap();
    // Budgets are weighed in the order of their names; nothing else depends on the order.
    for value in &case.objects {
        put(&mut scheduler, value);
    }
    scheduler
}

/// Everything in which the two disagree about a pod.
fn differences(mut what_if: WhatIf<'_>, pod: &Arc<PodInfo>, expected: &Answer) -> String {
    let mut found = String::new();
    match what_if.explain(pod) {
        Err(status) => {
            let ours = no(&status);
            if expected.refused.as_ref() != Some(&ours) {
                let _ = writeln!(found, "  refused: {ours:?}\n    instead of {:?}", expected.refused);
            }
        }
        Ok(ours) => compare_nodes(&ours, expected, &mut found),
    }
    if !expected.message.is_empty() {
        match what_if.try_pod(pod) {
            Trial::DoesNotFit(error) if error.to_string() == expected.message => {}
            Trial::DoesNotFit(error) => {
                let _ = writeln!(found, "  says: {error}\n    instead of {}", expected.message);
            }
            other => drop(writeln!(found, "  {other:?}\n    instead of {}", expected.message)),
        }
        compare_victims(&mut what_if, pod, expected, &mut found);
    }
    found
}

fn compare_nodes(ours: &BTreeMap<Name, Result<Vec<PluginScore>, Status>>, expected: &Answer, found: &mut String) {
    if let Some(refused) = &expected.refused {
        let _ = writeln!(found, "  not refused, but {refused:?}");
        return;
    }
    for (node, said) in ours {
        match (said, expected.nodes.get(node.as_str())) {
            (Err(_), Some(no)) if no.code == "Absent" => {}
            (Err(status), Some(theirs)) if no(status) == *theirs => {}
            (Err(status), theirs) => {
                let _ = writeln!(found, "  {node} says {:?}\n    instead of {theirs:?}", no(status));
            }
            (Ok(_), Some(theirs)) => drop(writeln!(found, "  {node} says yes\n    instead of {theirs:?}")),
            (Ok(parts), None) => {
                let scored = parts.iter().filter(|part| part.score != 0);
                let parts: BTreeMap<String, i64> = scored.map(|part| (part.plugin.to_string(), part.score)).collect();
                let theirs = expected.scores.get(node.as_str());
                if Some(&parts) != theirs {
                    let _ = writeln!(found, "  {node} scores {parts:?}\n    instead of {theirs:?}");
                }
            }
        }
    }
}

fn compare_victims(what_if: &mut WhatIf<'_>, pod: &Arc<PodInfo>, expected: &Answer, found: &mut String) {
    match what_if.preempt(pod) {
        Ok(Room::Made(room)) => {
            let pods = room.victims.iter().map(|victim| victim.name.to_string()).collect();
            let (ours, theirs) = (Victims { pods }, expected.victims.get(room.node.as_str()));
            if Some(&ours) != theirs || !expected.picked.contains(room.node.as_str()) {
                let _ = writeln!(
                    found,
                    "  preempts {ours:?} on {}\n    instead of {theirs:?}, on {:?}",
                    room.node, expected.picked
                );
            }
        }
        Ok(Room::None(_)) if expected.victims.is_empty() => {}
        other => drop(writeln!(found, "  preemption: {other:?}\n    instead of {:?}", expected.victims)),
    }
}

#[test]
fn kube_scheduler_says_the_same() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/upstream");
    let (mut asked, mut wrong, mut report) = (0, 0, String::new());
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // Groups are told of in another form.
        if path.ends_with("gangs.jsonl") {
            continue;
        }
        let text = std::fs::read_to_string(path).unwrap();
        for line in text.lines() {
            let case: Case = serde_json::from_str(line).unwrap();
            let scheduler = scheduler(&case);
            for (pod, expected) in case.pods.iter().zip(&case.answers) {
                let pod: Arc<PodInfo> = Arc::new(object(pod));
                let found = differences(scheduler.what_if(), &pod, expected);
                asked += 1;
                if !found.is_empty() {
                    wrong += 1;
                    let _ = writeln!(report, "{} {}:\n{found}", case.name, pod.name);
                }
            }
        }
    }
    assert!(asked > 0, "no recorded answers were found");
    assert!(wrong == 0, "{wrong} of {asked} pods are judged otherwise:\n{report}");
}
