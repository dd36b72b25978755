//! Names, types and labels of all metrics, held against upstream's.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use http::Response;
use kubewright_apiserver::admission::PodSecurityConfig;
use kubewright_apiserver::audit::{AuditConfig, AuditPolicy, Event, Level, Sink, SinkError};
use kubewright_apiserver::fairness::FairnessConfig;
use kubewright_apiserver::remote::{Remote, RemoteError, Target};

use super::*;

const REQUEST: &str = "component group resource scope subresource verb version";
const WEBHOOK: &str = "name operation rejected type";
const CONDITION: &str = "kind name operation type";
const LEVEL: &str = "priority_level";
const SCHEMA: &str = "flow_schema priority_level";

/// What must be on the page after the requests below: type and labels.
fn wanted() -> BTreeMap<&'static str, (&'static str, String)> {
    let also = |more: &str, labels: &str| format!("{more} {labels}");
    [
        ("apiserver_admission_controller_admission_duration_seconds", "histogram", WEBHOOK.to_owned()),
        ("apiserver_admission_match_condition_evaluation_errors_total", "counter", CONDITION.to_owned()),
        ("apiserver_admission_match_condition_evaluation_seconds", "histogram", CONDITION.to_owned()),
        ("apiserver_admission_match_condition_exclusions_total", "counter", CONDITION.to_owned()),
        ("apiserver_admission_step_admission_duration_seconds", "histogram", "operation rejected type".to_owned()),
        ("apiserver_admission_webhook_admission_duration_seconds", "histogram", WEBHOOK.to_owned()),
        ("apiserver_admission_webhook_fail_open_count", "counter", "name type".to_owned()),
        (
            "apiserver_admission_webhook_rejection_count",
            "counter",
            "error_type name operation rejection_code type".to_owned(),
        ),
        ("apiserver_admission_webhook_request_total", "counter", also("code", WEBHOOK)),
        ("apiserver_audit_error_total", "counter", "plugin".to_owned()),
        ("apiserver_audit_event_total", "counter", String::new()),
        ("apiserver_audit_level_total", "counter", "level".to_owned()),
        ("apiserver_audit_requests_rejected_total", "counter", String::new()),
        ("apiserver_authorization_decisions_total", "counter", "decision name type".to_owned()),
        ("apiserver_client_certificate_expiration_seconds", "histogram", String::new()),
        ("apiserver_cel_compilation_duration_seconds", "histogram", String::new()),
        ("apiserver_cel_evaluation_duration_seconds", "histogram", String::new()),
        ("apiserver_current_inflight_requests", "gauge", "request_kind".to_owned()),
        ("apiserver_flowcontrol_current_executing_requests", "gauge", SCHEMA.to_owned()),
        ("apiserver_flowcontrol_current_executing_seats", "gauge", SCHEMA.to_owned()),
        ("apiserver_flowcontrol_current_inqueue_requests", "gauge", SCHEMA.to_owned()),
        ("apiserver_flowcontrol_current_inqueue_seats", "gauge", SCHEMA.to_owned()),
        ("apiserver_flowcontrol_current_limit_seats", "gauge", LEVEL.to_owned()),
        ("apiserver_flowcontrol_dispatched_requests_total", "counter", SCHEMA.to_owned()),
        ("apiserver_flowcontrol_lower_limit_seats", "gauge", LEVEL.to_owned()),
        ("apiserver_flowcontrol_nominal_limit_seats", "gauge", LEVEL.to_owned()),
        ("apiserver_flowcontrol_request_dispatch_no_accommodation_total", "counter", SCHEMA.to_owned()),
        ("apiserver_flowcontrol_request_execution_seconds", "histogram", also("type", SCHEMA)),
        ("apiserver_flowcontrol_request_queue_length_after_enqueue", "histogram", SCHEMA.to_owned()),
        ("apiserver_flowcontrol_request_wait_duration_seconds", "histogram", also("execute", SCHEMA)),
        ("apiserver_flowcontrol_seat_fair_frac", "gauge", String::new()),
        ("apiserver_flowcontrol_upper_limit_seats", "gauge", LEVEL.to_owned()),
        ("apiserver_flowcontrol_watch_count_samples", "histogram", SCHEMA.to_owned()),
        ("apiserver_flowcontrol_work_estimated_seats", "histogram", SCHEMA.to_owned()),
        ("apiserver_longrunning_requests", "gauge", REQUEST.to_owned()),
        (
            "apiserver_mutating_admission_policy_check_duration_seconds",
            "histogram",
            "error_type policy policy_binding".to_owned(),
        ),
        ("apiserver_mutating_admission_policy_check_total", "counter", "error_type policy policy_binding".to_owned()),
        ("apiserver_request_duration_seconds", "histogram", also("dry_run", REQUEST)),
        ("apiserver_request_filter_duration_seconds", "histogram", "filter".to_owned()),
        ("apiserver_request_sli_duration_seconds", "histogram", REQUEST.to_owned()),
        ("apiserver_request_terminations_total", "counter", also("code", REQUEST)),
        ("apiserver_request_total", "counter", also("code dry_run", REQUEST)),
        (
            "apiserver_requested_deprecated_apis",
            "gauge",
            "group removed_release resource subresource version".to_owned(),
        ),
        ("apiserver_response_sizes", "histogram", REQUEST.to_owned()),
        ("apiserver_storage_objects", "gauge", "resource".to_owned()),
        ("apiserver_storage_size_bytes", "gauge", "storage_cluster_id".to_owned()),
        ("apiserver_tls_handshake_errors_total", "counter", String::new()),
        (
            "apiserver_validating_admission_policy_check_duration_seconds",
            "histogram",
            "enforcement_action error_type policy policy_binding".to_owned(),
        ),
        (
            "apiserver_validating_admission_policy_check_total",
            "counter",
            "enforcement_action error_type policy policy_binding".to_owned(),
        ),
        ("apiserver_watch_events_sizes", "histogram", "group resource version".to_owned()),
        ("apiserver_watch_events_total", "counter", "group resource version".to_owned()),
        ("authenticated_user_requests", "counter", "username".to_owned()),
        ("authentication_attempts", "counter", "result".to_owned()),
        ("authentication_duration_seconds", "histogram", "result".to_owned()),
        ("authorization_attempts_total", "counter", "result".to_owned()),
        ("authorization_duration_seconds", "histogram", "result".to_owned()),
        (
            "kubernetes_build_info",
            "gauge",
            "build_date compiler git_commit git_tree_state git_version go_version major minor platform".to_owned(),
        ),
        (
            "pod_security_evaluations_total",
            "counter",
            "decision mode policy_level policy_version request_operation resource subresource".to_owned(),
        ),
        ("pod_security_exemptions_total", "counter", "request_operation resource subresource".to_owned()),
    ]
    .into_iter()
    .map(|(name, kind, labels)| (name, (kind, sorted(&labels))))
    .collect()
}

