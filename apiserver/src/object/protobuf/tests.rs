//! The two encodings held against each other.

use super::*;
use serde_json::json;

/// A field that holds bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    assert!(bytes.len() < 128);
    out.push(u8::try_from(bytes.len()).unwrap());
    out.extend_from_slice(bytes);
    out
}

fn varint(number: u8, value: u8) -> Vec<u8> {
    vec![number << 3, value]
}

fn object(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
    [MAGIC.to_vec(), field(1, &meta), field(2, raw), field(3, b""), field(4, b"")].concat()
}

#[test]
fn objects_read_as_their_json() {
    let entry = [field(1, b"app"), field(2, b"web")].concat();
    let time = [varint(1, 5), varint(2, 0)].concat();
    let metadata = [field(1, b"web"), field(2, b""), field(8, &time), field(11, &entry)].concat();
    let port = [field(1, b""), varint(2, 0), varint(3, 80), field(4, b"TCP")].concat();
    let quantity = [field(1, b"cpu"), field(2, &field(1, b"500m"))].concat();
    let container = [field(1, b"c"), field(2, b"i"), field(6, &port), field(8, &field(1, &quantity))].concat();
    let volume = [field(1, b"v"), field(2, &field(2, b""))].concat();
    let spec = [field(1, &volume), field(2, &container), varint(4, 0), varint(11, 0)].concat();
    let raw = [field(1, &metadata), field(2, &spec), field(3, b"")].concat();
    // Longer than one byte of length can say.
    let meta = [field(1, b"v1"), field(2, b"Pod")].concat();
    let length = u8::try_from(raw.len() % 128).unwrap() | 0x80;
    let bytes =
        [MAGIC.to_vec(), field(1, &meta), vec![2 << 3 | 2, length, u8::try_from(raw.len() / 128).unwrap()], raw];
    let expected = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "web", "creationTimestamp": "1970-01-01T00:00:05Z", "labels": { "app": "web" } },
        "spec": {
            "volumes": [{ "name": "v", "emptyDir": {} }],
            "containers": [{
                "name": "c", "image": "i", "ports": [{ "containerPort": 80, "protocol": "TCP" }],
                "resources": { "limits": { "cpu": "500m" } },
            }],
            // A pointer in Go: zero is a value.
            "terminationGracePeriodSeconds": 0,
        },
        "status": {},
    });
    assert_eq!(decode(&bytes.concat()).unwrap(), expected);
}

#[test]
fn lists_in_maps() {
    let extra = [field(1, b"k"), field(2, &[field(1, b"a"), field(1, b"b")].concat())].concat();
    let review = field(2, &[field(3, b"u"), field(5, &extra)].concat());
    let review = decode(&object("authorization.k8s.io/v1", "SubjectAccessReview", &review)).unwrap();
    assert_eq!(review["spec"], json!({ "user": "u", "extra": { "k": ["a", "b"] } }));
}

#[test]
fn options_come_under_any_group() {
    let options = decode(&object("apps/v1", "DeleteOptions", &varint(1, 0))).unwrap();
    assert_eq!(options["gracePeriodSeconds"], 0);
}

#[test]
fn garbage_is_refused() {
    assert!(decode(b"{}").is_err());
    let sound = object("v1", "ConfigMap", &field(1, &field(1, b"a")));
    assert!(decode(&sound).is_ok());
    assert!(decode(&sound[..sound.len() - 8]).is_err());
    assert!(decode(&object("v1", "Nothing", b"")).is_err());
}

fn compare(ours: &Value, theirs: &Value, at: &str, faults: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys()) {
                let none = Value::Null;
                let (a, b) = (a.get(key).unwrap_or(&none), b.get(key).unwrap_or(&none));
                compare(a, b, &format!("{at}.{key}"), faults);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).for_each(|(a, b)| compare(a, b, &format!("{at}[]"), faults));
        }
        _ if ours == theirs => {}
        _ => faults.push(format!("{at}: {ours} / {theirs}")),
    }
}

/// Kubernetes' own pairs of encodings where they are: in `shared/data/api` of a directory above.
fn samples() -> Option<std::path::PathBuf> {
    let mut directory = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    std::iter::from_fn(|| directory.pop().then(|| directory.join("shared/data/api"))).find(|path| path.is_dir())
}

