use std::collections::BTreeMap;

use kubewright_runtime_shim::ContainerState;
use serde_json::json;

use super::super::testing::{exited, pod, running, runtime, sandbox, view};
use super::super::{RuntimePod, Verdict, Verdicts};
use super::*;

/// One line of what is to be done.
fn plan_with(pod: &Pod, runtime: &RuntimePod, verdicts: &AllVerdicts, hash: &str) -> String {
    let actions = next_actions(pod, runtime, verdicts, |_| hash.to_owned());
    let mut words = Vec::new();
    if actions.kill_pod {
        words.push("kill-pod".to_owned());
    }
    words.extend(actions.kill.iter().map(|kill| format!("kill:{}", kill.id)));
    words.extend(actions.create_sandbox.map(|attempt| format!("sandbox:{attempt}")));
    words.extend(actions.start.iter().map(|start| format!("start:{}", start.of(pod).name)));
    words.join(" ")
}

fn plan(pod: &Pod, runtime: &RuntimePod) -> String {
    plan_with(pod, runtime, &BTreeMap::new(), "h")
}

fn two(policy: &str) -> Pod {
    pod(json!({"restartPolicy": policy, "containers": [{"name": "a"}, {"name": "b"}]}))
}

#[test]
fn a_new_pod_gets_a_sandbox_and_its_containers() {
    let nothing = RuntimePod::default();
    assert_eq!(plan(&two("Always"), &nothing), "sandbox:0 start:a start:b");
    let with_init = pod(json!({"initContainers": [{"name": "i"}, {"name": "j"}], "containers": [{"name": "a"}]}));
    assert_eq!(plan(&with_init, &nothing), "sandbox:0 start:i");
    assert_eq!(plan(&two("Always"), &runtime([running("a", 0)])), "start:b");
    assert_eq!(plan(&two("Always"), &runtime([running("a", 0), running("b", 0)])), "");
}

#[test]
fn restart_policies() {
    for (policy, code, expected) in [
        ("Always", 0, "start:a"),
        ("Always", 1, "start:a"),
        ("OnFailure", 0, ""),
        ("OnFailure", 1, "start:a"),
        ("Never", 0, ""),
        ("Never", 1, ""),
    ] {
        let state = runtime([exited("a", 0, code), running("b", 0)]);
        assert_eq!(plan(&two(policy), &state), expected, "{policy} {code}");
    }
    let all_done = runtime([exited("a", 0, 0), exited("b", 0, 0)]);
    assert_eq!(plan(&two("Never"), &all_done), "kill-pod");
    assert_eq!(plan(&two("OnFailure"), &all_done), "kill-pod");
    assert_eq!(plan(&two("Always"), &all_done), "start:a start:b");
}

#[test]
fn a_containers_own_policy_and_rules_win() {
    let pod = pod(json!({"restartPolicy": "Never", "containers": [
        {"name": "a", "restartPolicy": "OnFailure"},
        {"name": "b", "restartPolicy": "Never", "restartPolicyRules":
            [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]}]}));
    assert_eq!(plan(&pod, &runtime([exited("a", 0, 1), exited("b", 0, 42)])), "start:a start:b");
    assert_eq!(plan(&pod, &runtime([exited("a", 0, 0), exited("b", 0, 1)])), "kill-pod");
}

#[test]
fn a_lost_sandbox_is_made_again() {
    let lost = |containers| RuntimePod { sandboxes: vec![sandbox(3, false)], containers };
    assert_eq!(plan(&two("Always"), &lost(vec![exited("a", 0, 1)])), "kill-pod sandbox:4 start:a start:b");
    assert_eq!(plan(&two("Never"), &lost(vec![exited("a", 0, 1)])), "kill-pod");
    assert_eq!(plan(&two("Never"), &lost(vec![])), "kill-pod sandbox:4 start:a start:b");
    let done = vec![exited("a", 0, 0), exited("b", 0, 0)];
    assert_eq!(plan(&two("OnFailure"), &lost(done)), "kill-pod");
    assert_eq!(plan(&two("OnFailure"), &lost(vec![exited("a", 0, 0)])), "kill-pod sandbox:4 start:b");
    let with_init = pod(json!({"initContainers": [{"name": "i"}], "containers": [{"name": "a"}]}));
    assert_eq!(
        plan(&with_init, &lost(vec![exited("a", 0, 1), exited("i", 0, 0)])),
        "kill-pod sandbox:4 start:i",
        "it is initialized again"
    );
}

