//! Services. Their addresses and node ports are allocated elsewhere; the rules are here.

mod addresses;
mod change;
mod columns;
mod warnings;

use kubewright_api::field::{FieldError, FieldErrors};
use kubewright_api::names;
use serde_json::{Value, json};

use super::edit::{default_text, default_to, each, ensure, find, remove, set};
use super::kind::{Kind, Part};
use super::read::Field;
use super::validate::addresses::{cidr_text, external_ip, ip, parse_ip_leniently};
use super::validate::labels::labels;
use super::validate::paths::{port_number, port_number_or_name, protocol};
pub(crate) use columns::balanced;

use crate::registry::SelectableField;

/// Services.
pub(crate) static SERVICES: Kind = Kind {
    answers_deleted: true,
    default: defaults,
    status: Some(|| json!({"loadBalancer": {}})),
    create: |_, object| addresses::normalize(object, None),
    update: change::prepare,
    validate: |object, errors| validate(object, None, errors),
    validate_update: Some(|object, old, errors| {
        change::validate(&Field::of(object), &Field::of(old), errors);
        validate(object, Some(old), errors);
    }),
    warnings: warnings::warnings,
    subresources: &[("status", &STATUS)],
    name: names::dns1123_label,
    selectable: &[
        SelectableField {
            path: "spec.clusterIP",
            value: |object| object["spec"]["clusterIP"].as_str().unwrap_or_default().into(),
        },
        SelectableField {
            path: "spec.type",
            value: |object| object["spec"]["type"].as_str().unwrap_or_default().into(),
        },
    ],
    columns: &columns::COLUMNS,
    create_on_update: true,
    ..Kind::PLAIN
};

static STATUS: Part = Part { validate: validate_status, ..Part::STATUS };

/// Whether traffic reaches it from outside the cluster.
fn is_external(spec: &Field<'_>) -> bool {
    match spec.field("type").text() {
        "LoadBalancer" | "NodePort" => true,
        "ClusterIP" => !spec.field("externalIPs").is_empty(),
        _ => false,
    }
}

/// Whether its nodes answer health checks on a port of their own.
fn needs_health_check(spec: &Field<'_>) -> bool {
    spec.field("type").text() == "LoadBalancer" && spec.field("externalTrafficPolicy").text() == "Local"
}

fn is_headless(spec: &Field<'_>) -> bool {
    spec.field("clusterIPs").texts() == ["None"]
}

