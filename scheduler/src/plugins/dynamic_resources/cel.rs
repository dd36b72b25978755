//! Expressions that select devices: the part of the Common Expression Language that device selectors are made of.
//!
//! What is there: literals, lists, `device` with its driver, attributes and capacity, the operators, `in`, `?:`, `has`,
//! `exists`, `all`, `cel.bind`, string functions, quantities and semantic versions. Regular expressions are not.

mod eval;
mod parse;

use std::collections::BTreeMap;
use std::sync::Arc;

use kubewright_api::quantity::Quantity;

use crate::object::Device;

/// An expression, ready to be asked.
#[derive(Clone, Debug)]
pub(super) struct Selector(Arc<Expression>);

#[derive(Clone, Debug)]
enum Expression {
    Literal(Value),
    Name(String),
    Member(Box<Self>, String),
    Index(Box<Self>, Box<Self>),
    Call(Option<Box<Self>>, String, Vec<Self>),
    Not(Box<Self>),
    Negative(Box<Self>),
    Binary(&'static str, Box<Self>, Box<Self>),
    If(Box<Self>, Box<Self>, Box<Self>),
    List(Vec<Self>),
}

/// What an expression comes to.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(Arc<str>),
    Quantity(Quantity),
    Version([u64; 3], Arc<str>),
    List(Arc<[Self]>),
    Map(Arc<BTreeMap<String, Self>>),
    /// Attributes or capacity by domain: a domain that isn't there is empty.
    Domains(Arc<BTreeMap<String, Self>>),
}

impl Selector {
    /// Reads an expression.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        parse::parse(text).map(|expression| Self(Arc::new(expression)))
    }

    /// Whether a device of that driver is selected.
    ///
    /// # Errors
    /// The expression asks for what isn't there, or doesn't come to true or false.
    pub(super) fn selects(&self, driver: &str, device: &Device) -> Result<bool, String> {
        let device = eval::device(driver, device);
        match eval::Scope::new(&device).value(&self.0)? {
            Value::Bool(selected) => Ok(selected),
            _ => Err("the expression must come to true or false".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn gpu() -> Device {
        serde_json::from_value(json!({"name": "gpu-0", "attributes": {
            "model": {"string": "A100"}, "dra.example.com/index": {"int": 3},
            "healthy": {"bool": true}, "driverVersion": {"version": "1.20.3"}},
            "capacity": {"memory": {"value": "40Gi"}}}))
        .unwrap()
    }

    #[track_caller]
    fn check(text: &str, expected: Result<bool, &str>) {
        let found = Selector::parse(text).and_then(|selector| selector.selects("gpu.example.com", &gpu()));
        assert_eq!(found, expected.map_err(ToOwned::to_owned), "{text}");
    }

    #[test]
    fn devices_are_selected_by_what_they_are() {
        check("true", Ok(true));
        check(r#"device.driver == "gpu.example.com""#, Ok(true));
        check(r#"device.attributes["gpu.example.com"].model == 'A100' && true"#, Ok(true));
        check(r#"device.attributes["dra.example.com"].index >= 4"#, Ok(false));
        check(r#"device.attributes["gpu.example.com"].healthy ? 1 + 2 * 3 == 7 : false"#, Ok(true));
        check(r#"!(device.attributes["gpu.example.com"].model in ["H100", "B200"])"#, Ok(true));
        check(r#"device.capacity["gpu.example.com"].memory.compareTo(quantity("40Gi")) == 0"#, Ok(true));
        check(r#"device.capacity["gpu.example.com"].memory.isGreaterThan(quantity("41Gi"))"#, Ok(false));
        let newer = r#"device.attributes["gpu.example.com"].driverVersion.isGreaterThan(semver("1.3.0"))"#;
        check(newer, Ok(true));
        check(r#"device.attributes["gpu.example.com"].model.lowerAscii().startsWith("a1")"#, Ok(true));
        check(r#"has(device.attributes["gpu.example.com"].vendor)"#, Ok(false));
        check(r#""x" in device.attributes"#, Ok(false));
        check(r#"cel.bind(a, device.attributes["gpu.example.com"], a.healthy && a.model.size() == 4)"#, Ok(true));
        check(
            r#"["A1", "B1"].exists(prefix, device.attributes["gpu.example.com"].model.startsWith(prefix))"#,
            Ok(true),
        );
        check("[1, 2].all(n, n > 1)", Ok(false));
    }

    #[test]
    fn what_is_wrong_is_told() {
        check(r#"device.attributes["gpu.example.com"].vendor == "x""#, Err("no such key: vendor"));
        check(r#"device.attributes["nobody"].vendor == "x""#, Err("no such key: vendor"));
        check(r#"false && device.attributes["nobody"].x"#, Ok(false));
        check(r#"device.attributes["nobody"].x && false"#, Ok(false));
        check("1", Err("the expression must come to true or false"));
        check("1 == ", Err("the expression ends where a value is needed"));
        check("a + 1 == 2", Err("undeclared reference to 'a'"));
        check("1 + true == 2", Err("no such overload: +"));
        check("true true", Err("\"true\" is not needed at position 5"));
        check("9223372036854775807 + 1 > 0", Err("integer overflow"));
    }
}
