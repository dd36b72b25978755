//! What upstream refuses inside of plugins' settings where Kubernetes' own types are used.

use kubewright_api::field::{FieldError, Path};
use kubewright_api::names;
use serde_json::Value;

use super::reader::Faults;

/// A label's key, or a name that looks like one.
pub(super) fn label_key(key: &str, path: &Path, faults: &mut Faults) {
    for rule in names::qualified_name(key) {
        faults.invalid(path, key, &rule);
    }
}

/// Whether a spread constraint names what to do, and one that there is.
pub(super) fn when_unsatisfiable(constraint: &Value, path: &Path, faults: &mut Faults) -> bool {
    let path = path.child("whenUnsatisfiable");
    match constraint["whenUnsatisfiable"].as_str().unwrap_or_default() {
        "DoNotSchedule" | "ScheduleAnyway" => return true,
        "" => faults.invalid.push(FieldError::required(&path, "can not be empty")),
        other => {
            faults.invalid.push(FieldError::not_supported(&path, other, &["DoNotSchedule", "ScheduleAnyway"]));
        }
    }
    false
}

/// A node selector: its terms are alternatives.
pub(super) fn node_selector(selector: &Value, path: &Path, faults: &mut Faults) {
    let path = path.child("nodeSelectorTerms");
    for (at, term) in selector["nodeSelectorTerms"].as_array().into_iter().flatten().enumerate() {
        node_selector_term(term, &path.index(at), faults);
    }
}

/// One term of it. What a term prefers is judged like a term, as upstream does, at the path of the list.
pub(super) fn node_selector_term(term: &Value, path: &Path, faults: &mut Faults) {
    for (list, rule) in [("matchExpressions", expression as Rule), ("matchFields", field as Rule)] {
        let path = path.child(list);
        for (at, requirement) in term[list].as_array().into_iter().flatten().enumerate() {
            rule(requirement, &path.index(at), faults);
        }
    }
}

type Rule = fn(&Value, &Path, &mut Faults);

fn values(requirement: &Value) -> Vec<&str> {
    requirement["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn expression(requirement: &Value, path: &Path, faults: &mut Faults) {
    label_key(requirement["key"].as_str().unwrap_or_default(), &path.child("key"), faults);
    let (given, at) = (values(requirement), path.child("values"));
    match requirement["operator"].as_str().unwrap_or_default() {
        "In" | "NotIn" if given.is_empty() => {
            faults.invalid(&at, Value::Null, "for 'in', 'notin' operators, values set can't be empty");
        }
        "In" | "NotIn" => {}
        "Exists" | "DoesNotExist" if !given.is_empty() => {
            faults.invalid(
                &at,
                requirement["values"].clone(),
                "values set must be empty for exists and does not exist",
            );
        }
        "Exists" | "DoesNotExist" => {}
        "Gt" | "Lt" => match &given[..] {
            [one] if one.parse::<i64>().is_ok() => {}
            [one] => faults.invalid(&at.index(0), *one, "for 'Gt', 'Lt' operators, the value must be an integer"),
            _ => {
                let rule = "for 'Gt', 'Lt' operators, exactly one value is required";
                faults.invalid(&at, requirement["values"].clone(), rule);
            }
        },
        other => {
            let all = ["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"];
            faults.invalid.push(FieldError::not_supported(&path.child("operator"), other, &all));
        }
    }
    for (number, value) in given.iter().enumerate() {
        for rule in names::label_value(value) {
            faults.invalid(&at.index(number), *value, &rule);
        }
    }
}

fn field(requirement: &Value, path: &Path, faults: &mut Faults) {
    match requirement["operator"].as_str().unwrap_or_default() {
        "In" | "NotIn" if values(requirement).len() == 1 => {}
        "In" | "NotIn" => faults.invalid(&path.child("values"), requirement["values"].clone(), "must have one element"),
        other => {
            faults.invalid.push(FieldError::not_supported(&path.child("operator"), other, &["In", "NotIn"]));
        }
    }
}
