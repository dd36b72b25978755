//! Configurations that are taken, and those that are refused with every fault named.

use super::*;

/// A configuration with one issuer, of which these lines are put in place of the usual ones.
fn config(issuer: &str, rest: &str) -> String {
    format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n- issuer: {{{issuer}}}\n  {rest}\n"
    )
}

const ISSUER: &str = "url: 'https://id.test', audiences: [a]";
const NAME: &str = "claimMappings: {username: {claim: sub, prefix: ''}}";

fn fault(text: &str) -> String {
    AuthenticationConfig::parse(text).unwrap_err().problem
}

fn refuses(issuer: &str, rest: &str, expected: &str) {
    assert_eq!(fault(&config(issuer, rest)), expected, "{issuer} {rest}");
}

#[test]
fn issuers_are_checked() {
    assert!(AuthenticationConfig::parse(&config(ISSUER, NAME)).is_ok());
    refuses("audiences: [a]", NAME, "jwt[0].issuer.url: Required value");
    refuses(
        "url: 'http://id.test', audiences: [a]",
        NAME,
        "jwt[0].issuer.url: Invalid value: \"http://id.test\": URL scheme must be https",
    );
    for (url, why) in [
        ("https://a:b@id.test", "URL must not contain a username or password"),
        ("https://id.test?x=1", "URL must not contain a query"),
        ("https://id.test#x", "URL must not contain a fragment"),
    ] {
        let expected = format!("jwt[0].issuer.url: Invalid value: \"{url}\": {why}");
        refuses(&format!("url: '{url}', audiences: [a]"), NAME, &expected);
    }
    refuses(
        "url: 'https://id.test', discoveryURL: 'https://id.test/', audiences: [a]",
        NAME,
        "jwt[0].issuer.discoveryURL: Invalid value: \"https://id.test/\": discoveryURL must be different from URL",
    );
    refuses(
        "url: 'https://id.test', audiences: [a], certificateAuthority: nonsense",
        NAME,
        "jwt[0].issuer.certificateAuthority: Invalid value: \"<omitted>\": data does not contain any valid RSA or ECDSA \
         certificates",
    );
}

#[test]
fn audiences_are_checked() {
    let issuer = |rest: &str| format!("url: 'https://id.test'{rest}");
    let at = "jwt[0].issuer.audience";
    refuses(&issuer(""), NAME, &format!("{at}s: Required value: at least one jwt[0].issuer.audiences is required"));
    refuses(
        &issuer(", audiences: [a, b]"),
        NAME,
        &format!("{at}MatchPolicy: Invalid value: \"\": audienceMatchPolicy must be MatchAny for multiple audiences"),
    );
    refuses(
        &issuer(", audiences: [a], audienceMatchPolicy: All"),
        NAME,
        &format!(
            "{at}MatchPolicy: Invalid value: \"All\": audienceMatchPolicy must be empty or MatchAny for single audience"
        ),
    );
    refuses(
        &issuer(", audiences: [a, a], audienceMatchPolicy: MatchAny"),
        NAME,
        &format!("{at}s[1]: Duplicate value: \"a\""),
    );
}

#[test]
fn mappings_are_checked() {
    let at = "jwt[0].claimMappings";
    refuses(ISSUER, "claimMappings: {}", &format!("{at}.username: Required value: claim or expression is required"));
    let prefix = "prefix is required when claim is set. It can be set to an empty string to disable prefixing";
    refuses(
        ISSUER,
        "claimMappings: {username: {claim: sub}}",
        &format!("{at}.username.prefix: Required value: {prefix}"),
    );
    refuses(
        ISSUER,
        "claimMappings: {username: {claim: sub, expression: claims.sub}}",
        &format!("{at}.username: Invalid value: \"\": claim and expression can't both be set"),
    );
    refuses(
        ISSUER,
        "claimMappings: {username: {expression: claims.sub, prefix: x}}",
        &format!("{at}.username.prefix: Invalid value: \"x\": may not be specified when expression is set"),
    );
    let broken = fault(&config(ISSUER, "claimMappings: {username: {expression: 'claims.sub +'}}"));
    assert!(
        broken.starts_with(&format!("{at}.username.expression: Invalid value: \"claims.sub +\": compilation failed"))
    );
    let unknown = fault(&config(ISSUER, "claimMappings: {username: {expression: user.username}}"));
    assert!(unknown.contains("undeclared reference to 'user'"), "{unknown}");
    for (key, why) in [
        ("foo", "must be a domain-prefixed path (such as \\\"acme.io/foo\\\")"),
        ("a.test/Foo", "must be lowercase"),
        ("x.k8s.io/foo", "k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use"),
    ] {
        let rest = format!(
            "claimMappings: {{username: {{claim: s, prefix: ''}}, extra: [{{key: {key}, valueExpression: claims.a}}]}}"
        );
        let found = fault(&config(ISSUER, &rest));
        assert!(found.contains(&why.replace("\\\"", "\"")), "{found}");
        assert!(found.starts_with("jwt[0].claimMappings.extra[0].key: Invalid value"), "{found}");
    }
}

