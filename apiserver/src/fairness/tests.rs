//! The levels of a whole server.

use std::sync::Arc;

use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use kubewright_store::MemoryStore;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tower::Service;

use super::levels::Levels;
use super::queues::Width;
use super::*;
use crate::body::{self, Body};
use crate::objects::GroupResource;
use crate::request::{RequestInfo, User};
use crate::server::ApiServer;

fn levels(seats: usize) -> Arc<Levels> {
    Levels::new(seats, FairnessMetrics::new(&mut Registry::default()))
}

fn info(path: &str) -> RequestInfo {
    RequestInfo::parse(&http::Method::GET, path, None)
}

async fn serve(config: FairnessConfig) -> ApiServer {
    ApiServer::builder(Arc::new(MemoryStore::new())).allow_all().fairness(config).build().await.expect("a server")
}

async fn ask(server: &ApiServer, user: &User, method: &str, path: &str, object: Option<Value>) -> Response<Body> {
    let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    let content = object.map_or_else(body::empty, |object| body::full(object.to_string()));
    server
        .as_user(user.clone())
        .call(request.body(content).expect("a request"))
        .await
        .unwrap_or_else(|never| match never {})
}

async fn read(response: Response<Body>) -> Value {
    let bytes = response.into_body().collect().await.expect("a body").to_bytes();
    serde_json::from_slice(&bytes).expect("JSON")
}

fn uid(response: &Response<Body>, what: &str) -> String {
    let header = response.headers().get(format!("x-kubernetes-pf-{what}-uid"));
    header.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn every_request_is_told_where_it_belonged() {
    let server = serve(FairnessConfig::default()).await;
    let account =
        User::new("system:serviceaccount:kube-system:robot", &["system:serviceaccounts", "system:authenticated"]);
    let other = User::new("system:serviceaccount:a:robot", &["system:serviceaccounts", "system:authenticated"]);
    for (user, path, schema, level) in [
        (User::admin(), "/api/v1/pods", "exempt", "exempt"),
        (User::new("system:node:a", &["system:nodes"]), "/api/v1/nodes/a", "system-node-high", "node-high"),
        (User::new("system:node:a", &["system:nodes"]), "/api/v1/pods", "system-nodes", "system"),
        (
            User::new("system:kube-scheduler", &["system:authenticated"]),
            "/api/v1/pods",
            "kube-scheduler",
            "workload-high",
        ),
        (account, "/api/v1/pods", "kube-system-service-accounts", "workload-high"),
        (other, "/api/v1/pods", "service-accounts", "workload-low"),
        (User::new("x", &["system:authenticated"]), "/readyz", "probes", "exempt"),
        (User::new("x", &["system:authenticated"]), "/api/v1/pods", "global-default", "global-default"),
        (User::new("x", &[]), "/api/v1/pods", "catch-all", "catch-all"),
    ] {
        let response = ask(&server, &user, "GET", path, None).await;
        let wanted = |resource, name| {
            let found = server.objects().cached(GroupResource::new(GROUP, resource), "", name).expect("an object");
            found["metadata"]["uid"].as_str().unwrap_or_default().to_owned()
        };
        assert_eq!(uid(&response, "flowschema"), wanted("flowschemas", schema), "{path} by {}", user.name);
        assert_eq!(uid(&response, "prioritylevel"), wanted("prioritylevelconfigurations", level), "{path}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_level_made_by_a_user_turns_away_what_it_has_no_seat_for() {
    let server = serve(FairnessConfig::default()).await;
    let admin = User::admin();
    let base = format!("/apis/{GROUP}/v1");
    let level = json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": "PriorityLevelConfiguration", "metadata": {"name": "none"},
        "spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 0, "limitResponse": {"type": "Reject"}, "borrowingLimitPercent": 0}},
    });
    let made = ask(&server, &admin, "POST", &format!("{base}/prioritylevelconfigurations"), Some(level)).await;
    assert_eq!(made.status(), StatusCode::CREATED);
    let schema = json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": "FlowSchema", "metadata": {"name": "flood"},
        "spec": {
            "priorityLevelConfiguration": {"name": "none"}, "matchingPrecedence": 10,
            "rules": [{
                "subjects": [{"kind": "User", "user": {"name": "flood"}}],
                "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": true, "namespaces": ["*"]}],
            }],
        },
    });
    let made = ask(&server, &admin, "POST", &format!("{base}/flowschemas"), Some(schema)).await;
    assert_eq!(made.status(), StatusCode::CREATED);
    let flood = User::new("flood", &["system:authenticated"]);
    // One runs where nothing else does, however wide; the second finds that one's seat taken.
    let watch = ask(&server, &flood, "GET", "/api/v1/pods?watch=1", None).await;
    assert_eq!(watch.status(), StatusCode::OK);
    drop(watch);
    let text = ask(&server, &admin, "GET", "/metrics", None).await.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8_lossy(&text).into_owned();
    let wanted = "apiserver_flowcontrol_dispatched_requests_total{priority_level=\"none\",flow_schema=\"flood\"} 1";
    assert!(text.contains(wanted), "{text}");
    let wanted = "apiserver_flowcontrol_current_executing_seats{priority_level=\"none\",flow_schema=\"flood\"} 0";
    assert!(text.contains(wanted), "{text}");
    server.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn without_a_seat_a_request_waits_and_then_is_told_when_to_come_again() {
    let levels = levels(1);
    let user = User::new("x", &["system:authenticated"]);
    let class = levels.classify(&user, &info("/api/v1/pods")).expect("a class");
    assert_eq!((class.schema.name.as_str(), class.level.name.as_str()), ("catch-all", "catch-all"));
    let seat = levels.enter(&class, Width::of(1), levels::WAIT_MAX).await.expect("a seat");
    assert_eq!(levels.enter(&class, Width::of(1), levels::WAIT_MAX).await.err(), Some(1));
    drop(seat);
    assert!(levels.enter(&class, Width::of(1), levels::WAIT_MAX).await.is_ok());
}

