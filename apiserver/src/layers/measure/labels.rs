//! What a request is counted as: upstream's labels. Only names of what is served become labels: whoever asks must not
//! fill the memory.

use http::{Method, Request, header};
use prometheus_client::encoding::EncodeLabelSet;

use crate::body::Body;
use crate::request::{RequestInfo, query_pairs};

/// What a request is about, as far as names in the address tell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Resource {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) resource: String,
}

/// The labels that most metrics of requests have.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Target {
    pub(super) verb: &'static str,
    #[prometheus(flatten)]
    pub(super) resource: Resource,
    pub(super) subresource: String,
    pub(super) scope: &'static str,
    pub(super) component: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Tried {
    pub(super) dry_run: &'static str,
    #[prometheus(flatten)]
    pub(super) target: Target,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Answered {
    pub(super) code: u16,
    #[prometheus(flatten)]
    pub(super) tried: Tried,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Ended {
    pub(super) code: u16,
    #[prometheus(flatten)]
    pub(super) target: Target,
}

/// The methods' names, lists told from reads of one object, and what opens a connection from what does not.
pub(super) fn verb(request: &Request<Body>, info: &RequestInfo, scope: &str) -> &'static str {
    let connects = ["log", "exec", "portforward", "attach", "proxy"];
    if info.is_resource_request && connects.contains(&info.subresource.as_str()) {
        return "CONNECT";
    }
    if info.verb == "watch" {
        return "WATCH";
    }
    let applies =
        || request.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/apply-patch+yaml");
    match *request.method() {
        Method::GET | Method::HEAD if !matches!(scope, "resource" | "") => "LIST",
        Method::GET | Method::HEAD => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::PATCH if applies() => "APPLY",
        Method::PATCH => "PATCH",
        _ => "other",
    }
}

/// Whether it is about one object, those of a namespace, or all.
pub(super) fn scope(info: &RequestInfo) -> &'static str {
    match (info.is_resource_request, !info.name.is_empty() || info.verb == "create", info.namespace.is_empty()) {
        (false, ..) => "",
        (true, true, _) => "resource",
        (true, false, false) => "namespace",
        (true, false, true) => "cluster",
    }
}

/// `All` for a dry run, nothing for what is meant, `invalid` for what is neither.
pub(super) fn dry_run(query: &str) -> &'static str {
    if !query.contains("dryRun") {
        return "";
    }
    let pairs = query_pairs(query);
    let mut values = pairs.iter().filter(|(key, _)| key == "dryRun").map(|(_, value)| value == "All");
    match values.next() {
        None => "",
        Some(first) if first && values.all(|all| all) => "All",
        Some(_) => "invalid",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body;

    #[test]
    fn requests_have_upstreams_labels() {
        for (method, uri, expected) in [
            ("GET", "/api/v1/namespaces/a/pods", ("LIST", "namespace", "")),
            ("GET", "/api/v1/pods", ("LIST", "cluster", "")),
            ("GET", "/api/v1/namespaces/a/pods/b", ("GET", "resource", "")),
            ("GET", "/api/v1/namespaces/a/pods/b/log", ("CONNECT", "resource", "")),
            ("GET", "/api/v1/pods?watch=1", ("WATCH", "cluster", "")),
            ("POST", "/api/v1/namespaces/a/pods?dryRun=All", ("POST", "resource", "All")),
            ("PUT", "/api/v1/namespaces/a/pods/b?dryRun=Some&dryRun=All", ("PUT", "resource", "invalid")),
            ("PATCH", "/api/v1/namespaces/a/pods/b?dryRun=All&dryRun=All", ("PATCH", "resource", "All")),
            ("DELETE", "/api/v1/namespaces/a/pods", ("DELETE", "namespace", "")),
            ("BREW", "/coffee", ("other", "", "")),
            ("GET", "/livez", ("GET", "", "")),
        ] {
            let request = Request::builder().method(method).uri(uri).body(body::empty()).unwrap();
            let query = request.uri().query();
            let info = RequestInfo::parse(request.method(), request.uri().path(), query);
            let scope = scope(&info);
            assert_eq!((verb(&request, &info, scope), scope, dry_run(query.unwrap_or_default())), expected, "{uri}");
        }
        let apply = Request::patch("/api/v1/nodes/a").header("content-type", "application/apply-patch+yaml");
        let apply = apply.body(body::empty()).unwrap();
        let info = RequestInfo::parse(apply.method(), apply.uri().path(), None);
        assert_eq!(verb(&apply, &info, "resource"), "APPLY");
    }
}
