//! Whatever comes in, nothing panics; and what must agree agrees. Every run does the same: the seed is fixed.

use kubewright_api::schema::{self, Shape, Type};
use kubewright_api::selector::{FieldSelector, LabelSelector};
use kubewright_apiserver::cel::{self, Budget, Env, Program};
use kubewright_apiserver::object::decode::{self, Expected, FieldValidation, Format};
use kubewright_apiserver::object::protobuf;
use kubewright_apiserver::object::typed::Schema;
use kubewright_apiserver::patch::apply::apply;
use kubewright_apiserver::patch::managed::{Manager, Operation};
use kubewright_apiserver::patch::{self, strategic};
use kubewright_apiserver::request::Warnings;
use serde_json::{Map, Value, json};

/// Numbers that look random (xorshift).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit.max(1) as u64).unwrap()
    }

    pub(crate) fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }

    /// The same bytes with some changed, dropped, doubled or put in.
    pub(crate) fn mutate(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = bytes.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(out.len());
            match self.below(5) {
                0 if !out.is_empty() => out[at] = self.next().to_le_bytes()[0],
                1 if !out.is_empty() => drop(out.remove(at)),
                2 => out.insert(at, self.pick(&[b"{", b"[", b"\"", b"\\", b"(", b",", b"\xff", b"0"])[0]),
                3 => out.truncate(at),
                _ => {
                    let end = at + self.below(out.len() - at.min(out.len()));
                    let part = out[at..end].to_vec();
                    out.splice(at..at, part);
                }
            }
        }
        out
    }

    fn text(&mut self) -> String {
        self.pick(&["", "a", "web", "TCP", "1", "a/b", "100m", "{}", "\u{1F680}", "kubernetes.io/x"]).to_owned()
    }

    /// A value of that shape, or now and then of another.
    fn value(&mut self, shape: &'static Shape, depth: usize) -> Value {
        match shape {
            _ if self.below(60) == 0 => {
                self.pick(&[&json!(null), &json!("x"), &json!(-1), &json!([]), &json!({})]).clone()
            }
            Shape::Int32 | Shape::Int64 => {
                self.pick(&[&json!(0), &json!(1), &json!(-1), &json!(2_147_483_647)]).clone()
            }
            Shape::Number => json!(0.5),
            Shape::Boolean => (self.below(2) == 0).into(),
            Shape::IntOrString => self.pick(&[&json!(80), &json!("http"), &json!("25%"), &json!(0)]).clone(),
            Shape::Quantity => self.pick(&["1", "100m", "1Gi", "0", "12e6", "0.5"]).into(),
            Shape::Time => self.pick(&["2026-01-02T03:04:05Z", "1969-12-31T23:59:59Z"]).into(),
            Shape::MicroTime => self.pick(&["2026-01-02T03:04:05.678901Z", "1960-01-01T00:00:00.000001Z"]).into(),
            Shape::Bytes => self.pick(&["", "YQ==", "/+8="]).into(),
            Shape::String => self.text().into(),
            Shape::Opaque => json!({ "a": [1, null, self.text()] }),
            Shape::Array(_) | Shape::Map(_) | Shape::Object(_) if depth > 6 => Value::Null,
            Shape::Array(inner) => (0..self.below(3)).map(|_| self.value(inner, depth + 1)).collect(),
            Shape::Map(inner) => {
                let entries = (0..self.below(3)).map(|_| (self.text(), self.value(inner, depth + 1)));
                Value::Object(entries.collect())
            }
            Shape::Object(_) => shape.as_type().map_or(Value::Null, |ty| self.object(ty, depth + 1)),
        }
    }

    fn object(&mut self, ty: &'static Type, depth: usize) -> Value {
        let mut fields = Map::new();
        for field in ty.fields {
            if field.required || self.below(3) == 0 {
                fields.insert(field.name.to_owned(), self.value(&field.shape, depth));
            }
        }
        fields.into()
    }
}

