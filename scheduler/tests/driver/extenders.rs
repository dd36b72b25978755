//! Extenders that are asked over HTTP.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use kube::Client;
use kubewright_scheduler::config::ExtenderConfig;
use kubewright_scheduler::driver::{Driver, DriverConfig};
use kubewright_scheduler::plugins::default_profile;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::fake::FakeApi;
use crate::{NODES, PODS, Running, VirtualClock, asks, put_pod, run, small, until_bound, until_event};

const URL: &str = "http://extender.test/scheduling";

type Log = Arc<Mutex<Vec<(String, Value)>>>;

/// An extender that answers what it is told to, after a while.
fn extender(
    log: &Log,
    takes: Duration,
    answer: impl Fn(&str, &Value) -> (u16, Value) + Send + Sync + 'static,
) -> Client {
    let (log, answer) = (log.clone(), Arc::new(answer));
    let service = tower::service_fn(move |request: Request<kube::client::Body>| {
        let (log, answer) = (log.clone(), answer.clone());
        async move {
            let verb = request.uri().path().trim_start_matches('/').to_owned();
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let body: Value = serde_json::from_slice(&body).unwrap();
            tokio::time::sleep(takes).await;
            let (code, said) = answer(&verb, &body);
            log.lock().unwrap().push((verb, body));
            let body = Full::new(bytes::Bytes::from(said.to_string()));
            Ok::<_, Infallible>(Response::builder().status(code).body(body).unwrap())
        }
    });
    Client::new(service, "default")
}

fn start(api: &FakeApi, config: ExtenderConfig, client: &Client) -> Running {
    let clock = Arc::new(VirtualClock(tokio::time::Instant::now()));
    let config = DriverConfig { extenders: vec![config], ..DriverConfig::default() };
    let profile = default_profile("default-scheduler").build().unwrap();
    let driver = Driver::new(api.client(), clock, config, vec![profile]).unwrap().with_extender_client(URL, client);
    let stop = CancellationToken::new();
    Running { task: tokio::task::spawn_local(driver.run(stop.clone())), stop }
}

fn config() -> ExtenderConfig {
    ExtenderConfig { url_prefix: URL.into(), ..ExtenderConfig::default() }
}

fn asked(log: &Log, verb: &str) -> Vec<Value> {
    log.lock().unwrap().iter().filter(|(own, _)| own == verb).map(|(_, body)| body.clone()).collect()
}

#[test]
fn they_filter_score_and_bind() {
    run(async {
        let (api, log) = (FakeApi::new(), Log::default());
        for name in ["a", "b", "c"] {
            api.put(NODES, small(name).labels(&[("rack", name)]).json().clone());
        }
        let api_too = api.clone();
        let client = extender(&log, Duration::from_secs(1), move |verb, body| match verb {
            "filter" => {
                let items = body["Nodes"]["items"].as_array().unwrap();
                let kept: Vec<&Value> = items.iter().filter(|node| node["metadata"]["labels"]["rack"] != "a").collect();
                (200, json!({"Nodes": {"items": kept}, "NodeNames": null, "FailedNodes": {"a": "no"}, "Error": ""}))
            }
            "prioritize" => (200, json!([{"Host": "b", "Score": 0}, {"Host": "c", "Score": 10}])),
            "bind" => {
                let mut pod = api_too.get(PODS, body["PodName"].as_str().unwrap()).unwrap();
                pod["spec"]["nodeName"] = body["Node"].clone();
                api_too.put(PODS, pod);
                (200, json!({"Error": ""}))
            }
            other => panic!("no such verb: {other}"),
        });
        let config = ExtenderConfig {
            filter_verb: "filter".into(),
            prioritize_verb: "prioritize".into(),
            bind_verb: "bind".into(),
            weight: 10,
            ..config()
        };
        let driver = start(&api, config, &client);
        put_pod(&api, &asks("p", "500m").labels(&[("app", "x")]));
        assert_eq!(until_bound(&api, "p").await, "c");
        until_event(&api, "Scheduled").await;
        assert_eq!(asked(&log, "filter")[0]["Pod"]["metadata"]["labels"]["app"], "x", "whole pods are sent");
        assert!(asked(&log, "filter")[0]["NodeNames"].is_null());
        assert_eq!(asked(&log, "prioritize")[0]["Nodes"]["items"].as_array().map(Vec::len), Some(2));
        let binding = json!({"PodName": "p", "PodNamespace": "default", "PodUID": "p", "Node": "c"});
        assert_eq!(asked(&log, "bind"), [binding]);
        assert!(api.calls(&http::Method::POST, "/binding").is_empty());
        driver.stop().await.unwrap();
    });
}

