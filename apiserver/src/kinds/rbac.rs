//! Roles and bindings.

use kubewright_api::field::{FieldError, FieldErrors};
use kubewright_api::names;
use serde_json::{Value, json};

use super::edit::{default_text, each, ensure};
use super::kind::Kind;
use super::read::Field;
use super::validate::labels::label_selector;
use crate::registry::Column;
use crate::table::{AGE, NAME, date, text, text_of, wide};

const GROUP: &str = "rbac.authorization.k8s.io";

/// When a role was made: roles show a time where others show an age.
const CREATED: Column =
    date("Created At", "When it was created.", |object, _| json!(text_of(&object["metadata"]["creationTimestamp"])));

/// Roles.
pub(crate) static ROLES: Kind = Kind {
    validate: |object, errors| rules(object, true, errors),
    name: names::path_segment,
    columns: &[NAME, CREATED],
    create_on_update: true,
    ..Kind::PLAIN
};

/// ClusterRoles.
pub(crate) static CLUSTER_ROLES: Kind = Kind {
    validate: |object, errors| {
        rules(object, false, errors);
        let aggregation = Field::of(object).field("aggregationRule");
        let selectors = aggregation.field("clusterRoleSelectors");
        if aggregation.is_set() && selectors.is_empty() {
            selectors.required(errors, "at least one clusterRoleSelector required if aggregationRule is non-nil");
        }
        selectors.items().for_each(|selector| label_selector(&selector, errors));
    },
    name: names::path_segment,
    columns: &[NAME, CREATED],
    create_on_update: true,
    ..Kind::PLAIN
};

/// RoleBindings.
pub(crate) static ROLE_BINDINGS: Kind = Kind {
    validate: |object, errors| binding(object, true, errors),
    validate_update: Some(|object, old, errors| binding_update(object, old, true, errors)),
    ..BINDINGS
};

/// ClusterRoleBindings.
pub(crate) static CLUSTER_ROLE_BINDINGS: Kind = Kind {
    validate: |object, errors| binding(object, false, errors),
    validate_update: Some(|object, old, errors| binding_update(object, old, false, errors)),
    ..BINDINGS
};

const BINDINGS: Kind = Kind {
    default: |object| {
        if let Some(role) = ensure(object, "roleRef") {
            default_text(role, "apiGroup", GROUP);
        }
        for subject in each(object, "subjects") {
            if matches!(subject["kind"].as_str(), Some("User" | "Group")) {
                default_text(subject, "apiGroup", GROUP);
            }
        }
    },
    name: names::path_segment,
    columns: &COLUMNS,
    create_on_update: true,
    ..Kind::PLAIN
};

fn rules(object: &Value, namespaced: bool, errors: &mut FieldErrors) {
    for rule in Field::of(object).field("rules").items() {
        let verbs = rule.field("verbs");
        if verbs.is_empty() {
            verbs.required(errors, "verbs must contain at least one value");
        }
        let (urls, groups, resources) =
            (rule.field("nonResourceURLs"), rule.field("apiGroups"), rule.field("resources"));
        if !urls.is_empty() {
            if namespaced {
                urls.invalid(errors, "namespaced rules cannot apply to non-resource URLs");
            }
            if !groups.is_empty() || !resources.is_empty() || !rule.field("resourceNames").is_empty() {
                urls.invalid(errors, "rules cannot apply to both regular resources and non-resource URLs");
            }
            continue;
        }
        if groups.is_empty() {
            groups.required(errors, "resource rules must supply at least one api group");
        }
        if resources.is_empty() {
            resources.required(errors, "resource rules must supply at least one resource");
        }
    }
}

fn group_is(field: &Field<'_>, group: &str, errors: &mut FieldErrors) {
    if field.text() != group {
        errors.push(FieldError::not_supported_in_order(&field.path(), field.text(), &[group]));
    }
}

