//! What upstream's own tests of its configuration refuse, case by case.

use super::tests::{read, refused};

/// What a profile's settings of one plugin are refused for, all at once.
#[track_caller]
fn settings(name: &str, args: &str, expected: &[&str]) {
    let text = format!("profiles: [{{pluginConfig: [{{name: {name}, args: {args}}}]}}]");
    let error = match read(&text) {
        Ok(_) if expected.is_empty() => return,
        Ok(_) => panic!("{args} was taken"),
        Err(error) => error,
    };
    let at = "profiles[0].pluginConfig[0].args.";
    for one in expected {
        assert!(error.contains(&format!("{at}{one}")), "{error}\n  lacks {one}");
    }
    assert_eq!(error.matches(at).count(), expected.len(), "{error}");
}

#[test]
fn every_setting_that_upstream_refuses_is_refused() {
    let preemption = |args: &str, expected: &[&str]| settings("DefaultPreemption", args, expected);
    preemption("{minCandidateNodesPercentage: 10, minCandidateNodesAbsolute: 100}", &[]);
    preemption("{minCandidateNodesPercentage: -1}", &["minCandidateNodesPercentage: Invalid value: -1"]);
    preemption("{minCandidateNodesPercentage: 900}", &["minCandidateNodesPercentage: Invalid value: 900"]);
    preemption("{minCandidateNodesAbsolute: -1}", &["minCandidateNodesAbsolute: Invalid value: -1"]);
    let both = ["minCandidateNodesPercentage: Invalid", "minCandidateNodesAbsolute: Invalid"];
    preemption("{minCandidateNodesPercentage: 0, minCandidateNodesAbsolute: 0}", &both);
    preemption("{minCandidateNodesPercentage: -1, minCandidateNodesAbsolute: -1}", &both);
    for (weight, expected) in [("0", &[][..]), ("100", &[]), ("-1", &["hardPodAffinityWeight: Invalid value: -1"])] {
        settings("InterPodAffinity", &format!("{{hardPodAffinityWeight: {weight}}}"), expected);
    }

    let spread = |kind: &str, constraints: &str, expected: &[&str]| {
        let args = format!("{{defaultingType: {kind}, defaultConstraints: [{constraints}]}}");
        settings("PodTopologySpread", &args, expected);
    };
    let constraint = |skew: i32, key: &str, what: &str| {
        format!("{{maxSkew: {skew}, topologyKey: {key}, whenUnsatisfiable: {what}}}")
    };
    let one = constraint(1, "node", "DoNotSchedule");
    spread("List", &format!("{one}, {}", constraint(2, "zone", "ScheduleAnyway")), &[]);
    spread("List", "", &[]);
    spread("System", "", &[]);
    spread("List", &constraint(-1, "node", "DoNotSchedule"), &["defaultConstraints[0].maxSkew: Invalid value: -1"]);
    spread("List", &constraint(1, "''", "DoNotSchedule"), &["defaultConstraints[0].topologyKey: Required value"]);
    spread("List", &constraint(1, "a/b/c", "DoNotSchedule"), &["defaultConstraints[0].topologyKey: Invalid value"]);
    spread("List", &constraint(1, "node", "''"), &["defaultConstraints[0].whenUnsatisfiable: Required value"]);
    let unknown = "defaultConstraints[0].whenUnsatisfiable: Unsupported value: \"x\"";
    spread("List", &constraint(1, "node", "x"), &[unknown]);
    let twice = format!("{one}, {}", constraint(2, "node", "DoNotSchedule"));
    spread("List", &twice, &["defaultConstraints[1]: Duplicate value"]);
    let selecting = one.replace('}', ", labelSelector: {matchLabels: {a: b}}}");
    spread("List", &selecting, &["defaultConstraints[0].labelSelector: Forbidden"]);
    spread("unknown", "", &["defaultingType: Unsupported value: \"unknown\""]);
    spread("System", &one, &["defaultingType: Invalid value: \"System\""]);

    let balanced = |resources: &str, expected: &[&str]| {
        settings("NodeResourcesBalancedAllocation", &format!("{{resources: [{resources}]}}"), expected);
    };
    balanced("{name: cpu, weight: 1}, {name: memory, weight: 1}", &[]);
    balanced("{name: cpu, weight: 2}, {name: memory, weight: 1}", &["resources[0].weight: Invalid value: 2"]);
    balanced("{name: cpu, weight: 1}, {name: cpu, weight: 1}", &["resources[1].name: Duplicate value"]);

    settings("VolumeBinding", "{bindTimeoutSeconds: 0}", &[]);
    settings("VolumeBinding", "{bindTimeoutSeconds: -10}", &["bindTimeoutSeconds: Invalid value: -10"]);
    settings("VolumeBinding", "{shape: [{utilization: 1, score: 1}]}", &["shape: Invalid value"]);
    settings("DynamicResources", "{bindingTimeout: 1s, filterTimeout: 0s}", &[]);
    settings("DynamicResources", "{bindingTimeout: 999ms}", &["bindingTimeout: Invalid value"]);
    settings("DynamicResources", "{filterTimeout: -1s}", &["filterTimeout: Invalid value"]);
}

