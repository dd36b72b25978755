//! CustomResourceDefinitions as objects, and APIServices.

use kubewright_api::field::{FieldError, FieldErrors};
use kubewright_api::names;
use serde_json::{Value, json};

use super::edit::{default_text, default_to, ensure, set, with};
use super::kind::{Kind, Part, empty_status};
use super::read::Field;
use super::validate::paths::port_number;
use crate::environment::time;
use crate::registry::{Column, StrategyContext};
use crate::table::{AGE, NAME, date, text, text_of};

/// CustomResourceDefinitions.
pub(crate) static CUSTOM_RESOURCE_DEFINITIONS: Kind = Kind {
    default: |object| {
        let Some(spec) = ensure(object, "spec") else { return };
        if let Some(names) = ensure(spec, "names") {
            let kind = text_of(&names["kind"]);
            default_text(names, "singular", &kind.to_lowercase());
            if !kind.is_empty() {
                default_text(names, "listKind", &format!("{kind}List"));
            }
        }
        default_to(spec, "conversion", json!({"strategy": "None"}));
        with(spec, "conversion.webhook.clientConfig.service", |service| default_to(service, "port", 443));
    },
    status: Some(|| json!({"conditions": null, "acceptedNames": {"kind": "", "plural": ""}, "storedVersions": null})),
    create: |_, object| remember_stored_version(object),
    update: |_: &StrategyContext<'_>, object, _| remember_stored_version(object),
    validate: definition,
    validate_update: Some(|object, old, errors| {
        definition(object, errors);
        let (spec, before) = (Field::of(object).field("spec"), Field::of(old).field("spec"));
        let established = Field::of(old).at("status.conditions").items().any(|condition| {
            condition.field("type").text() == "Established" && condition.field("status").text() == "True"
        });
        if established {
            spec.field("scope").unchanged(errors, &before.field("scope"));
            spec.at("names.kind").unchanged(errors, &before.at("names.kind"));
        }
        spec.field("group").unchanged(errors, &before.field("group"));
        spec.at("names.plural").unchanged(errors, &before.at("names.plural"));
        let names: Vec<&str> = spec.field("versions").items().map(|version| version.field("name").text()).collect();
        for stored in Field::of(old).at("status.storedVersions").items() {
            let version = stored.text();
            if !names.contains(&version) {
                let why = format!(
                    "missing from spec.versions; {version} was previously a storage version, and must remain in \
                     spec.versions until a storage migration ensures no data remains persisted in {version} and removes \
                     {version} from status.storedVersions"
                );
                stored.invalid(errors, why);
            }
        }
    }),
    subresources: &[("status", &Part::STATUS)],
    columns: &[
        NAME,
        date("Created At", "When it was created.", |object, _| object["metadata"]["creationTimestamp"].clone()),
    ],
    generation: true,
    unconditional_update: false,
    deletion_finalizer: Some("customresourcecleanup.apiextensions.k8s.io"),
    delete: |context, object| crate::custom::mark_terminating(object, context.now),
    answers_deleted: true,
    ..Kind::PLAIN
};

/// The version that objects are stored in is remembered until none is left.
fn remember_stored_version(object: &mut Value) {
    let versions = object["spec"]["versions"].as_array().into_iter().flatten();
    let Some(stored) = versions.into_iter().find(|version| version["storage"] == true) else { return };
    let name = stored["name"].clone();
    let mut all = object["status"]["storedVersions"].as_array().cloned().unwrap_or_default();
    if !all.contains(&name) {
        all.push(name);
        if let Some(status) = ensure(object, "status") {
            set(status, "storedVersions", all);
        }
    }
}

fn joined(field: &Field<'_>, lower: bool, lead: &str, errors: &mut FieldErrors) {
    let text = if lower { field.text().to_lowercase() } else { field.text().to_owned() };
    let faults = names::dns1035_label(&text);
    if !field.is_empty() && !faults.is_empty() {
        field.invalid(errors, format!("{lead}{}", faults.join(",")));
    }
}

