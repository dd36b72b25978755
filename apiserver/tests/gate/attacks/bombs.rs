//! Small requests that would cost much.

use super::*;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const ADMISSION: &str = "/apis/admissionregistration.k8s.io/v1";
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

fn policy(name: &str, expression: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"matchConstraints": {"resourceRules": [{"operations": ["CREATE"],
        "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}]},
        "validations": [{"expression": expression}]}})
}

async fn in_force(admin: &ApiServer, name: &str, expression: &str) {
    made(admin, &format!("{ADMISSION}/validatingadmissionpolicies"), policy(name, expression)).await;
    let binding = json!({"metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"]}});
    made(admin, &format!("{ADMISSION}/validatingadmissionpolicybindings"), binding).await;
}

async fn out_of_force(admin: &ApiServer, name: &str) {
    for kind in ["validatingadmissionpolicybindings", "validatingadmissionpolicies"] {
        common::send(admin, Method::DELETE, &format!("{ADMISSION}/{kind}/{name}"), "", "").await;
    }
}

#[tokio::test]
async fn expressions_that_multiply() {
    let mut gate = Gate::open().await;
    let admin = gate.admin.clone();
    let ten = "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]";
    let mut nested = "true".to_owned();
    for depth in 0..9 {
        nested = format!("{ten}.all(x{depth}, {nested})");
    }
    let map = json!({"metadata": {"name": "m"}, "data": {"a": "x".repeat(100_000)}});
    for (attack, expression) in [
        ("cel-nested-loops", nested.as_str()),
        ("cel-doubling-text", "object.data.a.replace('x', object.data.a).size() > 0"),
        ("cel-loop-over-text", "object.data.a.split('x').all(a, !object.data.a.contains('y'))"),
    ] {
        in_force(&admin, attack, expression).await;
        let why = gate.refuses(attack, &[403, 422], &admin, Tried::post(MAPS, &map)).await;
        assert!(why.contains("cost") || why.contains("size"), "{attack}: {why}");
        out_of_force(&admin, attack).await;
    }
    made(&admin, MAPS, map).await;
    gate.close().await;
}

#[tokio::test]
async fn patches_that_double() {
    let mut gate = Gate::open().await;
    let admin = gate.admin.clone();
    made(&admin, MAPS, json!({"metadata": {"name": "m"}, "data": {"a": "x"}})).await;
    let copy = |n: usize| json!({"op": "copy", "from": "/data", "path": format!("/data/{n}")});
    let patch = (0..60).map(copy).collect::<Value>().to_string();
    let tried = Tried::sent(Method::PATCH, &format!("{MAPS}/m"), "application/json-patch+json", patch);
    let why = gate.refuses("patch-doubling-copies", &[422], &admin, tried).await;
    assert_eq!(why, "the server rejected our request due to an error in our request");
    gate.close().await;
}

/// What is too deep could not be read again, and would overflow the stack where it is followed.
#[tokio::test]
async fn objects_that_are_too_deep() {
    let mut gate = Gate::open().await;
    let (admin, revisions) = (gate.admin.clone(), "/apis/apps/v1/namespaces/default/controllerrevisions");
    let deep = |depth: usize| (0..depth).fold(json!(1), |inner, _| json!({"a": inner}));
    let revision = |name: &str, depth: usize| json!({"metadata": {"name": name}, "revision": 1, "data": deep(depth)});
    let why = gate.refuses("deep-object", &[400], &admin, Tried::post(revisions, &revision("deep", 124))).await;
    assert!(why.contains("nested too deeply"), "{why}");
    made(&admin, revisions, revision("r", 100)).await;
    let one = format!("{revisions}/r");
    let below = |root: &str, depth: usize| format!("{root}{}", "/a".repeat(depth));
    let moves: Vec<Value> = (0..2000)
        .flat_map(|n| {
            let (from, to) = if n % 2 == 0 { ("/x", "/y") } else { ("/y", "/x") };
            let add = json!({"op": "add", "path": from, "value": deep(60)});
            [add, json!({"op": "move", "from": to, "path": below(from, 60)})]
        })
        .collect();
    for (attack, patch) in [
        ("deep-in-steps", json!([{"op": "add", "path": below("/data", 100), "value": deep(100)}])),
        ("deep-by-moves", [vec![json!({"op": "add", "path": "/y", "value": deep(60)})], moves].concat().into()),
        ("deep-by-copies", json!([{"op": "copy", "from": "/data", "path": below("/data", 100)}])),
    ] {
        let tried = Tried::sent(Method::PATCH, &one, "application/json-patch+json", patch.to_string());
        gate.refuses(attack, &[422], &admin, tried).await;
    }
    assert_eq!(common::send(&admin, Method::DELETE, &one, "", "").await.code, 200);
    gate.close().await;
}