#[test]
fn every_way_of_scoring_that_upstream_refuses_is_refused() {
    let fit = |args: &str, expected: &[&str]| settings("NodeResourcesFit", args, expected);
    let long = "a".repeat(64);
    fit("{ignoredResources: [example.com], ignoredResourceGroups: [example.com]}", &[]);
    fit(&format!("{{ignoredResources: [{long}]}}"), &["ignoredResources[0]: Invalid value"]);
    fit("{ignoredResources: [a, example.com/a/b]}", &["ignoredResources[1]: Invalid value"]);
    fit(&format!("{{ignoredResourceGroups: [{long}]}}"), &["ignoredResourceGroups[0]: Invalid value"]);
    let slash = "ignoredResourceGroups[0]: Invalid value: \"a.b/c\": resource group name can't contain '/'";
    fit("{ignoredResourceGroups: [a.b/c]}", &[slash]);
    fit("{scoringStrategy: {type: Invalid}}", &["scoringStrategy.type: Unsupported value: \"Invalid\""]);
    for kind in ["LeastAllocated", "MostAllocated"] {
        let with = |resources: &str| format!("{{scoringStrategy: {{type: {kind}, resources: [{resources}]}}}}");
        fit(&with(""), &[]);
        fit(&with("{name: cpu, weight: 1}, {name: memory, weight: 100}"), &[]);
        let weights = ["resources[0].weight: Invalid value: -1", "resources[1].weight: Invalid value: 101"]
            .map(|one| format!("scoringStrategy.{one}"));
        let both = "{name: cpu, weight: -1}, {name: memory, weight: 101}";
        fit(&with(both), &[&weights[0], &weights[1]]);
        let ratio = format!(
            "{{scoringStrategy: {{type: {kind}, requestedToCapacityRatio: {{shape: [{{utilization: 1, score: 1}}]}}}}}}"
        );
        fit(&ratio, &["scoringStrategy.requestedToCapacityRatio: Forbidden"]);
    }
    let shape = |points: &[(i32, i32)], expected: &[&str]| {
        let points: Vec<String> = points.iter().map(|(u, s)| format!("{{utilization: {u}, score: {s}}}")).collect();
        let ratio = format!("requestedToCapacityRatio: {{shape: [{}]}}", points.join(", "));
        let expected: Vec<String> =
            expected.iter().map(|one| format!("scoringStrategy.requestedToCapacityRatio.shape{one}")).collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        fit(&format!("{{scoringStrategy: {{type: RequestedToCapacityRatio, {ratio}}}}}"), &expected);
    };
    shape(&[(30, 3), (70, 7)], &[]);
    shape(&[], &[": Required value"]);
    shape(&[(-10, 3)], &["[0].utilization: Invalid value: -10"]);
    shape(&[(110, 3)], &["[0].utilization: Invalid value: 110"]);
    shape(&[(10, -3)], &["[0].score: Invalid value: -3"]);
    shape(&[(10, 300)], &["[0].score: Invalid value: 300"]);
    shape(&[(30, 3), (10, 3)], &["[1].utilization: Invalid value: 10: values must be sorted"]);
    shape(&[(10, 3), (20, 3), (20, 3), (15, 3)], &["[2].utilization: Invalid value: 20: values must be sorted"]);
}