fn binding(object: &Value, namespaced: bool, errors: &mut FieldErrors) {
    let object = Field::of(object);
    let role = object.field("roleRef");
    group_is(&role.field("apiGroup"), GROUP, errors);
    let kinds: &[&str] = if namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    let kind = role.field("kind");
    if !kinds.contains(&kind.text()) {
        errors.push(FieldError::not_supported_in_order(&kind.path(), kind.text(), kinds));
    }
    role.field("name").require_and_check(errors, names::path_segment);
    for subject in object.field("subjects").items() {
        let (name, group) = (subject.field("name"), subject.field("apiGroup"));
        name.require(errors);
        match subject.field("kind").text() {
            "ServiceAccount" => {
                name.check_if_set(errors, names::dns1123_subdomain);
                if !group.is_empty() {
                    group_is(&group, "", errors);
                }
                if !namespaced {
                    subject.field("namespace").require(errors);
                }
            }
            "User" | "Group" => group_is(&group, GROUP, errors),
            other => {
                let path = subject.field("kind").path();
                errors.push(FieldError::not_supported_in_order(&path, other, &["ServiceAccount", "User", "Group"]));
            }
        }
    }
}

fn binding_update(object: &Value, old: &Value, namespaced: bool, errors: &mut FieldErrors) {
    binding(object, namespaced, errors);
    let role = Field::of(object).field("roleRef");
    if !role.same_as(&Field::of(old).field("roleRef")) {
        role.invalid(errors, "cannot change roleRef");
    }
}

static COLUMNS: [Column; 6] = [
    NAME,
    text("Role", "The role that is granted.", |object, _| {
        json!(format!("{}/{}", text_of(&object["roleRef"]["kind"]), text_of(&object["roleRef"]["name"])))
    }),
    AGE,
    wide(text("Users", "Users that it is granted to.", |object, _| json!(subjects(object, "User")))),
    wide(text("Groups", "Groups that it is granted to.", |object, _| json!(subjects(object, "Group")))),
    wide(text("ServiceAccounts", "Service accounts that it is granted to.", |object, _| {
        json!(subjects(object, "ServiceAccount"))
    })),
];

fn subjects(object: &Value, kind: &str) -> String {
    let subjects = object["subjects"].as_array().into_iter().flatten().filter(|subject| subject["kind"] == kind);
    let shown = |subject: &Value| match (kind, text_of(&subject["namespace"]), text_of(&subject["name"])) {
        ("ServiceAccount", namespace, name) if !namespace.is_empty() => format!("{namespace}/{name}"),
        (_, _, name) => name,
    };
    subjects.map(shown).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Strategy;

    #[test]
    fn bindings() {
        let check = |kind: &Kind, mut object: Value, expected: &[&str]| {
            kind.default(&mut object);
            let texts: Vec<String> = kind.validate(&object).iter().map(ToString::to_string).collect();
            assert_eq!(texts, expected, "{object}");
        };
        let role = json!({"kind": "ClusterRole", "name": "admin"});
        let user = json!({"kind": "User", "name": "jane"});
        check(&ROLE_BINDINGS, json!({"roleRef": role, "subjects": [user]}), &[]);
        let account = json!({"kind": "ServiceAccount", "name": "a"});
        check(
            &CLUSTER_ROLE_BINDINGS,
            json!({"roleRef": role, "subjects": [account]}),
            &["subjects[0].namespace: Required value"],
        );
        let wrong = json!({"kind": "Role", "name": "a"});
        let why = "roleRef.kind: Unsupported value: \"Role\": supported values: \"ClusterRole\"";
        check(&CLUSTER_ROLE_BINDINGS, json!({"roleRef": wrong}), &[why]);
        let rule = json!({"rules": [{"verbs": [], "apiGroups": [""], "resources": ["pods"]}]});
        check(&ROLES, rule, &["rules[0].verbs: Required value: verbs must contain at least one value"]);
    }
}