const KINDS: [(&str, &str); 8] = [
    ("v1", "Pod"),
    ("v1", "Service"),
    ("v1", "Secret"),
    ("v1", "Event"),
    ("apps/v1", "Deployment"),
    ("apps/v1", "ControllerRevision"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("coordination.k8s.io/v1", "Lease"),
];

fn type_of(api_version: &str, kind: &str) -> &'static Type {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    schema::of_kind(group, version, kind).expect("a known kind")
}

/// Objects as they come out of the decoder.
fn decoded(random: &mut Random, count: usize) -> Vec<Value> {
    let (mut out, warnings) = (Vec::new(), Warnings::default());
    for at in 0..count {
        let (api_version, kind) = KINDS[at % KINDS.len()];
        let mut object = random.object(type_of(api_version, kind), 0);
        object["apiVersion"] = api_version.into();
        object["kind"] = kind.into();
        let expected = Expected::new(api_version, kind);
        let bytes = object.to_string().into_bytes();
        out.extend(decode::object(&bytes, Format::Json, &expected, FieldValidation::Ignore, &warnings));
    }
    assert!(out.len() > count / 4, "{} of {count}", out.len());
    out
}

#[test]
fn any_bytes_are_read_or_refused() {
    let mut random = Random(0x5eed_0001);
    let warnings = Warnings::default();
    for object in decoded(&mut random, 300) {
        let text = |field: &str| object[field].as_str().unwrap().to_owned();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        let expected = Expected::new(&api_version, &kind);
        for (bytes, format) in [
            (object.to_string().into_bytes(), Format::Json),
            (serde_yaml_ng::to_string(&object).unwrap().into_bytes(), Format::Yaml),
        ] {
            let mutated = random.mutate(&bytes);
            let _ = decode::object(&mutated, format, &expected, FieldValidation::Strict, &warnings);
        }
        let bytes = protobuf::encode(&object).unwrap();
        for _ in 0..4 {
            if let Ok(read) = protobuf::decode(&random.mutate(&bytes)) {
                // What can be read can be written, and stays as it is from then on.
                if let Ok(once) = protobuf::encode(&read) {
                    let again = protobuf::decode(&once).expect("what was written can be read");
                    assert_eq!(protobuf::encode(&again).unwrap(), once, "{read}");
                }
            }
        }
    }
}

/// Without what is zero, which one encoding leaves out and the other may not.
fn bare(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| (name.clone(), bare(value)));
            let kept: Map<String, Value> = fields.filter(|(_, value)| !value.is_null()).collect();
            if kept.is_empty() { Value::Null } else { kept.into() }
        }
        Value::Array(items) if items.is_empty() => Value::Null,
        Value::Array(items) => items.iter().map(bare).collect(),
        Value::String(text) if text.is_empty() || text == "0" => Value::Null,
        Value::Number(number) if number.as_f64() == Some(0.0) => Value::Null,
        Value::Bool(false) => Value::Null,
        other => other.clone(),
    }
}

#[test]
fn protobuf_and_json_agree() {
    let mut random = Random(0x5eed_0002);
    for object in decoded(&mut random, 600) {
        let bytes = protobuf::encode(&object).unwrap();
        let back = protobuf::decode(&bytes).unwrap();
        assert_eq!(bare(&back), bare(&object));
        assert_eq!(protobuf::encode(&back).unwrap(), bytes, "{object}");
    }
}

