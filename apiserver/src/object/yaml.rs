//! Writing YAML that every reader understands alike: what some version of YAML would take for a number, a truth value, a time or
//! nothing at all is quoted, and so is what has a meaning of its own. Pure.

use std::fmt::Write;

use serde_json::Value;

/// The document.
#[must_use]
pub fn write(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => fields(value, 0, &mut out),
        Value::Array(list) if !list.is_empty() => elements(list, 0, &mut out),
        value => {
            inline(value, 0, &mut out);
            out.push('\n');
        }
    }
    out
}

fn fields(value: &Value, indent: usize, out: &mut String) {
    for (at, (name, value)) in value.as_object().into_iter().flatten().enumerate() {
        // The first field of a list's element stands behind its dash.
        if at > 0 || !out.ends_with("- ") {
            out.extend(std::iter::repeat_n(' ', indent));
        }
        text(name, None, out);
        out.push(':');
        match value {
            Value::Object(map) if !map.is_empty() => {
                out.push('\n');
                fields(value, indent + 2, out);
            }
            Value::Array(list) if !list.is_empty() => {
                out.push('\n');
                elements(list, indent, out);
            }
            value => {
                out.push(' ');
                inline(value, indent, out);
                out.push('\n');
            }
        }
    }
}

fn elements(list: &[Value], indent: usize, out: &mut String) {
    for (at, value) in list.iter().enumerate() {
        if at > 0 || !out.ends_with("- ") {
            out.extend(std::iter::repeat_n(' ', indent));
        }
        out.push_str("- ");
        match value {
            Value::Object(map) if !map.is_empty() => fields(value, indent + 2, out),
            Value::Array(list) if !list.is_empty() => elements(list, indent + 2, out),
            value => {
                inline(value, indent, out);
                out.push('\n');
            }
        }
    }
}

/// What stands on the line of its name or dash.
fn inline(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::String(string) => text(string, Some(indent), out),
        // Empty ones too.
        other => {
            let _ = write!(out, "{other}");
        }
    }
}

/// Text; where it may take several lines, in a block below that indentation.
fn text(string: &str, block: Option<usize>, out: &mut String) {
    match block {
        Some(indent) if is_block(string) => {
            out.push('|');
            let body = string.trim_end_matches('\n');
            out.push_str(match string.len() - body.len() {
                0 => "-",
                1 => "",
                _ => "+",
            });
            let lines = string.strip_suffix('\n').unwrap_or(string).split('\n');
            for line in lines {
                out.push('\n');
                if !line.is_empty() {
                    out.extend(std::iter::repeat_n(' ', indent + 2));
                    out.push_str(line);
                }
            }
        }
        _ if is_plain(string) => out.push_str(string),
        // JSON's strings are YAML's too.
        _ => {
            let _ = write!(out, "{}", Value::String(string.to_owned()));
        }
    }
}

/// Whether it reads best, and the same, as lines.
fn is_block(string: &str) -> bool {
    let strange =
        |c: char| c != '\n' && (c.is_control() || matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}'));
    string.trim_end_matches('\n').contains('\n')
        && !string.starts_with([' ', '\n', '\t'])
        && !string.contains(strange)
        && string.lines().all(|line| !line.ends_with(' '))
}

fn is_plain(string: &str) -> bool {
    const WORDS: [&str; 15] =
        ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "~", ".inf", ".nan", "=", "<<", "nan"];
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._/ :+@()%,=*$#&!?<>;~^|'\"`[]{}\\".contains(c);
    let Some(first) = string.chars().next() else { return false };
    (first.is_ascii_alphabetic() || first == '/' || first == '_')
        && string.chars().all(plain)
        && !string.contains(": ")
        && !string.contains(" #")
        && !string.ends_with([' ', ':'])
        && !WORDS.contains(&string.to_ascii_lowercase().as_str())
        || is_name(string)
}

/// Whether it begins with a digit and is no number and no time all the same, as many names, ports and images do.
fn is_name(string: &str) -> bool {
    let number = |c: char| c.is_ascii_hexdigit() || "_+-.:xXoTZ ".contains(c);
    string.starts_with(|c: char| c.is_ascii_digit())
        && string.chars().all(|c| c.is_ascii_alphanumeric() || "-./_".contains(c))
        && !string.chars().all(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn documents_look_as_upstreams() {
        let value = json!({
            "a": {"time": "2026-11-30T22:28:32Z", "version": "252", "on": "off", "empty": "", "none": null, "map": {}, "list": []},
            "items": [{"x": 1, "y": ["a", "b c"]}, [["z"]], "5m", "0x10", "1e3", "10.0.0.1", "-"],
            "script": "#!/bin/sh\necho hi\n", "open": "a\nb", "uid": "267161cb-f424-4b3d-aec3-0a5526b8904e",
        });
        let expected = "a:\n  empty: \"\"\n  list: []\n  map: {}\n  none: null\n  \"on\": \"off\"\n  time: \"2026-11-30T22:28:32Z\"\n  \
                        version: \"252\"\nitems:\n- x: 1\n  \"y\":\n  - a\n  - b c\n- - - z\n- 5m\n- \"0x10\"\n- \"1e3\"\n- \"10.0.0.1\"\n\
                        - \"-\"\nopen: |-\n  a\n  b\nscript: |\n  #!/bin/sh\n  echo hi\nuid: \"267161cb-f424-4b3d-aec3-0a5526b8904e\"\n";
        assert_eq!(write(&value), expected);
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let scalar = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[ -~]{0,12}".prop_map(Value::from),
            "[a-z \n:#-]{0,12}".prop_map(Value::from),
            "[0-9a-fxoeTZ:.+-]{0,10}".prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        scalar.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map("[ -~]{0,8}", inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(value in any_value()) {
            let text = write(&value);
            let read: Value = serde_yaml_ng::from_str(&text).map_err(|error| TestCaseError::fail(format!("{error}: {text}")))?;
            prop_assert_eq!(read, value, "{}", text);
        }
    }
}
