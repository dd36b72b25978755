//! Which pods of a namespace fall short of what shall be enforced from now on.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::checks::{Pod, evaluate, reasons};
use super::config::PodSecurityConfig;
use super::policy::LevelVersion;

/// How many pods are looked at: who changes a label shall not wait for thousands.
const PODS_MAX: usize = 3000;

/// What to warn of.
pub(super) fn warnings(
    namespace: &str,
    enforce: LevelVersion,
    pods: Vec<Value>,
    config: &PodSecurityConfig,
) -> Vec<String> {
    let pods = by_importance(pods, config);
    let mut by_reasons: BTreeMap<String, (String, usize)> = BTreeMap::new();
    for pod in pods.iter().take(PODS_MAX) {
        let violations = evaluate(enforce, Pod { metadata: &pod["metadata"], spec: &pod["spec"] });
        if violations.is_empty() {
            continue;
        }
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        let (first, count) = by_reasons.entry(reasons(&violations)).or_insert_with(|| (name.to_owned(), 0));
        *count += 1;
        if name < first.as_str() {
            name.clone_into(first);
        }
    }
    let mut warnings = Vec::new();
    if pods.len() > PODS_MAX {
        let checked = format!("the first {PODS_MAX} of {} existing pods", pods.len());
        warnings.push(format!("new PodSecurity enforce level only checked against {checked}"));
    }
    if !by_reasons.is_empty() {
        warnings.push(format!(
            "existing pods in namespace {namespace:?} violate the new PodSecurity enforce level \"{enforce}\""
        ));
    }
    let mut lines: Vec<String> = by_reasons.into_iter().map(|(why, (name, count))| line(&name, count, &why)).collect();
    lines.sort();
    warnings.extend(lines);
    warnings
}

fn line(name: &str, count: usize, why: &str) -> String {
    match count {
        1 => format!("{name}: {why}"),
        2 => format!("{name} (and 1 other pod): {why}"),
        more => format!("{name} (and {} other pods): {why}", more - 1),
    }
}

/// One pod of each controller first; their like comes last. Exempt ones don't count.
fn by_importance(pods: Vec<Value>, config: &PodSecurityConfig) -> Vec<Value> {
    let (mut first, mut rest, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
    for pod in pods {
        if config.exempts_runtime_class(pod["spec"]["runtimeClassName"].as_str().unwrap_or_default()) {
            continue;
        }
        let mut owners = pod["metadata"]["ownerReferences"].as_array().into_iter().flatten();
        let controller = owners.find(|owner| owner["controller"] == true).and_then(|owner| owner["uid"].as_str());
        let again = controller.is_some_and(|uid| !seen.insert(uid.to_owned()));
        if again { rest.push(pod) } else { first.push(pod) }
    }
    first.append(&mut rest);
    first
}
