//! Ingresses and IngressClasses.

use kubewright_api::field::{FieldError, FieldErrors, Path};
use kubewright_api::names;
use serde_json::{Value, json};

use super::reference;
use crate::kinds::edit::{default_to, with};
use crate::kinds::kind::{Kind, Part};
use crate::kinds::read::Field;
use crate::kinds::services::balanced;
use crate::kinds::validate::addresses::{ip, parse_ip_leniently};
use crate::kinds::validate::paths::port_number;
use crate::registry::Column;
use crate::table::{AGE, NAME, text, text_of};

const CLASS: &str = "kubernetes.io/ingress.class";

/// Ingresses.
pub(crate) static INGRESSES: Kind = Kind {
    status: Some(|| json!({"loadBalancer": {}})),
    validate: |object, errors| {
        validate(object, errors);
        let ingress = Field::of(object);
        let (annotation, class) = (ingress.at("metadata.annotations").key(CLASS), ingress.at("spec.ingressClassName"));
        if annotation.is_set() && class.is_set() && annotation.text() != class.text() {
            let path = Path::new("annotations").child(CLASS);
            let why = "must match `ingressClassName` when both are specified";
            errors.push(FieldError::invalid(&path, annotation.text(), why));
        }
    },
    validate_update: Some(|object, _, errors| validate(object, errors)),
    subresources: &[("status", &STATUS)],
    columns: &COLUMNS,
    generation: true,
    ..Kind::PLAIN
};

static STATUS: Part = Part {
    validate: |object, old, errors| {
        let list = |object| Field::of(object).at("status.loadBalancer.ingress");
        let before: Vec<&str> = list(old).items().map(|item| item.field("ip").text()).collect();
        for item in list(object).items() {
            if !item.field("ip").is_empty() {
                ip(&item.field("ip"), &before, errors);
            }
            let host = item.field("hostname");
            host.check_if_set(errors, names::dns1123_subdomain);
            if parse_ip_leniently(host.text()).is_some() {
                host.invalid(errors, "must be a DNS name, not an IP address");
            }
        }
    },
    ..Part::STATUS
};

static COLUMNS: [Column; 6] = [
    NAME,
    text("Class", "Which class handles it.", |object, _| match &object["spec"]["ingressClassName"] {
        Value::Null => json!("<none>"),
        class => class.clone(),
    }),
    text("Hosts", "Hosts that it routes.", |object, _| json!(hosts(object))),
    text("Address", "Where it is reached.", |object, _| json!(balanced(&object["status"]["loadBalancer"]).join(","))),
    text("Ports", "Ports that it listens on.", |object, _| {
        let tls = object["spec"]["tls"].as_array().is_some_and(|list| !list.is_empty());
        json!(if tls { "80, 443" } else { "80" })
    }),
    AGE,
];

fn hosts(object: &Value) -> String {
    let rules = object["spec"]["rules"].as_array().map_or(&[][..], Vec::as_slice);
    let hosts: Vec<String> = rules.iter().map(|rule| text_of(&rule["host"])).filter(|host| !host.is_empty()).collect();
    let shown = hosts.iter().take(3).map(String::as_str).collect::<Vec<_>>().join(",");
    match rules.len().saturating_sub(3) {
        _ if hosts.is_empty() => "*".into(),
        more if hosts.len() > 3 => format!("{shown} + {more} more..."),
        _ => shown,
    }
}

fn host(field: &Field<'_>, errors: &mut FieldErrors) {
    if field.text().contains('*') {
        let rest = field.text().strip_prefix("*.");
        let good = rest.is_some_and(|rest| names::dns1123_subdomain(rest).is_empty()) && field.text().len() <= 253;
        if !good {
            let rule = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must \
                        consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character";
            let pattern = r"\*\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
            field.invalid(errors, names::pattern_fault(rule, pattern, &["*.example.com"]));
        }
    } else {
        field.check(errors, names::dns1123_subdomain);
    }
}

fn validate(object: &Value, errors: &mut FieldErrors) {
    let spec = Field::of(object).field("spec");
    let (rules, default) = (spec.field("rules"), spec.field("defaultBackend"));
    if rules.is_empty() && !default.is_set() {
        spec.invalid_value(errors, json!([]), "either `defaultBackend` or `rules` must be specified");
    }
    if default.is_set() {
        backend(&default, errors);
    }
    for rule in rules.items() {
        let name = rule.field("host");
        if !name.is_empty() {
            if parse_ip_leniently(name.text()).is_some() {
                name.invalid(errors, "must be a DNS name, not an IP address");
            }
            host(&name, errors);
        }
        let http = rule.field("http");
        if http.is_set() {
            http.field("paths").require(errors);
            http.field("paths").items().for_each(|one| path(&one, errors));
        }
    }
    for tls in spec.field("tls").items() {
        tls.field("hosts").items().for_each(|name| host(&name, errors));
        tls.field("secretName").check_if_set(errors, names::dns1123_subdomain);
    }
    let class = spec.field("ingressClassName");
    if class.is_set() {
        class.check(errors, names::dns1123_subdomain);
    }
}

