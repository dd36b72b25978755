//! Whether the expressions of a policy make sense for the kinds that it is for: each is checked against each kind's
//! schema, and what doesn't fit becomes a warning in the policy's status. The policy works regardless.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kubewright_api::resources;
use kubewright_api::schema::{self, Shape};
use serde_json::{Value, json};

use crate::cel::{Env, ObjectType, Program, Type, escape_property};
use crate::custom::type_of_schema;
use crate::kinds::{namespace_type, request_type};
use crate::objects::{GroupResource, Objects};

/// Against how many kinds a policy is checked at most.
const KINDS_MAX: usize = 10;
const DEFINITIONS: GroupResource<'static> = GroupResource::new("apiextensions.k8s.io", "customresourcedefinitions");

/// Group, version and kind, in the order in which they are reported.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    group: String,
    version: String,
    kind: String,
}

/// What doesn't fit, as `spec.typeChecking.expressionWarnings` tells it.
pub(super) fn warnings(objects: &dyn Objects, policy: &Value) -> Vec<Value> {
    let spec = &policy["spec"];
    let definitions = objects.cached_list(DEFINITIONS, None);
    let kinds = kinds(spec, &definitions);
    let typed: Vec<(Kind, Type)> =
        kinds.into_iter().filter_map(|kind| type_of(&kind, &definitions).map(|ty| (kind, ty))).collect();
    let params = params(spec, &definitions);
    let mut warnings = Vec::new();
    for (at, validation) in spec["validations"].as_array().into_iter().flatten().enumerate() {
        for field in ["expression", "messageExpression"] {
            let Some(source) = validation[field].as_str().filter(|source| !source.trim().is_empty()) else { continue };
            let faults = typed.iter().filter_map(|(kind, ty)| {
                let fault = Program::compile(source, &environment(spec, ty, params.as_ref())).err()?;
                let Kind { group, version, kind } = kind;
                Some(format!("{group}/{version}, Kind={kind}: {fault}\n"))
            });
            let faults: Vec<String> = faults.collect();
            if !faults.is_empty() {
                let place = format!("spec.validations[{at}].{field}");
                warnings.push(json!({"fieldRef": place, "warning": faults.join("\n")}));
            }
        }
    }
    warnings
}

/// The kinds that a policy names outright; rules with wildcards, and subresources, name none.
fn kinds(spec: &Value, definitions: &[Value]) -> BTreeSet<Kind> {
    let mut kinds = BTreeSet::new();
    for rule in spec["matchConstraints"]["resourceRules"].as_array().into_iter().flatten() {
        let sorted = |field: &str| -> BTreeSet<String> {
            let texts = rule[field].as_array().into_iter().flatten().filter_map(Value::as_str);
            texts.map(str::to_owned).collect()
        };
        let (groups, versions) = (sorted("apiGroups"), sorted("apiVersions"));
        if groups.iter().chain(&versions).any(|text| text.contains('*')) {
            continue;
        }
        let resources = sorted("resources");
        let whole: Vec<&String> = resources.iter().filter(|name| !name.contains(['*', '/'])).collect();
        for group in &groups {
            for (version, resource) in versions.iter().flat_map(|version| whole.iter().map(move |name| (version, name)))
            {
                if let Some(kind) = kind_of(group, version, resource, definitions) {
                    kinds.insert(Kind { group: group.clone(), version: version.clone(), kind });
                }
                if kinds.len() == KINDS_MAX {
                    return kinds;
                }
            }
        }
    }
    kinds
}

fn kind_of(group: &str, version: &str, resource: &str, definitions: &[Value]) -> Option<String> {
    if let Some(known) = resources::find(group, version, resource) {
        return Some(known.kind.to_owned());
    }
    let defines = |definition: &&Value| {
        let spec = &definition["spec"];
        spec["group"] == group && spec["names"]["plural"] == resource && served(spec, version).is_some()
    };
    let definition = definitions.iter().find(defines)?;
    definition["spec"]["names"]["kind"].as_str().map(str::to_owned)
}

/// The version of a definition, if it is served.
fn served<'a>(spec: &'a Value, version: &str) -> Option<&'a Value> {
    let mut versions = spec["versions"].as_array().into_iter().flatten();
    versions.find(|one| one["name"] == version && one["served"] == true)
}

/// The type of the parameters; anything if nothing is known of their kind, nothing if there are none.
fn params(spec: &Value, definitions: &[Value]) -> Option<Type> {
    let kind = spec["paramKind"]["kind"].as_str()?;
    let version = spec["paramKind"]["apiVersion"].as_str().unwrap_or_default();
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let kind = Kind { group: group.into(), version: version.into(), kind: kind.into() };
    Some(type_of(&kind, definitions).unwrap_or(Type::Dyn))
}