/// Told in full, what is wrong with these bodies would be some hundred GB.
#[tokio::test]
async fn names_that_are_told_again_and_again() {
    let gate = Gate::open().await;
    let (name, many) = ("n".repeat(1 << 20), 30_000);
    let fields: String = (0..many).map(|n| format!(r#""f{n}": 1, "f{n}": 2, "#)).collect();
    let list = "1, ".repeat(many);
    let body =
        format!(r#"{{"metadata": {{"name": "m"}}, "{name}": {{"l": [{list}1], {fields}"z": 1}}, {fields}"z": 1}}"#);
    let answer = common::send(&gate.admin, Method::POST, MAPS, "application/json", body.clone()).await;
    assert_eq!(answer.code, 201);
    let warnings: usize = answer.headers.get_all("warning").iter().map(http::HeaderValue::len).sum();
    assert!(warnings < 8192, "{warnings}");
    let strict =
        common::send(&gate.admin, Method::POST, &format!("{MAPS}?fieldValidation=Strict"), "application/json", body)
            .await;
    assert_eq!(strict.code, 400);
    gate.close().await;
}

#[tokio::test]
async fn options_of_the_wrong_type_delete_nothing() {
    let mut gate = Gate::open().await;
    let admin = gate.admin.clone();
    made(&admin, MAPS, json!({"metadata": {"name": "m"}})).await;
    let one = format!("{MAPS}/m");
    for (attack, options) in [
        ("delete-dry-run-text", json!({"dryRun": "All"})),
        ("delete-precondition-number", json!({"preconditions": {"uid": 7}})),
        ("delete-preconditions-list", json!({"preconditions": ["uid"]})),
    ] {
        let tried = Tried::sent(Method::DELETE, &one, "application/json", options.to_string());
        gate.refuses(attack, &[400], &admin, tried).await;
    }
    assert_eq!(get(&admin, &one).await.code, 200);
    gate.close().await;
}

#[tokio::test]
async fn expressions_without_end() {
    let mut gate = Gate::open().await;
    let admin = gate.admin.clone();
    let policies = format!("{ADMISSION}/validatingadmissionpolicies");
    for (attack, expression) in [
        ("cel-parentheses", format!("{}true{}", "(".repeat(20_000), ")".repeat(20_000))),
        ("cel-negations", format!("{}true", "!".repeat(200_000))),
        ("cel-lists", format!("{}{} == []", "[".repeat(20_000), "]".repeat(20_000))),
        ("cel-unfinished", "[".repeat(100_000)),
        ("cel-unclosed-text", format!("'{}", "a".repeat(100_000))),
        ("cel-unknown-name", "nobody.knows".to_owned()),
    ] {
        // What compiles is still refused as a rule: none of these is of any use.
        let code = if attack == "cel-unknown-name" { &[201, 422][..] } else { &[422] };
        let tried = Tried::post(&policies, &policy(attack, &expression));
        if code.len() == 1 {
            gate.refuses(attack, code, &admin, tried).await;
        }
    }
    let conditions = |expression: &str| {
        json!({"metadata": {"name": "w"}, "webhooks": [{"name": "a.example.com",
        "clientConfig": {"url": "https://a.example.com/"}, "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "matchConditions": [{"name": "c", "expression": expression}]}]})
    };
    let hooks = format!("{ADMISSION}/validatingwebhookconfigurations");
    let deep = conditions(&format!("{}true{}", "(".repeat(20_000), ")".repeat(20_000)));
    gate.refuses("cel-match-condition", &[422], &admin, Tried::post(&hooks, &deep)).await;
    gate.close().await;
}

fn definition(property: Value) -> Value {
    json!({"metadata": {"name": "foos.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
        "names": {"plural": "foos", "kind": "Foo"}, "versions": [{"name": "v1", "served": true, "storage": true,
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": property}}}}]}})
}

#[tokio::test]
async fn rules_of_definitions() {
    let mut gate = Gate::open().await;
    let admin = gate.admin.clone();
    let list = |rule: &str| {
        json!({"type": "array", "items": {"type": "array", "items": {"type": "string"}},
        "x-kubernetes-validations": [{"rule": rule}]})
    };
    for (attack, property) in [
        ("definition-loops", list("self.all(a, self.all(b, self.all(c, a == b && b == c)))")),
        ("definition-rule-of-nothing", list("nobody.knows")),
        ("definition-pattern", json!({"type": "string", "pattern": "((x{1000}){1000}){1000}"})),
        ("definition-broken-pattern", json!({"type": "string", "pattern": "("})),
    ] {
        gate.refuses(attack, &[422], &admin, Tried::post(DEFINITIONS, &definition(property))).await;
    }
    gate.close().await;
}

#[tokio::test]
async fn regular_expressions() {
    let mut gate = Gate::open().await;
    let admin = gate.admin.clone();
    // Exponential for engines that try one way after the other; here it is a matter of length.
    in_force(&admin, "slow", "object.data.a.matches('^(a+)+$')").await;
    let map = json!({"metadata": {"name": "m"}, "data": {"a": format!("{}b", "a".repeat(100_000))}});
    gate.refuses("regex-backtracking", &[403, 422], &admin, Tried::post(MAPS, &map)).await;
    out_of_force(&admin, "slow").await;
    in_force(&admin, "large", "'x'.matches(object.data.a)").await;
    let map = json!({"metadata": {"name": "m"}, "data": {"a": "((x{1000}){1000}){1000}"}});
    gate.refuses("regex-huge", &[403, 422], &admin, Tried::post(MAPS, &map)).await;
    gate.close().await;
}

#[tokio::test]
async fn bodies() {
    let mut gate = Gate::open().await;
    let admin = gate.admin.clone();
    let post = |content_type: &str, body: Vec<u8>| Tried::sent(Method::POST, MAPS, content_type, body);
    let map = json!({"metadata": {"name": "m"}}).to_string();
    // The beginning of a compressed body; whatever it unfolds to is not looked at.
    let gzip = [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 3][..], &[0xed; 1000]].concat();
    let mut aliases = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let before = vec![format!("*a{}", level - 1); 9].join(", ");
        aliases.push_str(&format!("a{level}: &a{level} [{before}]\n"));
    }
    // It says that four exabytes follow.
    let lengths = [b"k8s\0\x0a", &[0xff; 8][..], &[0x3f]].concat();
    let depth = 50_000;
    for (attack, tried) in [
        ("body-gzip", post("application/json", gzip.clone()).header("content-encoding", "gzip")),
        ("body-gzip-unsaid", post("application/json", gzip)),
        ("body-deflate", post("application/json", vec![0x78, 0x9c, 1, 2, 3]).header("content-encoding", "deflate")),
        ("body-yaml-aliases", post("application/yaml", aliases.into_bytes())),
        ("body-json-nesting", post("application/json", format!("{{\"a\":{}", "[".repeat(depth)).into_bytes())),
        ("body-yaml-nesting", post("application/yaml", "[".repeat(depth).into_bytes())),
        ("body-protobuf-lengths", post("application/vnd.kubernetes.protobuf", lengths)),
        ("body-too-large", post("application/json", vec![b' '; (3 << 20) + 1])),
        ("body-of-another-kind", post("application/x-www-form-urlencoded", map.clone().into_bytes())),
        ("body-as-text", post("text/plain", map.into_bytes())),
        ("body-not-utf-8", post("application/json", b"{\"metadata\":{\"name\":\"\xff\"}}".to_vec())),
    ] {
        gate.refuses(attack, &[400, 413, 415, 422], &admin, tried).await;
    }
    assert_eq!(get(&admin, MAPS).await.json()["items"], json!([]));
    gate.close().await;
}
