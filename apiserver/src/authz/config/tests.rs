//! Configurations that are taken, and those that are refused with every fault named.

use super::*;

const HEAD: &str = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\n";

fn parse(authorizers: &str) -> Result<AuthorizationConfig, String> {
    AuthorizationConfig::parse(&format!("{HEAD}authorizers: {authorizers}")).map_err(|error| error.problem)
}

fn refuses(authorizers: &str, expected: &str) {
    assert_eq!(parse(authorizers).unwrap_err(), expected, "{authorizers}");
}

#[test]
fn the_chain_is_checked() {
    let chain = parse("[{type: Node, name: node}, {type: RBAC, name: rbac}]").unwrap();
    assert_eq!(chain.authorizers().iter().map(AuthorizerConfig::kind).collect::<Vec<_>>(), ["Node", "RBAC"]);
    refuses("[]", "authorizers: Required value: at least one authorization mode must be defined");
    refuses("[{name: a}]", "authorizers[0].type: Required value");
    refuses(
        "[{type: ABAC, name: abac}]",
        "authorizers[0].type: Unsupported value: \"ABAC\": supported values: \"AlwaysAllow\", \"AlwaysDeny\", \"Node\", \
         \"RBAC\", \"Webhook\"",
    );
    refuses("[{type: RBAC, name: rbac}, {type: RBAC, name: two}]", "authorizers[1].type: Duplicate value: \"RBAC\"");
    refuses("[{type: RBAC}]", "authorizers[0].name: Required value");
    refuses("[{type: RBAC, name: roles}]", "expected name rbac for authorizer RBAC instead of roles");
    refuses(
        "[{type: RBAC, name: rbac, webhook: {}}]",
        "authorizers[0].webhook: Invalid value: \"non-null\": may only be specified when type=Webhook",
    );
    refuses("[{type: Webhook, name: a}]", "authorizers[0].webhook: Required value: required when type=Webhook");
    let bad_name = parse("[{type: RBAC, name: A_b}]").unwrap_err();
    assert!(
        bad_name.starts_with("authorizers[0].name: Invalid value: \"A_b\": authorizer name is invalid"),
        "{bad_name}"
    );
}

/// A webhook's fields, of which one is changed; it names a kubeconfig that is there.
fn webhook(file: &str, change: &str) -> Result<AuthorizationConfig, String> {
    let mut fields = vec![
        "timeout: 3s".to_owned(),
        "subjectAccessReviewVersion: v1".into(),
        "matchConditionSubjectAccessReviewVersion: v1".into(),
        "failurePolicy: Deny".into(),
        format!("connectionInfo: {{type: KubeConfigFile, kubeConfigFile: '{file}'}}"),
    ];
    let name = change.split_once(':').map_or(change, |(name, _)| name);
    fields.retain(|field| !field.starts_with(&format!("{name}:")));
    if change.contains(':') {
        fields.push(change.to_owned());
    }
    parse(&format!("[{{type: Webhook, name: hook, webhook: {{{}}}}}]", fields.join(", ")))
}

#[test]
fn webhooks_are_checked() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hook.kubeconfig");
    let kubeconfig = "{current-context: c, contexts: [{name: c, context: {cluster: k}}], clusters: [{name: k, cluster: \
                      {server: 'https://hook.test/authorize'}}]}";
    std::fs::write(&path, kubeconfig).unwrap();
    let file = path.display().to_string();
    let sound = webhook(&file, "authorizedTTL: 1m").unwrap();
    let [AuthorizerConfig::Webhook(sound)] = sound.authorizers() else { panic!("one webhook") };
    assert_eq!((sound.authorized_ttl.as_secs(), sound.unauthorized_ttl.as_secs()), (60, 30));
    assert_eq!(sound.kubeconfig.target.url, "https://hook.test/authorize");
    let [AuthorizerConfig::Webhook(kept)] = &webhook(&file, "cacheAuthorizedRequests: false").unwrap().authorizers[..]
    else {
        panic!("one webhook")
    };
    assert_eq!((kept.authorized_ttl.as_secs(), kept.unauthorized_ttl.as_secs()), (0, 30));
    for (change, expected) in [
        ("timeout", "timeout: Required value"),
        ("timeout: 31s", "timeout: Invalid value: \"31s\": must be > 0s and <= 30s"),
        ("timeout: -1s", "timeout: Invalid value: \"-1s\": must be > 0s and <= 30s"),
        ("timeout: soon", "timeout: Invalid value: \"soon\": must be a duration, such as 3s or 5m0s"),
        ("unauthorizedTTL: -1s", "unauthorizedTTL: Invalid value: \"-1s\": must be > 0s"),
        ("subjectAccessReviewVersion", "subjectAccessReviewVersion: Required value"),
        (
            "subjectAccessReviewVersion: v2",
            "subjectAccessReviewVersion: Unsupported value: \"v2\": supported values: \"v1\", \"v1beta1\"",
        ),
        ("failurePolicy", "failurePolicy: Required value"),
        (
            "failurePolicy: Open",
            "failurePolicy: Unsupported value: \"Open\": supported values: \"Deny\", \"NoOpinion\"",
        ),
        ("connectionInfo", "connectionInfo.type: Required value"),
        ("connectionInfo: {type: KubeConfigFile}", "connectionInfo.kubeConfigFile: Required value"),
        (
            "connectionInfo: {type: KubeConfigFile, kubeConfigFile: x}",
            "connectionInfo.kubeConfigFile: Invalid value: \"x\": must be an absolute path",
        ),
        ("matchConditions: [{expression: ' '}]", "matchConditions[0].expression: Required value"),
        (
            "matchConditions: [{expression: request.user}]",
            "matchConditions[0].expression: Invalid value: \"request.user\": must evaluate to bool but got string",
        ),
    ] {
        assert_eq!(webhook(&file, change).unwrap_err(), format!("authorizers[0].{expected}"), "{change}");
    }
    let unknown = webhook(&file, "matchConditions: [{expression: request.verb == 'get'}]").unwrap_err();
    assert!(unknown.contains("undefined field 'verb'"), "{unknown}");
    assert!(
        webhook("/nowhere/hook", "")
            .unwrap_err()
            .contains("kubeConfigFile: Invalid value: \"/nowhere/hook\": error loading")
    );
    std::fs::write(&path, "{}").unwrap();
    assert!(webhook(&file, "").unwrap_err().contains("current-context"));
}
