//! The driver against a small API server in memory.

mod devices;
mod election;
mod extenders;
mod fake;
mod gangs;
mod volumes;

use std::sync::Arc;
use std::time::Duration;

use fake::FakeApi;
use http::Method;
use kubewright_scheduler::driver::{Clock, Driver, DriverConfig, DriverError, MetricsRegistry};
use kubewright_scheduler::framework::{CycleState, PermitOutcome, PermitPlugin, Plugin, Status};
use kubewright_scheduler::object::{Name, PodInfo, Time};
use kubewright_scheduler::plugins::default_profile;
use kubewright_scheduler::queue::Gangs;
use kubewright_scheduler::testing::{NodeMaker, PodMaker, node, pod};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const PODS: &str = "/api/v1/pods";
const NODES: &str = "/api/v1/nodes";

/// The test runtime's clock, which stands still while there is something to do.
struct VirtualClock(tokio::time::Instant);

impl Clock for VirtualClock {
    fn now(&self) -> Time {
        Time::from_second(1_750_000_000).unwrap().checked_add(self.0.elapsed()).unwrap()
    }
}

struct Running {
    stop: CancellationToken,
    task: JoinHandle<Result<(), DriverError>>,
}

impl Running {
    async fn stop(self) -> Result<(), DriverError> {
        self.stop.cancel();
        self.task.await.unwrap()
    }
}

fn start(api: &FakeApi, config: DriverConfig) -> Running {
    start_as(api, config, "default-scheduler", &Arc::default())
}

fn start_as(api: &FakeApi, config: DriverConfig, name: &str, metrics: &Arc<MetricsRegistry>) -> Running {
    let clock = Arc::new(VirtualClock(tokio::time::Instant::now()));
    let profile = default_profile(name).build().unwrap();
    let driver = Driver::new(api.client(), clock, config, vec![profile]).unwrap().with_metrics(metrics.clone());
    let stop = CancellationToken::new();
    let task = tokio::task::spawn_local(driver.run(stop.clone()));
    Running { stop, task }
}

fn small(name: &str) -> NodeMaker {
    node(name).capacity(&[("cpu", "2"), ("memory", "4Gi"), ("pods", "10")])
}

fn asks(name: &str, cpu: &str) -> PodMaker {
    pod(name).requests(&[("cpu", cpu)])
}

fn put_pod(api: &FakeApi, pod: &PodMaker) {
    api.put(PODS, pod.json().clone());
}

async fn until_bound(api: &FakeApi, name: &str) -> String {
    let look = |api: &FakeApi| Some(api.get(PODS, name)?["spec"]["nodeName"].as_str()?.to_owned());
    api.until(&format!("{name} bound"), look).await
}

async fn until_event(api: &FakeApi, reason: &str) -> Value {
    let look = |api: &FakeApi| api.calls(&Method::POST, "/events").into_iter().find(|event| event["reason"] == reason);
    api.until(reason, look).await
}

