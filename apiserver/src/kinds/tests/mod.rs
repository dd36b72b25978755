//! Kind by kind: what defaults fill in, which faults are found, in upstream's words.

mod every_kind;
mod other_rules;
mod pod_rules;
mod samples;
mod service_rules;
mod workload_rules;

use serde_json::Value;

use super::strategy;

/// The faults of a new object after defaults.
fn faults(group: &str, resource: &str, object: &Value) -> Vec<String> {
    let strategy = strategy(group, resource);
    let mut object = object.clone();
    strategy.default(&mut object);
    strategy.validate(&object).iter().map(ToString::to_string).collect()
}

/// The faults of a change after defaults.
fn update_faults(group: &str, resource: &str, object: &Value, old: &Value) -> Vec<String> {
    let strategy = strategy(group, resource);
    let (mut object, mut old) = (object.clone(), old.clone());
    strategy.default(&mut object);
    strategy.default(&mut old);
    strategy.validate_update(&object, &old).iter().map(ToString::to_string).collect()
}

/// An object with one value set, or removed by `null`, at a JSON pointer. Missing parents are made.
fn with(object: &Value, pointer: &str, value: Value) -> Value {
    let mut object = object.clone();
    let mut here = &mut object;
    let (parents, last) = pointer.rsplit_once('/').unwrap();
    for part in parents.split('/').skip(1) {
        here = match part.parse::<usize>() {
            Ok(at) if here.is_array() => &mut here[at],
            _ => &mut here[part],
        };
    }
    match last.parse::<usize>() {
        Ok(at) if here.is_array() => here[at] = value,
        _ if value.is_null() => drop(here.as_object_mut().unwrap().remove(last)),
        _ => here[last] = value,
    }
    object
}
