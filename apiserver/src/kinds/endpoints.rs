//! Endpoints and EndpointSlices.

use kubewright_api::field::{FieldError, FieldErrors};
use kubewright_api::names;
use serde_json::{Value, json};

use super::edit::{default_text, default_to, each};
use super::kind::Kind;
use super::read::Field;
use super::validate::addresses::{canonical_ip, endpoint_ip, ip};
use super::validate::labels::labels;
use super::validate::paths::{port_number, protocol};
use crate::registry::Column;
use crate::table::{AGE, NAME, list_with_more, text, text_of};

/// Endpoints.
pub(crate) static ENDPOINTS: Kind = Kind {
    default: |object| {
        for subset in each(object, "subsets") {
            each(subset, "ports").for_each(|port| default_text(port, "protocol", "TCP"));
        }
    },
    validate: |object, errors| subsets(&Field::of(object).field("subsets"), errors),
    validate_update: Some(|object, old, errors| {
        let list = Field::of(object).field("subsets");
        if !list.same_as(&Field::of(old).field("subsets")) {
            subsets(&list, errors);
        }
    }),
    columns: &ENDPOINTS_COLUMNS,
    create_on_update: true,
    ..Kind::PLAIN
};

fn subsets(list: &Field<'_>, errors: &mut FieldErrors) {
    for subset in list.items() {
        if subset.field("addresses").is_empty() && subset.field("notReadyAddresses").is_empty() {
            subset.required(errors, "must specify `addresses` or `notReadyAddresses`");
        }
        for name in ["addresses", "notReadyAddresses"] {
            for address in subset.field(name).items() {
                ip(&address.field("ip"), &[], errors);
                address.field("hostname").check_if_set(errors, names::dns1123_label);
                if address.field("nodeName").is_set() {
                    address.field("nodeName").check(errors, names::dns1123_subdomain);
                }
                endpoint_ip(&address.field("ip"), errors);
            }
        }
        let ports = subset.field("ports");
        for port in ports.items() {
            let name = port.field("name");
            if name.is_empty() && ports.len() > 1 {
                name.required(errors, "");
            }
            name.check_if_set(errors, names::dns1123_label);
            port_number(&port.field("port"), errors);
            protocol(&port.field("protocol"), errors);
            if port.field("appProtocol").is_set() {
                port.field("appProtocol").check(errors, names::qualified_name);
            }
        }
    }
}

static ENDPOINTS_COLUMNS: [Column; 3] =
    [NAME, text("Endpoints", "Addresses and ports that are ready.", |object, _| json!(endpoints(object))), AGE];

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn endpoints(object: &Value) -> String {
    let mut all = Vec::new();
    for subset in items(&object["subsets"]) {
        let addresses: Vec<String> =
            items(&subset["addresses"]).iter().map(|address| text_of(&address["ip"])).collect();
        let ports = items(&subset["ports"]);
        if ports.is_empty() {
            all.extend(addresses.iter().cloned());
        }
        for port in ports {
            let number = port["port"].as_i64().unwrap_or_default();
            all.extend(
                addresses
                    .iter()
                    .map(|ip| if ip.contains(':') { format!("[{ip}]:{number}") } else { format!("{ip}:{number}") }),
            );
        }
    }
    if items(&object["subsets"]).is_empty() { "<none>".into() } else { list_with_more(&all, 3) }
}

/// EndpointSlices.
pub(crate) static ENDPOINT_SLICES: Kind = Kind {
    default: |object| {
        for port in each(object, "ports") {
            default_to(port, "name", "");
            default_to(port, "protocol", "TCP");
        }
    },
    validate: |object, errors| slice(object, None, errors),
    validate_update: Some(|object, old, errors| {
        slice(object, Some(old), errors);
        Field::of(object).field("addressType").unchanged(errors, &Field::of(old).field("addressType"));
    }),
    columns: &SLICE_COLUMNS,
    generation: true,
    ..Kind::PLAIN
};

fn at_most(list: &Field<'_>, items_max: usize, errors: &mut FieldErrors) -> bool {
    let good = list.len() <= items_max;
    if !good {
        errors.push(FieldError::too_many(&list.path(), list.len(), items_max));
    }
    good
}

