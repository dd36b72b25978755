//! Verb, resource and name of a request, as upstream's `RequestInfoFactory` reads them.

use std::collections::HashSet;

use http::Method;

/// What a request asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// Whether it is about a resource, and not about a path such as `/version`.
    pub is_resource_request: bool,
    /// The path, with what is percent-encoded in it decoded.
    pub path: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, `proxy`; for other paths the
    /// method in lower case.
    pub verb: String,
    /// `api` or `apis`.
    pub api_prefix: String,
    /// API group; empty for the core group.
    pub api_group: String,
    /// API version.
    pub api_version: String,
    /// Namespace; empty if there is none.
    pub namespace: String,
    /// Plural name.
    pub resource: String,
    /// Subresource; empty if there is none.
    pub subresource: String,
    /// Name; empty if there is none.
    pub name: String,
    /// The path's segments from the resource on.
    pub parts: Vec<String>,
    /// The label selector of a request that takes one, as given.
    pub label_selector: String,
    /// The field selector of a request that takes one, as given.
    pub field_selector: String,
}

impl RequestInfo {
    /// Reads a request's line.
    #[must_use]
    pub fn parse(method: &Method, path: &str, query: Option<&str>) -> Self {
        // Decoded first, as upstream does: a server behind this one sees a slash in `%2F`, too.
        let decoded = decode(path);
        let mut info = Self { path: decoded.clone(), verb: method.as_str().to_lowercase(), ..Self::default() };
        let mut parts: Vec<String> = decoded.trim_matches('/').split('/').map(str::to_owned).collect();
        if parts.len() < 3 || !matches!(parts[0].as_str(), "api" | "apis") {
            return info;
        }
        info.api_prefix = parts.remove(0);
        if info.api_prefix == "apis" {
            if parts.len() < 3 {
                return info;
            }
            info.api_group = parts.remove(0);
        }
        info.is_resource_request = true;
        info.api_version = parts.remove(0);
        info.verb = verb_of(method).to_owned();
        if matches!(parts[0].as_str(), "proxy" | "watch") {
            if parts.len() < 2 {
                return info;
            }
            info.verb = parts.remove(0);
        }
        info.read_resource(parts);
        info.refine_verb(query);
        info
    }

    /// The name as the path has it, which [`name`](Self::name) may add to.
    #[must_use]
    pub fn name_in_path(&self) -> &str {
        self.parts.get(1).map_or("", String::as_str)
    }

    fn read_resource(&mut self, mut parts: Vec<String>) {
        if parts[0] == "namespaces" && parts.len() > 1 {
            self.namespace = parts[1].clone();
            if parts.len() > 2 && !matches!(parts[2].as_str(), "status" | "finalize") {
                parts.drain(..2);
            }
        }
        self.resource = parts.first().cloned().unwrap_or_default();
        self.name = parts.get(1).cloned().unwrap_or_default();
        self.subresource = parts.get(2).cloned().unwrap_or_default();
        self.parts = parts;
    }

    fn refine_verb(&mut self, query: Option<&str>) {
        if self.name.is_empty() && self.verb == "get" {
            self.verb = "list".into();
        }
        if matches!(self.verb.as_str(), "list" | "watch" | "deletecollection")
            || (self.verb == "delete" && self.name.is_empty())
        {
            self.read_query(query.unwrap_or_default());
        }
        if self.name.is_empty() && self.verb == "delete" {
            self.verb = "deletecollection".into();
        }
    }

    fn read_query(&mut self, query: &str) {
        // Of what is given twice the first counts, here as for those who answer.
        let mut seen = HashSet::new();
        for (key, value) in query_pairs(query) {
            if !seen.insert(key.clone()) {
                continue;
            }
            match key.as_str() {
                "watch" if self.verb == "list" && is_true(&value) => {
                    self.verb = "watch".into();
                }
                "labelSelector" => self.label_selector = value,
                "fieldSelector" => {
                    // A selector for one name is authorized as if the name were in the path.
                    if let Ok(selector) = kubewright_api::selector::FieldSelector::parse(&value)
                        && let Some(name) = selector.exact("metadata.name")
                        && self.name.is_empty()
                        && kubewright_api::names::path_segment(name).is_empty()
                    {
                        self.name = name.to_owned();
                    }
                    self.field_selector = value;
                }
                _ => {}
            }
        }
    }
}

fn verb_of(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::GET | Method::HEAD => "get",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
    }
}

/// Whether a parameter that is given is so for its value, as upstream reads it: clients of Python write `False`.
#[must_use]
pub(crate) fn is_true(value: &str) -> bool {
    value != "0" && !value.eq_ignore_ascii_case("false")
}

