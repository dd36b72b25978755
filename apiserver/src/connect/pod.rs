//! What a request into a pod means: which node, which container, which path of the kubelet. Pure.

use kubewright_api::status::Status;
use serde_json::Value;

use super::options::Options;

/// Where a kubelet listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAddress {
    /// The node's name.
    pub name: String,
    /// Its address or host name.
    pub host: String,
    /// The kubelet's port.
    pub port: u16,
}

impl NodeAddress {
    /// Reads it from a Node: an internal address before an external one, addresses before names.
    ///
    /// # Errors
    /// The node has no address yet.
    pub fn of(node: &Value) -> Result<Self, Status> {
        let name = node["metadata"]["name"].as_str().unwrap_or_default();
        let addresses = node["status"]["addresses"].as_array().map(Vec::as_slice).unwrap_or_default();
        let of_kind = |kind: &str| addresses.iter().find(|a| a["type"] == kind)?["address"].as_str();
        let host = ["InternalIP", "ExternalIP", "InternalDNS", "Hostname", "ExternalDNS"].into_iter().find_map(of_kind);
        let host = host.ok_or_else(|| Status::unavailable(format!("node {name:?} has no address yet")))?;
        let port = node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64().unwrap_or(10_250);
        let port = u16::try_from(port).unwrap_or(10_250);
        Ok(Self { name: name.to_owned(), host: host.to_owned(), port })
    }
}

fn names<'a>(pod: &'a Value, list: &str) -> Vec<&'a str> {
    pod["spec"][list].as_array().into_iter().flatten().filter_map(|container| container["name"].as_str()).collect()
}

/// The container that is meant: the one named, or the only one.
pub(super) fn container<'a>(pod: &'a Value, asked: &str) -> Result<&'a str, Status> {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let (main, init, ephemeral) =
        (names(pod, "containers"), names(pod, "initContainers"), names(pod, "ephemeralContainers"));
    if asked.is_empty() {
        if let [only] = main[..] {
            return Ok(only);
        }
        let mut message =
            format!("a container name must be specified for pod {name}, choose one of: [{}]", main.join(" "));
        for (kind, list) in [("init containers", init), ("ephemeral containers", ephemeral)] {
            if !list.is_empty() {
                message.push_str(&format!(" or one of the {kind}: [{}]", list.join(" ")));
            }
        }
        return Err(Status::bad_request(message));
    }
    let all = main.into_iter().chain(init).chain(ephemeral);
    let found = all.into_iter().find(|name| *name == asked);
    found.ok_or_else(|| Status::bad_request(format!("container {asked} is not valid for pod {name}")))
}

/// The kubelet's path for `exec`, `attach` and `portforward`.
pub(super) fn stream_path(subresource: &str, pod: &Value, options: &Options) -> Result<String, Status> {
    let (namespace, name) = (pod["metadata"]["namespace"].as_str(), pod["metadata"]["name"].as_str());
    let (namespace, name) = (namespace.unwrap_or_default(), name.unwrap_or_default());
    let mut kept = Query::default();
    if subresource == "portforward" {
        for port in &options.ports {
            kept.push("ports", &port.to_string());
        }
        return Ok(format!("/portForward/{namespace}/{name}{kept}"));
    }
    let container = container(pod, &options.container)?;
    if !(options.stdin || options.stdout || options.stderr) {
        return Err(Status::bad_request("you must specify at least 1 of stdin, stdout, stderr"));
    }
    // A terminal has no separate standard error.
    let stderr = options.stderr && !options.tty;
    for (kubelets, on) in
        [("input", options.stdin), ("output", options.stdout), ("error", stderr), ("tty", options.tty)]
    {
        if on {
            kept.push(kubelets, "1");
        }
    }
    for word in &options.command {
        kept.push("command", word);
    }
    Ok(format!("/{subresource}/{namespace}/{name}/{container}{kept}"))
}

/// A query string under construction.
#[derive(Default)]
pub(super) struct Query(String);

impl Query {
    pub(super) fn push(&mut self, key: &str, value: &str) {
        self.0.push(if self.0.is_empty() { '?' } else { '&' });
        self.0.push_str(key);
        self.0.push('=');
        for byte in value.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => self.0.push(char::from(byte)),
                byte => self.0.push_str(&format!("%{byte:02X}")),
            }
        }
    }
}

impl std::fmt::Display for Query {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod() -> Value {
        json!({"metadata": {"namespace": "n", "name": "p"},
            "spec": {"containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}]}})
    }

    #[test]
    fn the_container_is_the_one_named_or_the_only_one() {
        assert_eq!(container(&pod(), "b").unwrap(), "b");
        assert_eq!(container(&pod(), "i").unwrap(), "i");
        assert_eq!(container(&json!({"spec": {"containers": [{"name": "x"}]}}), "").unwrap(), "x");
        let message = container(&pod(), "").unwrap_err().message;
        assert_eq!(
            message,
            "a container name must be specified for pod p, choose one of: [a b] or one of the init containers: [i]"
        );
        assert_eq!(container(&pod(), "z").unwrap_err().message, "container z is not valid for pod p");
    }

    #[test]
    fn paths_are_the_kubelets() {
        let command = ["sh", "-c", "echo hi"].map(str::to_owned).to_vec();
        let all = Options { stdin: true, stdout: true, stderr: true, tty: true, ..Options::default() };
        let options = Options { container: "a".into(), command, ..all };
        assert_eq!(
            stream_path("exec", &pod(), &options).unwrap(),
            "/exec/n/p/a?input=1&output=1&tty=1&command=sh&command=-c&command=echo%20hi"
        );
        let options = Options { ports: vec![80], ..Options::default() };
        assert_eq!(stream_path("portforward", &pod(), &options).unwrap(), "/portForward/n/p?ports=80");
        let options = Options { container: "a".into(), ..Options::default() };
        assert_eq!(stream_path("exec", &pod(), &options).unwrap_err().code, 400);
    }

    #[test]
    fn nodes_are_reached_at_their_internal_address_first() {
        let node = json!({"metadata": {"name": "x"}, "status": {
            "addresses": [{"type": "Hostname", "address": "x"}, {"type": "InternalIP", "address": "10.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 1234}}}});
        let address = NodeAddress::of(&node).unwrap();
        assert_eq!((address.host.as_str(), address.port), ("10.0.0.1", 1234));
        assert_eq!(NodeAddress::of(&json!({})).unwrap_err().code, 503);
    }
}