/// What may be on the page as well: it takes an overload, or ten seconds.
fn seldom() -> BTreeMap<&'static str, (&'static str, String)> {
    [
        ("apiserver_flowcontrol_current_r", "gauge", LEVEL),
        ("apiserver_flowcontrol_demand_seats_average", "gauge", LEVEL),
        ("apiserver_flowcontrol_demand_seats_high_watermark", "gauge", LEVEL),
        ("apiserver_flowcontrol_demand_seats_smoothed", "gauge", LEVEL),
        ("apiserver_flowcontrol_demand_seats_stdev", "gauge", LEVEL),
        ("apiserver_flowcontrol_dispatch_r", "gauge", LEVEL),
        ("apiserver_flowcontrol_epoch_advance_total", "counter", "priority_level success"),
        ("apiserver_flowcontrol_latest_s", "gauge", LEVEL),
        ("apiserver_flowcontrol_next_discounted_s_bounds", "gauge", "bound priority_level"),
        ("apiserver_flowcontrol_next_s_bounds", "gauge", "bound priority_level"),
        ("apiserver_flowcontrol_rejected_requests_total", "counter", "flow_schema priority_level reason"),
        ("apiserver_flowcontrol_target_seats", "gauge", LEVEL),
        ("pod_security_errors_total", "counter", "fatal request_operation resource subresource"),
    ]
    .into_iter()
    .map(|(name, kind, labels)| (name, (kind, sorted(labels))))
    .collect()
}

fn sorted(labels: &str) -> String {
    labels.split_whitespace().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(" ")
}

/// The names of a sample's labels; values may hold anything but a quote that is not escaped.
fn labels(sample: &str) -> String {
    let (mut names, mut rest) = (Vec::new(), sample);
    while let Some((name, value)) = rest.split_once("=\"") {
        names.push(name.trim_start_matches(','));
        let mut escaped = false;
        let end = value.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        rest = &value[end.expect("a value ends") + 1..];
    }
    sorted(&names.into_iter().filter(|name| *name != "le").collect::<Vec<_>>().join(" "))
}