fn definition(object: &Value, errors: &mut FieldErrors) {
    let crd = Field::of(object);
    let spec = crd.field("spec");
    let (group, plural) = (spec.field("group"), spec.at("names.plural"));
    let name = crd.at("metadata.name");
    if name.text() != format!("{}.{}", plural.text(), group.text()) {
        name.invalid(errors, "must be spec.names.plural+\".\"+spec.group");
    }
    if group.require(errors) {
        let faults = names::dns1123_subdomain(group.text());
        if !faults.is_empty() {
            group.invalid(errors, faults.join(","));
        } else if !group.text().contains('.') {
            group.invalid(errors, "should be a domain with at least one dot");
        }
    }
    spec.field("scope").one_of(errors, &["Cluster", "Namespaced"]);
    versions(&spec, errors);
    definition_names(&spec.field("names"), errors);
    conversion(&spec, errors);
    if spec.field("preserveUnknownFields").flag() {
        let why =
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        spec.field("preserveUnknownFields").invalid(errors, why);
    }
    crate::custom::check_versions(object, errors);
    let protected = [".k8s.io", ".kubernetes.io"].iter().any(|suffix| format!(".{}", group.text()).ends_with(suffix));
    let approval = crd.at("metadata.annotations").key("api-approved.kubernetes.io");
    if protected && approval.is_empty() {
        let why = "protected groups must have approval annotation \"api-approved.kubernetes.io\", see \
                   https://github.com/kubernetes/enhancements/pull/1111";
        approval.required(errors, why);
    }
}

fn versions(spec: &Field<'_>, errors: &mut FieldErrors) {
    let list = spec.field("versions");
    let mut seen = Vec::new();
    let mut unique = true;
    for version in list.items() {
        let name = version.field("name");
        unique &= !seen.contains(&name.text());
        seen.push(name.text());
        let faults = names::dns1035_label(name.text());
        if !faults.is_empty() {
            name.invalid_value(errors, name.text(), faults.join(","));
        }
        let schema = version.at("schema.openAPIV3Schema");
        if !schema.is_set() {
            schema.required(errors, "");
        }
        for column in version.field("additionalPrinterColumns").items() {
            printer_column(&column, errors);
        }
        let scale = version.at("subresources.scale");
        if scale.is_set() {
            for (field, below) in [("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")] {
                let path = scale.field(field);
                if path.require(errors) && !path.text().starts_with(below) {
                    let why = format!("should be a json path under {}", below.trim_end_matches('.'));
                    path.invalid(errors, why);
                }
            }
        }
    }
    if !unique {
        list.invalid(errors, "must contain unique version names");
    }
    if list.items().filter(|version| version.field("storage").flag()).count() != 1 {
        list.invalid(errors, "must have exactly one version marked as storage version");
    }
}

fn printer_column(column: &Field<'_>, errors: &mut FieldErrors) {
    column.field("name").require(errors);
    let (kind, format) = (column.field("type"), column.field("format"));
    let kinds = "boolean,date,integer,number,string";
    if kind.is_empty() {
        kind.required(errors, &format!("must be one of {kinds}"));
    } else if !kinds.split(',').any(|one| one == kind.text()) {
        kind.invalid(errors, format!("must be one of {kinds}"));
    }
    let formats = "byte,date,date-time,double,float,int32,int64,password";
    if !format.is_empty() && !formats.split(',').any(|one| one == format.text()) {
        format.invalid(errors, format!("must be one of {formats}"));
    }
    let path = column.field("jsonPath");
    if path.is_empty() {
        column.field("JSONPath").required(errors, "");
    } else if !path.text().starts_with('.') {
        column.field("JSONPath").invalid_value(errors, path.text(), "must be a simple json path starting with .");
    }
}

fn definition_names(names_field: &Field<'_>, errors: &mut FieldErrors) {
    for name in ["plural", "singular", "kind", "listKind"] {
        names_field.field(name).require(errors);
    }
    let mixed = "may have mixed case, but should otherwise match: ";
    for (name, lower, lead) in
        [("plural", false, ""), ("singular", false, ""), ("kind", true, mixed), ("listKind", true, mixed)]
    {
        joined(&names_field.field(name), lower, lead, errors);
    }
    for list in ["shortNames", "categories"] {
        names_field.field(list).items().for_each(|name| joined(&name, false, "", errors));
    }
    let (kind, list) = (names_field.field("kind"), names_field.field("listKind"));
    if !kind.is_empty() && kind.text() == list.text() {
        list.invalid(errors, "kind and listKind may not be the same");
    }
}

