//! Admission policies and their bindings.

use kubewright_api::field::{FieldError, FieldErrors};
use kubewright_api::names;
use serde_json::{Value, json};

use super::expressions::{Known, is_identifier};
use super::{count, match_conditions, match_defaults, rule};
use crate::cel::Type;
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
        let known = policy(&spec, false, errors);
        let (validations, annotations) = (spec.field("validations"), spec.field("auditAnnotations"));
        if validations.is_empty() && annotations.is_empty() {
            validations.required(errors, "validations or auditAnnotations must contain at least one item");
            annotations.required(errors, "validations or auditAnnotations must contain at least one item");
        }
        validations.items().for_each(|one| validation(&one, &known, errors));
        audit_annotations(&annotations, object["metadata"]["name"].as_str().unwrap_or_default(), &known, errors);
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
        let known = policy(&spec, true, errors);
        let mutations = spec.field("mutations");
        if mutations.is_empty() {
            mutations.required(errors, "mutations must contain at least one item");
        }
        mutations.items().for_each(|one| mutation(&one, &known, errors));
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

/// The longest `valueExpression` of an audit annotation, in bytes.
const VALUE_EXPRESSION_MAX: usize = 5 * 1024;
/// How many audit annotations a policy may have.
const AUDIT_ANNOTATIONS_MAX: usize = 20;

fn validation(one: &Field<'_>, known: &Known, errors: &mut FieldErrors) {
    let expression = one.field("expression");
    if expression.text().trim().is_empty() {
        expression.required(errors, "expression is not specified");
    } else {
        known.check(&expression, true, Some(Type::Bool), errors);
    }
    let (message, computed) = (one.field("message"), one.field("messageExpression"));
    if !computed.text().trim().is_empty() {
        known.check(&computed, false, Some(Type::String), errors);
    } else if !computed.text().is_empty() {
        computed.invalid(errors, "must be non-empty if specified");
    }
    if !message.text().is_empty() && message.text().trim().is_empty() {
        message.invalid(errors, "must be non-empty if specified");
    } else if message.text().trim().contains(['\n', '\r']) {
        message.invalid(errors, "must not contain line breaks");
    }
    let reasons = ["Forbidden", "Invalid", "RequestEntityTooLarge"];
    if one.field("reason").is_set() {
        one.field("reason").one_of_if_set(errors, &reasons);
    }
}

fn audit_annotations(list: &Field<'_>, policy: &str, known: &Known, errors: &mut FieldErrors) {
    if list.len() > AUDIT_ANNOTATIONS_MAX {
        list.invalid(errors, format!("must not have more than {AUDIT_ANNOTATIONS_MAX} auditAnnotations"));
    }
    let mut seen = Vec::new();
    for annotation in list.items() {
        let (key, value) = (annotation.field("key"), annotation.field("valueExpression"));
        if policy.is_empty() {
            key.invalid(errors, "requires metadata.name be non-empty");
        } else {
            let name = format!("{policy}/{}", key.text());
            for fault in names::qualified_name(&name) {
                key.invalid_value(errors, name.as_str(), fault);
            }
        }
        if seen.contains(&key.text()) {
            key.duplicate(errors);
        }
        seen.push(key.text());
        let text = value.text().trim();
        if text.is_empty() {
            value.required(errors, "valueExpression is not specified");
        } else if text.len() > VALUE_EXPRESSION_MAX {
            value.required(errors, &format!("must not exceed {VALUE_EXPRESSION_MAX} bytes in length"));
        } else {
            let result = known.check(&value, true, None, errors);
            if let Some(other) = result.filter(|ty| !matches!(ty, Type::String | Type::Null | Type::Dyn)) {
                value.invalid(errors, format!("must evaluate to one of [string null_type] but got {other}"));
            }
        }
    }
}

fn mutation(one: &Field<'_>, known: &Known, errors: &mut FieldErrors) {
    let kind = one.field("patchType");
    kind.one_of(errors, &["ApplyConfiguration", "JSONPatch"]);
    let (patch, apply) = (one.field("jsonPatch"), one.field("applyConfiguration"));
    let (own, other, placeholder) = match kind.text() {
        "JSONPatch" => (patch, apply, "{applyConfiguration}"),
        "ApplyConfiguration" => (apply, patch, "{jsonPatch}"),
        _ => return,
    };
    if !own.is_set() {
        own.required(errors, &format!("must be specified when patchType is {}", kind.text()));
    } else if own.field("expression").text().trim().is_empty() {
        own.field("expression").required(errors, "");
    } else {
        let returns = match kind.text() {
            "JSONPatch" => Type::list(Type::json_patch()),
            _ => Type::made("Object"),
        };
        known.check_mutation(&own.field("expression"), returns, errors);
    }
    if other.is_set() {
        other.invalid_value(errors, placeholder, format!("must not be specified when patchType is {}", kind.text()));
    }
}

