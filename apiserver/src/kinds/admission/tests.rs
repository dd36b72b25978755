//! What is refused of a policy before it is stored.

use serde_json::{Value, json};

use crate::kinds::strategy;

fn faults(resource: &str, object: &Value) -> Vec<String> {
    let strategy = strategy("admissionregistration.k8s.io", resource);
    strategy.validate(object).iter().map(ToString::to_string).collect()
}

fn policy(spec: Value) -> Value {
    let mut policy = json!({"metadata": {"name": "p"}, "spec": {"failurePolicy": "Fail", "matchConstraints": {
        "matchPolicy": "Exact", "resourceRules": [{"operations": ["CREATE"], "apiGroups": ["apps"],
            "apiVersions": ["v1"], "resources": ["deployments"]}]}}});
    for (field, value) in spec.as_object().expect("an object") {
        policy["spec"][field] = value.clone();
    }
    policy
}

#[test]
fn validating_policies() {
    let rule = |more: Value| json!({"validations": [more]});
    let params = |expression: &str| json!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}, "validations": [{"expression": expression}]});
    let variables = |variables: Value, expression: &str| json!({"variables": variables, "validations": [{"expression": expression}]});
    for (spec, expected) in [
        (rule(json!({"expression": "object.x == 1"})), ""),
        (
            rule(json!({"expression": " "})),
            "spec.validations[0].expression: Required value: expression is not specified",
        ),
        (rule(json!({"expression": "object.x in [1, 2, "})), "compilation failed: ERROR: <input>:1:"),
        (rule(json!({"expression": "nobody.x == 1"})), "undeclared reference to 'nobody'"),
        (rule(json!({"expression": "1 + 1"})), "must evaluate to bool but got int"),
        (rule(json!({"expression": "request.nobody == ''"})), "undefined field 'nobody'"),
        (rule(json!({"expression": "namespaceObject.metadata.labels['a'] == 'b'"})), ""),
        (rule(json!({"expression": "params.x == 1"})), "undeclared reference to 'params'"),
        (params("params.x == 1"), ""),
        (rule(json!({"expression": "variables.x == 1"})), "undeclared reference to 'variables'"),
        (variables(json!([{"name": "x", "expression": "object.y"}]), "variables.x == 1"), ""),
        (variables(json!([{"name": "x", "expression": "1"}]), "variables.y == 1"), "undefined field 'y'"),
        (variables(json!([{"name": "x", "expression": "variables.y"}]), "true"), "undefined field 'y'"),
        (variables(json!([{"name": "a-b", "expression": "1"}]), "true"), "must be a valid CEL identifier"),
        (variables(json!([{"name": "while", "expression": "1"}]), "true"), "must be a valid CEL identifier"),
        (variables(json!([{"name": "", "expression": "1"}]), "true"), "name: Required value: name is not specified"),
        (
            variables(
                json!([{"name": "x", "expression": "1"}, {"name": "x", "expression": "'a'"}]),
                "variables.x == 'a'",
            ),
            "",
        ),
        (rule(json!({"expression": "true", "messageExpression": "'a' + string(object.x)"})), ""),
        (rule(json!({"expression": "true", "messageExpression": "1"})), "must evaluate to string but got int"),
        (rule(json!({"expression": "true", "messageExpression": " "})), "must be non-empty if specified"),
        (
            rule(
                json!({"expression": "true", "messageExpression": "authorizer.group('').resource('a').check('b').reason()"}),
            ),
            "undeclared reference to 'authorizer'",
        ),
        (rule(json!({"expression": "authorizer.requestResource.check('get').allowed()"})), ""),
        (
            rule(json!({"expression": "authorizer.foo == 1"})),
            "1:11: unexpected failed resolution of 'kubernetes.authorization.Authorizer'",
        ),
        (
            rule(json!({"expression": "authorizer.path(1).check('get').allowed()"})),
            "no matching overload for 'path' applied to 'kubernetes.authorization.Authorizer.(int)'",
        ),
        (rule(json!({"expression": "true", "message": "a\nb"})), "must not contain line breaks"),
        (rule(json!({"expression": "true", "message": " "})), "must be non-empty if specified"),
        (rule(json!({"expression": "true", "reason": "Forbidden"})), ""),
        (rule(json!({"expression": "true", "reason": "Because"})), "reason: Unsupported value: \"Because\""),
        (json!({"auditAnnotations": [{"key": "k", "valueExpression": "'a'"}]}), ""),
        (json!({"auditAnnotations": [{"key": "k", "valueExpression": "null"}]}), ""),
        (json!({"auditAnnotations": [{"key": "k", "valueExpression": "1"}]}), "one of [string null_type] but got int"),
        (json!({"auditAnnotations": [{"key": "k", "valueExpression": " "}]}), "valueExpression is not specified"),
        (json!({"auditAnnotations": [{"key": "!", "valueExpression": "'a'"}]}), "key: Invalid value: \"p/!\""),
        (
            json!({"auditAnnotations": [{"key": "k", "valueExpression": "'a'"}, {"key": "k", "valueExpression": "'a'"}]}),
            "Duplicate value: \"k\"",
        ),
        (
            json!({"auditAnnotations": [{"key": "k", "valueExpression": format!("'{}'", "a".repeat(5120))}]}),
            "must not exceed 5120 bytes in length",
        ),
        (
            json!({"matchConditions": [{"name": "a", "expression": "1"}], "validations": [{"expression": "true"}]}),
            "spec.matchConditions[0].expression: Invalid value: \"1\": must evaluate to bool but got int",
        ),
        (json!({}), "validations or auditAnnotations must contain at least one item"),
    ] {
        let found = faults("validatingadmissionpolicies", &policy(spec.clone())).join("\n");
        assert_eq!((found.is_empty(), found.contains(expected)), (expected.is_empty(), true), "{spec}: {found}");
    }
}

