//! Which requests a webhook or a policy is for: rules, selectors, equivalent resources.

use kubewright_api::resources;
use kubewright_api::selector::{LabelSelector, Labels};
use kubewright_api::status::Status;
use serde::Deserialize;
use serde_json::Value;

use super::{AdmissionAttributes, Operation};
use crate::object::convert;
use crate::objects::{GroupResource, Objects};

/// One rule.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Rule {
    operations: Vec<String>,
    api_groups: Vec<String>,
    api_versions: Vec<String>,
    resources: Vec<String>,
    resource_names: Vec<String>,
    scope: Option<String>,
}

/// How admission reviews name an operation.
pub(super) const fn operation_name(operation: Operation) -> &'static str {
    match operation {
        Operation::Create => "CREATE",
        Operation::Update => "UPDATE",
        Operation::Delete => "DELETE",
        Operation::Connect => "CONNECT",
    }
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|item| item == "*" || item == wanted)
}

impl Rule {
    /// Whether it is for the request, if only that came in the right version.
    fn matches(&self, a: &AdmissionAttributes<'_>) -> bool {
        let cluster = a.namespace.is_empty() || is_namespace(a);
        let scope = match self.scope.as_deref() {
            Some("Namespaced") => !cluster,
            Some("Cluster") => cluster,
            _ => true,
        };
        let resource = self.resources.iter().any(|resource| {
            let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
            (resource == "*" || resource == a.resource) && (subresource == "*" || subresource == a.subresource)
        });
        let name = self.resource_names.is_empty() || self.resource_names.iter().any(|name| name == a.name);
        scope && resource && name && has(&self.operations, operation_name(a.operation))
    }

    fn has_version(&self, group: &str, version: &str) -> bool {
        has(&self.api_groups, group) && has(&self.api_versions, version)
    }
}

fn is_namespace(a: &AdmissionAttributes<'_>) -> bool {
    a.group.is_empty() && a.resource == "namespaces"
}

/// The namespace that a request is about: also that of a request for a namespace itself.
pub(super) fn namespace<'a>(a: &AdmissionAttributes<'a>) -> &'a str {
    if is_namespace(a) { a.name } else { a.namespace }
}

/// The version in which a matching request is looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Seen {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) kind: String,
}

impl Seen {
    /// `apps/v1`
    pub(super) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// An object of the request, in this version.
    ///
    /// # Errors
    /// The webhook that converts between the versions of a custom resource does not.
    pub(super) async fn convert(
        &self,
        a: &AdmissionAttributes<'_>,
        object: &Value,
        objects: &dyn Objects,
    ) -> Result<Value, Status> {
        let asked = Self::of(a);
        asked.translate(self, a, object.clone(), objects).await
    }

    /// An object that was looked at in this version, in the request's.
    ///
    /// # Errors
    /// As of [`convert`](Self::convert).
    pub(super) async fn convert_back(
        &self,
        a: &AdmissionAttributes<'_>,
        object: Value,
        objects: &dyn Objects,
    ) -> Result<Value, Status> {
        self.translate(&Self::of(a), a, object, objects).await
    }

    /// The version of the request itself.
    fn of(a: &AdmissionAttributes<'_>) -> Self {
        Self { group: a.group.into(), version: a.version.into(), kind: a.kind.into() }
    }

    /// An object in this version, in another.
    async fn translate(
        &self,
        other: &Self,
        a: &AdmissionAttributes<'_>,
        mut object: Value,
        objects: &dyn Objects,
    ) -> Result<Value, Status> {
        let same = (&self.group, &self.version) == (&other.group, &other.version);
        if same || object.is_null() || !a.subresource.is_empty() {
            return Ok(object);
        }
        if resources::find(a.group, a.version, a.resource).is_none() {
            return objects.convert_custom(a.group_resource(), object, &other.api_version()).await;
        }
        if let Some((_, conversion)) = convert::storage_of(&self.group, &self.version, a.resource) {
            object = (conversion.to_storage)(object);
        }
        if let Some((_, conversion)) = convert::storage_of(&other.group, &other.version, a.resource) {
            object = (conversion.from_storage)(object);
        }
        object["apiVersion"] = other.api_version().into();
        Ok(object)
    }
}

/// Where else the same objects are served.
fn equivalents(a: &AdmissionAttributes<'_>, objects: &dyn Objects) -> Vec<Seen> {
    let stored = |group: &str, version: &str| {
        let stored = convert::storage_of(group, version, a.resource).map(|(stored, _)| stored);
        stored.map_or_else(|| (group.to_owned(), version.to_owned()), |(g, v)| (g.to_owned(), v.to_owned()))
    };
    let kind = |kind: &str| if a.subresource.is_empty() { kind.to_owned() } else { a.kind.to_owned() };
    let is_other = |group: &str, version: &str| (group, version) != (a.group, a.version);
    if resources::find(a.group, a.version, a.resource).is_none() {
        let versions = objects.custom_versions(a.group_resource());
        let served = versions.iter().any(|(version, _)| version == a.version);
        let others = versions.into_iter().filter(|(version, _)| served && is_other(a.group, version));
        return others.map(|(version, of)| Seen { group: a.group.into(), version, kind: kind(&of) }).collect();
    }
    let own = stored(a.group, a.version);
    let others = resources::built_in().iter().filter(|other| {
        other.plural == a.resource && is_other(other.group, other.version) && stored(other.group, other.version) == own
    });
    others
        .map(|other| Seen { group: other.group.into(), version: other.version.into(), kind: kind(other.kind) })
        .collect()
}

