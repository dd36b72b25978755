//! What is taken and what is refused, and in which words.

use proptest::prelude::*;

use super::*;

const KEY: &str = "c2VjcmV0IGlzIHNlY3VyZQ==";

fn of(rules: &str) -> Result<EncryptionConfig, String> {
    let text = format!("kind: EncryptionConfiguration\napiVersion: apiserver.config.k8s.io/v1\nresources:\n{rules}");
    EncryptionConfig::parse(&text).map_err(|error| error.problem)
}

fn with(provider: &str) -> Result<EncryptionConfig, String> {
    of(&format!("- resources: [secrets]\n  providers:\n  - {provider}\n"))
}

fn for_resources(resources: &str) -> Result<EncryptionConfig, String> {
    of(&format!("- resources: [{resources}]\n  providers: [{{identity: {{}}}}]\n"))
}

#[test]
fn what_upstream_takes_is_taken() {
    for provider in [
        format!("aesgcm: {{keys: [{{name: a, secret: {KEY}}}, {{name: b, secret: dGhpcyBpcyBwYXNzd29yZA==}}]}}"),
        format!("aescbc: {{keys: [{{name: a, secret: {KEY}}}]}}"),
        "secretbox: {keys: [{name: a, secret: YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXoxMjM0NTY=}]}".into(),
        "identity: {}".into(),
        "kms: {name: foo, endpoint: 'unix:///tmp/a.sock', cachesize: 10, timeout: 5s}".into(),
        "kms: {apiVersion: v2, name: foo, endpoint: 'unix:///tmp/a.sock'}".into(),
    ] {
        assert!(with(&provider).is_ok(), "{provider}: {:?}", with(&provider));
    }
    for resources in ["secrets, namespaces", "'*.'", "'*.*'", "'*.apps', secrets", "deployments.apps, deployments.x.y"]
    {
        assert!(for_resources(resources).is_ok(), "{resources}");
    }
    let legacy = "kind: EncryptionConfig\napiVersion: v1\nresources: [{resources: [a], providers: [{identity: {}}]}]";
    assert!(EncryptionConfig::parse(legacy).is_ok());
}

#[test]
fn what_upstream_refuses_is_refused_in_its_words() {
    for (provider, why) in [
        ("aesgcm: {keys: }", "aesgcm.keys: Required value: at least one keys is required"),
        (
            "aesgcm: {keys: [{name: a, secret: YQ==}]}",
            "\"REDACTED\": secret is not of the expected length, got 1, expected one of [16 24 32]",
        ),
        (
            "aescbc: {keys: [{secret: c2VjcmV0IGlzIHNlY3VyZQ==}]}",
            "aescbc.keys[0].name: Required value: name is a mandatory field for a key",
        ),
        ("secretbox: {keys: [{name: a, secret: '!'}]}", "secrets must be base64 encoded"),
        ("secretbox: {keys: [{name: a}]}", "secret is a mandatory field for a key"),
        ("{}", "provider does not contain any of the expected providers"),
        (
            "{identity: {}, kms: {name: a, endpoint: 'unix:///a'}}",
            "more than one provider specified in a single element",
        ),
        ("kms: {apiVersion: v3, name: foo, endpoint: 'unix:///tmp/a.sock'}", "only v1 and v2 are supported"),
        ("kms: {apiVersion: v2, name: foo, endpoint: 'unix:///a', pandas: true}", "unknown field `pandas`"),
        ("kms: {apiVersion: v2, name: 'a:b', endpoint: 'unix:///a'}", "must not contain ':'"),
        ("kms: {apiVersion: v2, name: a, endpoint: 'tcp://a'}", "unsupported scheme \"tcp\" for KMS provider"),
        ("kms: {apiVersion: v2, name: a}", "endpoint is a mandatory field for a kms"),
        ("kms: {apiVersion: v2, name: a, endpoint: 'unix:///a', timeout: 0s}", "timeout should be a positive value"),
        ("kms: {apiVersion: v2, name: a, endpoint: 'unix:///a', cachesize: 1}", "cachesize is not supported in v2"),
        ("kms: {name: a, endpoint: 'unix:///a', cachesize: 0}", "or negative to disable"),
    ] {
        let problem = with(provider).unwrap_err();
        assert!(problem.contains(why), "{provider}: {problem}");
    }
    for (resources, why) in [
        ("", "resources[0].resources: Required value: at least one resources[0].resources is required"),
        ("Secrets", "should not contain capital letters"),
        ("'*'", "use '*.' to encrypt all"),
        ("secrets, '*.'", "using overlapping resources"),
        ("secrets, '*.*'", "using overlapping resources"),
        ("secrets, secrets", "the same resource cannot be specified multiple times"),
        ("events.events.k8s.io", "Use 'events' instead"),
        ("ingresses.extensions", "'extensions' group has been removed"),
        ("'pods.*'", "across groups is not supported"),
        ("serviceipallocations", "do not have REST API/s"),
    ] {
        let problem = for_resources(resources).unwrap_err();
        assert!(problem.contains(why), "{resources}: {problem}");
    }
    let kind = "kind: EncryptionConfigurations\napiVersion: apiserver.config.k8s.io/v1\nresources: []";
    let gvk = "kinds: EncryptionConfiguration\napiVersion: apiserver.config.k8s.io/v1";
    for text in ["", kind, gvk] {
        assert!(EncryptionConfig::parse(text).is_err(), "{text}");
    }
    assert!(of("  []").unwrap_err().contains("resources: Required value"));
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,200}", secret in "[A-Za-z0-9+/=]{0,60}") {
        let _ = EncryptionConfig::parse(&text);
        let told = with(&format!("aesgcm: {{keys: [{{name: a, secret: '{secret}'}}]}}"));
        // The shortest secrets may be part of the words of the message.
        if let Err(problem) = told && secret.len() > 12 {
            prop_assert!(!problem.contains(&secret));
        }
    }
}
