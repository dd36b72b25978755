//! Rules for names, label keys, label values and ports, with upstream's messages.
//!
//! Each function gives what is wrong with a value, one sentence a fault; an empty list means it is good.
//! Source: `staging/src/k8s.io/apimachinery/pkg/util/validation` and `pkg/api/validate/content` of Kubernetes.

/// Faults of a value.
pub type Faults = Vec<String>;

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const QUALIFIED: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const QUALIFIED_RULE: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
                              alphanumeric character";

/// How upstream words a broken pattern.
#[must_use]
pub fn pattern_fault(rule: &str, pattern: &str, examples: &[&str]) -> String {
    let examples: Vec<String> = examples.iter().map(|example| format!("'{example}', ")).collect();
    let lead = if examples.is_empty() { String::new() } else { format!("e.g. {}", examples.join(" or ")) };
    format!("{rule} ({lead}regex used for validation is '{pattern}')")
}

fn too_long(length: usize) -> String {
    format!("must be no more than {length} bytes")
}

/// The same in the words that upstream's older rules have for it.
fn too_many_characters(length: usize) -> String {
    format!("must be no more than {length} characters")
}

fn edges(text: &str, inner: impl Fn(u8) -> bool, edge: impl Fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(first), Some(last)) => edge(*first) && edge(*last) && bytes.iter().all(|b| inner(*b)),
        _ => false,
    }
}

fn lower(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit()
}

fn is_label(text: &str) -> bool {
    edges(text, |b| lower(b) || b == b'-', lower)
}

fn is_qualified(text: &str) -> bool {
    edges(text, |b| b.is_ascii_alphanumeric() || b"-_.".contains(&b), |b| b.is_ascii_alphanumeric())
}

/// A lower-case RFC 1123 label of at most 63 bytes: names of namespaces, containers, ports.
#[must_use]
pub fn dns1123_label(value: &str) -> Faults {
    let mut faults = Faults::new();
    if value.len() > 63 {
        faults.push(too_many_characters(63));
    }
    if !is_label(value) {
        let rule = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start \
                    and end with an alphanumeric character";
        let dotted = value.split('.').all(is_label);
        faults.push(if dotted {
            "must not contain dots".into()
        } else {
            pattern_fault(rule, LABEL, &["my-name", "123-abc"])
        });
    }
    faults
}

/// A lower-case RFC 1123 subdomain of at most 253 bytes: names of most objects.
#[must_use]
pub fn dns1123_subdomain(value: &str) -> Faults {
    let mut faults = Faults::new();
    if value.len() > 253 {
        faults.push(too_many_characters(253));
    }
    if !value.split('.').all(is_label) {
        let rule = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and \
                    must start and end with an alphanumeric character";
        faults.push(pattern_fault(rule, SUBDOMAIN, &["example.com"]));
    }
    faults
}

/// A subdomain whose labels may have underscores: where resolvers search.
#[must_use]
pub fn dns1123_subdomain_with_underscores(value: &str) -> Faults {
    let mut faults = Faults::new();
    if value.len() > 253 {
        faults.push(too_many_characters(253));
    }
    let label = |label: &str| {
        let label = label.strip_prefix('_').unwrap_or(label);
        is_label_end(label.bytes().next())
            && is_label_end(label.bytes().next_back())
            && label.bytes().all(|byte| matches!(byte, b'-' | b'_') || is_label_end(Some(byte)))
    };
    if !value.split('.').all(label) {
        let rule = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and \
                    must start and end with an alphanumeric character";
        const PART: &str = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?";
        faults.push(pattern_fault(rule, &format!("{PART}(\\.{PART})*"), &["example.com"]));
    }
    faults
}