fn slice(object: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
    let slice = Field::of(object);
    let kind = slice.field("addressType");
    kind.one_of(errors, &["FQDN", "IPv4", "IPv6"]);
    let ports = slice.field("ports");
    let mut seen = Vec::new();
    if at_most(&ports, 20_000, errors) {
        for port in ports.items() {
            let name = port.field("name");
            name.check_if_set(errors, names::dns1123_label);
            if seen.contains(&name.text()) {
                errors.push(FieldError::duplicate(&name.path(), name.text()));
            }
            seen.push(name.text());
            protocol(&port.field("protocol"), errors);
            if port.field("appProtocol").is_set() {
                port.field("appProtocol").check(errors, names::qualified_name);
            }
        }
    }
    let list = slice.field("endpoints");
    let same = old.is_some_and(|old| Field::of(old).field("endpoints").same_as(&list));
    if !same && at_most(&list, 1000, errors) {
        list.items().for_each(|endpoint| one_endpoint(&endpoint, kind.text(), errors));
    }
}

fn one_endpoint(endpoint: &Field<'_>, kind: &str, errors: &mut FieldErrors) {
    let addresses = endpoint.field("addresses");
    if addresses.is_empty() {
        addresses.required(errors, "must contain at least 1 address");
    }
    at_most(&addresses, 100, errors);
    for address in addresses.items() {
        let before = errors.len();
        match kind {
            "IPv4" => ip(&address, &[], errors),
            "IPv6" => canonical_ip(&address, errors),
            "FQDN" => domain(&address, errors),
            _ => {}
        }
        if errors.len() == before && kind.starts_with("IPv") {
            if address.text().contains(':') != (kind == "IPv6") {
                addresses.invalid_value(errors, address.text(), format!("must be an {kind} address"));
            }
            endpoint_ip(&address, errors);
        }
    }
    if endpoint.field("nodeName").is_set() {
        endpoint.field("nodeName").check(errors, names::dns1123_subdomain);
    }
    if endpoint.field("hostname").is_set() {
        endpoint.field("hostname").check(errors, names::dns1123_label);
    }
    let topology = endpoint.field("deprecatedTopology");
    at_most(&topology, 16, errors);
    labels(&topology, errors);
    for name in ["forZones", "forNodes"] {
        let hints = endpoint.field("hints").field(name);
        let mut seen = Vec::new();
        if !at_most(&hints, 8, errors) {
            continue;
        }
        for hint in hints.items() {
            let name_field = hint.field("name");
            if seen.contains(&name_field.text()) {
                name_field.duplicate(errors);
            }
            seen.push(name_field.text());
            name_field.check(errors, if name == "forZones" { names::label_value } else { names::dns1123_subdomain });
        }
    }
}

fn domain(address: &Field<'_>, errors: &mut FieldErrors) {
    let name = address.text().strip_suffix('.').unwrap_or_else(|| address.text());
    if name.is_empty() {
        address.required(errors, "");
        return;
    }
    let faults = names::dns1123_subdomain(name);
    if !faults.is_empty() {
        address.invalid_value(errors, name, faults.join(","));
    } else if !name.contains('.') {
        address.invalid_value(errors, name, "should be a domain with at least two segments separated by dots");
    }
}

static SLICE_COLUMNS: [Column; 5] = [
    NAME,
    text("AddressType", "What its addresses are.", |object, _| json!(text_of(&object["addressType"]))),
    text("Ports", "Ports of its endpoints.", |object, _| {
        let ports: Vec<String> = items(&object["ports"])
            .iter()
            .map(|port| match (text_of(&port["port"]), text_of(&port["name"])) {
                (number, _) if !number.is_empty() => number,
                (_, name) if !name.is_empty() => name,
                _ => "*".into(),
            })
            .collect();
        json!(if object["ports"].is_null() { "<unset>".into() } else { list_with_more(&ports, 3) })
    }),
    text("Endpoints", "Addresses of its endpoints.", |object, _| {
        let endpoints = items(&object["endpoints"]);
        let addresses: Vec<String> =
            endpoints.iter().flat_map(|endpoint| items(&endpoint["addresses"])).map(text_of).collect();
        json!(if object["endpoints"].is_null() { "<unset>".into() } else { list_with_more(&addresses, 3) })
    }),
    AGE,
];
