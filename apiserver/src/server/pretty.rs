//! JSON for people: indented if the request says so, or comes from a browser, curl or wget and does not say otherwise.

use http::header::USER_AGENT;
use http::{HeaderMap, Request};

use super::query::Query;

/// How the agents begin that show answers to people.
const OF_PEOPLE: [&str; 3] = ["curl", "Wget", "Mozilla/5.0"];

/// Whether an answer to that request shall be indented.
pub(crate) fn wanted<B>(request: &Request<B>) -> bool {
    let query = request.uri().query().filter(|query| query.contains("pretty"));
    wanted_by(request.headers(), &Query::parse(query))
}

/// Whether an answer to a request with these headers and that query shall be indented.
pub(super) fn wanted_by(headers: &HeaderMap, query: &Query) -> bool {
    let told = query.get("pretty");
    if !told.is_empty() {
        return matches!(told, "1" | "t" | "T" | "true" | "True" | "TRUE");
    }
    let agent = headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    OF_PEOPLE.iter().any(|people| agent.starts_with(people))
}

/// The same JSON with line breaks and two spaces a level; its fields keep their order.
pub(crate) fn indent(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() * 2);
    let (mut level, mut quoted, mut escaped) = (0_usize, false, false);
    let line = |out: &mut Vec<u8>, level: usize| {
        out.push(b'\n');
        out.extend(std::iter::repeat_n(b' ', 2 * level));
    };
    for (at, &byte) in json.iter().enumerate() {
        if quoted {
            out.push(byte);
            quoted = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'{' | b'[' => {
                out.push(byte);
                level += 1;
                if !matches!(json.get(at + 1), Some(b'}' | b']')) {
                    line(&mut out, level);
                }
            }
            b'}' | b']' => {
                level = level.saturating_sub(1);
                if !matches!(at.checked_sub(1).and_then(|before| json.get(before)), Some(b'{' | b'[')) {
                    line(&mut out, level);
                }
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                line(&mut out, level);
            }
            b':' => out.extend(b": "),
            _ => {
                quoted = byte == b'"';
                out.push(byte);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn people_get_lines() {
        let asks =
            |agent: &str, uri: &str| wanted(&Request::builder().uri(uri).header(USER_AGENT, agent).body(()).unwrap());
        assert!(asks("curl/7.88", "/api"));
        assert!(asks("Mozilla/5.0 (X11)", "/api?limit=1"));
        assert!(!asks("curl/7.88", "/api?pretty=false"));
        assert!(!asks("kubectl/v1.36", "/api"));
        assert!(asks("kubectl/v1.36", "/api?a=b&pretty=1"));
    }

    #[test]
    fn what_is_indented_is_the_same_json() {
        let value = json!({"a": [1, {"b": "x,{}[]:\"\\"}, []], "c": {}, "d": [[2, null], "\u{e4}"]});
        assert_eq!(indent(value.to_string().as_bytes()), serde_json::to_vec_pretty(&value).unwrap());
        assert_eq!(indent(b"{}"), b"{}");
        let ordered = indent(br#"{"b":1,"a":2}"#);
        assert_eq!(ordered, b"{\n  \"b\": 1,\n  \"a\": 2\n}");
        assert_eq!(serde_json::from_slice::<Value>(&ordered).unwrap(), json!({"a": 2, "b": 1}));
    }
}