/// Type and labels of everything on the page.
fn read(page: &str) -> BTreeMap<&str, (&str, String)> {
    let mut found = BTreeMap::new();
    let mut current = None;
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            current = rest.split_once(' ');
        } else if let Some((name, kind)) = current.filter(|_| !line.starts_with('#')) {
            let (sample, _) = line.rsplit_once(' ').expect("a sample has a value");
            let (sample, inner) = sample.split_once('{').unwrap_or((sample, "}"));
            let suffixes: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(suffixes.iter().any(|suffix| sample == format!("{name}{suffix}")), "{name}: {line}");
            let labels = labels(inner.trim_end_matches('}'));
            let known = found.entry(name).or_insert_with(|| (kind, labels.clone()));
            assert_eq!(known.1, labels, "{line}");
        }
    }
    found
}

/// Lets in what is named so.
struct Hook;

#[async_trait]
impl Remote for Hook {
    async fn send(&self, target: &Target, request: Request<Bytes>) -> Result<Response<Bytes>, RemoteError> {
        if target.url.host() == Some("down") {
            return Err(RemoteError::unreachable("connection refused"));
        }
        let review: Value = serde_json::from_slice(request.body()).expect("a review");
        let allowed = review["request"]["name"] != "denied";
        let response = json!({"uid": review["request"]["uid"], "allowed": allowed});
        let answer = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
        Ok(Response::new(answer.to_string().into()))
    }
}

/// Loses everything.
struct Broken;

#[async_trait]
impl Sink for Broken {
    async fn write(&mut self, _: &[Event]) -> Result<(), SinkError> {
        Err(SinkError::new("the disk is full"))
    }
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const REGISTRATION: &str = "/apis/admissionregistration.k8s.io/v1";

async fn configure(admin: &ApiServer) {
    let rule =
        json!([{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}]);
    let hook = |name: &str, host: &str, condition: &str| {
        json!({"name": format!("{name}.example.com"), "clientConfig": {"url": format!("https://{host}/")}, "rules": rule,
            "sideEffects": "None", "admissionReviewVersions": ["v1"], "failurePolicy": "Ignore",
            "matchConditions": [{"name": "c", "expression": condition}]})
    };
    let hooks = json!([
        hook("asked", "up", "true"),
        hook("down", "down", "true"),
        hook("skipped", "up", "false"),
        hook("broken", "up", "object.metadata.absent == 'x'")
    ]);
    let object = json!({"metadata": {"name": "h"}, "webhooks": hooks});
    made(admin, &format!("{REGISTRATION}/validatingwebhookconfigurations"), object).await;
    let constraints = json!({"resourceRules": rule});
    let policy = json!({"metadata": {"name": "p"}, "spec": {"matchConstraints": constraints,
        "validations": [{"expression": "object.metadata.name != 'bad'"}]}});
    made(admin, &format!("{REGISTRATION}/validatingadmissionpolicies"), policy).await;
    let binding = json!({"metadata": {"name": "b"}, "spec": {"policyName": "p", "validationActions": ["Deny"]}});
    made(admin, &format!("{REGISTRATION}/validatingadmissionpolicybindings"), binding).await;
    let policy = json!({"metadata": {"name": "m"}, "spec": {"matchConstraints": constraints, "reinvocationPolicy": "Never",
        "mutations": [{"patchType": "JSONPatch", "jsonPatch":
            {"expression": "[JSONPatch{op: 'add', path: '/data', value: {'a': 'b'}}]"}}]}});
    made(admin, &format!("{REGISTRATION}/mutatingadmissionpolicies"), policy).await;
    let binding = json!({"metadata": {"name": "b"}, "spec": {"policyName": "m"}});
    made(admin, &format!("{REGISTRATION}/mutatingadmissionpolicybindings"), binding).await;
    let definition = json!({"metadata": {"name": "things.example.com"}, "spec": {"group": "example.com",
        "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing", "singular": "thing", "listKind": "ThingList"},
        "versions": [{"name": "v1", "served": true, "storage": true, "deprecated": true, "schema": {"openAPIV3Schema":
            {"type": "object", "properties": {"size": {"type": "integer"}},
                "x-kubernetes-validations": [{"rule": "self.size < 10"}]}}}]}});
    made(admin, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition).await;
}

