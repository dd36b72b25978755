//! Who leads, and what becomes of what is under way when the lead is lost or given up.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use http::Method;
use kubewright_scheduler::driver::{Clock, Driver, DriverConfig, DriverError, LeaderElection};
use kubewright_scheduler::object::Time;
use kubewright_scheduler::plugins::default_profile;
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::fake::FakeApi;
use crate::{NODES, Running, asks, put_pod, run, small, start, until_bound};

/// A clock that goes so many seconds forward whenever it is looked at.
struct Leaping(i64, AtomicI64);

impl Clock for Leaping {
    fn now(&self) -> Time {
        Time::from_second(1_750_000_000 + self.1.fetch_add(self.0, Ordering::Relaxed)).unwrap()
    }
}

fn candidate(name: &str) -> DriverConfig {
    DriverConfig { leader_election: Some(LeaderElection::new(name)), ..DriverConfig::default() }
}

fn start_with_clock(api: &FakeApi, name: &str, step: i64) -> Running {
    let clock = Arc::new(Leaping(step, AtomicI64::new(0)));
    let profile = default_profile("default-scheduler").build().unwrap();
    let driver = Driver::new(api.client(), clock, candidate(name), vec![profile]).unwrap();
    let stop = CancellationToken::new();
    let task = tokio::task::spawn_local(driver.run(stop.clone()));
    Running { stop, task }
}

fn holder(api: &FakeApi) -> Option<String> {
    Some(api.get("leases", "kube-scheduler")?["spec"]["holderIdentity"].as_str()?.to_owned())
}

async fn until_leads(api: &FakeApi, name: &str) {
    api.until(name, |api| (holder(api)? == name).then_some(())).await;
}

#[test]
fn one_of_two_schedules_and_the_other_takes_over() {
    run(async {
        let api = FakeApi::new();
        api.put(NODES, small("n").json().clone());
        let first = start(&api, candidate("one"));
        until_leads(&api, "one").await;
        let second = start(&api, candidate("two"));
        put_pod(&api, &asks("p", "1"));
        until_bound(&api, "p").await;
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(holder(&api).as_deref(), Some("one"), "the lead is renewed");
        first.stop().await.unwrap();
        put_pod(&api, &asks("q", "1"));
        until_bound(&api, "q").await;
        assert_eq!(holder(&api).as_deref(), Some("two"));
        assert_eq!(api.calls(&Method::POST, "/binding").len(), 2);
        second.stop().await.unwrap();
    });
}

#[test]
fn a_leader_whose_renewals_are_not_answered_stops_in_time() {
    run(async {
        let api = FakeApi::new();
        let driver = start(&api, candidate("one"));
        until_leads(&api, "one").await;
        let (_gate, since) = (api.hold("/leases"), Instant::now());
        assert!(matches!(driver.task.await.unwrap(), Err(DriverError::LostLease)));
        assert!(since.elapsed() <= Duration::from_secs(11), "{:?}", since.elapsed());
    });
}

#[test]
fn a_clock_that_stands_still_does_not_keep_a_candidate_from_leading() {
    run(async {
        let api = FakeApi::new();
        let spec = json!({"holderIdentity": "dead", "leaseDurationSeconds": 15, "leaseTransitions": 3});
        api.put("leases", json!({"metadata": {"name": "kube-scheduler", "namespace": "kube-system"}, "spec": spec}));
        let since = Instant::now();
        let driver = start_with_clock(&api, "one", 0);
        until_leads(&api, "one").await;
        let waited = since.elapsed();
        assert!((Duration::from_secs(15)..Duration::from_secs(20)).contains(&waited), "{waited:?}");
        driver.stop().await.unwrap();
    });
}

#[test]
fn a_clock_that_leaps_does_not_steal_the_lead() {
    run(async {
        let api = FakeApi::new();
        let first = start(&api, candidate("one"));
        until_leads(&api, "one").await;
        let second = start_with_clock(&api, "two", 3600);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(holder(&api).as_deref(), Some("one"));
        first.stop().await.unwrap();
        second.stop().await.unwrap();
    });
}

#[test]
fn the_lead_is_given_up_once_all_bindings_are_over() {
    run(async {
        let api = FakeApi::new();
        api.put(NODES, small("n").json().clone());
        let gate = api.hold("/binding");
        let driver = start(&api, candidate("one"));
        put_pod(&api, &asks("p", "1"));
        api.until("a binding under way", |api| (api.held().0 == 1).then_some(())).await;
        driver.stop.cancel();
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(holder(&api).as_deref(), Some("one"), "the lead is kept while a binding is under way");
        gate.add_permits(1);
        driver.stop().await.unwrap();
        assert_eq!(holder(&api).as_deref(), Some(""));
        assert_eq!(api.calls(&Method::POST, "/binding").len(), 1);
    });
}

#[test]
fn bindings_under_way_end_with_the_lead() {
    run(async {
        let api = FakeApi::new();
        api.put(NODES, small("n").json().clone());
        let _bindings = api.hold("/binding");
        let driver = start(&api, candidate("one"));
        put_pod(&api, &asks("p", "1"));
        api.until("a binding under way", |api| (api.held().0 == 1).then_some(())).await;
        let (_leases, since) = (api.hold("/leases"), Instant::now());
        assert!(matches!(driver.task.await.unwrap(), Err(DriverError::LostLease)));
        assert!(since.elapsed() <= Duration::from_secs(11), "{:?}", since.elapsed());
    });
}
