//! Admission policies and their bindings.

use kubewright_api::field::FieldErrors;
use kubewright_api::names;
use serde_json::{Value, json};

use super::{count, match_conditions, match_defaults, rule};
use crate::kinds::edit::{default_to, each, ensure, with};
use crate::kinds::kind::{Kind, Part, empty_status};
use crate::kinds::read::Field;
use crate::kinds::validate::labels::label_selector;
use crate::registry::Column;
use crate::table::{AGE, NAME, integer, text, text_of};

/// ValidatingAdmissionPolicies.
pub(crate) static VALIDATING_POLICIES: Kind = Kind {
    status: Some(empty_status),
    validate: |object, errors| {
        let spec = Field::of(object).field("spec");
        policy(&spec, errors);
        let (validations, annotations) = (spec.field("validations"), spec.field("auditAnnotations"));
        if validations.is_empty() && annotations.is_empty() {
            validations.required(errors, "validations or auditAnnotations must contain at least one item");
            annotations.required(errors, "validations or auditAnnotations must contain at least one item");
        }
        for validation in validations.items() {
            if validation.field("expression").text().trim().is_empty() {
                validation.field("expression").required(errors, "expression is not specified");
            }
        }
        for annotation in annotations.items() {
            annotation.field("key").require(errors);
            annotation.field("valueExpression").require(errors);
        }
    },
    subresources: &[("status", &Part::STATUS_ONLY)],
    columns: &[
        NAME,
        integer("Validations", "How many rules it has.", |object, _| count(&object["spec"]["validations"])),
        PARAM_KIND,
        AGE,
    ],
    ..POLICIES
};

/// MutatingAdmissionPolicies.
pub(crate) static MUTATING_POLICIES: Kind = Kind {
    validate: |object, errors| {
        let spec = Field::of(object).field("spec");
        policy(&spec, errors);
        let mutations = spec.field("mutations");
        if mutations.is_empty() {
            mutations.required(errors, "mutations must contain at least one item");
        }
        for mutation in mutations.items() {
            mutation.field("patchType").one_of(errors, &["ApplyConfiguration", "JSONPatch"]);
        }
        spec.field("reinvocationPolicy").one_of(errors, &["IfNeeded", "Never"]);
    },
    columns: &[
        NAME,
        integer("Mutations", "How many changes it makes.", |object, _| count(&object["spec"]["mutations"])),
        PARAM_KIND,
        AGE,
    ],
    ..POLICIES
};

const POLICIES: Kind = Kind {
    default: |object| {
        let Some(spec) = ensure(object, "spec") else { return };
        default_to(spec, "failurePolicy", "Fail");
        with(spec, "matchConstraints", |constraints| {
            match_defaults(constraints);
            for list in ["resourceRules", "excludeResourceRules"] {
                each(constraints, list).for_each(|rule| default_to(rule, "scope", "*"));
            }
        });
    },
    generation: true,
    unconditional_update: false,
    ..Kind::PLAIN
};

const PARAM_KIND: Column =
    text("ParamKind", "The kind of its parameters.", |object, _| match &object["spec"]["paramKind"] {
        Value::Null => json!("<unset>"),
        kind => json!(format!("{}/{}", text_of(&kind["apiVersion"]), text_of(&kind["kind"]))),
    });

fn policy(spec: &Field<'_>, errors: &mut FieldErrors) {
    spec.field("failurePolicy").one_of(errors, &["Fail", "Ignore"]);
    let param = spec.field("paramKind");
    if param.is_set() {
        let (version, kind) = (param.field("apiVersion"), param.field("kind"));
        version.require(errors);
        if kind.require(errors) {
            let faults = names::dns1035_label(&kind.text().to_lowercase());
            if !faults.is_empty() {
                let lead = "may have mixed case, but should otherwise match:";
                kind.invalid(errors, format!("{lead} {}", faults.join(",")));
            }
        }
    }
    let constraints = spec.field("matchConstraints");
    if constraints.is_set() {
        match_resources(&constraints, errors);
        let rules = constraints.field("resourceRules");
        rules.require(errors);
    } else {
        constraints.required(errors, "");
    }
    match_conditions(&spec.field("matchConditions"), errors);
    let mut seen = Vec::new();
    for variable in spec.field("variables").items() {
        let name = variable.field("name");
        if name.require(errors) {
            if seen.contains(&name.text()) {
                name.duplicate(errors);
            }
            seen.push(name.text());
        }
        if variable.field("expression").text().trim().is_empty() {
            variable.field("expression").required(errors, "expression is not specified");
        }
    }
}