fn path(one: &Field<'_>, errors: &mut FieldErrors) {
    let (kind, path) = (one.field("pathType"), one.field("path"));
    if !kind.is_set() {
        kind.required(errors, "pathType must be specified");
        return;
    }
    let absolute = path.text().starts_with('/');
    match kind.text() {
        "Exact" | "Prefix" => {
            if !absolute {
                path.invalid_value(errors, path.text(), "must be an absolute path");
            }
            for part in ["//", "/./", "/../", "%2f", "%2F"].into_iter().filter(|part| path.text().contains(part)) {
                path.invalid(errors, format!("must not contain '{part}'"));
            }
            for end in ["/..", "/."].into_iter().filter(|end| path.text().ends_with(end)) {
                path.invalid(errors, format!("cannot end with '{end}'"));
            }
        }
        "ImplementationSpecific" if !path.is_empty() && !absolute => {
            path.invalid(errors, "must be an absolute path");
        }
        "ImplementationSpecific" => {}
        _ => kind.unsupported(errors, &["Exact", "ImplementationSpecific", "Prefix"]),
    }
    backend(&one.field("backend"), errors);
}

fn backend(backend: &Field<'_>, errors: &mut FieldErrors) {
    let (resource, service) = (backend.field("resource"), backend.field("service"));
    match (resource.is_set(), service.is_set()) {
        (true, true) => backend.invalid_value(errors, "", "cannot set both resource and service backends"),
        (true, false) => reference(&resource, errors),
        (false, false) => backend.invalid_value(errors, "", "resource or service backend is required"),
        (false, true) => {
            service.field("name").require_and_check(errors, names::dns1123_label);
            let (name, number) = (service.at("port.name"), service.at("port.number"));
            match (name.is_empty(), number.int()) {
                (true, 0) => backend.required(errors, "port name or number is required"),
                (true, _) => port_number(&number, errors),
                (false, 0) => name.check(errors, names::port_name),
                (false, _) => backend.invalid_value(errors, "", "cannot set both port name & port number"),
            }
        }
    }
}

/// IngressClasses.
pub(crate) static INGRESS_CLASSES: Kind = Kind {
    default: |object| with(object, "spec.parameters", |parameters| default_to(parameters, "scope", "Cluster")),
    validate: validate_class,
    validate_update: Some(|object, old, errors| {
        Field::of(object).at("spec.controller").unchanged(errors, &Field::of(old).at("spec.controller"));
        validate_class(object, errors);
    }),
    columns: &CLASS_COLUMNS,
    generation: true,
    ..Kind::PLAIN
};

static CLASS_COLUMNS: [Column; 4] = [
    NAME,
    text("Controller", "What handles Ingresses of it.", |object, _| json!(text_of(&object["spec"]["controller"]))),
    text("Parameters", "Where its parameters are.", |object, _| {
        let parameters = &object["spec"]["parameters"];
        if parameters.is_null() {
            return json!("<none>");
        }
        let group = text_of(&parameters["apiGroup"]);
        let group = if group.is_empty() { group } else { format!(".{group}") };
        json!(format!("{}{group}/{}", text_of(&parameters["kind"]), text_of(&parameters["name"])))
    }),
    AGE,
];

fn validate_class(object: &Value, errors: &mut FieldErrors) {
    let spec = Field::of(object).field("spec");
    let controller = spec.field("controller");
    if controller.text().len() > 250 {
        controller.too_long(errors, 250);
    }
    domain_prefixed_path(&controller, errors);
    let parameters = spec.field("parameters");
    if !parameters.is_set() {
        return;
    }
    reference(&parameters, errors);
    let (scope, namespace) = (parameters.field("scope"), parameters.field("namespace"));
    match scope.opt_text() {
        None => scope.required(errors, ""),
        Some("Namespace") if !namespace.is_set() => {
            namespace.required(errors, "`parameters.scope` is set to 'Namespace'");
        }
        Some("Namespace") => namespace.check(errors, names::dns1123_label),
        Some("Cluster") if namespace.is_set() => {
            namespace.forbidden(errors, "`parameters.scope` is set to 'Cluster'");
        }
        Some("Cluster") => {}
        Some(_) => scope.unsupported(errors, &["Cluster", "Namespace"]),
    }
}

fn domain_prefixed_path(field: &Field<'_>, errors: &mut FieldErrors) {
    if !field.require(errors) {
        return;
    }
    match field.text().split_once('/') {
        Some((host, path)) if !host.is_empty() && !path.is_empty() => {
            for fault in names::dns1123_subdomain(host) {
                field.invalid_value(errors, host, fault);
            }
        }
        _ => field.invalid(errors, "must be a domain-prefixed path (such as \"acme.io/foo\")"),
    }
}