#[test]
fn mutating_policies() {
    let apply =
        |expression: &str| json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}});
    let patch = |expression: &str| json!({"patchType": "JSONPatch", "jsonPatch": {"expression": expression}});
    for (mutation, expected) in [
        (apply("Object{spec: Object.spec{replicas: 1}}"), ""),
        (patch("[JSONPatch{op: 'add', path: '/metadata/labels/a', value: 'b'}]"), ""),
        (apply("Object{"), "compilation failed"),
        (patch("nobody"), "undeclared reference to 'nobody'"),
        (apply(""), "applyConfiguration.expression: Required value"),
        (json!({"patchType": "JSONPatch"}), "jsonPatch: Required value: must be specified when patchType is JSONPatch"),
        (
            json!({"patchType": "ApplyConfiguration"}),
            "applyConfiguration: Required value: must be specified when patchType is ApplyConfiguration",
        ),
        (json!({"patchType": "Other"}), "patchType: Unsupported value: \"Other\""),
        (
            json!({"patchType": "JSONPatch", "jsonPatch": {"expression": "[]"}, "applyConfiguration": {"expression": "x"}}),
            "must not be specified when patchType is JSONPatch",
        ),
    ] {
        let spec = json!({"reinvocationPolicy": "Never", "mutations": [mutation]});
        let found = faults("mutatingadmissionpolicies", &policy(spec)).join("\n");
        assert_eq!((found.is_empty(), found.contains(expected)), (expected.is_empty(), true), "{mutation}: {found}");
    }
    let mut deletes = policy(json!({"reinvocationPolicy": "Never", "mutations": [patch("[]")]}));
    deletes["spec"]["matchConstraints"]["resourceRules"][0]["operations"] = json!(["CREATE", "DELETE"]);
    let found = faults("mutatingadmissionpolicies", &deletes).join("\n");
    assert!(found.contains("operations: Unsupported value: \"DELETE\""), "{found}");
    deletes["spec"]["matchConstraints"]["resourceRules"][0]["operations"] = json!(["*"]);
    deletes["spec"]["mutations"] = json!([patch("[JSONPatch{op: 'remove', path: '/a'}]")]);
    assert_eq!(faults("mutatingadmissionpolicies", &deletes), Vec::<String>::new());
}