fn environment(spec: &Value, object: &Type, params: Option<&Type>) -> Env {
    let mut env = Env::new().with("object", object.clone()).with("oldObject", object.clone());
    env = env
        .with("request", request_type())
        .with("namespaceObject", namespace_type())
        .with("authorizer", Type::authorizer());
    if let Some(params) = params {
        env = env.with("params", params.clone());
    }
    let mut variables = BTreeMap::new();
    for variable in spec["variables"].as_array().into_iter().flatten() {
        let so_far = ObjectType { name: "kubernetes.variables".into(), fields: variables.clone() };
        let source = variable["expression"].as_str().unwrap_or_default();
        let program = Program::compile(source, &env.clone().with("variables", Type::Object(Arc::new(so_far))));
        let ty = program.map_or(Type::Dyn, |program| program.result().clone());
        variables.insert(variable["name"].as_str().unwrap_or_default().to_owned(), ty);
    }
    let variables = ObjectType { name: "kubernetes.variables".into(), fields: variables };
    env.with("variables", Type::Object(Arc::new(variables)))
}

/// The type of a kind's objects; nothing if its schema isn't known.
fn type_of(kind: &Kind, definitions: &[Value]) -> Option<Type> {
    if let Some(known) = schema::of_kind(&kind.group, &kind.version, &kind.kind) {
        return Some(object(known, &mut Vec::new()));
    }
    let defines = |spec: &&Value| spec["group"] == kind.group.as_str() && spec["names"]["kind"] == kind.kind.as_str();
    let spec = definitions.iter().map(|definition| &definition["spec"]).find(defines)?;
    let schema = &served(spec, &kind.version)?["schema"]["openAPIV3Schema"];
    let Type::Object(root) = type_of_schema(schema) else { return Some(Type::Dyn) };
    let mut root = ObjectType { name: root.name.clone(), fields: root.fields.clone() };
    // Rules of a definition see little of the metadata; policies see all of it.
    let metadata = schema::of_kind("", "v1", "ConfigMap").and_then(|known| known.field("metadata"));
    if let Some(metadata) = metadata {
        root.fields.insert("metadata".into(), shaped(&metadata.shape, &mut Vec::new()));
    }
    Some(Type::Object(Arc::new(root)))
}

/// The type of a built-in object; `around` are the types that it is part of, for some contain themselves.
fn object(known: &'static schema::Type, around: &mut Vec<&'static str>) -> Type {
    if around.contains(&known.name) {
        return Type::Dyn;
    }
    around.push(known.name);
    let mut fields = BTreeMap::new();
    for field in known.fields {
        let ty = shaped(&field.shape, around);
        // A word of the language itself may be written both ways.
        if let Some(escaped) = escape_property(field.name) {
            fields.insert(escaped, ty.clone());
        }
        fields.insert(field.name.to_owned(), ty);
    }
    around.pop();
    Type::Object(Arc::new(ObjectType { name: known.short_name().to_owned(), fields }))
}

