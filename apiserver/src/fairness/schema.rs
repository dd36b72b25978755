//! Flow schemas: which requests belong to which level, and to which flow in it.

use serde_json::Value;

use crate::request::{RequestInfo, User};

/// What tells the flows of a schema apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Distinguisher {
    /// They are one flow.
    None,
    ByUser,
    ByNamespace,
}

/// A flow schema.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Schema {
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) precedence: i64,
    pub(super) level: String,
    distinguisher: Distinguisher,
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq)]
struct Rule {
    subjects: Vec<Subject>,
    resources: Vec<ResourceRule>,
    paths: Vec<PathRule>,
}

#[derive(Clone, Debug, PartialEq)]
enum Subject {
    User(String),
    Group(String),
    /// Namespace, and a name or `*`.
    ServiceAccount(String, String),
}

#[derive(Clone, Debug, PartialEq)]
struct ResourceRule {
    verbs: Vec<String>,
    groups: Vec<String>,
    resources: Vec<String>,
    namespaces: Vec<String>,
    cluster_scope: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct PathRule {
    verbs: Vec<String>,
    urls: Vec<String>,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(text).collect()
}

fn all<T>(value: &Value, read: impl Fn(&Value) -> T) -> Vec<T> {
    value.as_array().into_iter().flatten().map(read).collect()
}

/// Whether a list holds a word, or `*`.
fn has(list: &[String], word: &str) -> bool {
    list.iter().any(|item| item == "*" || item == word)
}

impl Schema {
    /// The schema that an object describes.
    pub(super) fn read(object: &Value) -> Self {
        let spec = &object["spec"];
        Self {
            name: text(&object["metadata"]["name"]),
            uid: text(&object["metadata"]["uid"]),
            precedence: spec["matchingPrecedence"].as_i64().unwrap_or(1000),
            level: text(&spec["priorityLevelConfiguration"]["name"]),
            distinguisher: match spec["distinguisherMethod"]["type"].as_str() {
                Some("ByUser") => Distinguisher::ByUser,
                Some("ByNamespace") => Distinguisher::ByNamespace,
                _ => Distinguisher::None,
            },
            rules: all(&spec["rules"], Rule::read),
        }
    }

    pub(super) fn matches(&self, user: &User, info: &RequestInfo) -> bool {
        self.rules.iter().any(|rule| rule.matches(user, info))
    }

    /// What the request's flow is called within the schema.
    pub(super) fn flow<'a>(&self, user: &'a User, info: &'a RequestInfo) -> &'a str {
        match self.distinguisher {
            Distinguisher::None => "",
            Distinguisher::ByUser => &user.name,
            Distinguisher::ByNamespace => &info.namespace,
        }
    }
}

impl Rule {
    fn read(value: &Value) -> Self {
        let resource = |value: &Value| ResourceRule {
            verbs: texts(&value["verbs"]),
            groups: texts(&value["apiGroups"]),
            resources: texts(&value["resources"]),
            namespaces: texts(&value["namespaces"]),
            cluster_scope: value["clusterScope"] == true,
        };
        let path = |value: &Value| PathRule { verbs: texts(&value["verbs"]), urls: texts(&value["nonResourceURLs"]) };
        Self {
            subjects: value["subjects"].as_array().into_iter().flatten().filter_map(Subject::read).collect(),
            resources: all(&value["resourceRules"], resource),
            paths: all(&value["nonResourceRules"], path),
        }
    }

    fn matches(&self, user: &User, info: &RequestInfo) -> bool {
        let what = if info.is_resource_request {
            self.resources.iter().any(|rule| rule.matches(info))
        } else {
            self.paths.iter().any(|rule| rule.matches(info))
        };
        what && self.subjects.iter().any(|subject| subject.matches(user))
    }
}

impl Subject {
    fn read(value: &Value) -> Option<Self> {
        match value["kind"].as_str()? {
            "User" => Some(Self::User(text(&value["user"]["name"]))),
            "Group" => Some(Self::Group(text(&value["group"]["name"]))),
            "ServiceAccount" => {
                let account = &value["serviceAccount"];
                Some(Self::ServiceAccount(text(&account["namespace"]), text(&account["name"])))
            }
            _ => None,
        }
    }