#[test]
fn an_address_is_a_name_only_when_it_is_verified() {
    let username = |expression: &str| format!("claimMappings: {{username: {{expression: \"{expression}\"}}}}");
    assert!(fault(&config(ISSUER, &username("claims.email"))).contains("claims.email_verified must be used"));
    for good in [
        "claims.email_verified ? claims.email : ''",
        "claims.?email_verified.orValue(true) ? claims.email : claims.sub",
    ] {
        assert!(AuthenticationConfig::parse(&config(ISSUER, &username(good))).is_ok(), "{good}");
    }
    let rule = "claimValidationRules: [{expression: claims.email_verified == true}]";
    let both = format!("{rule}\n  {}", username("claims.email"));
    assert!(AuthenticationConfig::parse(&config(ISSUER, &both)).is_ok());
}

#[test]
fn rules_are_checked() {
    let with = |rules: &str| format!("{NAME}\n  {rules}");
    let at = "jwt[0].claimValidationRules[0]";
    for (rule, expected) in [
        ("{}", format!("{at}: Required value: claim or expression is required")),
        (
            "{claim: a, expression: 'true'}",
            format!("{at}: Invalid value: \"a\": claim and expression can't both be set"),
        ),
        (
            "{claim: a, message: m}",
            format!("{at}.message: Invalid value: \"m\": may not be specified when claim is set"),
        ),
        (
            "{expression: 'true', requiredValue: m}",
            format!("{at}.requiredValue: Invalid value: \"m\": may not be specified when expression is set"),
        ),
        ("{expression: claims.sub}", format!("{at}.expression: Invalid value: \"claims.sub\": must evaluate to bool")),
    ] {
        refuses(ISSUER, &with(&format!("claimValidationRules: [{rule}]")), &expected);
    }
    refuses(
        ISSUER,
        &with("userValidationRules: [{expression: 'true'}, {expression: 'true'}]"),
        "jwt[0].userValidationRules[1].expression: Duplicate value: \"true\"",
    );
    let unknown = fault(&config(ISSUER, &with("userValidationRules: [{expression: user.name == ''}]")));
    assert!(unknown.contains("undefined field 'name'"), "{unknown}");
}

#[test]
fn several_faults_are_told_at_once_and_issuers_are_their_own() {
    let head = "apiVersion: apiserver.config.k8s.io/v1beta1\nkind: AuthenticationConfiguration\n";
    let one = format!("{{issuer: {{{ISSUER}}}, {NAME}}}");
    let found = fault(&format!("{head}jwt: [{one}, {one}, {{issuer: {{{ISSUER}}}}}]"));
    let duplicate = "issuer.url: Duplicate value: \"https://id.test\"";
    assert!(
        found.contains(&format!("jwt[1].{duplicate}")) && found.contains(&format!("jwt[2].{duplicate}")),
        "{found}"
    );
    assert!(found.contains("jwt[2].claimMappings.username: Required value"), "{found}");
    assert!(fault(&format!("{head}nonsense: 1")).contains("unknown field `nonsense`"));
    assert!(fault("kind: AuthenticationConfiguration").contains("must be apiserver.config.k8s.io/v1"));
    let many = vec![one.as_str(); 65].join(", ");
    assert_eq!(fault(&format!("{head}jwt: [{many}]")), "jwt: Too many: 65: must have at most 64 items");
    let config = AuthenticationConfig::parse(&format!("{head}jwt: [{one}]")).unwrap();
    let error = config.disallow(&["https://id.test".into()]).unwrap_err().problem;
    assert!(error.contains("URL must not overlap with disallowed issuers: [https://id.test]"), "{error}");
}

#[test]
fn anonymous_requests_are_let_in_where_it_says() {
    let parse = |anonymous: &str| {
        let head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n";
        AuthenticationConfig::parse(&format!("{head}anonymous: {anonymous}"))
    };
    let paths = Anonymous::Paths(vec!["/livez".into()]);
    assert_eq!(parse("{enabled: true, conditions: [{path: /livez}]}").unwrap().anonymous(), Some(&paths));
    assert_eq!(parse("{enabled: true}").unwrap().anonymous(), Some(&Anonymous::Everywhere));
    assert_eq!(parse("{enabled: false}").unwrap().anonymous(), Some(&Anonymous::Never));
    let error = parse("{enabled: false, conditions: [{path: /livez}]}").unwrap_err().problem;
    assert!(error.ends_with("enabled should be set to true when conditions are defined"), "{error}");
}