fn shaped(shape: &Shape, around: &mut Vec<&'static str>) -> Type {
    match shape {
        Shape::String => Type::String,
        Shape::Bytes => Type::Bytes,
        Shape::Int32 | Shape::Int64 => Type::Int,
        Shape::Number => Type::Double,
        Shape::Boolean => Type::Bool,
        Shape::Time | Shape::MicroTime => Type::Timestamp,
        Shape::IntOrString | Shape::Quantity | Shape::Opaque => Type::Dyn,
        Shape::Array(element) => Type::list(shaped(element, around)),
        Shape::Map(value) => Type::map(shaped(value, around)),
        Shape::Object(_) => shape.as_type().map_or(Type::Dyn, |known| object(known, around)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(group: &str, version: &str, resource: &str) -> Value {
        json!({"apiGroups": [group], "apiVersions": [version], "resources": [resource]})
    }

    fn named(rules: Value) -> Vec<String> {
        let kinds = kinds(&json!({"matchConstraints": {"resourceRules": rules}}), &[definition()]);
        kinds.into_iter().map(|kind| format!("{}/{} {}", kind.group, kind.version, kind.kind)).collect()
    }

    fn definition() -> Value {
        json!({"spec": {"group": "example.com", "names": {"plural": "foos", "kind": "Foo"}, "versions": [
            {"name": "v1", "served": true, "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                "spec": {"type": "object", "properties": {"size": {"type": "integer"}, "text": {"type": "string"}}}}}}},
            {"name": "v0", "served": false, "schema": {"openAPIV3Schema": {"type": "object"}}},
        ]}})
    }

    #[test]
    fn kinds_are_those_that_rules_name() {
        let deployments = || rule("apps", "v1", "deployments");
        assert_eq!(named(json!([])), [""; 0]);
        assert_eq!(named(json!([deployments()])), ["apps/v1 Deployment"]);
        assert_eq!(named(json!([deployments(), rule("", "v1", "pods")])), ["/v1 Pod", "apps/v1 Deployment"]);
        for other in [rule("apps", "v1", "*"), rule("apps", "*", "deployments"), rule("*", "v1", "deployments")] {
            assert_eq!(named(json!([other])), [""; 0], "{other}");
            assert_eq!(named(json!([other, deployments()])), ["apps/v1 Deployment"]);
        }
        assert_eq!(named(json!([rule("", "v1", "pods/*"), rule("", "v1", "pods/status")])), [""; 0]);
        assert_eq!(named(json!([rule("example.com", "v1", "foos")])), ["example.com/v1 Foo"]);
        assert_eq!(named(json!([rule("example.com", "v0", "foos"), rule("example.com", "v1", "bars")])), [""; 0]);
    }

    /// The fault of an expression for that resource; empty if there is none.
    fn fault(resource: (&str, &str, &str), more: Value, source: &str) -> String {
        let (group, version, plural) = resource;
        let mut spec = json!({"matchConstraints": {"resourceRules": [rule(group, version, plural)]}});
        for (field, value) in more.as_object().into_iter().flatten() {
            spec[field] = value.clone();
        }
        let definitions = [definition()];
        let kind = kinds(&spec, &definitions).pop_first().expect("a kind");
        let ty = type_of(&kind, &definitions).expect("its schema");
        let params = params(&spec, &definitions);
        Program::compile(source, &environment(&spec, &ty, params.as_ref())).err().map(|e| e.message).unwrap_or_default()
    }

    #[test]
    fn what_does_not_fit_is_found() {
        let deployments = ("apps", "v1", "deployments");
        let foos = ("example.com", "v1", "foos");
        let none = || json!({});
        let variables = json!({"variables": [{"name": "n", "expression": "object.spec.replicas"},
            {"name": "m", "expression": "variables.n + 1"}]});
        let secret = json!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}});
        let unknown = json!({"paramKind": {"apiVersion": "v1", "kind": "DoesNotMatter"}});
        for (resource, more, source, expected) in [
            (deployments, none(), "object.spec.replicas > 1", ""),
            (deployments, none(), "object.spec.replicas > '1'", "found no matching overload for '_>_'"),
            (deployments, none(), "object.foo == 'bar'", "undefined field 'foo'"),
            (deployments, none(), "oldObject.spec.foo == 'bar'", "undefined field 'foo'"),
            (deployments, none(), "object.metadata.namespace == 'a'", ""),
            (deployments, none(), "object.metadata.labels['a'] == 'b' && has(object.metadata.labels.c)", ""),
            (deployments, none(), "object.spec.template.spec.containers.all(c, c.image.startsWith('a'))", ""),
            (deployments, none(), "object.spec.template.spec.containers.all(c, c.nothing == '')", "undefined field"),
            (deployments, none(), "object.metadata.creationTimestamp < timestamp('2030-01-01T00:00:00Z')", ""),
            (deployments, none(), "object.spec.strategy.rollingUpdate.maxSurge == 1", ""),
            (deployments, none(), "request.userInfo.username == 'a' && request.dryRun", ""),
            (deployments, none(), "request.nobody == 'a'", "undefined field 'nobody'"),
            (deployments, none(), "namespaceObject.metadata.labels.size() > 0", ""),
            (deployments, none(), "namespaceObject.spec.nothing == 1", "undefined field 'nothing'"),
            (deployments, none(), "params == null", "undeclared reference to 'params'"),
            (deployments, none(), "authorizer.group('').resource('endpoints').check('create').allowed()", ""),
            (deployments, variables.clone(), "variables.m > 1", ""),
            (deployments, variables.clone(), "variables.m == 'a'", "found no matching overload for '_==_'"),
            (deployments, variables, "variables.o > 1", "undefined field 'o'"),
            (deployments, secret.clone(), "params.data['a'] == 'b'", ""),
            (deployments, secret, "params.bar == 'b'", "undefined field 'bar'"),
            (deployments, unknown.clone(), "params != null", ""),
            (deployments, unknown, "params.anything.goes == 1", ""),
            (foos, none(), "has(object.spec.text)", ""),
            (foos, none(), "object.spec.size == 'a'", "found no matching overload"),
            (foos, none(), "object.spec.other == 'a'", "undefined field 'other'"),
            (foos, none(), "object.metadata.labels.size() == 0", ""),
            (("apiextensions.k8s.io", "v1", "customresourcedefinitions"), none(), "object.spec.group == ''", ""),
        ] {
            let found = fault(resource, more, source);
            assert_eq!((found.is_empty(), found.contains(expected)), (expected.is_empty(), true), "{source}: {found}");
        }
    }
}
