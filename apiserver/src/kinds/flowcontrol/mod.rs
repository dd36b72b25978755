//! FlowSchemas and PriorityLevelConfigurations.

mod levels;
mod schemas;

use kubewright_api::field::FieldErrors;
use serde_json::Value;

pub(crate) use self::levels::PRIORITY_LEVELS;
pub(crate) use self::schemas::FLOW_SCHEMAS;
use super::read::Field;
use super::same::same;

/// The cluster's own objects are what they must be, so that nobody locks themselves out.
fn fixed(object: &Field<'_>, must_be: fn(&str) -> Option<Value>, errors: &mut FieldErrors) {
    let (name, spec) = (object.at("metadata.name").text(), object.field("spec"));
    if let Some(wanted) = must_be(name)
        && !same(spec.value(), Some(&wanted))
    {
        spec.invalid(errors, format!("spec of '{name}' must equal the fixed value"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::levels::{level, level_that_must_be};
    use super::schemas::{schema, schema_that_must_be};
    use super::*;

    #[test]
    fn the_clusters_own_objects_are_what_they_must_be() {
        let check = |rule: fn(&Value, &mut FieldErrors), name: &str, spec: Value, expected: &[&str]| {
            let mut errors = FieldErrors::new();
            rule(&json!({"metadata": {"name": name}, "spec": spec}), &mut errors);
            let details: Vec<&str> = errors.iter().map(|error| error.detail.as_str()).collect();
            assert_eq!(details, expected, "{name}");
        };
        for name in ["exempt", "catch-all"] {
            let good = schema_that_must_be(name).unwrap();
            let mut bad = good.clone();
            bad["rules"] = json!([]);
            check(schema, name, good, &[]);
            check(schema, name, bad, &[&format!("spec of '{name}' must equal the fixed value")]);
        }
        let good = level_that_must_be("catch-all").unwrap();
        let mut bad = good.clone();
        bad["limited"]["nominalConcurrencyShares"] = json!(6);
        check(level, "catch-all", good, &[]);
        check(level, "catch-all", bad, &["spec of 'catch-all' must equal the fixed value"]);
        check(level, "exempt", json!({"type": "Exempt", "exempt": {"lendablePercent": 10}}), &[]);
    }
}
