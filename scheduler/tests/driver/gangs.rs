//! Pod groups, by what is written of them.

use std::sync::Arc;

use http::Method;
use kubewright_scheduler::driver::{Driver, DriverConfig, MetricsRegistry};
use kubewright_scheduler::plugins::{GangScheduling, default_profile};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::fake::{FakeApi, POD_GROUPS};
use crate::{NODES, Running, VirtualClock, asks, put_pod, run, small, until_bound, until_event};

fn start(api: &FakeApi, plugin: GangScheduling, metrics: &Arc<MetricsRegistry>) -> Running {
    let clock = Arc::new(VirtualClock(tokio::time::Instant::now()));
    let profile = default_profile("default-scheduler").with(Arc::new(plugin), 0).build().unwrap();
    let driver = Driver::new(api.client(), clock, DriverConfig::default(), vec![profile]).unwrap();
    let stop = CancellationToken::new();
    let task = tokio::task::spawn_local(driver.with_metrics(metrics.clone()).run(stop.clone()));
    Running { stop, task }
}

fn put_group(api: &FakeApi, min_count: u32) {
    let group = json!({"metadata": {"name": "g", "namespace": "default", "uid": "of-g", "generation": 1},
        "spec": {"schedulingPolicy": {"gang": {"minCount": min_count}}, "priority": 100}});
    api.put(POD_GROUPS, group);
}

async fn until_told(api: &FakeApi, status: &str) -> Value {
    let look = |api: &FakeApi| {
        let told = api.get(POD_GROUPS, "g")?["status"]["conditions"][0].clone();
        (told["status"] == status).then_some(told)
    };
    api.until("a group's condition", look).await
}

#[test]
fn a_group_is_told_whether_it_was_placed() {
    run(async {
        let (api, metrics) = (FakeApi::new(), Arc::new(MetricsRegistry::default()));
        api.put(NODES, small("n").json().clone());
        put_group(&api, 2);
        let driver = start(&api, GangScheduling::new(), &metrics);
        put_pod(&api, &asks("a", "2").group("g"));
        put_pod(&api, &asks("b", "2").group("g"));
        let told = until_told(&api, "False").await;
        assert_eq!((&told["type"], &told["reason"]), (&json!("PodGroupScheduled"), &json!("Unschedulable")));
        assert_eq!((&told["message"], &told["observedGeneration"]), (&json!("pod group is unschedulable"), &json!(1)));
        assert!(told["lastTransitionTime"].is_string());
        assert!(api.calls(&Method::POST, "/binding").is_empty());
        api.put(NODES, small("m").json().clone());
        let told = until_told(&api, "True").await;
        assert_eq!((&told["reason"], &told["message"]), (&json!("Scheduled"), &json!("")));
        until_bound(&api, "a").await;
        until_bound(&api, "b").await;
        let text = metrics.render();
        let tried = "scheduler_podgroup_schedule_attempts_total{profile=\"default-scheduler\",result=\"scheduled\"} 1";
        assert!(text.contains(tried), "{text}");
        driver.stop().await.unwrap();
    });
}

#[test]
fn victims_go_for_a_whole_group() {
    run(async {
        let (api, metrics) = (FakeApi::new(), Arc::default());
        api.put(NODES, small("n").json().clone());
        put_pod(&api, &asks("low", "2").on("n"));
        put_group(&api, 2);
        let driver = start(&api, GangScheduling::making_room(), &metrics);
        put_pod(&api, &asks("a", "1").group("g"));
        put_pod(&api, &asks("b", "1").group("g"));
        let note = until_event(&api, "Preempted").await["note"].clone();
        assert_eq!(note, "Preempted by podgroup of-g on node cluster");
        let patch = &api.calls(&Method::PATCH, "/pods/low/status")[0]["status"]["conditions"][0];
        assert_eq!(patch["message"], "default-scheduler: preempting to accommodate a higher priority podgroup");
        until_bound(&api, "a").await;
        until_bound(&api, "b").await;
        driver.stop().await.unwrap();
    });
}