#[test]
fn any_patch_is_applied_or_refused() {
    let mut random = Random(0x5eed_0003);
    let objects = decoded(&mut random, 300);
    for pair in objects.windows(KINDS.len() + 1) {
        let (object, other) = (&pair[0], &pair[KINDS.len()]);
        let ty = type_of(object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
        let _ = strategic(object, other, ty);
        let merged = patch::merge(object, other);
        assert_eq!(patch::merge(&merged, other), merged, "a merge patch says how it is to be");
        let paths = ["/metadata/name", "/spec", "/spec/containers/0", "/a~1b/-", "/data/~2", "", "x", "/status/-1"];
        let operations: Vec<Value> = (0..4)
            .map(|_| {
                let op = random.pick(&["add", "remove", "replace", "move", "copy", "test", "no"]);
                json!({ "op": op, "path": random.pick(&paths), "from": random.pick(&paths), "value": other["spec"] })
            })
            .collect();
        let _ = patch::json(object, Value::from(operations).to_string().as_bytes());
    }
}

#[test]
fn applying_the_same_again_changes_nothing() {
    let mut random = Random(0x5eed_0004);
    let (objects, mut applied) = (decoded(&mut random, 400), 0);
    for config in objects {
        let (api_version, kind) = (config["apiVersion"].as_str().unwrap(), config["kind"].as_str().unwrap());
        let schema = Schema::from(Some(type_of(api_version, kind)));
        let manager = Manager {
            name: "fuzz",
            operation: Operation::Apply,
            subresource: "",
            api_version,
            time: "2026-01-01T00:00:00Z",
            status: true,
        };
        let mut config = config.clone();
        if let Some(metadata) = config["metadata"].as_object_mut() {
            metadata.remove("managedFields");
        }
        let Ok(once) = apply(None, &config, &schema, &manager, false) else { continue };
        let twice = apply(Some(&once), &config, &schema, &manager, false).expect("no one else owns anything");
        assert_eq!(twice, once);
        applied += 1;
    }
    assert!(applied > 50, "{applied}");
}

#[test]
fn any_selector_is_read_or_refused() {
    let mut random = Random(0x5eed_0005);
    let labels = ["a=b,c!=d", "x in (a, b),!y", "z notin (q),w", "a==b", "n > 5, m<3", "a in ()"];
    for _ in 0..4000 {
        let seed = random.pick(&labels);
        let mutated = random.mutate(seed.as_bytes());
        let text = String::from_utf8_lossy(&mutated);
        let _ = LabelSelector::parse(&text);
        let _ = FieldSelector::parse(&text);
    }
}

#[test]
fn any_expression_is_compiled_or_refused_and_ends() {
    let sources = [
        "self.replicas <= self.max && self.name.startsWith('a')",
        "self.items.all(x, x.size() > 0) || has(self.name)",
        "[1, 2, 3].map(x, x * 2).filter(y, y > 2).exists_one(z, z == 4)",
        "quantity('1Gi').isGreaterThan(quantity('100Mi')) ? 'a' : \"b\" + string(1u)",
        "self.name.matches('^[a-z]+$') && self.name.replace('a', 'b').split('b').size() < 3",
        "timestamp('2026-01-01T00:00:00Z') + duration('1h') < timestamp('2027-01-01T00:00:00Z')",
        "{'a': 1, 'b': [2, 3]}['b'][0] == 2 && 9223372036854775807 + 1 > 0 && 1 / 0 == 1",
        "url('https://a.b/c').getHost() == 'a.b' && ip('10.0.0.1').family() == 4",
    ];
    let mut random = Random(0x5eed_0006);
    let object = json!({ "replicas": 2, "max": 3, "name": "abc", "items": ["a", ""] });
    let env = Env::new().with("self", cel::Type::map(cel::Type::Dyn));
    for _ in 0..1500 {
        let seed = random.pick(&sources);
        let mutated = random.mutate(seed.as_bytes());
        let Ok(program) = Program::compile(&String::from_utf8_lossy(&mutated), &env) else { continue };
        let _ = program.eval(&[("self", cel::Value::json(&object))], &mut Budget::per_call());
    }
    for deep in ["(".repeat(10_000), "!".repeat(10_000), "[".repeat(10_000), "a.".repeat(10_000), "-".repeat(10_000)] {
        let _ = Program::compile(&format!("{deep}1"), &env);
    }
}
