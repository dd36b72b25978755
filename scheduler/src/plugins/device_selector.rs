//! Expressions that select devices, in the Common Expression Language: `device` with its driver, attributes and capacity.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use kubewright_api::cel::{Budget, Env, Key, Program, Type, Value};

use crate::object::{Attribute, Device, DeviceSlice};

/// How many compiled expressions are kept; compiling one takes far longer than asking it.
const KEPT_MAX: usize = 256;

/// For how many slices of devices the verdicts of an expression are kept.
const SLICES_MAX: usize = 1 << 17;

/// What an expression says of each device of a slice.
pub(super) type Verdicts = Arc<[Result<bool, String>]>;

/// What an expression said of slices, which never change, by where they are in memory: a place is not given to another
/// slice while a weak reference to the first is kept.
type Said = HashMap<usize, (Weak<DeviceSlice>, Verdicts)>;

/// An expression, ready to be asked.
#[derive(Clone, Debug)]
pub(super) struct Selector {
    program: Arc<Program>,
    said: Arc<Mutex<Said>>,
}

impl Selector {
    /// Compiles an expression.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub(super) fn compile(text: &str) -> Result<Self, String> {
        let attributes = Type::map(Type::map(Type::Dyn));
        let capacity = Type::map(Type::map(Type::Named("kubernetes.Quantity")));
        let device = Type::object(
            "kubernetes.DRADevice",
            [
                ("driver", Type::String),
                ("allowMultipleAllocations", Type::Bool),
                ("attributes", attributes),
                ("capacity", capacity),
            ],
        );
        let program = Program::compile(text, &Env::new().with("device", device))
            .map_err(|error| format!("compilation failed: {error}"))?;
        match program.result() {
            // What an attribute is turns out when it is looked at.
            Type::Bool | Type::Dyn => Ok(Self { program: Arc::new(program), said: Arc::default() }),
            other => Err(format!("must evaluate to bool or the unknown type, not {other}")),
        }
    }

    /// Whether a device of that driver is selected.
    ///
    /// # Errors
    /// The expression asks for what isn't there, doesn't come to true or false, or costs more than upstream allows.
    pub(super) fn selects(&self, driver: &str, device: &Device) -> Result<bool, String> {
        let variables = [("device", as_value(driver, device)?)];
        match self.program.eval(&variables, &mut Budget::per_call()).map_err(|error| error.to_string())? {
            Value::Bool(selected) => Ok(selected),
            other => Err(format!("CEL result of type {} could not be converted to bool", other.type_name())),
        }
    }

    /// What is [said](Self::selects) of each device of a slice, which is asked about once.
    pub(super) fn verdicts(&self, slice: &Arc<DeviceSlice>) -> Verdicts {
        let place = Arc::as_ptr(slice).addr();
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, verdicts)) = said.get(&place) {
            return verdicts.clone();
        }
        let verdicts: Verdicts = slice.devices.iter().map(|device| self.selects(&slice.driver, device)).collect();
        if said.len() >= SLICES_MAX {
            said.retain(|_, (slice, _)| slice.strong_count() > 0);
            if said.len() >= SLICES_MAX {
                said.clear();
            }
        }
        said.insert(place, (Arc::downgrade(slice), verdicts.clone()));
        verdicts
    }
}

/// Compiled expressions by their text.
#[derive(Debug, Default)]
pub(super) struct Selectors(Mutex<HashMap<String, Selector>>);

impl Selectors {
    /// The expression, compiled now if it wasn't before.
    pub(super) fn get(&self, text: &str) -> Result<Selector, String> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kept.get(text) {
            return Ok(known.clone());
        }
        let selector = Selector::compile(text)?;
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(text.to_owned(), selector.clone());
        Ok(selector)
    }
}