#[tokio::test]
async fn names_types_and_labels_are_upstreams() {
    let audit = AuditConfig::new(AuditPolicy::all(Level::Metadata)).sink(Broken);
    let audit = AuditConfig { batch_max: 1, ..audit };
    let builder = ApiServer::builder(Arc::new(MemoryStore::new())).remote(Arc::new(Hook)).audit(audit);
    let pod_security = PodSecurityConfig { exempt_namespaces: ["kube-system".to_owned()].into(), ..Default::default() };
    let one_watch = FairnessConfig::default().watches_per_user(0);
    let builder = builder.without_admission("ServiceAccount").pod_security(pod_security).fairness(one_watch);
    let server = builder.static_tokens([("good".to_owned(), User::new("ann", &[]))]).build().await.expect("a server");
    let admin = server.as_user(User::admin());
    configure(&admin).await;
    for name in ["good", "bad", "denied"] {
        send_json(&admin, Method::POST, MAPS, &json!({"metadata": {"name": name}})).await;
    }
    let things = "/apis/example.com/v1/namespaces/default/things";
    let thing = json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "a"}, "size": 3});
    made(&admin, things, thing).await;
    assert_eq!(get(&admin, things).await.code, 200);
    assert_eq!(get(&admin, "/readyz").await.code, 200);
    for namespace in ["default", "kube-system"] {
        let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
        made(&admin, &format!("/api/v1/namespaces/{namespace}/pods"), pod).await;
    }
    let watcher = server.as_user(User::new("eve", &["system:authenticated"]));
    assert_eq!(get(&watcher, &format!("{MAPS}?watch=true")).await.code, 429);
    let mut events =
        common::Events::open(&admin, &format!("{MAPS}?watch=true&timeoutSeconds=3600"), "application/json").await;
    events.next().await;
    let with_token = Request::get("/api/v1/pods").header("authorization", "Bearer good").body(Full::default());
    assert_eq!(common::exchange(&server, with_token.expect("a sound request")).await.code, 403);
    let with_token = Request::get("/version").header("authorization", "Bearer good").body(Full::default());
    assert_eq!(common::exchange(&server, with_token.expect("a sound request")).await.code, 200);
    let page = async || String::from_utf8(get(&admin, "/metrics").await.bytes.to_vec()).expect("text");
    // What the audit log loses it loses in the background.
    let lost = async {
        while !page().await.contains("apiserver_audit_error_total") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), lost).await.expect("the log is broken");
    let page = page().await;
    let (mut found, wanted) = (read(&page), wanted());
    for (name, expected) in seldom() {
        if let Some(seen) = found.remove(name) {
            assert_eq!(seen, expected, "{name}");
        }
    }
    assert_eq!(found, wanted);
    for sample in [
        "apiserver_request_terminations_total{code=\"429\",verb=\"WATCH\",group=\"\",version=\"v1\",resource=\"configmaps\",\
         subresource=\"\",scope=\"namespace\",component=\"apiserver\"} 1",
        "apiserver_request_filter_duration_seconds_count{filter=\"authentication\"} ",
        "apiserver_request_filter_duration_seconds_count{filter=\"authorization\"} ",
        "apiserver_request_filter_duration_seconds_count{filter=\"priorityandfairness\"} ",
        "pod_security_exemptions_total{request_operation=\"create\",resource=\"pod\",subresource=\"\"} 1",
        "apiserver_requested_deprecated_apis{group=\"example.com\",version=\"v1\",resource=\"things\",subresource=\"\",\
         removed_release=\"\"} 1",
        "apiserver_admission_webhook_fail_open_count{name=\"down.example.com\",type=\"validating\"} 2",
        "apiserver_admission_webhook_rejection_count{name=\"asked.example.com\",type=\"validating\",operation=\"CREATE\",\
         error_type=\"no_error\",rejection_code=\"400\"} 1",
        "apiserver_audit_error_total{plugin=\"custom\"} ",
        "apiserver_validating_admission_policy_check_total{policy=\"p\",policy_binding=\"b\",error_type=\"invalid_error\",\
         enforcement_action=\"deny\"} 1",
        "apiserver_mutating_admission_policy_check_total{policy=\"m\",policy_binding=\"b\",error_type=\"no_error\"} 3",
        "apiserver_longrunning_requests{verb=\"WATCH\",group=\"\",version=\"v1\",resource=\"configmaps\",subresource=\"\",\
         scope=\"namespace\",component=\"apiserver\"} 1",
    ] {
        assert!(page.lines().any(|line| line.starts_with(sample)), "{sample}\n{page}");
    }
    let slis = String::from_utf8(get(&admin, "/metrics/slis").await.bytes.to_vec()).expect("text");
    let of_checks = [
        ("kubernetes_healthcheck", ("gauge", sorted("name type"))),
        ("kubernetes_healthchecks_total", ("counter", sorted("name status type"))),
    ];
    assert_eq!(read(&slis), of_checks.into_iter().collect());
    drop(events);
    server.shutdown().await;
}