fn condition(pod: &Value, kind: &str) -> Option<Value> {
    pod["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind).cloned()
}

/// Runs a test on one thread whose clock is virtual.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

#[test]
fn pods_are_bound_and_told() {
    run(async {
        let api = FakeApi::new();
        api.put(NODES, small("n").json().clone());
        put_pod(&api, &asks("before", "500m"));
        let driver = start(&api, DriverConfig::default());
        assert_eq!(until_bound(&api, "before").await, "n");
        put_pod(&api, &asks("after", "500m"));
        put_pod(&api, &asks("others", "500m").scheduler("another"));
        assert_eq!(until_bound(&api, "after").await, "n");
        let binding = &api.calls(&Method::POST, "/pods/after/binding")[0];
        assert_eq!(binding["target"], json!({"kind": "Node", "name": "n"}));
        assert_eq!(binding["metadata"]["uid"], "after");
        let event = until_event(&api, "Scheduled").await;
        assert_eq!(event["note"], "Successfully assigned default/before to n");
        assert_eq!(event["action"], "Binding");
        assert_eq!(event["reportingController"], "default-scheduler");
        assert!(api.get(PODS, "others").unwrap()["spec"]["nodeName"].is_null());
        driver.stop().await.unwrap();
    });
}

#[test]
fn a_pod_that_fits_nowhere_says_why_until_it_fits() {
    run(async {
        let api = FakeApi::new();
        api.put(NODES, small("n").taints(&[("k", "v", "NoSchedule")]).json().clone());
        put_pod(&api, &asks("p", "1"));
        let driver = start(&api, DriverConfig::default());
        let why = "0/1 nodes are available: 1 node(s) had untolerated taint(s). \
                   no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
        let event = until_event(&api, "FailedScheduling").await;
        assert_eq!((event["note"].as_str(), event["type"].as_str()), (Some(why), Some("Warning")));
        let scheduled = |api: &FakeApi| condition(&api.get(PODS, "p")?, "PodScheduled");
        let told = api.until("a condition", scheduled).await;
        assert_eq!((told["status"].as_str(), told["reason"].as_str()), (Some("False"), Some("Unschedulable")));
        assert_eq!(told["message"], why);
        assert!(told["lastTransitionTime"].is_string());
        api.put(NODES, small("n").json().clone());
        assert_eq!(until_bound(&api, "p").await, "n");
        driver.stop().await.unwrap();
    });
}

#[test]
fn a_binding_that_fails_is_tried_again() {
    run(async {
        let api = FakeApi::new();
        api.put(NODES, small("n").json().clone());
        api.fail_next("/binding", 500, "etcdserver: request timed out");
        put_pod(&api, &asks("p", "2"));
        let driver = start(&api, DriverConfig::default());
        assert_eq!(until_event(&api, "FailedScheduling").await["note"], "etcdserver: request timed out");
        assert_eq!(until_bound(&api, "p").await, "n");
        assert_eq!(api.calls(&Method::POST, "/binding").len(), 2);
        driver.stop().await.unwrap();
    });
}

#[test]
fn victims_go_and_the_preemptor_takes_their_place() {
    run(async {
        let api = FakeApi::new();
        api.put(NODES, small("n").json().clone());
        put_pod(&api, &asks("low", "2").on("n"));
        let driver = start(&api, DriverConfig::default());
        put_pod(&api, &asks("high", "2").priority(100));
        assert_eq!(until_bound(&api, "high").await, "n");
        assert!(api.get(PODS, "low").is_none());
        let patch = &api.calls(&Method::PATCH, "/pods/low/status")[0];
        let told = &patch["status"]["conditions"][0];
        assert_eq!(told["type"], "DisruptionTarget");
        assert_eq!(told["message"], "default-scheduler: preempting to accommodate a higher priority pod");
        assert_eq!(until_event(&api, "Preempted").await["note"], "Preempted by pod high on node n");
        let nominated = api.calls(&Method::PATCH, "/pods/high/status");
        assert!(nominated.iter().any(|patch| patch["status"]["nominatedNodeName"] == "n"));
        driver.stop().await.unwrap();
    });
}

#[test]
fn a_lost_watch_is_made_good() {
    run(async {
        let api = FakeApi::new();
        api.fail_next(NODES, 500, "not yet");
        api.put(NODES, small("n").json().clone());
        put_pod(&api, &asks("p", "1"));
        let driver = start(&api, DriverConfig::default());
        assert_eq!(until_bound(&api, "p").await, "n");
        driver.stop().await.unwrap();
    });
}

#[test]
fn many_pods_go_through_few_calls_at_a_time() {
    run(async {
        let api = FakeApi::new();
        let gate = api.hold("/binding");
        for n in 0..20 {
            api.put(NODES, node(&format!("n{n}")).json().clone());
        }
        for n in 0..300 {
            put_pod(&api, &asks(&format!("p{n}"), "100m"));
        }
        let driver = start(&api, DriverConfig { calls_max: 4, ..DriverConfig::default() });
        let bound = |api: &FakeApi| api.calls(&Method::POST, "/binding").len();
        for done in 0..20 {
            let full = |api: &FakeApi| (api.held().0 == 4 && bound(api) == done).then_some(());
            api.until("four calls under way again", full).await;
            gate.add_permits(1);
        }
        gate.add_permits(1000);
        api.until("all bound", |api| (bound(api) == 300).then_some(())).await;
        assert_eq!(api.held(), (0, 4), "there never were more than four calls under way");
        driver.stop().await.unwrap();
    });
}

#[test]
fn two_schedulers_share_a_cluster() {
    run(async {
        let api = FakeApi::new();
        api.put(NODES, small("n").json().clone());
        let first = start(&api, DriverConfig::default());
        let second = start_as(&api, DriverConfig::default(), "another", &Arc::default());
        put_pod(&api, &asks("p", "1"));
        put_pod(&api, &asks("q", "1").scheduler("another"));
        put_pod(&api, &asks("r", "1").scheduler("nobody"));
        assert_eq!((until_bound(&api, "p").await, until_bound(&api, "q").await), ("n".into(), "n".into()));
        put_pod(&api, &asks("s", "1").scheduler("another"));
        let event = until_event(&api, "FailedScheduling").await;
        assert_eq!(event["reportingController"], "another", "each counts the other's pods");
        assert!(api.get(PODS, "r").unwrap()["spec"]["nodeName"].is_null());
        first.stop().await.unwrap();
        second.stop().await.unwrap();
    });
}

#[test]
fn numbers_are_taken_down_under_upstreams_names() {
    run(async {
        let (api, metrics) = (FakeApi::new(), Arc::new(MetricsRegistry::default()));
        api.put(NODES, small("n").json().clone());
        put_pod(&api, &asks("p", "1"));
        put_pod(&api, &asks("q", "100"));
        let driver = start_as(&api, DriverConfig::default(), "default-scheduler", &metrics);
        until_bound(&api, "p").await;
        until_event(&api, "FailedScheduling").await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let text = metrics.render();
        for line in [
            "scheduler_schedule_attempts_total{profile=\"default-scheduler\",result=\"scheduled\"} 1",
            "scheduler_schedule_attempts_total{profile=\"default-scheduler\",result=\"unschedulable\"} 1",
            "scheduler_pending_pods{queue=\"unschedulable\"} 1",
            "scheduler_unschedulable_pods{plugin=\"NodeResourcesFit\",profile=\"default-scheduler\"} 1",
            "scheduler_async_api_call_execution_total{call_type=\"pod_binding\",result=\"success\"} 1",
            "scheduler_pod_scheduling_attempts_count 1",
            "scheduler_cache_size{type=\"nodes\"} 1",
            "scheduler_event_handling_duration_seconds_count{event=\"NodeAdd\"} 1",
            "scheduler_queue_incoming_pods_total{event=\"UnschedulablePodAdd\",queue=\"active\"} 2",
            "scheduler_queue_incoming_pods_total{event=\"ScheduleAttemptFailure\",queue=\"unschedulable\"} 1",
            "scheduler_batch_attempts_total{profile=\"default-scheduler\",result=\"no_hint\"} 2",
            "scheduler_get_node_hint_duration_seconds_count{hinted=\"no_hint\",profile=\"default-scheduler\"} 2",
            "scheduler_plugin_evaluation_total{extension_point=\"PreFilter\",plugin=\"NodeAffinity\",profile=\"default-scheduler\"} 2",
        ] {
            assert!(text.lines().any(|own| own == line), "{line} is not in:\n{text}");
        }
        for (point, status) in
            [("Filter", "Success"), ("Filter", "Unschedulable"), ("PreBind", "Success"), ("Bind", "Success")]
        {
            let labels = format!("extension_point=\"{point}\",profile=\"default-scheduler\",status=\"{status}\"");
            let line = format!("scheduler_framework_extension_point_duration_seconds_count{{{labels}}} 1");
            assert!(text.lines().any(|own| own == line), "{line} is not in:\n{text}");
        }
        driver.stop().await.unwrap();
    });
}

#[test]
fn a_server_that_lacks_a_kind_is_no_obstacle() {
    run(async {
        let api = FakeApi::new();
        for _ in 0..1000 {
            api.fail_next("/resourceslices", 404, "the server could not find the requested resource");
        }
        api.put(NODES, small("n").json().clone());
        put_pod(&api, &asks("p", "1"));
        let driver = start(&api, DriverConfig::default());
        assert_eq!(until_bound(&api, "p").await, "n");
        driver.stop().await.unwrap();
    });
}

#[test]
fn calls_that_are_never_answered_end_all_the_same() {
    run(async {
        let api = FakeApi::new();
        let gate = api.hold("/pods/p/binding");
        api.put(NODES, small("n").json().clone());
        put_pod(&api, &asks("p", "1"));
        let driver = start(&api, DriverConfig { calls_max: 1, ..DriverConfig::default() });
        api.until("a call under way", |api| (api.held().0 == 1).then_some(())).await;
        put_pod(&api, &asks("q", "1"));
        assert_eq!(until_event(&api, "FailedScheduling").await["note"], "no answer within 65 s");
        assert_eq!(until_bound(&api, "q").await, "n");
        gate.add_permits(1000);
        assert_eq!(until_bound(&api, "p").await, "n");
        driver.stop().await.unwrap();
    });
}

#[test]
fn events_that_nobody_takes_do_not_keep_it_from_ending() {
    run(async {
        let api = FakeApi::new();
        let _gate = api.hold("/events");
        api.put(NODES, small("n").json().clone());
        let driver = start(&api, DriverConfig::default());
        for name in ["p", "q", "r"] {
            put_pod(&api, &asks(name, "500m"));
            until_bound(&api, name).await;
        }
        let since = tokio::time::Instant::now();
        driver.stop().await.unwrap();
        assert!(since.elapsed() <= Duration::from_secs(16), "{:?}", since.elapsed());
    });
}

#[test]
fn a_promise_that_cannot_be_taken_back_does_not_stop_preemption() {
    run(async {
        let api = FakeApi::new();
        api.put(NODES, small("n").json().clone());
        put_pod(&api, &asks("low", "2").on("n"));
        let gate = api.hold("/pods/low");
        let driver = start(&api, DriverConfig::default());
        put_pod(&api, &asks("promised", "2").priority(10));
        let promised = |api: &FakeApi| api.get(PODS, "promised")?["status"]["nominatedNodeName"].as_str().map(drop);
        api.until("a promise", promised).await;
        api.fail_next("/pods/promised/status", 404, "pods \"promised\" not found");
        put_pod(&api, &asks("high", "2").priority(100));
        api.until("both preemptors are at their victim", |api| (api.held().0 == 2).then_some(())).await;
        gate.add_permits(1000);
        assert_eq!(until_bound(&api, "high").await, "n");
        driver.stop().await.unwrap();
    });
}

/// Permits the pod `low` later, if ever.
struct Later;

impl Plugin for Later {
    fn name(&self) -> &'static str {
        "Later"
    }

    fn permit(self: Arc<Self>) -> Option<Arc<dyn PermitPlugin>> {
        Some(self)
    }
}