    fn matches(&self, user: &User) -> bool {
        match self {
            Self::User(name) => name == "*" || *name == user.name,
            Self::Group(name) => name == "*" || user.in_group(name),
            Self::ServiceAccount(namespace, name) => {
                let own = user.name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
                own.is_some_and(|(own_namespace, own_name)| {
                    own_namespace == namespace && (name == "*" || own_name == name)
                })
            }
        }
    }
}

impl ResourceRule {
    fn matches(&self, info: &RequestInfo) -> bool {
        let in_scope =
            if info.namespace.is_empty() { self.cluster_scope } else { has(&self.namespaces, &info.namespace) };
        in_scope && has(&self.verbs, &info.verb) && has(&self.groups, &info.api_group) && self.has_resource(info)
    }

    fn has_resource(&self, info: &RequestInfo) -> bool {
        self.resources.iter().any(|wanted| match wanted.split_once('/') {
            _ if wanted == "*" => true,
            None => info.subresource.is_empty() && *wanted == info.resource,
            Some((resource, subresource)) => resource == info.resource && subresource == info.subresource,
        })
    }
}

impl PathRule {
    fn matches(&self, info: &RequestInfo) -> bool {
        // What is below a path belongs to it.
        let meant = |url: &String| {
            let start = url.strip_suffix('*').unwrap_or(url).trim_end_matches('/');
            *url == info.path || info.path.strip_prefix(start).is_some_and(|rest| rest.starts_with('/'))
        };
        has(&self.verbs, &info.verb) && self.urls.iter().any(meant)
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::json;

    use super::*;

    fn schema(rule: Value) -> Schema {
        Schema::read(&json!({
            "metadata": {"name": "s"},
            "spec": {
                "matchingPrecedence": 5, "priorityLevelConfiguration": {"name": "l"},
                "distinguisherMethod": {"type": "ByNamespace"}, "rules": [rule],
            },
        }))
    }

    fn info(method: Method, path: &str) -> RequestInfo {
        RequestInfo::parse(&method, path, None)
    }

    #[test]
    fn rules_match_as_upstreams() {
        let subjects = json!([{"kind": "Group", "group": {"name": "devs"}},
            {"kind": "ServiceAccount", "serviceAccount": {"namespace": "a", "name": "*"}}]);
        let schema = schema(json!({
            "subjects": subjects,
            "resourceRules": [{
                "verbs": ["list"], "apiGroups": ["", "apps"], "resources": ["pods", "deployments/scale"],
                "namespaces": ["a"], "clusterScope": false,
            }],
            "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/logs/*"]}],
        }));
        let dev = User::new("x", &["devs"]);
        for (method, path, expected) in [
            (Method::GET, "/api/v1/namespaces/a/pods", true),
            (Method::GET, "/api/v1/namespaces/b/pods", false),
            (Method::GET, "/api/v1/pods", false),
            (Method::GET, "/api/v1/namespaces/a/pods/x", false),
            (Method::GET, "/api/v1/namespaces/a/services", false),
            (Method::GET, "/healthz", true),
            (Method::GET, "/healthz/etcd", true),
            (Method::GET, "/healthzz", false),
            (Method::GET, "/logs/a", true),
            (Method::POST, "/healthz", false),
        ] {
            assert_eq!(schema.matches(&dev, &info(method, path)), expected, "{path}");
        }
        let pods = info(Method::GET, "/api/v1/namespaces/a/pods");
        for (user, expected) in [
            (User::new("system:serviceaccount:a:robot", &[]), true),
            (User::new("system:serviceaccount:b:robot", &[]), false),
            (User::new("x", &["ops"]), false),
        ] {
            assert_eq!(schema.matches(&user, &pods), expected, "{user:?}");
        }
        assert_eq!(schema.flow(&dev, &pods), "a");
    }
}
