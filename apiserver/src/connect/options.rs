//! The options of a connection, read once: what admission sees of them is what is done. Pure.

use kubewright_api::status::Status;
use serde_json::{Value, json};

use crate::request::{RequestInfo, query_pairs};

/// What `PodExecOptions`, `PodAttachOptions`, `PodPortForwardOptions` and the options of proxies hold, out of a query
/// string. Of what takes one value the first counts that is given, as upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) stdin: bool,
    pub(super) stdout: bool,
    pub(super) stderr: bool,
    pub(super) tty: bool,
    pub(super) container: String,
    pub(super) command: Vec<String>,
    pub(super) ports: Vec<i32>,
    /// Of a proxy: what is asked for behind it.
    pub(super) path: String,
}

impl Options {
    /// Reads those of a request.
    ///
    /// # Errors
    /// 400 for a port that is no number.
    pub(super) fn of(info: &RequestInfo, query: &str) -> Result<Self, Status> {
        let pairs = query_pairs(query);
        let first = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let on = |name: &str| first(name).is_some_and(|value| value != "0" && !value.eq_ignore_ascii_case("false"));
        let all = |name: &'static str| pairs.iter().filter(move |(key, _)| key == name).map(|(_, value)| value);
        let mut options = Self::default();
        match info.subresource.as_str() {
            "exec" | "attach" => {
                (options.stdin, options.stdout) = (on("stdin"), on("stdout"));
                (options.stderr, options.tty) = (on("stderr"), on("tty"));
                options.container = first("container").unwrap_or_default().to_owned();
                if info.subresource == "exec" {
                    options.command = all("command").cloned().collect();
                }
            }
            "portforward" => {
                let number = |port: &String| {
                    port.parse().map_err(|_| Status::bad_request(format!("ports: {port:?} is not a port's number")))
                };
                options.ports = all("ports").map(number).collect::<Result<_, _>>()?;
            }
            "proxy" => options.path = path_behind(info),
            _ => {}
        }
        Ok(options)
    }

    /// As the object that admission is shown; none for what it isn't asked about.
    pub(super) fn shown(&self, info: &RequestInfo) -> Option<Value> {
        let kind = match (info.resource.as_str(), info.subresource.as_str()) {
            ("pods", "exec") => "PodExecOptions",
            ("pods", "attach") => "PodAttachOptions",
            ("pods", "portforward") => "PodPortForwardOptions",
            ("pods", "proxy") => "PodProxyOptions",
            ("services", "proxy") => "ServiceProxyOptions",
            ("nodes", "proxy") => "NodeProxyOptions",
            _ => return None,
        };
        let mut shown = json!({"kind": kind, "apiVersion": "v1"});
        for (name, on) in [("stdin", self.stdin), ("stdout", self.stdout), ("stderr", self.stderr), ("tty", self.tty)] {
            if on {
                shown[name] = true.into();
            }
        }
        for (name, text) in [("container", &self.container), ("path", &self.path)] {
            if !text.is_empty() {
                shown[name] = text.as_str().into();
            }
        }
        if !self.command.is_empty() {
            shown["command"] = json!(self.command);
        }
        if !self.ports.is_empty() {
            shown["ports"] = json!(self.ports);
        }
        Some(shown)
    }
}

/// What the path of a proxied request asks for behind the proxy.
fn path_behind(info: &RequestInfo) -> String {
    let mut path = format!("/{}", info.parts.get(3..).unwrap_or_default().join("/"));
    if info.path.ends_with('/') && !path.ends_with('/') {
        path.push('/');
    }
    path
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    fn shown(path: &str, query: &str) -> Value {
        let info = RequestInfo::parse(&Method::POST, path, Some(query));
        Options::of(&info, query).unwrap().shown(&info).unwrap()
    }

    #[test]
    fn options_are_those_of_the_query() {
        assert_eq!(
            shown("/api/v1/namespaces/n/pods/p/exec", "command=ls&command=-l&stdin=true&tty=false&container=a"),
            json!({"kind": "PodExecOptions", "apiVersion": "v1", "command": ["ls", "-l"], "stdin": true,
                "container": "a"})
        );
        assert_eq!(shown("/api/v1/namespaces/n/pods/p/portforward", "ports=80&ports=81")["ports"], json!([80, 81]));
    }

    #[test]
    fn of_what_is_given_twice_the_first_counts() {
        let shown = shown(
            "/api/v1/namespaces/n/pods/p/attach",
            "stdin=&stdin=false&tty=False&tty=true&container=a&container=b",
        );
        assert_eq!(shown, json!({"kind": "PodAttachOptions", "apiVersion": "v1", "stdin": true, "container": "a"}));
    }

    #[test]
    fn the_path_of_a_proxy_is_the_one_behind_it() {
        for (path, behind) in [
            ("/api/v1/nodes/n1/proxy/run/ns/pod/c", "/run/ns/pod/c"),
            ("/api/v1/nodes/n1/proxy", "/"),
            ("/api/v1/nodes/n1/proxy/metrics/", "/metrics/"),
        ] {
            assert_eq!(shown(path, "path=/metrics")["path"], behind, "{path}");
        }
    }

    #[test]
    fn a_port_is_a_number() {
        let info = RequestInfo::parse(&Method::POST, "/api/v1/namespaces/n/pods/p/portforward", None);
        assert_eq!(Options::of(&info, "ports=http").unwrap_err().code, 400);
    }
}