impl PermitPlugin for Later {
    fn permit(&self, _: &mut CycleState, pod: &PodInfo, _: &Name, _: &Gangs) -> Result<PermitOutcome, Status> {
        let waits = &*pod.name == "low";
        Ok(if waits { PermitOutcome::Wait(Duration::from_secs(6000)) } else { PermitOutcome::Allow })
    }
}

#[test]
fn a_pod_that_waits_for_a_permit_makes_room_without_being_deleted() {
    run(async {
        let api = FakeApi::new();
        api.put(NODES, small("n").json().clone());
        put_pod(&api, &asks("low", "2"));
        let clock = Arc::new(VirtualClock(tokio::time::Instant::now()));
        let profile = default_profile("default-scheduler").with(Arc::new(Later), 0).build().unwrap();
        let driver = Driver::new(api.client(), clock, DriverConfig::default(), vec![profile]).unwrap();
        let stop = CancellationToken::new();
        let driver = Running { stop: stop.clone(), task: tokio::task::spawn_local(driver.run(stop)) };
        tokio::time::sleep(Duration::from_secs(2)).await;
        put_pod(&api, &asks("high", "2").priority(100));
        let note = until_event(&api, "Preempted").await["note"].clone();
        assert_eq!(note, "Preempted by pod high on node n (in kube-scheduler memory).");
        assert_eq!(until_bound(&api, "high").await, "n");
        assert!(api.calls(&Method::DELETE, "/pods/low").is_empty());
        assert!(api.get(PODS, "low").is_some());
        driver.stop().await.unwrap();
    });
}