fn defaults(object: &mut Value) {
    let Some(spec) = ensure(object, "spec") else { return };
    default_text(spec, "sessionAffinity", "None");
    if spec["sessionAffinity"] == "None" {
        remove(spec, "sessionAffinityConfig");
    } else if spec["sessionAffinity"] == "ClientIP"
        && spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"].is_null()
    {
        set(spec, "sessionAffinityConfig", json!({"clientIP": {"timeoutSeconds": 10800}}));
    }
    default_text(spec, "type", "ClusterIP");
    for port in each(spec, "ports") {
        default_text(port, "protocol", "TCP");
        let target = &port["targetPort"];
        if target.is_null() || *target == 0 || *target == "" {
            let number = port["port"].clone();
            set(port, "targetPort", if number.is_null() { json!(0) } else { number });
        }
    }
    if is_external(&Field::of(spec)) {
        default_text(spec, "externalTrafficPolicy", "Cluster");
    }
    let kind = spec["type"].as_str().unwrap_or_default().to_owned();
    if matches!(kind.as_str(), "ClusterIP" | "NodePort" | "LoadBalancer") {
        default_to(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        default_to(spec, "allocateLoadBalancerNodePorts", true);
        for ingress in each(object, "status.loadBalancer.ingress") {
            if find(ingress, "ip").is_some() {
                default_to(ingress, "ipMode", "VIP");
            }
        }
    }
}

fn validate(object: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
    let service = Field::of(object);
    let empty = json!({});
    let old = Field::of(old.unwrap_or(&empty));
    let spec = service.field("spec");
    let kind = spec.field("type");
    if spec.field("ports").is_empty() && !is_headless(&spec) && kind.text() != "ExternalName" {
        spec.field("ports").required(errors, "");
    }
    by_type(&spec, errors);
    ports(&spec, errors);
    labels(&spec.field("selector"), errors);
    affinity(&spec, errors);
    addresses::validate(&spec, &old.field("spec"), errors);
    let before = old.field("spec").field("externalIPs").texts();
    for address in spec.field("externalIPs").items() {
        let count = errors.len();
        ip(&address, &before, errors);
        if errors.len() == count {
            external_ip(&address, errors);
        }
    }
    kind.one_of(errors, &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"]);
    node_ports(&spec, errors);
    source_ranges(&service, &old, errors);
    load_balancer(&spec, errors);
    traffic(&spec, errors);
}

fn by_type(spec: &Field<'_>, errors: &mut FieldErrors) {
    let addresses = spec.field("clusterIPs");
    match spec.field("type").text() {
        kind @ ("LoadBalancer" | "NodePort") if is_headless(spec) => {
            addresses.index(0).invalid(errors, format!("may not be set to 'None' for {kind} services"));
        }
        "ExternalName" => {
            for name in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                if !spec.field(name).is_empty() {
                    spec.field(name).forbidden(errors, "may not be set for ExternalName services");
                }
            }
            let name = spec.field("externalName");
            match name.text().strip_suffix('.').unwrap_or_else(|| name.text()) {
                "" => name.required(errors, ""),
                host => {
                    for fault in names::dns1123_subdomain(host) {
                        name.invalid_value(errors, host, fault);
                    }
                }
            }
        }
        _ => {}
    }
}

fn ports(spec: &Field<'_>, errors: &mut FieldErrors) {
    let ports = spec.field("ports");
    let mut names_seen = Vec::new();
    let mut seen = Vec::new();
    for port in ports.items() {
        let name = port.field("name");
        if name.is_empty() && ports.len() > 1 {
            name.required(errors, "");
        } else if !name.is_empty() {
            name.check(errors, names::dns1123_label);
            if names_seen.contains(&name.text()) {
                name.duplicate(errors);
            }
            names_seen.push(name.text());
        }
        port_number(&port.field("port"), errors);
        protocol(&port.field("protocol"), errors);
        port_number_or_name(&port.field("targetPort"), errors);
        if port.field("appProtocol").is_set() {
            port.field("appProtocol").check(errors, names::qualified_name);
        }
    }
    for port in ports.items() {
        let key = (port.field("protocol").text(), port.field("port").int());
        if seen.contains(&key) {
            let value = json!({"protocol": key.0, "port": key.1});
            errors.push(FieldError::duplicate(&port.path(), value));
        }
        seen.push(key);
    }
}

fn node_ports(spec: &Field<'_>, errors: &mut FieldErrors) {
    let mut seen = Vec::new();
    for port in spec.field("ports").items() {
        let number = port.field("nodePort");
        if number.int() == 0 {
            continue;
        }
        if spec.field("type").text() == "ClusterIP" {
            number.forbidden(errors, "may not be used when `type` is 'ClusterIP'");
        }
        let key = (port.field("protocol").text(), number.int());
        if seen.contains(&key) {
            number.duplicate(errors);
        }
        seen.push(key);
    }
}

fn affinity(spec: &Field<'_>, errors: &mut FieldErrors) {
    let (affinity, config) = (spec.field("sessionAffinity"), spec.field("sessionAffinityConfig"));
    affinity.one_of(errors, &["ClientIP", "None"]);
    match affinity.text() {
        "ClientIP" => {
            let timeout = config.at("clientIP.timeoutSeconds");
            let missing = [config.clone(), config.field("clientIP"), timeout.clone()];
            if let Some(field) = missing.iter().find(|field| !field.is_set()) {
                field.required(errors, "when session affinity type is ClientIP");
            } else if !(1..=86_400).contains(&timeout.int()) {
                timeout.invalid(errors, "must be greater than 0 and less than 86400");
            }
        }
        "None" if config.is_set() => config.forbidden(errors, "must not be set when session affinity is None"),
        _ => {}
    }
}

fn source_ranges(service: &Field<'_>, old: &Field<'_>, errors: &mut FieldErrors) {
    let why = "may only be used when `type` is 'LoadBalancer'";
    let key = "service.beta.kubernetes.io/load-balancer-source-ranges";
    let balanced = service.at("spec.type").text() == "LoadBalancer";
    let ranges = service.at("spec.loadBalancerSourceRanges");
    let annotation = service.at("metadata.annotations").key(key);
    if !ranges.is_empty() {
        let shown = service.at("spec.LoadBalancerSourceRanges");
        if !balanced {
            shown.forbidden(errors, why);
        }
        let before: Vec<&str> =
            old.at("spec.loadBalancerSourceRanges").texts().iter().map(|text| text.trim()).collect();
        for (at, range) in ranges.texts().into_iter().enumerate() {
            cidr_text(&shown.index(at), range.trim(), &before, errors);
        }
    } else if annotation.is_set() {
        if !balanced {
            annotation.forbidden(errors, why);
        }
        if !annotation.same_as(&old.at("metadata.annotations").key(key)) && !annotation.text().trim().is_empty() {
            annotation.text().split(',').for_each(|range| cidr_text(&annotation, range.trim(), &[], errors));
        }
    }
}

fn load_balancer(spec: &Field<'_>, errors: &mut FieldErrors) {
    let balanced = spec.field("type").text() == "LoadBalancer";
    let (allocate, class) = (spec.field("allocateLoadBalancerNodePorts"), spec.field("loadBalancerClass"));
    if !balanced {
        for field in [&allocate, &class].into_iter().filter(|field| field.is_set()) {
            field.forbidden(errors, "may only be used when `type` is 'LoadBalancer'");
        }
        return;
    }
    if !allocate.is_set() {
        let path = kubewright_api::field::Path::new("allocateLoadBalancerNodePorts");
        errors.push(FieldError::required(&path, ""));
    }
    if class.is_set() {
        class.check(errors, names::qualified_name);
    }
}

fn traffic(spec: &Field<'_>, errors: &mut FieldErrors) {
    let external = spec.field("externalTrafficPolicy");
    if is_external(spec) {
        external.one_of(errors, &["Cluster", "Local"]);
    } else if !external.is_empty() {
        external.invalid(errors, "may only be set for externally-accessible services");
    }
    let check = spec.field("healthCheckNodePort");
    if !needs_health_check(spec) {
        if check.int() != 0 {
            let why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            check.invalid(errors, why);
        }
    } else if check.int() == 0 {
        check.required(errors, "");
    } else {
        port_number(&check, errors);
    }
    let internal = spec.field("internalTrafficPolicy");
    if !internal.is_set() && ["NodePort", "LoadBalancer", "ClusterIP"].contains(&spec.field("type").text()) {
        internal.required(errors, "");
    }
    internal.one_of_if_set(errors, &["Cluster", "Local"]);
    spec.field("trafficDistribution").one_of_if_set(errors, &["PreferClose", "PreferSameZone", "PreferSameNode"]);
}

fn validate_status(object: &Value, old: &Value, errors: &mut FieldErrors) {
    let (service, old) = (Field::of(object), Field::of(old));
    let list = service.at("status.loadBalancer.ingress");
    if service.at("spec.type").text() != "LoadBalancer" {
        if !list.is_empty() {
            list.forbidden(errors, "may only be used when `spec.type` is 'LoadBalancer'");
        }
        return;
    }
    let before: Vec<&str> =
        old.at("status.loadBalancer.ingress").items().map(|ingress| ingress.field("ip").text()).collect();
    for ingress in list.items() {
        let (address, mode, host) = (ingress.field("ip"), ingress.field("ipMode"), ingress.field("hostname"));
        if !address.is_empty() {
            ip(&address, &before, errors);
        }
        match (mode.is_set(), address.is_empty()) {
            (false, false) => mode.required(errors, "must be specified when `ip` is set"),
            (true, true) => mode.forbidden(errors, "may not be specified when `ip` is not set"),
            _ => mode.one_of_if_set(errors, &["Proxy", "VIP"]),
        }
        host.check_if_set(errors, names::dns1123_subdomain);
        if parse_ip_leniently(host.text()).is_some() {
            host.invalid(errors, "must be a DNS name, not an IP address");
        }
    }
}
