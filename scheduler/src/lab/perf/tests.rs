use std::time::Duration;

use super::*;
use crate::plugins::default_profile;
use crate::schedule::{Scheduler, SchedulerConfig};

const POD: &str = "apiVersion: v1
kind: Pod
metadata:
  generateName: pod-
  labels: {app: x}
spec:
  priority: 0
  containers:
  - name: pause
    image: pause
    resources: {requests: {cpu: \"1\", memory: 1Mi}}
";

fn case(operations: &str) -> TestCase {
    let yaml = format!(
        "- name: Case\n  defaultPodTemplatePath: pod.yaml\n  workloadTemplate:\n{operations}  workloads:\n  - name: small\n    \
         threshold: 5\n    params: {{nodes: 3, pods: 6, time: 2s, steady: true}}\n"
    );
    TestCase::read_all(&yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}")).remove(0)
}

fn files(path: &str) -> Result<String, String> {
    match path {
        "pod.yaml" => Ok(POD.to_owned()),
        "high.yaml" => Ok(POD.replace("priority: 0", "priority: 10").replace("cpu: \"1\"", "cpu: \"3\"")),
        "large.yaml" => Ok(POD.replace("cpu: \"1\"", "cpu: \"40\"")),
        "gated.yaml" => Ok(POD
            .replace("generateName: pod-", "name: gated-{{.Index}}")
            .replace("spec:", "spec:\n  schedulingGates: [{name: hold}]")),
        "ungated.yaml" => Ok(POD.replace("generateName: pod-", "name: gated-{{.Index}}")),
        "slice.yaml" => Ok("apiVersion: v1\nkind: ResourceSlice\nspec: {driver: d}\n".to_owned()),
        other => Err(format!("no file {other}")),
    }
}

/// Carries out on the core with a clock that advances a little with every look.
fn run(case: &TestCase) -> Result<Vec<Measurement>, PerfError> {
    let ticks = std::cell::Cell::new(0_u64);
    let clock = || {
        ticks.set(ticks.get() + 1);
        Duration::from_micros(ticks.get())
    };
    let profile = default_profile("default-scheduler").build().unwrap();
    let scheduler = Scheduler::new(SchedulerConfig::default(), vec![profile]).unwrap();
    let mut cluster = CoreCluster::new(scheduler, &clock);
    carry_out(case, &case.workloads[0], &files, &mut cluster)
}

const NODES: &str = "  - {opcode: createNodes, countParam: $nodes}\n";

#[test]
fn pods_are_created_and_measured() {
    let case = case(&format!("{NODES}  - {{opcode: createPods, countParam: $pods, collectMetrics: true}}\n"));
    let measured = run(&case).unwrap();
    assert_eq!(measured.len(), 1);
    assert_eq!(measured[0].name, "Case/small/namespace-1");
    assert_eq!((measured[0].throughput.pods, measured[0].threshold), (6, 5.0));
    assert!(measured[0].throughput.average > 0.0);
}

#[test]
fn every_operation_of_the_core_is_carried_out() {
    for (what, operations) in [
        (
            "namespaces",
            "  - {opcode: createNamespaces, prefix: ns, count: 2}\n  - {opcode: createPods, count: 2, namespace: ns-1}\n",
        ),
        (
            "sets",
            "  - {opcode: createPodSets, count: 2, namespacePrefix: s, createPodsOp: {opcode: createPods, count: 2}}\n",
        ),
        ("barrier", "  - {opcode: createPods, count: 3, skipWaitToCompletion: true}\n  - {opcode: barrier}\n"),
        (
            "attempts",
            "  - {opcode: createPods, count: 3, podTemplatePath: large.yaml, skipWaitToCompletion: true}\n  - {opcode: barrier, stageRequirement: Attempted}\n",
        ),
        ("sleep", "  - {opcode: sleep, durationParam: $time}\n"),
        (
            "steady",
            "  - {opcode: createPods, count: 3, steadyStateParam: $steady, duration: 10ms, collectMetrics: true}\n",
        ),
        (
            "preemption",
            "  - {opcode: createPods, count: 12}\n  - {opcode: createPods, count: 3, podTemplatePath: high.yaml}\n",
        ),
        (
            "room is made",
            "  - {opcode: createPods, count: 12, namespace: a}\n  - {opcode: createPods, count: 2, namespace: b, skipWaitToCompletion: true}\n  - {opcode: deletePods, namespace: a, deletePodsPerSecond: 100, labelSelector: {app: x}, skipWaitToCompletion: true}\n  - {opcode: barrier, namespaces: [b]}\n",
        ),
        (
            "gates",
            "  - {opcode: createPods, count: 2, namespace: g, podTemplatePath: gated.yaml, skipWaitToCompletion: true}\n  - {opcode: updateAny, namespace: g, count: 2, templatePath: ungated.yaml, updatePerSecond: 50}\n  - {opcode: barrier}\n",
        ),
        (
            "churn",
            "  - {opcode: churn, mode: recreate, number: 1, templatePaths: [pod.yaml], intervalMilliseconds: 1}\n  - {opcode: sleep, duration: 20ms}\n  - {opcode: createPods, count: 5}\n",
        ),
        (
            "collecting",
            "  - {opcode: startCollectingMetrics, name: m, namespaces: [n]}\n  - {opcode: createPods, count: 5, namespace: n}\n  - {opcode: stopCollectingMetrics}\n",
        ),
    ] {
        run(&case(&format!("{NODES}{operations}"))).unwrap_or_else(|error| panic!("{what}: {error}"));
    }
}

#[test]
fn what_cannot_be_is_said_with_its_operation() {
    let problem = |operations: &str| run(&case(&format!("{NODES}{operations}"))).unwrap_err().to_string();
    let stuck = problem("  - {opcode: createPods, count: 1, podTemplatePath: large.yaml}\n");
    assert!(
        stuck.starts_with("operation 1: 1 pods of namespace namespace-1 to be scheduled: not within 600 s"),
        "{stuck}"
    );
    let kind = problem("  - {opcode: createAny, templatePath: slice.yaml}\n");
    assert_eq!(kind, "operation 1: the core alone knows no ResourceSlice; use the API");
    assert_eq!(problem("  - {opcode: createAny, templatePath: x.yaml}\n"), "x.yaml: no file x.yaml");
    assert_eq!(problem("  - {opcode: createPods, countParam: $none}\n"), "workload small: parameter none is undefined");
    assert_eq!(problem("  - {opcode: stopCollectingMetrics}\n"), "operation 1: no metrics are collected");
}

#[test]
fn mistakes_in_files_are_named_with_line_and_opcode() {
    let problem = |operation: &str| {
        let yaml = format!("- name: Case\n  workloadTemplate:\n  - opcode: sleep\n    duration: 1s\n{operation}\n");
        TestCase::read_all(&yaml).unwrap_err().to_string()
    };
    let unknown = problem("  - opcode: createNode\n    count: 5");
    assert!(unknown.contains("unknown opcode \"createNode\"; there are allocResourceClaims, barrier"), "{unknown}");
    assert!(unknown.contains("line 5"), "{unknown}");
    let field = problem("  - opcode: createNodes\n    counts: 5");
    assert!(field.contains("createNodes: ") && field.contains("unknown field `counts`"), "{field}");
    assert!(field.contains("line 5") || field.contains("line 3"), "{field}");
    for (operation, expected) in [
        ("  - opcode: createNodes", "createNodes: count must be above 0"),
        ("  - {opcode: churn, mode: x, templatePaths: [a]}", "churn: mode must be create or recreate, not \"x\""),
        ("  - {opcode: barrier, stageRequirement: Done}", "barrier: stageRequirement must be Scheduled or Attempted"),
        ("  - {opcode: startCollectingMetrics}", "startCollectingMetrics: namespaces must be given"),
        ("  - {count: 1}", "missing field `opcode`"),
        ("  - {opcode: createPods, count: 1, collectMetrics: true, skipWaitToCompletion: true}", "cannot both be true"),
    ] {
        let found = problem(operation);
        assert!(found.contains(expected), "{operation}: {found}");
    }
    let twice = "- name: Case\n  workloads: [{name: a}, {name: a}]\n";
    assert_eq!(TestCase::read_all(twice).unwrap_err().to_string(), "Case: workload name a is not unique");
}

#[test]
fn workloads_are_found_by_name() {
    let cases = [case(NODES)];
    assert!(TestCase::find(&cases, "Case/small").is_ok());
    let error = TestCase::find(&cases, "Case/large").unwrap_err();
    assert_eq!(error.to_string(), r#"no workload "Case/large"; there are Case/small"#);
}