/// The pairs of a query string, decoded, in order.
#[must_use]
pub(crate) fn query_pairs(query: &str) -> Vec<(String, String)> {
    let pair = |pair: &str| match pair.split_once('=') {
        Some((key, value)) => (decode(&key.replace('+', " ")), decode(&value.replace('+', " "))),
        None => (decode(&pair.replace('+', " ")), String::new()),
    };
    query.split('&').filter(|part| !part.is_empty()).map(pair).collect()
}

/// Undoes percent-encoding; what isn't encoded properly stays as it is.
fn decode(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let digit = |at: usize| char::from(*bytes.get(at)?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        match digit(at + 1).zip(digit(at + 2)) {
            Some((high, low)) if bytes[at] == b'%' => {
                out.push(high << 4 | low);
                at += 3;
            }
            _ => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(method: Method, uri: &str) -> RequestInfo {
        let (path, query) = uri.split_once('?').map_or((uri, None), |(path, query)| (path, Some(query)));
        RequestInfo::parse(&method, path, query)
    }

    fn check(method: Method, uri: &str, expected: [&str; 7]) {
        let i = info(method, uri);
        assert!(i.is_resource_request, "{uri}");
        let found = [&i.verb, &i.api_group, &i.api_version, &i.namespace, &i.resource, &i.subresource, &i.name];
        assert_eq!(found, expected, "{uri}");
    }

    #[test]
    fn resources() {
        let get = Method::GET;
        check(get.clone(), "/api/v1/namespaces", ["list", "", "v1", "", "namespaces", "", ""]);
        check(get.clone(), "/api/v1/namespaces/a", ["get", "", "v1", "a", "namespaces", "", "a"]);
        check(Method::PUT, "/api/v1/namespaces/a/finalize", ["update", "", "v1", "a", "namespaces", "finalize", "a"]);
        check(get.clone(), "/api/v1/namespaces/a/pods", ["list", "", "v1", "a", "pods", "", ""]);
        check(get.clone(), "/api/v1/pods?watch=true", ["watch", "", "v1", "", "pods", "", ""]);
        for (value, verb) in [("0", "list"), ("False", "list"), ("FALSE", "list"), ("", "watch"), ("True", "watch")] {
            check(get.clone(), &format!("/api/v1/pods?watch={value}"), [verb, "", "v1", "", "pods", "", ""]);
        }
        check(get.clone(), "/api/v1/watch/namespaces/a/pods", ["watch", "", "v1", "a", "pods", "", ""]);
        check(
            get,
            "/apis/apps/v1/namespaces/a/deployments/b/scale",
            ["get", "apps", "v1", "a", "deployments", "scale", "b"],
        );
        check(Method::DELETE, "/api/v1/namespaces/a/pods", ["deletecollection", "", "v1", "a", "pods", "", ""]);
        check(Method::POST, "/api/v1/namespaces/a/pods/b/exec", ["create", "", "v1", "a", "pods", "exec", "b"]);
    }

    #[test]
    fn an_encoded_slash_parts_as_any_other() {
        let expected = ["get", "g.io", "v1", "a", "widgets", "sub", "x"];
        check(Method::GET, "/apis/g.io/v1/namespaces/a/widgets/x%2Fsub", expected);
        check(Method::GET, "/apis/g.io/v1%2Fnamespaces%2fa/widgets/x/sub", expected);
        check(Method::GET, "/apis/g.io/v1%2Fwidgets", ["list", "g.io", "v1", "", "widgets", "", ""]);
        check(Method::GET, "/api/v1/nodes/a%252Fproxy", ["get", "", "v1", "", "nodes", "", "a%2Fproxy"]);
    }

    #[test]
    fn what_is_not_encoded_properly_stays_as_it_is() {
        for (text, expected) in [
            ("a%2Fb", "a/b"),
            ("%c3%A4", "ä"),
            ("%", "%"),
            ("%2", "%2"),
            ("%+5", "%+5"),
            ("%-1%zz%2x", "%-1%zz%2x"),
            ("%25", "%"),
            ("%%35", "%5"),
            ("%é", "%é"),
        ] {
            assert_eq!(decode(text), expected, "{text}");
        }
    }

    #[test]
    fn paths_of_no_resource_are_decoded_too() {
        let i = info(Method::GET, "/%6detrics");
        assert_eq!((i.is_resource_request, i.path.as_str()), (false, "/metrics"));
        assert_eq!(info(Method::GET, "/healthz%2Fetcd").path, "/healthz/etcd");
    }

    #[test]
    fn a_selector_for_one_name_counts_as_the_name() {
        let i = info(Method::GET, "/api/v1/namespaces/a/secrets?fieldSelector=metadata.name%3Db&watch=1");
        assert_eq!((i.verb.as_str(), i.name.as_str()), ("watch", "b"));
    }

    #[test]
    fn other_paths() {
        for path in ["/", "/version", "/api", "/api/v1", "/apis/apps/v1", "/healthz/etcd"] {
            let i = info(Method::GET, path);
            assert!(!i.is_resource_request && i.verb == "get", "{path}");
        }
    }
}