#[test]
fn objects_are_the_same_whichever_way_they_come() {
    let Some(samples) = samples() else { return };
    let (mut compared, mut faults) = (0, Vec::new());
    for entry in std::fs::read_dir(samples).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let theirs: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let text = |field: &str| theirs[field].as_str().unwrap_or_default();
        // That one's specification is an object without fields, and it is not served.
        if type_of(text("apiVersion"), text("kind")).is_err() || text("kind") == "StorageVersion" {
            continue;
        }
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let protobuf = std::fs::read(file.with_extension("pb")).unwrap();
        match decode(&protobuf) {
            Ok(ours) => compare(&ours, &theirs, &name, &mut faults),
            Err(error) => faults.push(format!("{name}: {error}")),
        }
        match encode(&theirs) {
            Ok(ours) if ours == protobuf => {}
            Ok(ours) => {
                let at = ours.iter().zip(&protobuf).take_while(|(a, b)| a == b).count();
                let shown = |bytes: &[u8]| {
                    let end = bytes.len().min(at + 40);
                    String::from_utf8_lossy(&bytes[at.saturating_sub(40)..end]).into_owned()
                };
                faults.push(format!("{name} written at {at}:\n  {:?}\n  {:?}", shown(&ours), shown(&protobuf)));
            }
            Err(error) => faults.push(format!("{name}: {error}")),
        }
        compared += 1;
    }
    assert!(faults.is_empty(), "{compared} compared:\n{}", faults.join("\n"));
    assert!(compared > 90, "{compared}");
}

/// Every message within the messages of every resource that is served.
#[test]
fn every_built_in_type_can_be_written() {
    fn visit(shape: &'static Shape, seen: &mut Vec<&'static str>) {
        if let Some(inner) = shape.element() {
            visit(inner, seen);
        }
        let Some(ty) = shape.as_type().filter(|ty| !seen.contains(&ty.name)) else { return };
        seen.push(ty.name);
        visit_type(ty, seen);
    }
    fn visit_type(ty: &'static Type, seen: &mut Vec<&'static str>) {
        assert!(fields_of(ty.name).is_ok() || ty.fields.is_empty(), "{}", ty.name);
        ty.fields.iter().for_each(|field| visit(&field.shape, seen));
    }
    let mut seen = Vec::new();
    for row in kubewright_api::resources::built_in() {
        if let Some(ty) = schema::of_kind(row.group, row.version, row.kind) {
            visit_type(ty, &mut seen);
            let bare = serde_json::json!({ "apiVersion": row.api_version(), "kind": row.kind });
            assert_eq!(
                encode(&bare).map(|bytes| decode(&bytes).map(|object| object["kind"] == row.kind)),
                Ok(Ok(true))
            );
        }
    }
    assert!(seen.len() > 300, "{}", seen.len());
}

#[test]
fn schemas_of_definitions_come_and_go() {
    let schema = json!({
        "type": "object", "required": ["spec"], "maximum": 2.5, "minLength": 0, "default": { "a": [1, null] },
        "enum": ["x", 1, false], "x-kubernetes-preserve-unknown-fields": false,
        "properties": {
            "list": { "type": "array", "items": { "type": "string" }, "x-kubernetes-list-type": "set" },
            "tuple": { "items": [{ "type": "string" }, { "type": "integer" }] },
            "open": { "additionalProperties": true }, "closed": { "additionalProperties": false },
            "map": { "additionalProperties": { "type": "string" } },
        },
        "dependencies": { "a": ["b", "c"], "d": { "type": "object" } },
        "x-kubernetes-validations": [{ "rule": "true", "optionalOldSelf": true }],
    });
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "things.example.com" },
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": { "plural": "things", "kind": "Thing" },
            "versions": [{
                "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": schema },
                "subresources": { "status": {}, "scale": { "specReplicasPath": ".a", "statusReplicasPath": ".b" } },
            }],
        },
        "status": { "acceptedNames": {} },
    });
    let bytes = encode(&definition).unwrap();
    assert_eq!(decode(&bytes).unwrap(), definition);
    assert_eq!(encode(&decode(&bytes).unwrap()).unwrap(), bytes);
}

#[test]
fn lists_and_events_hold_messages() {
    let pods = [json!({ "metadata": { "name": "a" } }), json!({ "metadata": { "name": "b" } })];
    let ty = schema::of_kind("", "v1", "ConfigMap").unwrap();
    let items: Vec<_> = pods.iter().map(|pod| message(ty, pod).unwrap()).collect();
    let metadata = json!({ "resourceVersion": "7", "remainingItemCount": 0 });
    let length = items.iter().map(|item| item_size(item.len())).sum();
    let mut listed = list_head("v1", "ConfigMapList", &metadata, length).unwrap();
    items.iter().for_each(|item| put_item(&mut listed, item));
    listed.extend_from_slice(LIST_TAIL);
    let expected = json!({ "apiVersion": "v1", "kind": "ConfigMapList", "metadata": metadata, "items": pods.clone() });
    assert_eq!(decode(&listed).unwrap(), expected);
    assert_eq!(encode(&expected).unwrap(), listed);

    let object = envelope("v1", "ConfigMap", &items[0]);
    let frame = watch_frame("ADDED", &object);
    assert_eq!(usize::try_from(u32::from_be_bytes(frame[..4].try_into().unwrap())).unwrap(), frame.len() - 4);
    let fields: Vec<_> = Reader::new(&frame[4..]).map(Result::unwrap).collect();
    assert_eq!(fields[0], (1, Item::Bytes(b"ADDED")));
    let (2, Item::Bytes(raw)) = fields[1] else { panic!("{fields:?}") };
    assert_eq!(first(raw).unwrap(), Some(object.as_slice()));
}