/// Checks what policies have in common; gives what their expressions may name. `composes` says whether there are
/// always variables, if only none.
fn policy(spec: &Field<'_>, composes: bool, errors: &mut FieldErrors) -> Known {
    spec.field("failurePolicy").one_of(errors, &["Fail", "Ignore"]);
    let param = spec.field("paramKind");
    if param.is_set() {
        let (version, kind) = (param.field("apiVersion"), param.field("kind"));
        if version.require(errors) {
            param_version(&version, errors);
        }
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
        if composes {
            mutable(&constraints, errors);
        }
    } else {
        constraints.required(errors, "");
    }
    match_conditions(&spec.field("matchConditions"), param.is_set(), errors);
    let variables = spec.field("variables");
    let composes = composes || !variables.is_empty();
    let mut known = Known { params: param.is_set(), variables: composes.then(Default::default) };
    for variable in variables.items() {
        let (name, expression) = (variable.field("name"), variable.field("expression"));
        if name.text().trim().is_empty() {
            name.required(errors, "name is not specified");
        } else if !is_identifier(name.text()) {
            name.invalid(errors, "must be a valid CEL identifier");
        }
        let mut ty = Type::Dyn;
        if expression.text().trim().is_empty() {
            expression.required(errors, "expression is not specified");
        } else if let Some(result) = known.check(&expression, true, None, errors) {
            ty = result;
        }
        // Of several of one name the last counts, as upstream.
        if let Some(variables) = &mut known.variables {
            variables.insert(name.text().to_owned(), ty);
        }
    }
    known
}

/// Group and version of a policy's parameters.
fn param_version(field: &Field<'_>, errors: &mut FieldErrors) {
    let text = field.text();
    let (group, version) = text.split_once('/').unwrap_or(("", text));
    if version.contains('/') {
        return field.invalid(errors, format!("unexpected GroupVersion string: {text}"));
    }
    let mut wrong = |part: &str, faults: Vec<String>| {
        if !faults.is_empty() {
            field.invalid_value(errors, part, faults.join(","));
        }
    };
    if !group.is_empty() {
        wrong(group, names::dns1123_subdomain(group));
    }
    match version {
        "" => wrong(text, vec!["version must be specified".to_owned()]),
        version => wrong(version, names::dns1035_label(version)),
    }
}

/// What mutating policies may be for.
const CHANGED: [&str; 4] = ["*", "CONNECT", "CREATE", "UPDATE"];

/// What is deleted can't be changed.
fn mutable(constraints: &Field<'_>, errors: &mut FieldErrors) {
    let rules = constraints.field("resourceRules");
    for operation in rules.items().flat_map(|one| one.field("operations").items()) {
        if !CHANGED.contains(&operation.text()) {
            let path = rules.path().child("operations");
            errors.push(FieldError::not_supported(&path, operation.raw(), &CHANGED));
        }
    }
}

fn match_resources(constraints: &Field<'_>, errors: &mut FieldErrors) {
    constraints.field("matchPolicy").one_of(errors, &["Equivalent", "Exact"]);
    label_selector(&constraints.field("namespaceSelector"), errors);
    label_selector(&constraints.field("objectSelector"), errors);
    for one in ["resourceRules", "excludeResourceRules"].into_iter().flat_map(|list| constraints.field(list).items()) {
        let mut seen = Vec::new();
        for name in one.field("resourceNames").items() {
            name.check(errors, names::path_segment);
            if seen.contains(&name.text()) {
                name.duplicate(errors);
            }
            seen.push(name.text());
        }
        rule(&one, errors);
    }
}

/// ValidatingAdmissionPolicyBindings.
pub(crate) static VALIDATING_POLICY_BINDINGS: Kind = Kind {
    validate: |object, errors| {
        binding(object, errors);
        let actions = Field::of(object).at("spec.validationActions");
        if actions.is_empty() {
            actions.required(errors, "at least one validation action is required");
        }
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
pub(crate) static MUTATING_POLICY_BINDINGS: Kind = Kind {
    validate: |object, errors| {
        binding(object, errors);
        mutable(&Field::of(object).at("spec.matchResources"), errors);
    },
    ..BINDINGS
};

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
        let (named, selected) = (!name.is_empty(), selector.is_set());
        if named {
            name.check(errors, names::path_segment);
        }
        if named && selected {
            name.forbidden(errors, "name and selector are mutually exclusive");
        }
        if selected {
            label_selector(&selector, errors);
        }
        if named && selected {
            selector.forbidden(errors, "name and selector are mutually exclusive");
        }
        if !named && !selected {
            param.required(errors, "one of name or selector must be specified");
        }
        let missing = param.field("parameterNotFoundAction");
        match missing.text() {
            "" => missing.required(errors, ""),
            "Allow" | "Deny" => {}
            // In upstream's order.
            other => errors.push(FieldError::not_supported_in_order(&missing.path(), other, &["Deny", "Allow"])),
        }
    }
    let resources = spec.field("matchResources");
    if resources.is_set() {
        match_resources(&resources, errors);
    }
}
