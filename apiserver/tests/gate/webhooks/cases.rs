//! What webhooks may answer and be configured to, case by case: what the client hears, and what the audit log tells.

use super::super::attacks::Gate;
use super::*;

/// What a webhook at that host answers.
fn answer(host: &str, request: &Value) -> Value {
    let label = |operation: &str| patch(json!([{"op": operation, "path": "/metadata/labels/added", "value": "yes"}]));
    match host {
        "allow" => json!({"allowed": true, "auditAnnotations": {"key1": "value1"}}),
        "deny" => json!({"allowed": false, "status": {"code": 403}}),
        "deny-why" => json!({"allowed": false, "status": {"code": 403, "message": "not today"}}),
        "deny-reason" => {
            json!({"allowed": false, "status": {"code": 422, "reason": "Invalid", "details": {"kind": "X"}}})
        }
        "deny-well" => json!({"allowed": false, "status": {"code": 200, "message": "all is well"}}),
        "bad-key" => json!({"allowed": true, "auditAnnotations": {"a/b": "1"}}),
        "add" => label("add"),
        "remove" => patch(json!([{"op": "remove", "path": "/metadata/labels/mine"}])),
        "no-operations" => patch(json!([])),
        "same" => patch(json!([{"op": "replace", "path": "/metadata/labels/mine", "value": "yes"}])),
        "bad-operation" => patch(json!([{"op": "remove", "path": "/metadata/labels/absent"}])),
        "test-fails" => patch(json!([{"op": "test", "path": "/metadata/labels/mine", "value": "no"}])),
        "bad-type" => patch(json!([{"op": "add", "path": "/metadata/labels/added", "value": 7}])),
        "no-patch" => json!({"allowed": true, "patchType": "JSONPatch", "patch": "e30="}),
        "strange-type" => json!({"allowed": true, "patchType": "Merge", "patch": "W10="}),
        "nothing" => json!({"raw": r#"{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}"#}),
        "nonsense" => json!({"raw": "nonsense"}),
        "error" => json!({"raw": "out of order", "code": 500}),
        "not-found" => json!({"raw": "", "code": 404}),
        "dry" => json!({"allowed": request["dryRun"] == true}),
        _ => unreachable!("{host}"),
    }
}

struct Case {
    name: &'static str,
    /// Hosts of validating webhooks, and what is particular about them.
    validating: Vec<(&'static str, Value)>,
    mutating: Vec<(&'static str, Value)>,
    dry_run: bool,
    /// Code and part of the message; nothing if it is let in.
    refused: Option<(u16, &'static str)>,
    /// Annotations that the audit log has.
    notes: Vec<(&'static str, String)>,
    /// The labels in the end.
    labels: Option<Value>,
    /// Hosts in the order in which they were called, if that matters.
    asked: Option<Vec<&'static str>>,
}

fn case(name: &'static str) -> Case {
    let (validating, mutating, notes) = (Vec::new(), Vec::new(), Vec::new());
    Case { name, validating, mutating, dry_run: false, refused: None, notes, labels: None, asked: None }
}

impl Case {
    fn validating(mut self, host: &'static str, more: Value) -> Self {
        self.validating.push((host, more));
        self
    }

    fn mutating(mut self, host: &'static str, more: Value) -> Self {
        self.mutating.push((host, more));
        self
    }

    fn dry_run(mut self) -> Self {
        self.dry_run = true;
        self
    }

    fn refused(mut self, code: u16, says: &'static str) -> Self {
        self.refused = Some((code, says));
        self
    }

    fn notes(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.notes.push((key, value.into()));
        self
    }

    fn labels(mut self, labels: Value) -> Self {
        self.labels = Some(labels);
        self
    }

    fn asked<const N: usize>(mut self, hosts: [&'static str; N]) -> Self {
        self.asked = Some(hosts.into());
        self
    }
}

fn none() -> Value {
    json!({})
}

fn ignore() -> Value {
    json!({"failurePolicy": "Ignore"})
}

fn again() -> Value {
    json!({"reinvocationPolicy": "IfNeeded"})
}

/// What the audit log tells of a webhook that may change objects.
fn mutated(host: &str, changed: bool) -> String {
    json!({"configuration": "m", "mutated": changed, "webhook": format!("{host}.example.com")}).to_string()
}

fn validating() -> Vec<Case> {
    const OPEN: &str = "failed-open.validating.webhook.admission.k8s.io/round_0_index_";
    vec![
        case("other-operation").validating("deny", json!({"rules": [{"operations": ["UPDATE"], "apiGroups": ["*"],
            "apiVersions": ["*"], "resources": ["*"]}]})),
        case("other-scope").validating("deny", json!({"rules": [{"operations": ["*"], "apiGroups": ["*"],
            "apiVersions": ["*"], "resources": ["*"], "scope": "Cluster"}]})),
        case("subresources-only").validating("deny", json!({"rules": [{"operations": ["*"], "apiGroups": ["*"],
            "apiVersions": ["*"], "resources": ["*/status"]}]})),
        case("allow").validating("allow", none()).notes("allow.example.com/key1", "value1"),
        case("deny").validating("deny", none()).refused(403, "denied the request without explanation"),
        case("deny-why").validating("deny-why", none()).refused(403, "denied the request: not today"),
        case("deny-reason").validating("deny-reason", none()).refused(422, "denied the request: Invalid"),
        case("deny-well").validating("deny-well", none()).refused(400, "denied the request: all is well"),
        case("one-denies").validating("allow", none()).validating("deny-why", none()).refused(403, "not today"),
        case("other-namespace").validating("deny", json!({"namespaceSelector": {"matchExpressions":
            [{"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["default"]}]}})),
        case("this-namespace").validating("deny", json!({"namespaceSelector": {"matchLabels":
            {"kubernetes.io/metadata.name": "default"}}})).refused(403, "without explanation"),
        case("other-object").validating("deny", json!({"objectSelector": {"matchLabels": {"mine": "no"}}})),
        case("this-object").validating("deny", json!({"objectSelector": {"matchLabels": {"mine": "yes"}}}))
            .refused(403, "without explanation"),
        case("errors-ignored").validating("error", ignore()).validating("down", ignore()).validating("nothing", ignore())
            .notes(const_format(OPEN, 0), "error.example.com").notes(const_format(OPEN, 1), "down.example.com")
            .notes(const_format(OPEN, 2), "nothing.example.com"),
        case("errors-by-default").validating("error", none())
            .refused(500, "an error on the server (500 Internal Server Error) has prevented the request from succeeding"),
        case("errors-fail").validating("not-found", json!({"failurePolicy": "Fail"}))
            .refused(500, "failed to call webhook: the server could not find the requested resource"),
        case("nothing").validating("nothing", none()).refused(500, "webhook response was absent"),
        case("nonsense").validating("nonsense", none()).refused(500, "received invalid webhook response"),
        case("no-service").validating("allow", json!({"clientConfig": {"service":
            {"namespace": "default", "name": "nowhere"}}})).refused(500, "could not get REST client: service \"nowhere\""),
        case("patches").validating("add", none()).refused(500, "validating webhook may not return response.patch"),
        case("bad-key").validating("bad-key", none()),
        case("dry-run").dry_run().validating("dry", none()),
        case("dry-run-elsewhere").dry_run().validating("dry", json!({"sideEffects": "NoneOnDryRun"})),
        case("condition-skips").validating("deny", json!({"matchConditions":
            [{"name": "a", "expression": "has(object.metadata.labels.other)"}]})),
        case("condition-skips-before-errors").validating("deny", json!({"matchConditions": [
            {"name": "a", "expression": "object.metadata.absent == 'x'"}, {"name": "b", "expression": "false"}]})),
        case("condition-fails").validating("allow", json!({"matchConditions":
            [{"name": "a", "expression": "object.metadata.absent == 'x'"}]})).refused(403, "no such key: absent"),
        case("condition-fails-ignored").validating("deny", json!({"failurePolicy": "Ignore", "matchConditions":
            [{"name": "a", "expression": "object.metadata.absent == 'x'"}]})),
        case("condition-on-request").validating("deny-why", json!({"matchConditions":
            [{"name": "a", "expression": "request.operation == 'CREATE' && authorizer.requestResource.check('get').allowed()"}]}))
            .refused(403, "not today"),
    ]
}

/// A key with a number at its end.
fn const_format(start: &str, number: usize) -> &'static str {
    format!("{start}{number}").leak()
}

fn mutating() -> Vec<Case> {
    const MUTATION: &str = "mutation.webhook.admission.k8s.io/round_";
    const PATCH: &str = "patch.webhook.admission.k8s.io/round_0_index_0";
    let first = || const_format(MUTATION, 0).to_owned() + "_index_0";
    let first: &'static str = first().leak();
    let patched = |operations: Value| {
        json!({"configuration": "m", "patch": operations, "patchType": "JSONPatch", "webhook": "remove.example.com"})
            .to_string()
    };
    vec![
        case("remove")
            .mutating("remove", none())
            .labels(json!(null))
            .notes(first, mutated("remove", true))
            .notes(PATCH, patched(json!([{"op": "remove", "path": "/metadata/labels/mine"}]))),
        case("add")
            .mutating("add", none())
            .labels(json!({"mine": "yes", "added": "yes"}))
            .notes(first, mutated("add", true)),
        case("no-change").mutating("same", none()).labels(json!({"mine": "yes"})).notes(first, mutated("same", false)),
        case("no-operations").mutating("no-operations", none()).notes(first, mutated("no-operations", false)),
        case("test-fails")
            .mutating("test-fails", none())
            .refused(500, "value did not match")
            .notes(first, mutated("test-fails", false)),
        case("bad-operation")
            .mutating("bad-operation", none())
            .refused(500, "absent")
            .notes(first, mutated("bad-operation", false)),
        case("bad-operation-is-no-failure").mutating("bad-operation", ignore()).refused(500, "absent"),
        case("bad-type").mutating("bad-type", none()).refused(500, "labels"),
        case("no-patch").mutating("no-patch", none()).refused(500, "received undecodable patch in webhook response"),
        case("no-patch-is-no-failure")
            .mutating("no-patch", ignore())
            .refused(500, "received undecodable patch in webhook response"),
        case("strange-type").mutating("strange-type", none()).refused(500, "invalid response.patchType of \"Merge\""),
        case("denies").mutating("deny-why", none()).refused(403, "not today"),
        case("errors-ignored")
            .mutating("down", ignore())
            .mutating("add", none())
            .labels(json!({"mine": "yes", "added": "yes"}))
            .notes("failed-open.mutating.webhook.admission.k8s.io/round_0_index_0", "down.example.com")
            .notes(first, mutated("down", false)),
        case("errors-fail").mutating("down", none()).refused(500, "failed calling webhook \"down.example.com\""),
        case("what-was-changed-is-selected")
            .mutating("remove", none())
            .mutating("deny", json!({"objectSelector": {"matchLabels": {"mine": "yes"}}}))
            .labels(json!(null)),
        case("asked-again").mutating("same", again()).mutating("add", none()).asked(["same", "add", "same"]),
        case("asked-once").mutating("same", none()).mutating("add", none()).asked(["same", "add"]),
        case("nothing-changed")
            .mutating("same", again())
            .mutating("no-operations", again())
            .asked(["same", "no-operations"]),
        case("its-own-change").mutating("add", again()).asked(["add"]),
        case("dry-run").dry_run().mutating("add", none()).labels(json!({"mine": "yes", "added": "yes"})),
        case("validated-as-changed")
            .mutating("add", none())
            .validating("deny-why", json!({"objectSelector": {"matchLabels": {"added": "yes"}}}))
            .refused(403, "not today"),
    ]
}

#[tokio::test]
async fn every_case_is_decided_and_logged_as_upstream_does() {
    let webhooks = Arc::new(Webhooks { answers: Box::new(answer), asked: Mutex::default() });
    let remote = Arc::clone(&webhooks);
    let mut gate = Gate::with(move |builder| builder.remote(remote)).await;
    let mut faults = Vec::new();
    for case in validating().into_iter().chain(mutating()) {
        let admin = gate.admin.clone();
        let list = |hooks: &[(&str, Value)]| -> Value {
            hooks.iter().map(|(host, more)| webhook(host, more.clone())).collect()
        };
        configure(&admin, "validating", "v", list(&case.validating)).await;
        configure(&admin, "mutating", "m", list(&case.mutating)).await;
        webhooks.asked.lock().expect("no panic").clear();
        let name = format!("case-{}", case.name);
        let dry_run = if case.dry_run { "?dryRun=All" } else { "" };
        let map = json!({"metadata": {"name": "a", "labels": {"mine": "yes"}}});
        let request = Request::post(format!("{MAPS}{dry_run}")).header("audit-id", &name);
        let request = request.header("content-type", "application/json").body(Full::new(map.to_string().into()));
        let answer = common::exchange(&admin, request.expect("a sound request")).await;
        let mut expect = |holds: bool, what: String| {
            if !holds {
                faults.push(format!("{name}: {what}"));
            }
        };
        match case.refused {
            Some((code, says)) => {
                let (found, _, message) = answer.fault();
                expect(found == code && message.contains(says), format!("{found} {message}"));
            }
            None => expect(answer.code == 201, format!("{:?}", answer.bytes)),
        }
        if let Some(labels) = case.labels {
            let found = &answer.json()["metadata"]["labels"];
            expect(*found == labels, format!("labels {found}"));
        }
        if let Some(hosts) = case.asked {
            let asked = webhooks.asked.lock().expect("no panic");
            expect(*asked == hosts, format!("asked {asked:?}"));
        }
        let logged = gate.logged(&name).await;
        for (key, value) in case.notes {
            expect(logged["annotations"][key] == value, format!("{key}: {}", logged["annotations"]));
        }
        let mut noted = logged["annotations"].as_object().into_iter().flatten();
        expect(!noted.any(|(key, _)| key.contains("a/b")), "an annotation has a key that is none".to_owned());
        for (kind, of) in [("validating", "v"), ("mutating", "m")] {
            let uri = format!("/apis/admissionregistration.k8s.io/v1/{kind}webhookconfigurations/{of}");
            assert_eq!(common::send(&admin, Method::DELETE, &uri, "", "").await.code, 200);
        }
        // The next request no longer meets them.
        common::send(&admin, Method::DELETE, &format!("{MAPS}/a"), "", "").await;
    }
    assert!(faults.is_empty(), "{faults:#?}");
    gate.close().await;
}

/// Webhooks with unknown side effects can't be made any more, and those that may have some are not called for a dry run.
#[tokio::test]
async fn webhooks_with_side_effects_are_refused() {
    let (server, admin, _) = with_webhooks(Box::new(answer)).await;
    let uri = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
    for (field, value, says) in [
        ("sideEffects", json!("Some"), "supported values: \"None\", \"NoneOnDryRun\""),
        ("sideEffects", json!("Unknown"), "supported values: \"None\", \"NoneOnDryRun\""),
        ("sideEffects", json!(null), "must specify one of None, NoneOnDryRun"),
        ("timeoutSeconds", json!(0), "the timeout value must be between 1 and 30 seconds"),
        ("timeoutSeconds", json!(31), "the timeout value must be between 1 and 30 seconds"),
        ("admissionReviewVersions", json!(["v2"]), "must include at least one of v1, v1beta1"),
        ("admissionReviewVersions", json!(["v1", "v1"]), "duplicate version"),
        ("failurePolicy", json!("Maybe"), "Unsupported value: \"Maybe\""),
        ("matchPolicy", json!("Alike"), "Unsupported value: \"Alike\""),
        ("name", json!("short"), "should be a domain with at least three segments separated by dots"),
        ("clientConfig", json!({}), "exactly one of url or service is required"),
        ("clientConfig", json!({"url": "http://a.test"}), "'https' is the only allowed URL scheme"),
        ("clientConfig", json!({"url": "https://"}), "host must be specified"),
        ("clientConfig", json!({"url": "https://a:b@c.test"}), "user information is not permitted in the URL"),
        ("clientConfig", json!({"url": "https://c.test/#a"}), "fragments are not permitted in the URL"),
        ("clientConfig", json!({"url": "https://c.test/?a=b"}), "query parameters are not permitted in the URL"),
        ("clientConfig", json!({"service": {"namespace": "a", "name": "b", "path": "c"}}), "must start with a '/'"),
        (
            "clientConfig",
            json!({"service": {"namespace": "a", "name": "b", "path": "//"}}),
            "segment[0] may not be empty",
        ),
        ("clientConfig", json!({"service": {"namespace": "a", "name": "b", "path": "/a//b"}}), "segment[1] may not be"),
        (
            "clientConfig",
            json!({"service": {"namespace": "a", "name": "b", "path": "/A"}}),
            "segment[0]: a lowercase RFC",
        ),
        (
            "clientConfig",
            json!({"service": {"namespace": "a", "name": "b", "port": 65536}}),
            "must be between 1 and 65535",
        ),
        ("matchConditions", json!([{"name": "a", "expression": "nonsense"}]), "undeclared reference to 'nonsense'"),
        ("matchConditions", json!([{"name": "a", "expression": "'a'"}]), "must evaluate to bool"),
    ] {
        let mut hook = webhook("allow", none());
        hook[field] = value;
        let object = json!({"metadata": {"name": "v"}, "webhooks": [hook]});
        let (code, _, message) = send_json(&admin, Method::POST, uri, &object).await.fault();
        assert!(code == 422 && message.contains(says), "{field}: {code} {message}");
    }
    for path in ["", "/", "/a", "/a/b/"] {
        let mut hook = webhook("allow", none());
        hook["clientConfig"] = json!({"service": {"namespace": "a", "name": "b", "path": path}});
        made(&admin, &format!("{uri}?dryRun=All"), json!({"metadata": {"name": "v"}, "webhooks": [hook]})).await;
    }
    server.shutdown().await;
}