fn match_resources(constraints: &Field<'_>, errors: &mut FieldErrors) {
    constraints.field("matchPolicy").one_of(errors, &["Equivalent", "Exact"]);
    label_selector(&constraints.field("namespaceSelector"), errors);
    label_selector(&constraints.field("objectSelector"), errors);
    for list in ["resourceRules", "excludeResourceRules"] {
        constraints.field(list).items().for_each(|one| rule(&one, errors));
    }
}

/// ValidatingAdmissionPolicyBindings.
pub(crate) static VALIDATING_POLICY_BINDINGS: Kind = Kind {
    validate: |object, errors| {
        binding(object, errors);
        let actions = Field::of(object).at("spec.validationActions");
        actions.require(errors);
        let mut seen = Vec::new();
        for action in actions.items() {
            action.one_of_if_set(errors, &["Audit", "Deny", "Warn"]);
            if seen.contains(&action.text()) {
                action.duplicate(errors);
            }
            seen.push(action.text());
        }
        if seen.contains(&"Deny") && seen.contains(&"Warn") {
            let why = "must not contain both Deny and Warn (repeating the same validation failure information in the \
                       API response and headers serves no purpose)";
            actions.invalid(errors, why);
        }
    },
    ..BINDINGS
};

/// MutatingAdmissionPolicyBindings.
pub(crate) static MUTATING_POLICY_BINDINGS: Kind = Kind { validate: binding, ..BINDINGS };

const BINDINGS: Kind = Kind {
    default: |object| with(object, "spec.matchResources", match_defaults),
    columns: &BINDING_COLUMNS,
    generation: true,
    unconditional_update: false,
    ..Kind::PLAIN
};

static BINDING_COLUMNS: [Column; 4] = [
    NAME,
    text("PolicyName", "The policy that it puts to work.", |object, _| json!(text_of(&object["spec"]["policyName"]))),
    text("ParamRef", "Where its parameters are.", |object, _| {
        let param = &object["spec"]["paramRef"];
        match (text_of(&param["name"]), text_of(&param["namespace"])) {
            (name, _) if name.is_empty() => json!("<unset>"),
            (name, namespace) if namespace.is_empty() => json!(format!("*/{name}")),
            (name, namespace) => json!(format!("{namespace}/{name}")),
        }
    }),
    AGE,
];

fn binding(object: &Value, errors: &mut FieldErrors) {
    let spec = Field::of(object).field("spec");
    spec.field("policyName").require_and_check(errors, names::dns1123_subdomain);
    let param = spec.field("paramRef");
    if param.is_set() {
        let (name, selector) = (param.field("name"), param.field("selector"));
        match (name.is_empty(), selector.is_set()) {
            (true, false) => param.required(errors, "one of name or selector must be specified"),
            (false, true) => name.forbidden(errors, "name and selector are mutually exclusive"),
            (false, false) => name.check(errors, names::path_segment),
            (true, true) => label_selector(&selector, errors),
        }
        let missing = param.field("parameterNotFoundAction");
        if missing.is_set() {
            missing.one_of_if_set(errors, &["Allow", "Deny"]);
        } else {
            missing.required(errors, "");
        }
    }
    let resources = spec.field("matchResources");
    if resources.is_set() {
        match_resources(&resources, errors);
    }
}