/// Labels of a JSON object.
pub(super) struct JsonLabels<'a>(pub(super) &'a Value);

impl Labels for JsonLabels<'_> {
    fn label(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.as_str()
    }
}

/// Which requests.
#[derive(Clone, Debug)]
pub(super) struct Matcher {
    rules: Vec<Rule>,
    excluded: Vec<Rule>,
    equivalent: bool,
    namespaces: LabelSelector,
    objects: LabelSelector,
}

impl Matcher {
    /// Reads a webhook, or the `matchConstraints` or `matchResources` of a policy or binding.
    pub(super) fn read(from: &Value) -> Result<Self, String> {
        let rules = |field: &str| -> Result<Vec<Rule>, String> {
            let list = from.get(field).filter(|list| !list.is_null());
            list.map_or(Ok(Vec::new()), |list| serde_json::from_value(list.clone()).map_err(|error| error.to_string()))
        };
        let selector = |field: &str| match from.get(field).filter(|selector| !selector.is_null()) {
            None => Ok(LabelSelector::everything()),
            Some(selector) => serde_json::from_value(selector.clone()).map_err(|error| format!("{field}: {error}")),
        };
        let mut all = rules("rules")?;
        all.append(&mut rules("resourceRules")?);
        Ok(Self {
            rules: all,
            excluded: rules("excludeResourceRules")?,
            equivalent: from["matchPolicy"] != "Exact",
            namespaces: selector("namespaceSelector")?,
            objects: selector("objectSelector")?,
        })
    }

    /// Whether it has no rules: in a binding that means all that its policy is for.
    pub(super) fn has_rules(&self) -> bool {
        !self.rules.is_empty()
    }

    /// Whether the request is meant, and in which version it is to be looked at.
    ///
    /// # Errors
    /// The namespace isn't there.
    pub(super) async fn matches(
        &self,
        a: &AdmissionAttributes<'_>,
        objects: &dyn Objects,
    ) -> Result<Option<Seen>, Status> {
        if !self.objects.is_everything() {
            let labels =
                |object: &Value| object.is_object() && self.objects.matches(&JsonLabels(&object["metadata"]["labels"]));
            if !labels(&a.object) && !a.old.is_some_and(labels) {
                return Ok(None);
            }
        }
        if self.find(&self.excluded, a, objects).is_some() {
            return Ok(None);
        }
        let seen = match self.has_rules() {
            true => self.find(&self.rules, a, objects),
            false => Some(Seen::of(a)),
        };
        let Some(seen) = seen else { return Ok(None) };
        Ok(self.selects_namespace(a, objects).await?.then_some(seen))
    }

    fn find(&self, rules: &[Rule], a: &AdmissionAttributes<'_>, objects: &dyn Objects) -> Option<Seen> {
        let rules: Vec<&Rule> = rules.iter().filter(|rule| rule.matches(a)).collect();
        if rules.iter().any(|rule| rule.has_version(a.group, a.version)) {
            return Some(Seen::of(a));
        }
        if !self.equivalent || rules.is_empty() {
            return None;
        }
        let others = equivalents(a, objects);
        let mut pairs = rules.iter().flat_map(|rule| others.iter().map(move |other| (rule, other)));
        let found = pairs.find(|(rule, other)| rule.has_version(&other.group, &other.version));
        found.map(|(_, other)| other.clone())
    }

    async fn selects_namespace(&self, a: &AdmissionAttributes<'_>, objects: &dyn Objects) -> Result<bool, Status> {
        let name = namespace(a);
        if self.namespaces.is_everything() || (name.is_empty() && !is_namespace(a)) {
            return Ok(true);
        }
        if is_namespace(a) && a.subresource.is_empty() && matches!(a.operation, Operation::Create | Operation::Update) {
            return Ok(self.namespaces.matches(&JsonLabels(&a.object["metadata"]["labels"])));
        }
        let namespaces = GroupResource::core("namespaces");
        let found = match objects.cached(namespaces, "", name) {
            Some(found) => found,
            // Made through another server, perhaps.
            None => objects.get(namespaces, "", name).await?,
        };
        Ok(self.namespaces.matches(&JsonLabels(&found["metadata"]["labels"])))
    }
}

/// Refuses while some of what configures admission can't be read, in upstream's words for when it was not read yet.
pub(super) fn ready(objects: &dyn Objects, resources: &[&str], a: &AdmissionAttributes<'_>) -> Result<(), Status> {
    let group = "admissionregistration.k8s.io";
    let readable = resources.iter().try_for_each(|name| objects.readable(GroupResource::new(group, name), None));
    readable.map_err(|_| a.forbidden("not yet ready to handle request"))
}

/// Whether a request configures admission itself: no webhook and no policy may stand in its way.
pub(super) fn configures_admission(a: &AdmissionAttributes<'_>) -> bool {
    a.group == "admissionregistration.k8s.io"
        && matches!(
            a.resource,
            "validatingwebhookconfigurations"
                | "mutatingwebhookconfigurations"
                | "validatingadmissionpolicies"
                | "validatingadmissionpolicybindings"
                | "mutatingadmissionpolicies"
                | "mutatingadmissionpolicybindings"
        )
}
