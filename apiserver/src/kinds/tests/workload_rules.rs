//! Workloads, case by case.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{faults, update_faults, with};
use crate::kinds::strategy;
use crate::registry::StrategyContext;
use crate::request::User;

fn workload() -> Value {
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}});
    json!({"metadata": {"name": "w"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}})
}

#[test]
fn deployments() {
    let check = |pointer: &str, value: Value, expected: &[&str]| {
        assert_eq!(faults("apps", "deployments", &with(&workload(), pointer, value)), expected, "{pointer}");
    };
    check("/spec/replicas", json!(3), &[]);
    check("/spec/replicas", json!(-1), &["spec.replicas: Invalid value: -1: must be greater than or equal to 0"]);
    check("/spec/selector", json!(null), &["spec.selector: Required value"]);
    check("/spec/selector", json!({}), &["spec.selector: Invalid value: {}: empty selector is invalid for deployment"]);
    check(
        "/spec/selector",
        json!({"matchLabels": {"a": "c"}}),
        &["spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template `labels`"],
    );
    check(
        "/spec/template/spec/restartPolicy",
        json!("Never"),
        &["spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\""],
    );
    check(
        "/spec/strategy",
        json!({"type": "Recreate", "rollingUpdate": {}}),
        &["spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"],
    );
    check(
        "/spec/strategy",
        json!({"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "0%"}}),
        &["spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"0%\": may not be 0 when `maxSurge` is 0"],
    );
    check(
        "/spec/progressDeadlineSeconds",
        json!(0),
        &["spec.progressDeadlineSeconds: Invalid value: 0: must be greater than minReadySeconds"],
    );
    check(
        "/spec/template/metadata/labels",
        json!({"a": "b", "c": "-"}),
        &[
            "spec.template.labels: Invalid value: \"-\": a valid label must be an empty string or consist of alphanumeric \
         characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or \
         'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
        ],
    );
    let old = workload();
    let other = with(
        &with(&old, "/spec/selector/matchLabels", json!({"c": "d"})),
        "/spec/template/metadata/labels",
        json!({"c": "d"}),
    );
    assert_eq!(
        update_faults("apps", "deployments", &other, &old),
        ["spec.selector: Invalid value: {\"matchLabels\":{\"c\":\"d\"}}: field is immutable",]
    );
}

#[test]
fn a_deployments_defaults() {
    let mut object = workload();
    strategy("apps", "deployments").default(&mut object);
    let spec = &object["spec"];
    assert_eq!(
        [&spec["replicas"], &spec["revisionHistoryLimit"], &spec["progressDeadlineSeconds"]],
        [&json!(1), &json!(10), &json!(600)]
    );
    assert_eq!(
        spec["strategy"],
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}})
    );
    assert!(spec["template"]["spec"]["enableServiceLinks"].is_null(), "only pods have it");
}

#[test]
fn stateful_sets() {
    let old = workload();
    let changed = with(&old, "/spec/serviceName", json!("s"));
    assert_eq!(
        update_faults("apps", "statefulsets", &changed, &old),
        ["spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
         'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",]
    );
    let claim = json!([{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}]);
    let mounts =
        with(&old, "/spec/template/spec/containers/0/volumeMounts", json!([{"name": "data", "mountPath": "/d"}]));
    assert_eq!(faults("apps", "statefulsets", &with(&mounts, "/spec/volumeClaimTemplates", claim)), [] as [&str; 0]);
}

#[test]
fn daemon_sets_count_changes_of_their_template() {
    let user = User::default();
    let context = StrategyContext::new(Timestamp::UNIX_EPOCH, &user, "b");
    let kind = strategy("apps", "daemonsets");
    let mut old = workload();
    kind.prepare_for_create(&context, &mut old);
    let counted =
        |object: &Value| object["metadata"]["annotations"]["deprecated.daemonset.template.generation"].clone();
    assert_eq!(counted(&old), "1");
    let mut changed = with(&workload(), "/spec/template/spec/containers/0/image", json!("y"));
    kind.prepare_for_update(&context, &mut changed, &old);
    assert_eq!(counted(&changed), "2");
}

#[test]
fn jobs() {
    let user = User::default();
    let context = StrategyContext::new(Timestamp::UNIX_EPOCH, &user, "b");
    let kind = strategy("batch", "jobs");
    let created = |spec: Value| {
        let template = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}]}});
        let mut job = json!({"metadata": {"name": "j", "uid": "u"}, "spec": {"template": template}});
        job["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        kind.default(&mut job);
        kind.prepare_for_create(&context, &mut job);
        job
    };
    let texts = |object: &Value| -> Vec<String> { kind.validate(object).iter().map(ToString::to_string).collect() };
    let job = created(json!({}));
    assert_eq!(texts(&job), [] as [&str; 0]);
    assert_eq!(job["spec"]["selector"], json!({"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}}));
    assert_eq!(
        job["spec"]["template"]["metadata"]["labels"],
        json!({"batch.kubernetes.io/controller-uid": "u", "batch.kubernetes.io/job-name": "j", "controller-uid": "u", "job-name": "j"})
    );
    assert_eq!(texts(&created(json!({"completionMode": "Indexed"}))), [] as [&str; 0]);
    assert_eq!(
        texts(&created(json!({"backoffLimitPerIndex": 1}))),
        ["spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode",]
    );
    let always = json!({"spec": {"restartPolicy": "Always", "containers": [{"name": "c", "image": "x"}]}});
    assert_eq!(
        texts(&created(json!({"template": always}))),
        ["spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"",]
    );
    let policy = json!({"rules": [{"action": "FailJob"}]});
    assert_eq!(
        texts(&created(json!({"podFailurePolicy": policy}))),
        [
            "spec.podFailurePolicy.rules[0]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required",
        ]
    );
    let parallel = with(&job, "/spec/completions", json!(5));
    let updated: Vec<String> = kind.validate_update(&parallel, &job).iter().map(ToString::to_string).collect();
    assert_eq!(updated, ["spec.completions: Invalid value: 5: field is immutable"]);
}

#[test]
fn cron_jobs() {
    let template = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}]}});
    let cron = |schedule: &str| json!({"metadata": {"name": "j"}, "spec": {"schedule": schedule, "jobTemplate": {"spec": {"template": template}}}});
    assert_eq!(faults("batch", "cronjobs", &cron("*/5 * * * ?")), [] as [&str; 0]);
    assert_eq!(
        faults("batch", "cronjobs", &cron("error")),
        ["spec.schedule: Invalid value: \"error\": expected exactly 5 fields, found 1: [error]",]
    );
    assert_eq!(
        faults("batch", "cronjobs", &cron("TZ=UTC 0 * * * *")),
        [
            "spec.schedule: Invalid value: \"TZ=UTC 0 * * * *\": cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
        ]
    );
    let long = with(&cron("@daily"), "/metadata/name", json!("a".repeat(53)));
    assert_eq!(faults("batch", "cronjobs", &long).len(), 1);
}
