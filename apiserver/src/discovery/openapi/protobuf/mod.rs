//! Documents as protobuf messages, which kubectl and client-go ask for: `Document` of versions 2 and 3 of gnostic's models, of
//! which only the field numbers are needed.
//!
//! Clients read what they don't know (extensions, defaults, enums) as YAML; JSON is that too.

mod v2;
mod v3;

use serde_json::{Map, Value};

use crate::object::protobuf::Writer;

/// A message: its fields by their names in JSON, and the number of the extensions (`x-…`), 0 where there are none.
struct Message {
    fields: &'static [(&'static str, u32, Kind)],
    extensions: u32,
}

/// What a field holds.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    /// One text, or several.
    Texts,
    Flag,
    Whole,
    Double,
    /// Anything at all.
    Any,
    Anys,
    One(&'static Message),
    Many(&'static Message),
    /// A message, or several, in a message of its own.
    Items(&'static Message),
    /// A map: in a message of their own, pairs of name and value.
    Named(&'static Message),
    /// A message or a reference, in a message of its own.
    Either(&'static Message),
    Eithers(&'static Message),
    /// One message or reference, or several, in a message of their own.
    EitherItems(&'static Message),
    /// A message or a reference, or a yes or no, in a message of its own.
    EitherOrFlag(&'static Message),
    /// A map to messages or references: in a message of their own, pairs under that number.
    NamedEither(&'static Message, u32),
    /// A number, a flag or a text, in a message of its own.
    Scalar,
    /// Texts in a message of their own.
    TypeItem,
    /// A schema, or a yes or no, in a message of its own.
    SchemaOrFlag,
    /// Of a reference, a body, a query and a path.
    Parameters,
    /// Responses by code.
    Responses,
    /// What of a response is a schema.
    ResponseSchema,
    /// Path items, which stand beside the extensions of their map, under that number.
    Paths(u32, &'static Message),
    /// Schemes of API keys, by name.
    Schemes,
    /// Lists of texts by name.
    Requirements,
}

static EXTERNAL_DOCS: Message =
    Message { fields: &[("description", 1, Kind::Text), ("url", 2, Kind::Text)], extensions: 3 };

static REFERENCE: Message = Message { fields: &[("$ref", 1, Kind::Text)], extensions: 0 };

/// The document of either version, encoded.
pub(super) fn encode(document: &Value) -> Vec<u8> {
    let mut writer = Writer::default();
    if let Some(document) = document.as_object() {
        let of = if document.contains_key("swagger") { &v2::DOCUMENT } else { &v3::DOCUMENT };
        message(&mut writer, of, document);
    }
    writer.into_bytes()
}

// Everything is written from the last to the first: so the length of a message is known when it is due.

fn nested(writer: &mut Writer, number: u32, write: impl FnOnce(&mut Writer)) {
    let end = writer.end();
    write(writer);
    writer.begin(number, end);
}

fn message(writer: &mut Writer, message: &Message, value: &Map<String, Value>) {
    if message.extensions > 0 {
        for (name, value) in value.iter().rev().filter(|(name, _)| name.starts_with("x-")) {
            named(writer, message.extensions, name, |writer| any(writer, 2, value));
        }
    }
    for (name, number, kind) in message.fields.iter().rev() {
        if let Some(value) = value.get(*name) {
            field(writer, *number, *kind, value);
        }
    }
}

/// A pair of a name and what `write` writes as field 2.
fn named(writer: &mut Writer, number: u32, name: &str, write: impl FnOnce(&mut Writer)) {
    nested(writer, number, |writer| {
        write(writer);
        writer.bytes(1, name.as_bytes());
    });
}

fn one(writer: &mut Writer, number: u32, of: &Message, value: &Value) {
    if let Some(value) = value.as_object() {
        nested(writer, number, |writer| message(writer, of, value));
    }
}

fn any(writer: &mut Writer, number: u32, value: &Value) {
    nested(writer, number, |writer| writer.bytes(2, format!("{value}\n").as_bytes()));
}

fn texts(writer: &mut Writer, number: u32, value: &Value) {
    match value {
        Value::Array(list) => list.iter().rev().for_each(|value| texts(writer, number, value)),
        Value::String(text) => writer.bytes(number, text.as_bytes()),
        _ => {}
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten().rev()
}

fn map(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten().rev()
}

fn field(writer: &mut Writer, number: u32, kind: Kind, value: &Value) {
    match kind {
        Kind::Text => value.as_str().filter(|text| !text.is_empty()).into_iter().for_each(|text| {
            writer.bytes(number, text.as_bytes());
        }),
        Kind::Texts => texts(writer, number, value),
        Kind::Flag if *value == Value::Bool(true) => writer.varint(number, 1),
        Kind::Flag => {}
        Kind::Whole => value.as_i64().into_iter().for_each(|value| writer.varint(number, value.cast_unsigned())),
        Kind::Double => value.as_f64().into_iter().for_each(|value| writer.fixed64(number, value.to_bits())),
        Kind::Any => any(writer, number, value),
        Kind::Anys => list(value).for_each(|value| any(writer, number, value)),
        Kind::One(of) => one(writer, number, of, value),
        Kind::Many(of) => list(value).for_each(|value| one(writer, number, of, value)),
        Kind::Items(of) => nested(writer, number, |writer| match value {
            Value::Array(_) => list(value).for_each(|value| one(writer, 1, of, value)),
            _ => one(writer, 1, of, value),
        }),
        Kind::Named(of) => nested(writer, number, |writer| {
            map(value).for_each(|(name, value)| named(writer, 1, name, |writer| one(writer, 2, of, value)));
        }),
        Kind::TypeItem => nested(writer, number, |writer| texts(writer, 1, value)),
        Kind::SchemaOrFlag => nested(writer, number, |writer| match value {
            Value::Bool(flag) => writer.varint(2, u64::from(*flag)),
            _ => one(writer, 1, &v2::SCHEMA, value),
        }),
        Kind::Parameters => list(value).for_each(|value| nested(writer, number, |writer| parameter(writer, value))),
        Kind::Responses => nested(writer, number, |writer| {
            for (code, value) in map(value) {
                named(writer, 1, code, |writer| {
                    nested(writer, 2, |writer| match value.get("$ref") {
                        Some(_) => one(writer, 2, &REFERENCE, value),
                        None => one(writer, 1, &v2::RESPONSE, value),
                    });
                });
            }
        }),
        Kind::ResponseSchema => nested(writer, number, |writer| one(writer, 1, &v2::SCHEMA, value)),
        Kind::Paths(at, of) => nested(writer, number, |writer| {
            map(value).for_each(|(name, value)| named(writer, at, name, |writer| one(writer, 2, of, value)));
        }),
        Kind::Either(of) => either(writer, number, of, value),
        Kind::Eithers(of) => list(value).for_each(|value| either(writer, number, of, value)),
        Kind::EitherItems(of) => nested(writer, number, |writer| match value {
            Value::Array(_) => list(value).for_each(|value| either(writer, 1, of, value)),
            _ => either(writer, 1, of, value),
        }),
        Kind::EitherOrFlag(of) => nested(writer, number, |writer| match value {
            Value::Bool(flag) => writer.varint(2, u64::from(*flag)),
            _ => either(writer, 1, of, value),
        }),
        Kind::NamedEither(of, at) => nested(writer, number, |writer| {
            map(value).for_each(|(name, value)| named(writer, at, name, |writer| either(writer, 2, of, value)));
        }),
        Kind::Scalar => match value {
            Value::Number(_) => nested(writer, number, |writer| field(writer, 1, Kind::Double, value)),
            Value::Bool(flag) => nested(writer, number, |writer| writer.varint(2, u64::from(*flag))),
            Value::String(text) => nested(writer, number, |writer| writer.bytes(3, text.as_bytes())),
            _ => {}
        },
        Kind::Schemes => nested(writer, number, |writer| {
            for (name, value) in map(value) {
                named(writer, 1, name, |writer| nested(writer, 2, |writer| one(writer, 2, &v2::API_KEY, value)));
            }
        }),
        Kind::Requirements => list(value).for_each(|value| {
            nested(writer, number, |writer| {
                for (name, value) in map(value) {
                    named(writer, 1, name, |writer| nested(writer, 2, |writer| texts(writer, 1, value)));
                }
            });
        }),
    }
}

/// A message as field 1 of one of its own, or a reference as field 2.
fn either(writer: &mut Writer, number: u32, of: &Message, value: &Value) {
    nested(writer, number, |writer| match value.get("$ref") {
        Some(_) => one(writer, 2, &REFERENCE, value),
        None => one(writer, 1, of, value),
    });
}

fn parameter(writer: &mut Writer, value: &Value) {
    if value.get("$ref").is_some() {
        return one(writer, 2, &REFERENCE, value);
    }
    nested(writer, 1, |writer| match value["in"].as_str() {
        Some("body") => one(writer, 1, &v2::BODY, value),
        Some("path") => nested(writer, 2, |writer| one(writer, 4, &v2::PATH, value)),
        _ => nested(writer, 2, |writer| one(writer, 3, &v2::QUERY, value)),
    });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(document: &Value, expected: &[u8]) {
        assert_eq!(encode(document), expected, "{document}");
    }

    #[test]
    fn fields_stand_at_their_numbers() {
        check(&json!({"swagger": "2.0"}), b"\x0a\x032.0");
        check(&json!({"swagger": "", "info": {"title": "K", "version": "v"}}), b"\x12\x06\x0a\x01K\x12\x01v");
        let definitions = json!({"swagger": "", "definitions": {"a": {"type": "object", "minLength": 3}}});
        check(&definitions, b"\x4a\x14\x0a\x12\x0a\x01a\x12\x0d\x60\x03\xb2\x01\x08\x0a\x06object");
        let flag = json!({"swagger": "", "definitions": {"a": {"additionalProperties": true}}});
        check(&flag, b"\x4a\x0c\x0a\x0a\x0a\x01a\x12\x05\xaa\x01\x02\x10\x01");
    }

    #[test]
    fn parameters_know_where_they_stand() {
        let query =
            json!({"swagger": "", "paths": {"/": {"parameters": [{"name": "q", "in": "query", "type": "string"}]}}});
        let inner = b"\x0a\x16\x12\x14\x1a\x12\x12\x05query\x22\x01q\x32\x06string";
        let mut expected = b"\x42\x21\x12\x1f\x0a\x01/\x12\x1a\x4a\x18".to_vec();
        expected.extend(inner);
        check(&query, &expected);
    }

    #[test]
    fn version_3_wraps_what_may_be_a_reference() {
        let schemas = json!({"openapi": "3", "components": {"schemas": {"a": {"type": "x", "items": {"$ref": "b"}}}}});
        let item = b"\x12\x03\x0a\x01b";
        let items = [b"\x0a\x05".as_slice(), item].concat();
        let schema = [b"\xca\x01\x01x\xf2\x01\x07".as_slice(), &items].concat();
        let either = [&[0x0a, schema.len() as u8], &*schema].concat();
        let pair = [b"\x0a\x01a\x12".as_slice(), &[either.len() as u8], &either].concat();
        let pairs = [&[0x0a, pair.len() as u8], &*pair].concat();
        let components = [&[0x0a, pairs.len() as u8], &*pairs].concat();
        check(&schemas, &[b"\x0a\x013\x2a".as_slice(), &[components.len() as u8], &components].concat());
        let default = json!({"openapi": "3", "x-d": 1});
        check(&default, b"\x0a\x013\x4a\x0b\x0a\x03x-d\x12\x04\x12\x021\n");
    }

    #[test]
    fn extensions_are_yaml() {
        check(&json!({"swagger": "", "x-a": ["b"]}), b"\x82\x01\x0f\x0a\x03x-a\x12\x08\x12\x06[\"b\"]\n");
    }
}