#[test]
fn added_affinity_is_checked_to_the_last_value() {
    let required = |terms: &str| {
        format!(
            "{{addedAffinity: {{requiredDuringSchedulingIgnoredDuringExecution: {{nodeSelectorTerms: [{terms}]}}}}}}"
        )
    };
    let at = "addedAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].";
    let check = |term: &str, expected: &str| {
        let expected = format!("{at}{expected}");
        let list: &[&str] = if expected == at { &[] } else { &[&expected] };
        settings("NodeAffinity", &required(term), list);
    };
    check("{matchExpressions: [{key: a, operator: In, values: [b]}]}", "");
    check("{matchExpressions: [{key: a, operator: Exists}, {key: b, operator: Gt, values: ['3']}]}", "");
    check("{matchExpressions: [{key: a/b/c, operator: Exists}]}", "matchExpressions[0].key: Invalid value: \"a/b/c\"");
    check("{matchExpressions: [{key: a, operator: In}]}", "matchExpressions[0].values: Invalid value");
    check("{matchExpressions: [{key: a, operator: Lt, values: [x]}]}", "matchExpressions[0].values[0]: Invalid value");
    check(
        "{matchExpressions: [{key: a, operator: In, values: ['-']}]}",
        "matchExpressions[0].values[0]: Invalid value",
    );
    check("{matchFields: [{key: metadata.name, operator: In, values: [n]}]}", "");
    check(
        "{matchFields: [{key: metadata.name, operator: In, values: [n, m]}]}",
        "matchFields[0].values: Invalid value",
    );
    let preferred = "{addedAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, preference: \
                     {matchFields: [{key: metadata.name, operator: In, values: [n, m]}]}}]}}";
    let values =
        "addedAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].matchFields[0].values: Invalid value";
    settings("NodeAffinity", preferred, &[values]);
}

#[test]
fn the_whole_configuration_is_checked() {
    for (text, expected) in [
        ("leaderElection: {resourceName: ''}", "leaderElection.resourceName: Required value"),
        ("leaderElection: {resourceNamespace: ''}", "leaderElection.resourceNamespace: Required value"),
        ("leaderElection: {resourceLock: configmaps}", "leaderElection.resourceLock: Invalid value: \"configmaps\""),
        ("percentageOfNodesToScore: -1", "percentageOfNodesToScore: Invalid value: -1"),
        ("podInitialBackoffSeconds: 0", "podInitialBackoffSeconds: Invalid value: 0: must be greater than 0"),
        (
            "profiles: [{}, {schedulerName: b, percentageOfNodesToScore: 101}]",
            "profiles[1].percentageOfNodesToScore: Invalid value: 101",
        ),
        (
            "profiles: [{pluginConfig: [{name: NodeAffinity, args: {}}, {name: NodeAffinity, args: {}}]}]",
            "profiles[0].pluginConfig[1]: Duplicate value: \"NodeAffinity\"",
        ),
        (
            "extenders: [{managedResources: [{name: a.b/x}, {name: 'example.com/?'}]}]",
            "extenders[0].managedResources[1].name: Invalid value",
        ),
    ] {
        refused(text, expected);
    }
    for name in ["AzureDiskLimits", "CinderLimits", "EBSLimits", "GCEPDLimits"] {
        refused(
            &format!("profiles: [{{plugins: {{score: {{enabled: [{{name: {name}}}]}}}}}}]"),
            &format!("profiles[0].plugins.score.enabled[0]: Invalid value: \"{name}\""),
        );
    }
    let unled = "leaderElection: {leaderElect: false, resourceName: '', resourceLock: configmaps, retryPeriod: 0s}";
    assert!(read(unled).is_ok(), "who does not elect need not say how");
}