fn conversion(spec: &Field<'_>, errors: &mut FieldErrors) {
    let conversion = spec.field("conversion");
    if !conversion.is_set() {
        return;
    }
    let (strategy, webhook) = (conversion.field("strategy"), conversion.field("webhook"));
    strategy.one_of(errors, &["None", "Webhook"]);
    if strategy.text() == "Webhook" {
        let client = webhook.field("clientConfig");
        if !client.is_set() {
            let path = conversion.field("webhookClientConfig").path();
            errors.push(FieldError::required(&path, "required when strategy is set to Webhook"));
        } else if client.field("url").is_set() == client.field("service").is_set() {
            client.required(errors, "exactly one of url or service is required");
        }
        webhook.field("conversionReviewVersions").require(errors);
    } else if webhook.is_set() {
        let path = conversion.field("webhookClientConfig").path();
        errors.push(FieldError::forbidden(&path, "should not be set when strategy is not set to Webhook"));
    }
}

/// APIServices.
pub(crate) static API_SERVICES: Kind = Kind {
    default: |object| with(object, "spec.service", |service| default_to(service, "port", 443)),
    status: Some(empty_status),
    create: |context, object| {
        if object["spec"]["service"].is_null() {
            set(object, "status", local_status(context));
        }
    },
    update: |context, object, old| {
        // It was another server's: whether that one answered matters no more.
        if object["spec"]["service"].is_null() && !old["spec"]["service"].is_null() {
            set(object, "status", local_status(context));
        }
    },
    validate: api_service,
    subresources: &[("status", &Part::STATUS)],
    name: names::path_segment,
    columns: &API_SERVICE_COLUMNS,
    unconditional_update: false,
    ..Kind::PLAIN
};

fn local_status(context: &StrategyContext<'_>) -> Value {
    json!({"conditions": [{"type": "Available", "status": "True", "reason": "Local",
        "message": "Local APIServices are always available", "lastTransitionTime": time(context.now)}]})
}

static API_SERVICE_COLUMNS: [Column; 4] = [
    NAME,
    text("Service", "The Service behind it.", |object, _| match &object["spec"]["service"] {
        Value::Null => json!("Local"),
        service => json!(format!("{}/{}", text_of(&service["namespace"]), text_of(&service["name"]))),
    }),
    text("Available", "Whether it answers.", |object, _| {
        let mut conditions = object["status"]["conditions"].as_array().into_iter().flatten();
        match conditions.find(|condition| condition["type"] == "Available") {
            Some(condition) if condition["status"] == "True" => json!("True"),
            Some(condition) => {
                json!(format!("{} ({})", text_of(&condition["status"]), text_of(&condition["reason"])))
            }
            None => json!("Unknown"),
        }
    }),
    AGE,
];

fn api_service(object: &Value, errors: &mut FieldErrors) {
    let object = Field::of(object);
    let spec = object.field("spec");
    let (group, version, name) = (spec.field("group"), spec.field("version"), object.at("metadata.name"));
    let expected = format!("{}.{}", version.text(), group.text());
    if name.text() != expected {
        name.invalid(errors, format!("must be `spec.version+\".\"+spec.group`: {expected:?}"));
    }
    if group.is_empty() && version.text() != "v1" {
        group.required(errors, "only v1 may have an empty group and it better be legacy kube");
    }
    group.check_if_set(errors, names::dns1123_subdomain);
    version.check(errors, names::dns1035_label);
    for (name, most) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1000)] {
        let field = spec.field(name);
        if !(1..=most).contains(&field.int()) {
            field.invalid_value(errors, field.int(), format!("must be positive and less than {most}"));
        }
    }
    let (service, bundle, insecure) =
        (spec.field("service"), spec.field("caBundle"), spec.field("insecureSkipTLSVerify"));
    if !service.is_set() {
        if !bundle.is_empty() {
            let bytes = format!("{} bytes", bundle.text().len() / 4 * 3);
            bundle.invalid_value(errors, bytes, "local APIServices may not have a caBundle");
        }
        if insecure.flag() {
            insecure.invalid(errors, "local APIServices may not have insecureSkipTLSVerify");
        }
        return;
    }
    service.field("namespace").require(errors);
    service.field("name").require(errors);
    port_number(&service.field("port"), errors);
    if insecure.flag() && !bundle.is_empty() {
        insecure.invalid(errors, "may not be true if caBundle is present");
    }
}