fn is_label_end(byte: Option<u8>) -> bool {
    byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// An RFC 1035 label of at most 63 bytes.
#[must_use]
pub fn dns1035_label(value: &str) -> Faults {
    let mut faults = Faults::new();
    if value.len() > 63 {
        faults.push(too_many_characters(63));
    }
    if !(is_label(value) && value.starts_with(|c: char| c.is_ascii_lowercase())) {
        let rule = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
                    character, and end with an alphanumeric character";
        faults.push(pattern_fault(rule, "[a-z]([-a-z0-9]*[a-z0-9])?", &["my-name", "abc-123"]));
    }
    faults
}

/// A qualified name, `name` or `prefix/name`: label keys, annotation keys, resource names, finalizers.
#[must_use]
pub fn qualified_name(value: &str) -> Faults {
    let mut faults = Faults::new();
    let parts: Vec<&str> = value.split('/').collect();
    let name = match parts[..] {
        [name] => name,
        [prefix, name] => {
            if prefix.is_empty() {
                faults.push("prefix part must be non-empty".into());
            } else {
                let told = |fault: String| format!("prefix part {}", fault.replace("253 characters", "253 bytes"));
                faults.extend(dns1123_subdomain(prefix).into_iter().map(told));
            }
            name
        }
        _ => {
            let fault = pattern_fault(QUALIFIED_RULE, QUALIFIED, &["MyName", "my.name", "123-abc"]);
            let optional = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
            return vec![format!("a valid label key {fault} {optional}")];
        }
    };
    if name.is_empty() {
        faults.push("name part must be non-empty".into());
    } else if name.len() > 63 {
        faults.push(format!("name part {}", too_long(63)));
    }
    if !is_qualified(name) {
        let fault = pattern_fault(QUALIFIED_RULE, QUALIFIED, &["MyName", "my.name", "123-abc"]);
        faults.push(format!("name part {fault}"));
    }
    faults
}

/// A label's value: empty, or a qualified name without prefix.
#[must_use]
pub fn label_value(value: &str) -> Faults {
    let mut faults = Faults::new();
    if value.len() > 63 {
        faults.push(too_long(63));
    }
    if !value.is_empty() && !is_qualified(value) {
        let rule = format!(
            "a valid label must be an empty string or consist of {}",
            &QUALIFIED_RULE["must consist of ".len()..]
        );
        faults.push(pattern_fault(&rule, &format!("({QUALIFIED})?"), &["MyValue", "my_value", "12345"]));
    }
    faults
}

/// A part of a path: names of RBAC objects and other names that allow nearly anything.
#[must_use]
pub fn path_segment(value: &str) -> Faults {
    if value == "." || value == ".." {
        return vec![format!("may not be '{value}'")];
    }
    ["/", "%"].into_iter().filter(|part| value.contains(part)).map(|part| format!("may not contain '{part}'")).collect()
}

/// A port number from 1 to 65535.
#[must_use]
pub fn port_number(port: i64) -> Faults {
    if (1..=65535).contains(&port) { Faults::new() } else { vec!["must be between 1 and 65535, inclusive".into()] }
}

/// An IANA service name of at most 15 bytes: names of container ports.
#[must_use]
pub fn port_name(value: &str) -> Faults {
    let mut faults = Faults::new();
    if value.len() > 15 {
        faults.push("must be no more than 15 characters".into());
    }
    if value.is_empty() || !value.bytes().all(|b| lower(b) || b == b'-') {
        faults.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".into());
    }
    if !value.bytes().any(|b| b.is_ascii_lowercase()) {
        faults.push("must contain at least one letter (a-z)".into());
    }
    if value.contains("--") {
        faults.push("must not contain consecutive hyphens".into());
    }
    if value.starts_with('-') || value.ends_with('-') {
        faults.push("must not begin or end with a hyphen".into());
    }
    faults
}

/// An environment variable's name: printable ASCII without `=`.
#[must_use]
pub fn env_var_name(value: &str) -> Faults {
    let rule = "a valid environment variable name must consist only of printable ASCII characters other than '='";
    match value {
        "" => vec!["environment variable name must be non-empty".into()],
        name if name.bytes().any(|b| !(b' '..=b'~').contains(&b) || b == b'=') => vec![rule.into()],
        _ => Faults::new(),
    }
}

/// A key of a ConfigMap or Secret.
#[must_use]
pub fn config_key(value: &str) -> Faults {
    let mut faults = Faults::new();
    if value.len() > 253 {
        faults.push(too_many_characters(253));
    }
    if value.is_empty() || !value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
        let rule = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
        faults.push(pattern_fault(rule, "[-._a-zA-Z0-9]+", &["key.name", "KEY_NAME", "key-name"]));
    }
    match value {
        "." => faults.push("must not be '.'".into()),
        ".." => faults.push("must not be '..'".into()),
        _ if value.starts_with("..") => faults.push("must not start with '..'".into()),
        _ => {}
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_names_have_no_faults() {
        assert!(dns1123_label("a-1").is_empty());
        assert!(dns1123_subdomain("a.b-c.1").is_empty());
        assert!(qualified_name("example.com/My_name.x").is_empty());
        assert!(label_value("").is_empty() && label_value("v1.2").is_empty());
        assert!(config_key("app.properties").is_empty());
        assert!(port_name("http-1").is_empty());
        assert!(path_segment("system:node").is_empty());
    }

    #[test]
    fn faults_are_upstreams() {
        assert_eq!(
            dns1123_label("A"),
            [
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end \
              with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
              '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
            ]
        );
        assert_eq!(dns1123_label("a.b"), ["must not contain dots"]);
        assert_eq!(dns1123_label(&"a".repeat(64)), ["must be no more than 63 characters"]);
        assert_eq!(qualified_name("/a"), ["prefix part must be non-empty"]);
        assert!(qualified_name("a/b/c")[0].starts_with("a valid label key must consist of"));
        assert!(label_value("-a")[0].starts_with("a valid label must be an empty string or consist of alphanumeric"));
        assert_eq!(port_number(0), ["must be between 1 and 65535, inclusive"]);
        assert_eq!(config_key("..x"), ["must not start with '..'"]);
    }
}
