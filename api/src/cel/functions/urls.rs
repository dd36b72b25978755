//! URLs.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::EvalError;
use super::super::value::{Key, Value};
use super::Called;

/// A URL, or a path alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Url {
    pub(in super::super) text: String,
    scheme: String,
    host: String,
    path: String,
    query: String,
}

impl Url {
    fn parse(text: &str) -> Option<Self> {
        if text.chars().any(|c| c.is_control() || c == ' ') {
            return None;
        }
        let owned = text.to_owned();
        let (rest, query) = text.split_once('?').unwrap_or((text, ""));
        if rest.starts_with('/') && !rest.starts_with("//") {
            return Some(Self {
                text: owned,
                scheme: String::new(),
                host: String::new(),
                path: rest.to_owned(),
                query: query.to_owned(),
            });
        }
        let (scheme, rest) = rest.split_once(':')?;
        let valid = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
        // What has neither an authority nor an absolute path is no request URI.
        let rest = rest.strip_prefix("//").filter(|_| valid)?;
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let bracketed = host.starts_with('[');
        let port = if bracketed {
            host.rsplit_once(']').map_or("", |(_, port)| port)
        } else {
            host.find(':').map_or("", |at| &host[at..])
        };
        let port_fits =
            port.is_empty() || (port.starts_with(':') && port[1..].bytes().all(|byte| byte.is_ascii_digit()));
        if !port_fits || (bracketed && !host.contains(']')) {
            return None;
        }
        Some(Self {
            text: owned,
            scheme: scheme.to_ascii_lowercase(),
            host: host.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
        })
    }

    fn port_at(&self) -> Option<usize> {
        let after = self.host.rfind(']').map_or(0, |at| at + 1);
        self.host[after..].find(':').map(|at| at + after)
    }

    fn hostname(&self) -> &str {
        let host = self.port_at().map_or(self.host.as_str(), |at| &self.host[..at]);
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }

    fn port(&self) -> &str {
        self.port_at().map_or("", |at| &self.host[at + 1..])
    }
}

fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let hex = text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (bytes[at], hex) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 2;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn query<'a>(text: &str) -> Value<'a> {
    let mut pairs: BTreeMap<Key, Vec<Value<'a>>> = BTreeMap::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        pairs.entry(Key::String(decode(name))).or_default().push(Value::text(decode(value)));
    }
    Value::Map(Arc::new(pairs.into_iter().map(|(key, values)| (key, Value::list(values))).collect()))
}

pub(super) fn make<'a>(function: &str, text: &str) -> Called<'a> {
    let parsed = Url::parse(text);
    Some(match (function, parsed) {
        ("url", Some(url)) => Ok(Value::Url(url.into())),
        ("url", None) => Err(EvalError::new(format!(
            "URL parse error during conversion from string: parse {text:?}: invalid URI for request"
        ))),
        (_, parsed) => Ok(Value::Bool(parsed.is_some())),
    })
}

pub(super) fn call<'a>(url: &Url, function: &str) -> Called<'a> {
    Some(Ok(match function {
        "getScheme" => Value::text(url.scheme.as_str()),
        "getHost" => Value::text(url.host.as_str()),
        "getHostname" => Value::text(url.hostname()),
        "getPort" => Value::text(url.port()),
        "getEscapedPath" => Value::text(url.path.as_str()),
        "getQuery" => query(&url.query),
        _ => return None,
    }))
}
