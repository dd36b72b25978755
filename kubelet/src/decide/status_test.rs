use std::collections::BTreeMap;

use serde_json::json;

use super::super::testing::{at, exited, pod, running, runtime, sandbox};
use super::super::{Verdict, Verdicts, WaitingReason};
use super::*;
use crate::objects::ContainerState;

fn status(pod: &Pod, runtime: &RuntimePod, change: impl FnOnce(&mut StatusInput<'_>)) -> PodStatus {
    let (verdicts, waiting) = (BTreeMap::new(), BTreeMap::new());
    let hosts = ["192.0.2.1".parse().unwrap()];
    let mut input = StatusInput {
        pod,
        before: &pod.status,
        runtime,
        runtime_name: "sim",
        verdicts: &verdicts,
        waiting: &waiting,
        ended: false,
        failure: None,
        host_ips: &hosts,
        now: at(100),
    };
    change(&mut input);
    pod_status(&input)
}

fn two(policy: &str) -> Pod {
    pod(json!({"restartPolicy": policy, "containers": [{"name": "a", "image": "x"}, {"name": "b", "image": "y"}]}))
}

fn condition(status: &PodStatus, kind: &str) -> (String, String, String) {
    let found = status.condition(kind).unwrap();
    (found.status.clone(), found.reason.clone(), found.message.clone())
}

#[test]
fn phases() {
    for (policy, states, expected) in [
        ("Always", vec![], "Pending"),
        ("Always", vec![running("a", 0)], "Pending"),
        ("Always", vec![running("a", 0), running("b", 0)], "Running"),
        ("Always", vec![exited("a", 0, 1), running("b", 0)], "Running"),
        ("Always", vec![exited("a", 0, 1), exited("b", 0, 0)], "Running"),
        ("Never", vec![exited("a", 0, 0), running("b", 0)], "Running"),
        ("Never", vec![exited("a", 0, 0), exited("b", 0, 0)], "Succeeded"),
        ("Never", vec![exited("a", 0, 1), exited("b", 0, 0)], "Failed"),
        ("OnFailure", vec![exited("a", 0, 1), exited("b", 0, 0)], "Running"),
        ("OnFailure", vec![exited("a", 0, 0), exited("b", 0, 0)], "Succeeded"),
    ] {
        let seen = RuntimePod { sandboxes: vec![sandbox(0, true)], containers: states.clone() };
        assert_eq!(status(&two(policy), &seen, |_| {}).phase, expected, "{policy} {states:?}");
    }
}

#[test]
fn a_fresh_pod_waits_for_its_containers() {
    let seen = status(&two("Always"), &RuntimePod::default(), |_| {});
    assert_eq!(seen.container("a").unwrap().state, ContainerState::waiting("ContainerCreating", ""));
    assert_eq!(condition(&seen, "PodReadyToStartContainers").0, "False");
    assert_eq!(condition(&seen, "Initialized").0, "True");
    let unready = "containers with unready status: [a b]";
    assert_eq!(condition(&seen, "Ready"), ("False".into(), "ContainersNotReady".into(), unready.into()));
    assert_eq!(seen.qos_class, "BestEffort");
    assert_eq!((seen.host_ip.as_str(), seen.pod_ip.as_str()), ("192.0.2.1", ""));
    assert_eq!(seen.start_time, Some(api_time(at(100))));
}

#[test]
fn a_running_pod_is_ready_and_has_addresses() {
    let seen = status(&two("Always"), &runtime([running("a", 0), running("b", 2)]), |_| {});
    assert_eq!(condition(&seen, "Ready").0, "True");
    assert_eq!(seen.pod_ips, [PodIp { ip: "10.0.0.7".into() }]);
    let b = seen.container("b").unwrap();
    assert_eq!((b.restart_count, b.container_id.as_str(), b.started), (2, "sim://b-2", Some(true)));
}

#[test]
fn init_containers_hold_back_the_rest() {
    let pod = pod(json!({"initContainers": [{"name": "i"}, {"name": "j"}], "containers": [{"name": "a"}]}));
    let seen = status(&pod, &runtime([running("j", 0), exited("i", 0, 0)]), |_| {});
    assert_eq!(seen.phase, "Pending");
    assert!(seen.container("i").unwrap().ready);
    assert_eq!(seen.container("a").unwrap().state, ContainerState::waiting("PodInitializing", ""));
    let message = "containers with incomplete status: [j]";
    assert_eq!(condition(&seen, "Initialized"), ("False".into(), "ContainersNotInitialized".into(), message.into()));
    let failed = Pod { spec: crate::objects::PodSpec { restart_policy: "Never".into(), ..pod.spec.clone() }, ..pod };
    assert_eq!(status(&failed, &runtime([exited("i", 0, 3)]), |_| {}).phase, "Failed");
}

#[test]
fn what_waits_for_its_restart_shows_why_and_how_it_ended() {
    let reason = WaitingReason { reason: "CrashLoopBackOff".into(), message: "back-off 10s".into() };
    let waiting: &Waiting = Box::leak(Box::new(BTreeMap::from([("a".to_owned(), reason)])));
    let (pod, state) = (two("Always"), runtime([exited("a", 1, 7), running("b", 0), exited("a", 0, 5)]));
    let seen = status(&pod, &state, |input| input.waiting = waiting);
    let a = seen.container("a").unwrap();
    assert_eq!(a.state, ContainerState::waiting("CrashLoopBackOff", "back-off 10s"));
    assert_eq!(a.last_state.terminated.as_ref().unwrap().exit_code, 7);
    assert_eq!(seen.phase, "Running");
    let seen = status(&pod, &state, |_| {});
    let a = seen.container("a").unwrap();
    assert_eq!(a.state.terminated.as_ref().unwrap().exit_code, 7);
    assert_eq!(a.last_state.terminated.as_ref().unwrap().exit_code, 5);
}

#[test]
fn readiness_probes_and_gates_decide_on_readiness() {
    let pod = pod(json!({"readinessGates": [{"conditionType": "example.com/gate"}],
        "containers": [{"name": "a", "readinessProbe": {"tcpSocket": {"port": 1}}}]}));
    let seen = status(&pod, &runtime([running("a", 0)]), |_| {});
    assert_eq!(condition(&seen, "ContainersReady").0, "False");
    let found = Verdicts { readiness: Some(Verdict::Success), ..Verdicts::default() };
    let verdicts: &AllVerdicts = Box::leak(Box::new(BTreeMap::from([("a-0".into(), found)])));
    let seen = status(&pod, &runtime([running("a", 0)]), |input| input.verdicts = verdicts);
    assert_eq!(condition(&seen, "ContainersReady").0, "True");
    let message = "corresponding condition of pod readiness gate \"example.com/gate\" does not exist.";
    assert_eq!(condition(&seen, "Ready"), ("False".into(), "ReadinessGatesNotReady".into(), message.into()));
    let mut open = pod;
    open.status.conditions = serde_json::from_value(json!([{"type": "example.com/gate", "status": "True"}])).unwrap();
    let seen = status(&open, &runtime([running("a", 0)]), |input| input.verdicts = verdicts);
    assert_eq!(condition(&seen, "Ready").0, "True");
    assert_eq!(condition(&seen, "example.com/gate").0, "True", "others' conditions stay");
}

#[test]
fn transition_times_move_only_with_the_status() {
    let mut pod = two("Always");
    let up = runtime([running("a", 0), running("b", 0)]);
    pod.status = status(&pod, &up, |_| {});
    let later = status(&pod, &up, |input| input.now = at(200));
    assert_eq!(later, pod.status, "nothing changed");
    let down = status(&pod, &runtime([exited("a", 0, 1), running("b", 0)]), |input| input.now = at(200));
    assert_eq!(down.condition("Ready").unwrap().last_transition_time, Some(api_time(at(200))));
    assert_eq!(down.condition("Initialized").unwrap().last_transition_time, Some(api_time(at(100))));
}

#[test]
fn an_ended_pod_stays_ended() {
    let mut pod = two("Never");
    pod.status.phase = "Succeeded".into();
    assert_eq!(status(&pod, &runtime([running("a", 0), running("b", 0)]), |_| {}).phase, "Succeeded");
    let failed = status(&two("Always"), &runtime([running("a", 0), running("b", 0)]), |input| {
        input.failure = Some(("DeadlineExceeded", "Pod was active on the node longer than the specified deadline"));
    });
    assert_eq!((failed.phase.as_str(), failed.reason.as_str()), ("Failed", "DeadlineExceeded"));
    assert_eq!(condition(&failed, "Ready").1, "PodFailed");
    let deleted = status(&two("Always"), &runtime([exited("a", 0, 0), exited("b", 0, 137)]), |i| i.ended = true);
    assert_eq!(deleted.phase, "Failed");
}

#[test]
fn what_ran_and_cannot_be_found_is_not_forgotten() {
    let mut pod = two("Always");
    pod.status = status(&pod, &runtime([running("a", 0), running("b", 0)]), |_| {});
    let seen = status(&pod, &runtime([running("b", 0)]), |_| {});
    let a = seen.container("a").unwrap();
    assert_eq!(a.last_state.terminated.as_ref().unwrap().reason, "ContainerStatusUnknown");
    assert_eq!(a.restart_count, 1);
}
