//! The field and label selectors that a review is about.

use kubewright_api::field::{FieldError, FieldErrors, Path};
use kubewright_api::selector::{FieldRequirement, FieldSelector};
use serde_json::Value;

/// What is wrong with the selectors of `resourceAttributes`, in upstream's words. Operators that are not known are no
/// fault: newer clients may know more.
pub(super) fn check(attributes: &Value, path: &Path) -> FieldErrors {
    let mut faults = FieldErrors::new();
    for field in ["fieldSelector", "labelSelector"] {
        let (given, path) = (&attributes[field], path.child(field));
        if !given.is_object() {
            continue;
        }
        let raw = given["rawSelector"].as_str().unwrap_or_default();
        let requirements = given["requirements"].as_array().map_or(&[][..], Vec::as_slice);
        match (raw.is_empty(), requirements.is_empty()) {
            (false, false) => {
                let why = "may not specified at the same time as requirements";
                faults.push(FieldError::invalid(&path.child("rawSelector"), raw, why));
            }
            (true, true) => {
                let why = format!("when {path} is specified, requirements or rawSelector is required");
                faults.push(FieldError::required(&path.child("requirements"), why));
            }
            _ => {}
        }
        for (at, requirement) in requirements.iter().enumerate() {
            check_requirement(requirement, &path.child("requirements").index(at), &mut faults);
        }
    }
    faults
}

fn check_requirement(requirement: &Value, path: &Path, faults: &mut FieldErrors) {
    let values = requirement["values"].as_array().map_or(0, Vec::len);
    let at = path.child("values");
    match requirement["operator"].as_str().unwrap_or_default() {
        "In" | "NotIn" if values == 0 => {
            let why = "must be specified when `operator` is 'In' or 'NotIn'";
            faults.push(FieldError::required(&at, why));
        }
        "Exists" | "DoesNotExist" if values > 0 => {
            let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            faults.push(FieldError::forbidden(&at, why));
        }
        _ => {}
    }
    if requirement["key"].as_str().unwrap_or_default().is_empty() {
        faults.push(FieldError::required(&path.child("key"), "must be specified"));
    }
}

/// The field selector as text. What a text can't say is left out, which asks for more and never less.
pub(super) fn of_fields(given: &Value) -> String {
    if let Some(raw) = given["rawSelector"].as_str() {
        return raw.to_owned();
    }
    let requirement = |requirement: &Value| {
        let equal = match requirement["operator"].as_str()? {
            "In" => true,
            "NotIn" => false,
            _ => return None,
        };
        let [value] = requirement["values"].as_array()?.as_slice() else { return None };
        Some(FieldRequirement { field: requirement["key"].as_str()?.into(), value: value.as_str()?.into(), equal })
    };
    let requirements = given["requirements"].as_array().into_iter().flatten().filter_map(requirement).collect();
    FieldSelector { requirements }.to_string()
}

/// The label selector as text. What a text can't say is left out, which asks for more and never less.
pub(super) fn of_labels(given: &Value) -> String {
    if let Some(raw) = given["rawSelector"].as_str() {
        return raw.to_owned();
    }
    let requirement = |requirement: &Value| {
        let key = requirement["key"].as_str()?;
        let values = requirement["values"].as_array().into_iter().flatten();
        let values = values.map(Value::as_str).collect::<Option<Vec<_>>>()?.join(",");
        Some(match requirement["operator"].as_str()? {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_owned(),
            "DoesNotExist" => format!("!{key}"),
            _ => return None,
        })
    };
    let requirements = given["requirements"].as_array().into_iter().flatten().filter_map(requirement);
    requirements.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn requirements_become_text() {
        let requirement =
            |key: &str, operator: &str, values: &[&str]| json!({"key": key, "operator": operator, "values": values});
        let given = json!({"requirements": [requirement("a", "In", &["x", "y"]), requirement("b", "NotIn", &["z"]),
            requirement("c", "Exists", &[]), requirement("d", "DoesNotExist", &[]), requirement("e", "Newer", &["1"])]});
        assert_eq!(of_labels(&given), "a in (x,y),b notin (z),c,!d");
        let given = json!({"requirements": [requirement("spec.nodeName", "In", &["n,1"]), requirement("b", "NotIn", &["z"]),
            requirement("c", "In", &["x", "y"]), requirement("d", "Exists", &[])]});
        assert_eq!(of_fields(&given), "spec.nodeName=n\\,1,b!=z");
        assert_eq!(of_labels(&json!({"rawSelector": "a=b"})), "a=b");
    }

    #[test]
    fn faults_are_upstreams() {
        let faults = |selector: Value| -> Vec<String> {
            let found = check(&json!({ "labelSelector": selector }), &Path::new("at"));
            found.iter().map(ToString::to_string).collect()
        };
        let at = "at.labelSelector";
        let both = json!({"rawSelector": "a", "requirements": [{"key": "a", "operator": "Exists"}]});
        let why = "Invalid value: \"a\": may not specified at the same time as requirements";
        assert_eq!(faults(both), [format!("{at}.rawSelector: {why}")]);
        let why = format!("Required value: when {at} is specified, requirements or rawSelector is required");
        assert_eq!(faults(json!({})), [format!("{at}.requirements: {why}")]);
        let bad = json!({"requirements": [{"operator": "In"}]});
        assert_eq!(faults(bad).len(), 2);
    }
}
