//! The field and label selectors that a review is about.

use kubewright_api::field::{FieldError, FieldErrors, Path};
use kubewright_api::names;
use kubewright_api::selector::{FieldRequirement, FieldSelector, LabelSelector};
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
            let path = path.child("requirements").index(at);
            if field == "fieldSelector" {
                check_key(requirement, &path, &mut faults);
                check_operator(requirement, &path, &mut faults);
            } else {
                check_operator(requirement, &path, &mut faults);
                check_label(requirement, &path, &mut faults);
            }
        }
    }
    faults
}

fn check_key(requirement: &Value, path: &Path, faults: &mut FieldErrors) {
    if requirement["key"].as_str().unwrap_or_default().is_empty() {
        faults.push(FieldError::required(&path.child("key"), "must be specified"));
    }
}

fn check_operator(requirement: &Value, path: &Path, faults: &mut FieldErrors) {
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
}

fn check_label(requirement: &Value, path: &Path, faults: &mut FieldErrors) {
    let key = requirement["key"].as_str().unwrap_or_default();
    faults.extend(names::qualified_name(key).into_iter().map(|why| FieldError::invalid(&path.child("key"), key, why)));
    for (at, value) in requirement["values"].as_array().into_iter().flatten().enumerate() {
        let (value, path) = (value.as_str().unwrap_or_default(), path.child("values").index(at));
        faults.extend(names::label_value(value).into_iter().map(|why| FieldError::invalid(&path, value, why)));
    }
}

/// The field selector as text, and whether something was left out that a text can't say: that asks for more and never less.
pub(super) fn of_fields(given: &Value) -> (String, bool) {
    if let Some(raw) = raw(given) {
        let readable = FieldSelector::parse(raw).is_ok();
        return (if readable { raw.to_owned() } else { String::new() }, !readable);
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
    let all = requirements(given);
    let requirements: Vec<_> = all.iter().filter_map(requirement).collect();
    let ignored = requirements.len() < all.len();
    (FieldSelector { requirements }.to_string(), ignored)
}

/// The label selector as text, and whether something was left out that a text can't say: that asks for more and never less.
pub(super) fn of_labels(given: &Value) -> (String, bool) {
    if let Some(raw) = raw(given) {
        let readable = LabelSelector::parse(raw).is_ok();
        return (if readable { raw.to_owned() } else { String::new() }, !readable);
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
    let all = requirements(given);
    let requirements: Vec<_> = all.iter().filter_map(requirement).collect();
    (requirements.join(","), requirements.len() < all.len())
}

fn raw(given: &Value) -> Option<&str> {
    given["rawSelector"].as_str().filter(|raw| !raw.is_empty())
}

fn requirements(given: &Value) -> &[Value] {
    given["requirements"].as_array().map_or(&[], Vec::as_slice)
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
        assert_eq!(of_labels(&given), ("a in (x,y),b notin (z),c,!d".to_owned(), true));
        let given = json!({"requirements": [requirement("spec.nodeName", "In", &["n,1"]), requirement("b", "NotIn", &["z"]),
            requirement("c", "In", &["x", "y"]), requirement("d", "Exists", &[])]});
        assert_eq!(of_fields(&given), ("spec.nodeName=n\\,1,b!=z".to_owned(), true));
        assert_eq!(of_labels(&json!({"rawSelector": "a=b"})), ("a=b".to_owned(), false));
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
        let bad = json!({"requirements": [{"operator": "In"}, {"key": "a", "operator": "In", "values": ["a b"]}]});
        let bad = faults(bad);
        assert!(bad[0].starts_with(&format!("{at}.requirements[0].values: Required value")), "{bad:?}");
        assert!(bad[1].starts_with(&format!("{at}.requirements[0].key: Invalid value: \"\"")), "{bad:?}");
        assert!(
            bad.last().unwrap().starts_with(&format!("{at}.requirements[1].values[0]: Invalid value: \"a b\"")),
            "{bad:?}"
        );
    }
}