#[test]
fn kinds_of_parameters() {
    let lead = "spec.paramKind.apiVersion: Invalid value:";
    for (version, kind, expected) in [
        ("v1", "ConfigMap", String::new()),
        ("example.com/v1alpha1", "Limits", String::new()),
        ("", "ConfigMap", "spec.paramKind.apiVersion: Required value".to_owned()),
        ("a/b/c", "X", format!("{lead} \"a/b/c\": unexpected GroupVersion string: a/b/c")),
        ("example.com/", "X", format!("{lead} \"example.com/\": version must be specified")),
        ("Example/v1", "X", format!("{lead} \"Example\": a lowercase RFC 1123 subdomain")),
        ("example.com/1", "X", format!("{lead} \"1\": a DNS-1035 label must consist")),
        ("v1", "", "spec.paramKind.kind: Required value".to_owned()),
        (
            "v1",
            "A_b",
            "spec.paramKind.kind: Invalid value: \"A_b\": may have mixed case, but should otherwise match: a DNS-1035"
                .to_owned(),
        ),
    ] {
        let spec = json!({"paramKind": {"apiVersion": version, "kind": kind}, "validations": [{"expression": "true"}]});
        let found = faults("validatingadmissionpolicies", &policy(spec)).join("\n");
        assert_eq!((found.is_empty(), found.contains(&expected)), (expected.is_empty(), true), "{version}: {found}");
    }
}

#[test]
fn bindings() {
    let of = |resource: &str, more: Value| {
        let mut spec = json!({"policyName": "p", "validationActions": ["Deny"]});
        for (field, value) in more.as_object().expect("an object") {
            spec[field] = value.clone();
        }
        faults(resource, &json!({"metadata": {"name": "b"}, "spec": spec}))
    };
    let param = |more: Value| {
        let mut param = json!({"parameterNotFoundAction": "Deny"});
        for (field, value) in more.as_object().expect("an object") {
            param[field] = value.clone();
        }
        json!({"paramRef": param})
    };
    let exclusive = "Forbidden: name and selector are mutually exclusive";
    let selector = json!({"matchLabels": {"a": "b"}});
    for (more, expected) in [
        (json!({}), vec![]),
        (json!({"policyName": ""}), vec!["spec.policyName: Required value".to_owned()]),
        (param(json!({"name": "x"})), vec![]),
        (param(json!({"selector": selector})), vec![]),
        (param(json!({})), vec!["spec.paramRef: Required value: one of name or selector must be specified".to_owned()]),
        (param(json!({"name": "a/b"})), vec!["spec.paramRef.name: Invalid value: \"a/b\": may not contain '/'".to_owned()]),
        (param(json!({"name": "x", "selector": selector})),
            vec![format!("spec.paramRef.name: {exclusive}"), format!("spec.paramRef.selector: {exclusive}")]),
        (param(json!({"name": "x", "parameterNotFoundAction": ""})),
            vec!["spec.paramRef.parameterNotFoundAction: Required value".to_owned()]),
        (param(json!({"name": "x", "parameterNotFoundAction": "Ask"})),
            vec!["spec.paramRef.parameterNotFoundAction: Unsupported value: \"Ask\": supported values: \"Deny\", \"Allow\"".to_owned()]),
    ] {
        assert_eq!(of("validatingadmissionpolicybindings", more.clone()), expected, "{more}");
    }
    let rule = json!({"operations": ["DELETE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"],
        "resourceNames": ["a", "a", "b/c"]});
    let resources = json!({"matchResources": {"matchPolicy": "Exact", "resourceRules": [rule]}});
    let (twice, slash) = (
        "spec.matchResources.resourceRules[0].resourceNames[1]: Duplicate value: \"a\"",
        "spec.matchResources.resourceRules[0].resourceNames[2]: Invalid value: \"b/c\": may not contain '/'",
    );
    assert_eq!(of("validatingadmissionpolicybindings", resources.clone()), [twice, slash]);
    let unfit = "spec.matchResources.resourceRules.operations: Unsupported value: \"DELETE\": supported values: \"*\", \"CONNECT\", \"CREATE\", \"UPDATE\"";
    assert_eq!(of("mutatingadmissionpolicybindings", resources), [twice, slash, unfit]);
}
