//! What a pod's failure means, and when successes are enough.

use std::collections::BTreeSet;

use super::indexes;
use crate::objects::{Job, OnExitCodes, Pod, PodFailureRule, condition};

/// What a failed pod means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It counts against the back-off limit.
    Count,
    /// It doesn't count.
    Ignore,
    /// Its index has failed.
    FailIndex,
    /// The job has failed, for this reason.
    FailJob(String),
}

/// What the failure of a pod means by the job's policy: the first rule that matches decides.
pub(super) fn meaning(job: &Job, pod: &Pod) -> Meaning {
    let Some(policy) = &job.spec.pod_failure_policy else { return Meaning::Count };
    if pod.status.phase != "Failed" {
        return Meaning::Count;
    }
    for (at, rule) in policy.rules.iter().enumerate() {
        let Some(why) = matches(rule, pod) else { continue };
        return match rule.action.as_str() {
            "Ignore" => Meaning::Ignore,
            "FailIndex" => Meaning::FailIndex,
            "FailJob" => Meaning::FailJob(format!("{why} matching {} rule at index {at}", rule.action)),
            _ => Meaning::Count,
        };
    }
    Meaning::Count
}

fn matches(rule: &PodFailureRule, pod: &Pod) -> Option<String> {
    let name = format!("{}/{}", pod.metadata.namespace, pod.metadata.name);
    if let Some(codes) = &rule.on_exit_codes {
        let statuses = pod.status.container_statuses.iter().chain(&pod.status.init_container_statuses);
        for status in statuses {
            let Some(terminated) = &status.state.terminated else { continue };
            let ours = codes.container_name.as_ref().is_none_or(|name| *name == status.name);
            if ours && terminated.exit_code != 0 && code_matches(codes, terminated.exit_code) {
                let code = terminated.exit_code;
                return Some(format!("Container {} for pod {name} failed with exit code {code}", status.name));
            }
        }
    }
    for pattern in &rule.on_pod_conditions {
        let wanted = if pattern.status.is_empty() { "True" } else { &pattern.status };
        if condition(&pod.status.conditions, &pattern.kind).is_some_and(|found| found.status == wanted) {
            return Some(format!("Pod {name} has condition {}", pattern.kind));
        }
    }
    None
}

fn code_matches(codes: &OnExitCodes, code: i32) -> bool {
    codes.values.contains(&code) == (codes.operator == "In")
}

/// Whether the indexes that succeeded are enough, and by which rule.
pub(super) fn enough(job: &Job, succeeded: &BTreeSet<i32>) -> Option<String> {
    let completions = job.spec.completions.unwrap_or(0);
    let policy = job.spec.success_policy.as_ref()?;
    policy.rules.iter().enumerate().find_map(|(at, rule)| {
        let counted: BTreeSet<i32> = match &rule.succeeded_indexes {
            Some(text) => indexes::parse(text, completions),
            None => (0..completions).collect(),
        };
        let reached = i32::try_from(counted.intersection(succeeded).count()).unwrap_or(i32::MAX);
        let wanted = rule.succeeded_count.unwrap_or_else(|| i32::try_from(counted.len()).unwrap_or(i32::MAX));
        (reached >= wanted).then(|| format!("Matched rules at index {at}"))
    })
}
