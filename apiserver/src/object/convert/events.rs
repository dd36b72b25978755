//! `events.k8s.io/v1` over core `v1`: the same event under other names.

use serde_json::Value;

use super::Conversion;

const NAMES: [(&str, &str); 7] = [
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

pub(super) const CONVERSION: Conversion = Conversion { to_storage, from_storage, field };

fn to_storage(mut event: Value) -> Value {
    rename(&mut event, NAMES.iter().copied());
    event["apiVersion"] = "v1".into();
    event
}

fn from_storage(mut event: Value) -> Value {
    rename(&mut event, NAMES.iter().map(|(new, old)| (*old, *new)));
    event["apiVersion"] = "events.k8s.io/v1".into();
    event
}

fn rename<'a>(event: &mut Value, names: impl Iterator<Item = (&'a str, &'a str)>) {
    let Some(fields) = event.as_object_mut() else { return };
    for (from, to) in names {
        if let Some(value) = fields.remove(from) {
            fields.insert(to.to_owned(), value);
        }
    }
}

fn field(path: &str) -> &str {
    match path {
        "regarding.kind" => "involvedObject.kind",
        "regarding.namespace" => "involvedObject.namespace",
        "regarding.name" => "involvedObject.name",
        "regarding.uid" => "involvedObject.uid",
        "regarding.apiVersion" => "involvedObject.apiVersion",
        "regarding.resourceVersion" => "involvedObject.resourceVersion",
        "regarding.fieldPath" => "involvedObject.fieldPath",
        "reportingController" => "reportingComponent",
        path => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn there_and_back() {
        let new = json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": { "name": "e" }, "note": "n",
            "regarding": { "kind": "Pod" }, "reportingController": "c", "deprecatedCount": 2, "reason": "r",
        });
        let old = to_storage(new.clone());
        let expected = json!({
            "apiVersion": "v1", "kind": "Event", "metadata": { "name": "e" }, "message": "n",
            "involvedObject": { "kind": "Pod" }, "reportingComponent": "c", "count": 2, "reason": "r",
        });
        assert_eq!(old, expected);
        assert_eq!(from_storage(old), new);
    }
}