#[test]
fn init_containers_run_one_by_one() {
    let spec = |policy: &str| {
        pod(json!({"restartPolicy": policy,
            "initContainers": [{"name": "i"}, {"name": "j"}], "containers": [{"name": "a"}]}))
    };
    let always = spec("Always");
    assert_eq!(plan(&always, &runtime([])), "start:i");
    assert_eq!(plan(&always, &runtime([running("i", 0)])), "");
    assert_eq!(plan(&always, &runtime([exited("i", 0, 0)])), "start:j");
    assert_eq!(plan(&always, &runtime([exited("i", 0, 1)])), "start:i");
    assert_eq!(plan(&spec("Never"), &runtime([exited("i", 0, 1)])), "kill-pod");
    assert_eq!(plan(&always, &runtime([exited("j", 0, 0), exited("i", 0, 0)])), "start:a");
    assert_eq!(plan(&always, &runtime([exited("j", 0, 0)])), "start:a", "the first one's trace was cleaned away");
    assert_eq!(plan(&always, &runtime([running("a", 0)])), "", "all traces were cleaned away");
    assert_eq!(plan(&always, &runtime([view("i", 0, ContainerState::Created)])), "start:i");
}

#[test]
fn sidecars_start_in_order_and_are_kept_up() {
    let spec = pod(json!({
        "initContainers": [
            {"name": "s", "restartPolicy": "Always", "startupProbe": {"tcpSocket": {"port": 1}}}, {"name": "i"}],
        "containers": [{"name": "a"}]}));
    let started =
        |verdict| BTreeMap::from([("s-0".into(), Verdicts { startup: Some(verdict), ..Verdicts::default() })]);
    assert_eq!(plan(&spec, &runtime([running("s", 0)])), "", "it has not started yet");
    assert_eq!(plan_with(&spec, &runtime([running("s", 0)]), &started(Verdict::Success), "h"), "start:i");
    assert_eq!(plan_with(&spec, &runtime([running("s", 0)]), &started(Verdict::Failure), "h"), "kill:s-0 start:s");
    assert_eq!(plan(&spec, &runtime([running("i", 0), exited("s", 0, 1)])), "start:s");
    assert_eq!(plan(&spec, &runtime([running("a", 0), exited("i", 0, 0), exited("s", 0, 0)])), "start:s");
    let done = runtime([exited("a", 0, 0), exited("i", 0, 0), running("s", 0)]);
    let never = Pod { spec: crate::objects::PodSpec { restart_policy: "Never".into(), ..spec.spec.clone() }, ..spec };
    assert_eq!(plan_with(&never, &done, &started(Verdict::Success), "h"), "kill-pod", "a sidecar keeps no pod alive");
}

#[test]
fn failed_probes_kill_and_restart() {
    let verdicts = |liveness, startup| {
        let verdicts = Verdicts { liveness, startup, readiness: Some(Verdict::Failure) };
        BTreeMap::from([("a-0".into(), verdicts)])
    };
    let state = runtime([running("a", 0), running("b", 0)]);
    let fails = Some(Verdict::Failure);
    assert_eq!(plan_with(&two("Always"), &state, &verdicts(fails, None), "h"), "kill:a-0 start:a");
    assert_eq!(plan_with(&two("Always"), &state, &verdicts(None, fails), "h"), "kill:a-0 start:a");
    assert_eq!(plan_with(&two("Never"), &state, &verdicts(fails, None), "h"), "kill:a-0");
    assert_eq!(plan_with(&two("Always"), &state, &verdicts(Some(Verdict::Success), None), "h"), "");
    let actions = next_actions(&two("Always"), &state, &verdicts(fails, None), |_| String::new());
    assert_eq!(actions.kill[0].message, "Container a failed liveness probe, will be restarted");
}

#[test]
fn a_changed_container_is_replaced_whatever_the_policy() {
    let state =
        |hash: &str| runtime([ContainerView { hash: Some(hash.to_owned()), ..running("a", 0) }, running("b", 0)]);
    assert_eq!(plan(&two("Never"), &state("h")), "");
    assert_eq!(plan(&two("Never"), &state("other")), "kill:a-0 start:a");
}

#[test]
fn what_is_unknown_is_killed_before_it_is_started_again() {
    let state = runtime([view("a", 0, ContainerState::Unknown), running("b", 0)]);
    assert_eq!(plan(&two("Always"), &state), "kill:a-0 start:a");
}

#[test]
fn ephemeral_containers_start_once() {
    let spec = pod(json!({"containers": [{"name": "a"}], "ephemeralContainers": [{"name": "e"}]}));
    assert_eq!(plan(&spec, &runtime([running("a", 0)])), "start:e");
    assert_eq!(plan(&spec, &runtime([exited("e", 0, 1), running("a", 0)])), "");
}