fn queue_level(length_max: u32) -> [(&'static str, Value); 2] {
    let queuing = json!({"queues": 1, "handSize": 1, "queueLengthLimit": length_max});
    let limited = json!({"nominalConcurrencyShares": 1, "limitResponse": {"type": "Queue", "queuing": queuing}});
    let rule = json!({
        "subjects": [{"kind": "Group", "group": {"name": "*"}}],
        "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": true, "namespaces": ["*"]}],
    });
    [
        ("level", json!({"metadata": {"name": "q"}, "spec": {"type": "Limited", "limited": limited}})),
        (
            "schema",
            json!({
                "metadata": {"name": "s"},
                "spec": {"priorityLevelConfiguration": {"name": "q"}, "matchingPrecedence": 2, "rules": [rule]},
            }),
        ),
    ]
}

fn with_queue(length_max: u32) -> (Arc<Levels>, levels::Class) {
    use crate::objects::Observer;
    // Five of the catch-all level's six shares in six: one seat for ours.
    let levels = levels(6);
    let [(_, level), (_, schema)] = queue_level(length_max);
    levels::LevelObserver(Arc::clone(&levels)).changed("", "q", Some(&level));
    levels::SchemaObserver(Arc::clone(&levels)).changed("", "s", Some(&schema));
    let class = levels.classify(&User::new("x", &["a"]), &info("/api/v1/pods")).expect("a class");
    assert_eq!(class.schema.name, "s");
    (levels, class)
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_with_a_seat_or_after_a_quarter_of_a_requests_time() {
    let (levels, class) = with_queue(2);
    let first = levels.enter(&class, Width::of(1), levels::WAIT_MAX).await.expect("a seat");
    let waits = |levels: &Arc<Levels>| {
        let (levels, class) = (Arc::clone(levels), class.clone());
        tokio::spawn(async move { levels.enter(&class, Width::of(1), levels::WAIT_MAX).await.map(drop) })
    };
    let start = tokio::time::Instant::now();
    let (second, third) = (waits(&levels), waits(&levels));
    tokio::task::yield_now().await;
    assert_eq!(levels.enter(&class, Width::of(1), levels::WAIT_MAX).await.err(), Some(1), "the queue is full");
    third.abort();
    assert!(third.await.is_err());
    let fourth = waits(&levels);
    assert_eq!(second.await.unwrap(), Err(1));
    assert_eq!(start.elapsed().as_secs(), 15);
    assert!(fourth.await.unwrap().is_err());
    let fifth = waits(&levels);
    tokio::task::yield_now().await;
    drop(first);
    assert_eq!(fifth.await.unwrap(), Ok(()));
    assert!(levels.is_idle());
}

#[tokio::test(start_paused = true)]
async fn who_is_in_a_hurry_waits_for_less() {
    let (levels, class) = with_queue(2);
    let _first = levels.enter(&class, Width::of(1), levels::WAIT_MAX).await.expect("a seat");
    let start = tokio::time::Instant::now();
    assert!(levels.enter(&class, Width::of(1), std::time::Duration::from_secs(2)).await.is_err());
    assert_eq!(start.elapsed().as_secs(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_a_level_may_have_is_shown_from_the_start_and_where_it_stands_later() {
    let mut registry = Registry::default();
    let levels = Levels::new(600, FairnessMetrics::new(&mut registry));
    let [(_, level), (_, schema)] = queue_level(2);
    {
        use crate::objects::Observer;
        levels::LevelObserver(Arc::clone(&levels)).changed("", "q", Some(&level));
        levels::SchemaObserver(Arc::clone(&levels)).changed("", "s", Some(&schema));
    }
    let page = |registry: &Registry| crate::metrics::render(registry, |_| true);
    let value = |page: &str, start: &str| {
        let line = page.lines().find_map(|line| line.strip_prefix(start)).unwrap_or_else(|| panic!("{start}\n{page}"));
        line.trim().parse::<f64>().expect("a number")
    };
    let before = page(&registry);
    for name in ["nominal", "lower", "upper", "current"] {
        let seats = value(&before, &format!("apiserver_flowcontrol_{name}_limit_seats{{priority_level=\"q\"}}"));
        assert!((100.0..=600.0).contains(&seats), "{name}: {seats}");
    }
    let class = levels.classify(&User::new("x", &["a"]), &info("/api/v1/pods")).expect("a class");
    let wide = Width::of(100);
    let first = levels.enter(&class, wide, levels::WAIT_MAX).await.expect("seats");
    let waits = {
        let (levels, class) = (Arc::clone(&levels), class.clone());
        tokio::spawn(async move { levels.enter(&class, wide, levels::WAIT_MAX).await.map(drop) })
    };
    tokio::time::advance(std::time::Duration::from_secs(1)).await;
    tokio::task::yield_now().await;
    levels.adjust();
    let after = page(&registry);
    assert!(value(&after, "apiserver_flowcontrol_current_r{priority_level=\"q\"}") > 0.0, "{after}");
    for sample in [
        "apiserver_flowcontrol_dispatch_r{priority_level=\"q\"}",
        "apiserver_flowcontrol_latest_s{priority_level=\"q\"}",
        "apiserver_flowcontrol_next_s_bounds{priority_level=\"q\",bound=\"min\"}",
        "apiserver_flowcontrol_next_s_bounds{priority_level=\"q\",bound=\"max\"}",
        "apiserver_flowcontrol_next_discounted_s_bounds{priority_level=\"q\",bound=\"min\"}",
        "apiserver_flowcontrol_next_discounted_s_bounds{priority_level=\"q\",bound=\"max\"}",
        "apiserver_flowcontrol_epoch_advance_total{priority_level=\"q\",success=\"true\"}",
    ] {
        value(&after, sample);
    }
    let refused =
        "apiserver_flowcontrol_request_dispatch_no_accommodation_total{priority_level=\"q\",flow_schema=\"s\"}";
    assert!(value(&after, refused) >= 1.0, "{after}");
    drop(first);
    assert_eq!(waits.await.unwrap(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_let_in_when_seats_that_linger_are_free() {
    let (levels, class) = with_queue(2);
    let linger = std::time::Duration::from_millis(50);
    let write = levels.enter(&class, Width { initial: 1, last: 1, linger }, levels::WAIT_MAX).await.expect("a seat");
    drop(write);
    let start = tokio::time::Instant::now();
    assert!(levels.enter(&class, Width::of(1), levels::WAIT_MAX).await.is_ok());
    assert!(start.elapsed() >= linger && start.elapsed().as_secs() < 1);
}

#[tokio::test]
async fn default_objects_come_back_and_dangling_schemas_are_told() {
    let server = serve(FairnessConfig::default()).await;
    let objects = server.objects();
    let keeper = FairnessKeeper::new(levels(600), Arc::clone(&objects));
    let schemas = GroupResource::new(GROUP, "flowschemas");
    let places = GroupResource::new(GROUP, "prioritylevelconfigurations");
    objects.delete(schemas, "", "global-default").await.unwrap();
    objects.delete(places, "", "workload-low").await.unwrap();
    // One that a user made its own stays as it is.
    let mut own = objects.cached(places, "", "system").unwrap();
    own["metadata"]["annotations"]["apf.kubernetes.io/autoupdate-spec"] = "false".into();
    own["spec"]["limited"]["nominalConcurrencyShares"] = 7.into();
    objects.update(places, own).await.unwrap();
    let mut changed = objects.cached(places, "", "node-high").unwrap();
    changed["spec"]["limited"]["nominalConcurrencyShares"] = 7.into();
    objects.update(places, changed).await.unwrap();
    keeper.keep().await;
    assert!(objects.cached(schemas, "", "global-default").is_some());
    assert!(objects.cached(places, "", "workload-low").is_some());
    let shares =
        |name| objects.cached(places, "", name).unwrap()["spec"]["limited"]["nominalConcurrencyShares"].clone();
    assert_eq!((shares("system"), shares("node-high")), (json!(7), json!(40)));
    // Of the server's own keeper: whether a schema's level exists.
    let mut schema = objects.cached(schemas, "", "service-accounts").unwrap();
    schema["spec"]["priorityLevelConfiguration"]["name"] = "nowhere".into();
    schema["metadata"]["annotations"]["apf.kubernetes.io/autoupdate-spec"] = "false".into();
    objects.update(schemas, schema).await.unwrap();
    let says =
        || objects.cached(schemas, "", "service-accounts").map(|schema| schema["status"]["conditions"][0].clone());
    let told = tokio::time::timeout(std::time::Duration::from_secs(60), async {
        while says().is_none_or(|condition| condition["status"] != "True") {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    });
    told.await.expect("the condition");
    let message = "This FlowSchema references the PriorityLevelConfiguration object named \"nowhere\" but there is no such object";
    assert_eq!(says().unwrap()["message"], message);
    server.shutdown().await;
}

#[tokio::test]
async fn one_user_cannot_open_watches_without_end() {
    let server = serve(FairnessConfig::default().watches_per_user(2)).await;
    let user = User::new("x", &["system:authenticated"]);
    let watch = |user: User| {
        let server = server.clone();
        async move { ask(&server, &user, "GET", "/api/v1/pods?watch=1", None).await }
    };
    let (first, second) = (watch(user.clone()).await, watch(user.clone()).await);
    assert_eq!((first.status(), second.status()), (StatusCode::OK, StatusCode::OK));
    let refused = watch(user.clone()).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(read(refused).await["message"].as_str().unwrap().contains("a user may have 2 at a time"));
    assert_eq!(watch(User::new("y", &["system:authenticated"])).await.status(), StatusCode::OK);
    assert_eq!(ask(&server, &user, "GET", "/api/v1/pods", None).await.status(), StatusCode::OK);
    drop(first);
    assert_eq!(watch(user).await.status(), StatusCode::OK);
    server.shutdown().await;
}