/// A device as expressions see it: attributes and capacity by domain, where a domain that isn't there is empty.
fn as_value(driver: &str, device: &Device) -> Result<Value<'static>, String> {
    let mut attributes: BTreeMap<&str, Vec<(String, Value<'static>)>> = BTreeMap::new();
    let mut capacity = attributes.clone();
    for (name, attribute) in &device.attributes {
        let (domain, id) = name.split_once('/').unwrap_or((driver, name));
        let value = match attribute {
            Attribute::Bool(value) => Value::Bool(*value),
            Attribute::Int(value) => Value::Int(*value),
            Attribute::Text(value) => Value::text(value.as_str()),
            Attribute::Version(value) => {
                let broken = |error| format!("attribute {name}: parse semantic version: {error}");
                Value::semver(value).map_err(broken)?
            }
        };
        attributes.entry(domain).or_default().push((id.to_owned(), value));
    }
    for (name, amount) in &device.capacity {
        let (domain, id) = name.split_once('/').unwrap_or((driver, name));
        capacity.entry(domain).or_default().push((id.to_owned(), Value::Quantity(*amount)));
    }
    Ok(Value::map([
        ("driver".to_owned(), Value::text(driver)),
        ("allowMultipleAllocations".to_owned(), Value::Bool(device.shareable)),
        ("attributes".to_owned(), domains(attributes)),
        ("capacity".to_owned(), domains(capacity)),
    ]))
}

fn domains(all: BTreeMap<&str, Vec<(String, Value<'static>)>>) -> Value<'static> {
    let all = all.into_iter().map(|(domain, values)| (Key::String(domain.to_owned()), Value::map(values)));
    Value::MapOr(Arc::new(all.collect()), Arc::new(Value::map([])))
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
        let found = Selector::compile(text).and_then(|selector| selector.selects("gpu.example.com", &gpu()));
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
        check(r#"device.attributes["gpu.example.com"].model.matches("^[AH][0-9]+$")"#, Ok(true));
        check(r#""gpu.example.com" in device.attributes && !device.allowMultipleAllocations"#, Ok(true));
        check(r#"device.attributes["gpu.example.com"].?vendor.orValue("none") == "none""#, Ok(true));
    }

    #[test]
    fn what_is_wrong_is_told() {
        check(r#"device.attributes["gpu.example.com"].vendor == "x""#, Err("no such key: vendor"));
        check(r#"device.attributes["nobody"].vendor == "x""#, Err("no such key: vendor"));
        check(r#"false && device.attributes["nobody"].x"#, Ok(false));
        check(r#"device.attributes["nobody"].x && false"#, Ok(false));
        check("1", Err("must evaluate to bool or the unknown type, not int"));
        check(
            r#"device.attributes["dra.example.com"].index"#,
            Err("CEL result of type int could not be converted to bool"),
        );
        let at = "compilation failed: ERROR: <input>:1";
        check("a == 2", Err(&format!("{at}:1: undeclared reference to 'a' (in container '')\n | a == 2\n | ^")));
        check(
            "device.colour == 'red'",
            Err(&format!("{at}:7: undefined field 'colour'\n | device.colour == 'red'\n | ......^")),
        );
        check(
            "true true",
            Err(&format!("{at}:6: Syntax error: extraneous input 'true' expecting <EOF>\n | true true\n | .....^")),
        );
        check("9223372036854775807 + 1 > 0", Err("integer overflow"));
    }

    #[test]
    fn an_expression_that_costs_too_much_is_ended() {
        let list = format!("[{}]", vec!["1"; 200].join(","));
        let text = format!("cel.bind(l, {list}, l.all(a, l.all(b, l.all(c, a + b + c > 0))))");
        check(&text, Err("operation cancelled: actual cost limit exceeded"));
    }

    #[test]
    fn compiled_expressions_are_kept_up_to_a_bound() {
        let kept = Selectors::default();
        for number in 0..=KEPT_MAX {
            kept.get(&format!("{number} > 0")).unwrap();
        }
        assert_eq!(kept.0.lock().unwrap().len(), 1);
        assert!(kept.get("1 +").is_err() && kept.get("true").unwrap().selects("x", &gpu()).unwrap());
    }
}