#[test]
fn those_that_know_the_nodes_are_told_names_only() {
    run(async {
        let (api, log) = (FakeApi::new(), Log::default());
        for name in ["a", "b"] {
            api.put(NODES, small(name).json().clone());
            put_pod(&api, &asks(&format!("on-{name}"), "2").on(name));
        }
        let client = extender(&log, Duration::ZERO, |verb, body| match verb {
            "filter" => (200, json!({"NodeNames": body["NodeNames"]})),
            "preempt" => {
                let victims = body["NodeNameToMetaVictims"]["b"].clone();
                (200, json!({"NodeNameToMetaVictims": {"b": victims}}))
            }
            other => panic!("no such verb: {other}"),
        });
        let config = ExtenderConfig {
            filter_verb: "filter".into(),
            preempt_verb: "preempt".into(),
            node_cache_capable: true,
            ..config()
        };
        let driver = start(&api, config, &client);
        put_pod(&api, &asks("p", "1").priority(5));
        assert_eq!(until_bound(&api, "p").await, "b");
        let victims = json!({"Pods": [{"UID": "on-b"}], "NumPDBViolations": 0});
        assert_eq!(asked(&log, "preempt")[0]["NodeNameToMetaVictims"]["b"], victims);
        assert_eq!(asked(&log, "filter")[0]["NodeNames"], json!(["b"]));
        driver.stop().await.unwrap();
    });
}

#[test]
fn a_failure_is_told_or_ignored() {
    run(async {
        let (api, log) = (FakeApi::new(), Log::default());
        api.put(NODES, small("n").json().clone());
        put_pod(&api, &asks("p", "1"));
        let client = extender(&log, Duration::ZERO, |_, _| (503, json!({})));
        let filters = ExtenderConfig { filter_verb: "filter".into(), ..config() };
        let driver = start(&api, filters.clone(), &client);
        let event = until_event(&api, "FailedScheduling").await;
        let why = format!("failed filter with extender at URL {URL}/filter, code 503");
        assert_eq!(event["note"].as_str(), Some(why.as_str()));
        driver.stop().await.unwrap();
        let driver = start(&api, ExtenderConfig { ignorable: true, ..filters.clone() }, &client);
        assert_eq!(until_bound(&api, "p").await, "n");
        driver.stop().await.unwrap();
        // Too late an answer is none.
        put_pod(&api, &asks("q", "1"));
        let client = extender(&log, Duration::from_secs(30), |_, _| (200, json!({})));
        let driver = start(&api, ExtenderConfig { ignorable: true, ..filters }, &client);
        assert_eq!(until_bound(&api, "q").await, "n");
        driver.stop().await.unwrap();
    });
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let refused = |config: ExtenderConfig| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _entered = runtime.enter();
        let config = DriverConfig { extenders: vec![config], ..DriverConfig::default() };
        let clock = Arc::new(kubewright_scheduler::driver::SystemClock);
        let profile = default_profile("default-scheduler").build().unwrap();
        Driver::new(FakeApi::new().client(), clock, config, vec![profile]).err().map(|error| error.to_string())
    };
    let with = |url: &str| refused(ExtenderConfig { url_prefix: url.into(), ..ExtenderConfig::default() });
    assert_eq!(with("http://127.0.0.1:9"), None);
    assert!(with("127.0.0.1").unwrap().contains("urlPrefix must begin with http:// or https://"));
    let tls = kubewright_scheduler::config::ExtenderTls { ca_data: "!".into(), ..Default::default() };
    let message = refused(ExtenderConfig { tls: Some(tls), ..config() }).unwrap();
    assert!(message.contains("caData is not PEM in base64"), "{message}");
}
