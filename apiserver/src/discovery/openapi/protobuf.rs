//! A document of version 2 as a protobuf message, which kubectl and client-go ask for: `openapi.v2.Document` of gnostic's
//! models, of which only the field numbers are needed.
//!
//! Clients read what they don't know (extensions, defaults, enums) as YAML; JSON is that too.

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
    /// Path items, which stand beside the extensions of their map.
    Paths,
    /// Schemes of API keys, by name.
    Schemes,
    /// Lists of texts by name.
    Requirements,
}

use Kind::{Any, Anys, Double, Flag, Many, Named, One, Text, Texts, Whole};

static SCHEMA: Message = Message {
    fields: &[
        ("$ref", 1, Text),
        ("format", 2, Text),
        ("title", 3, Text),
        ("description", 4, Text),
        ("default", 5, Any),
        ("multipleOf", 6, Double),
        ("maximum", 7, Double),
        ("exclusiveMaximum", 8, Flag),
        ("minimum", 9, Double),
        ("exclusiveMinimum", 10, Flag),
        ("maxLength", 11, Whole),
        ("minLength", 12, Whole),
        ("pattern", 13, Text),
        ("maxItems", 14, Whole),
        ("minItems", 15, Whole),
        ("uniqueItems", 16, Flag),
        ("maxProperties", 17, Whole),
        ("minProperties", 18, Whole),
        ("required", 19, Texts),
        ("enum", 20, Anys),
        ("additionalProperties", 21, Kind::SchemaOrFlag),
        ("type", 22, Kind::TypeItem),
        ("items", 23, Kind::Items(&SCHEMA)),
        ("allOf", 24, Many(&SCHEMA)),
        ("properties", 25, Named(&SCHEMA)),
        ("discriminator", 26, Text),
        ("readOnly", 27, Flag),
        ("externalDocs", 29, One(&EXTERNAL_DOCS)),
        ("example", 30, Any),
    ],
    extensions: 31,
};

static EXTERNAL_DOCS: Message = Message { fields: &[("description", 1, Text), ("url", 2, Text)], extensions: 3 };

static INFO: Message = Message {
    fields: &[("title", 1, Text), ("version", 2, Text), ("description", 3, Text), ("termsOfService", 4, Text)],
    extensions: 7,
};

static BODY: Message = Message {
    fields: &[
        ("description", 1, Text),
        ("name", 2, Text),
        ("in", 3, Text),
        ("required", 4, Flag),
        ("schema", 5, One(&SCHEMA)),
    ],
    extensions: 6,
};

static QUERY: Message = Message {
    fields: &[
        ("required", 1, Flag),
        ("in", 2, Text),
        ("description", 3, Text),
        ("name", 4, Text),
        ("allowEmptyValue", 5, Flag),
        ("type", 6, Text),
        ("format", 7, Text),
        ("collectionFormat", 9, Text),
        ("default", 10, Any),
        ("pattern", 17, Text),
        ("uniqueItems", 20, Flag),
        ("enum", 21, Anys),
    ],
    extensions: 23,
};

static PATH: Message = Message {
    fields: &[
        ("required", 1, Flag),
        ("in", 2, Text),
        ("description", 3, Text),
        ("name", 4, Text),
        ("type", 5, Text),
        ("format", 6, Text),
        ("collectionFormat", 8, Text),
        ("default", 9, Any),
        ("pattern", 16, Text),
        ("uniqueItems", 19, Flag),
        ("enum", 20, Anys),
    ],
    extensions: 22,
};

static REFERENCE: Message = Message { fields: &[("$ref", 1, Text), ("description", 2, Text)], extensions: 0 };

static RESPONSE: Message =
    Message { fields: &[("description", 1, Text), ("schema", 2, Kind::ResponseSchema)], extensions: 5 };

static OPERATION: Message = Message {
    fields: &[
        ("tags", 1, Texts),
        ("summary", 2, Text),
        ("description", 3, Text),
        ("externalDocs", 4, One(&EXTERNAL_DOCS)),
        ("operationId", 5, Text),
        ("produces", 6, Texts),
        ("consumes", 7, Texts),
        ("parameters", 8, Kind::Parameters),
        ("responses", 9, Kind::Responses),
        ("schemes", 10, Texts),
        ("deprecated", 11, Flag),
        ("security", 12, Kind::Requirements),
    ],
    extensions: 13,
};

static PATH_ITEM: Message = Message {
    fields: &[
        ("$ref", 1, Text),
        ("get", 2, One(&OPERATION)),
        ("put", 3, One(&OPERATION)),
        ("post", 4, One(&OPERATION)),
        ("delete", 5, One(&OPERATION)),
        ("options", 6, One(&OPERATION)),
        ("head", 7, One(&OPERATION)),
        ("patch", 8, One(&OPERATION)),
        ("parameters", 9, Kind::Parameters),
    ],
    extensions: 10,
};

static API_KEY: Message = Message {
    fields: &[("type", 1, Text), ("name", 2, Text), ("in", 3, Text), ("description", 4, Text)],
    extensions: 5,
};

static DOCUMENT: Message = Message {
    fields: &[
        ("swagger", 1, Text),
        ("info", 2, One(&INFO)),
        ("host", 3, Text),
        ("basePath", 4, Text),
        ("schemes", 5, Texts),
        ("consumes", 6, Texts),
        ("produces", 7, Texts),
        ("paths", 8, Kind::Paths),
        ("definitions", 9, Named(&SCHEMA)),
        ("security", 12, Kind::Requirements),
        ("securityDefinitions", 13, Kind::Schemes),
        ("externalDocs", 15, One(&EXTERNAL_DOCS)),
    ],
    extensions: 16,
};

/// The document, encoded.
pub(super) fn encode(document: &Value) -> Vec<u8> {
    let mut writer = Writer::default();
    if let Some(document) = document.as_object() {
        message(&mut writer, &DOCUMENT, document);
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
        Text => value.as_str().filter(|text| !text.is_empty()).into_iter().for_each(|text| {
            writer.bytes(number, text.as_bytes());
        }),
        Texts => texts(writer, number, value),
        Flag if *value == Value::Bool(true) => writer.varint(number, 1),
        Flag => {}
        Whole => value.as_i64().into_iter().for_each(|value| writer.varint(number, value.cast_unsigned())),
        Double => value.as_f64().into_iter().for_each(|value| writer.fixed64(number, value.to_bits())),
        Any => any(writer, number, value),
        Anys => list(value).for_each(|value| any(writer, number, value)),
        One(of) => one(writer, number, of, value),
        Many(of) => list(value).for_each(|value| one(writer, number, of, value)),
        Kind::Items(of) => nested(writer, number, |writer| match value {
            Value::Array(_) => list(value).for_each(|value| one(writer, 1, of, value)),
            _ => one(writer, 1, of, value),
        }),
        Named(of) => nested(writer, number, |writer| {
            map(value).for_each(|(name, value)| named(writer, 1, name, |writer| one(writer, 2, of, value)));
        }),
        Kind::TypeItem => nested(writer, number, |writer| texts(writer, 1, value)),
        Kind::SchemaOrFlag => nested(writer, number, |writer| match value {
            Value::Bool(flag) => writer.varint(2, u64::from(*flag)),
            _ => one(writer, 1, &SCHEMA, value),
        }),
        Kind::Parameters => list(value).for_each(|value| nested(writer, number, |writer| parameter(writer, value))),
        Kind::Responses => nested(writer, number, |writer| {
            for (code, value) in map(value) {
                named(writer, 1, code, |writer| {
                    nested(writer, 2, |writer| match value.get("$ref") {
                        Some(_) => one(writer, 2, &REFERENCE, value),
                        None => one(writer, 1, &RESPONSE, value),
                    });
                });
            }
        }),
        Kind::ResponseSchema => nested(writer, number, |writer| one(writer, 1, &SCHEMA, value)),
        Kind::Paths => nested(writer, number, |writer| {
            map(value).for_each(|(name, value)| named(writer, 2, name, |writer| one(writer, 2, &PATH_ITEM, value)));
        }),
        Kind::Schemes => nested(writer, number, |writer| {
            for (name, value) in map(value) {
                named(writer, 1, name, |writer| nested(writer, 2, |writer| one(writer, 2, &API_KEY, value)));
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

fn parameter(writer: &mut Writer, value: &Value) {
    if value.get("$ref").is_some() {
        return one(writer, 2, &REFERENCE, value);
    }
    nested(writer, 1, |writer| match value["in"].as_str() {
        Some("body") => one(writer, 1, &BODY, value),
        Some("path") => nested(writer, 2, |writer| one(writer, 4, &PATH, value)),
        _ => nested(writer, 2, |writer| one(writer, 3, &QUERY, value)),
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
        check(&json!({"info": {"title": "K", "version": "v"}}), b"\x12\x06\x0a\x01K\x12\x01v");
        let definitions = json!({"definitions": {"a": {"type": "object", "minLength": 3}}});
        check(&definitions, b"\x4a\x14\x0a\x12\x0a\x01a\x12\x0d\x60\x03\xb2\x01\x08\x0a\x06object");
        let flag = json!({"definitions": {"a": {"additionalProperties": true}}});
        check(&flag, b"\x4a\x0c\x0a\x0a\x0a\x01a\x12\x05\xaa\x01\x02\x10\x01");
    }

    #[test]
    fn parameters_know_where_they_stand() {
        let query = json!({"paths": {"/": {"parameters": [{"name": "q", "in": "query", "type": "string"}]}}});
        let inner = b"\x0a\x16\x12\x14\x1a\x12\x12\x05query\x22\x01q\x32\x06string";
        let mut expected = b"\x42\x21\x12\x1f\x0a\x01/\x12\x1a\x4a\x18".to_vec();
        expected.extend(inner);
        check(&query, &expected);
    }

    #[test]
    fn extensions_are_yaml() {
        check(&json!({"x-a": ["b"]}), b"\x82\x01\x0f\x0a\x03x-a\x12\x08\x12\x06[\"b\"]\n");
    }
}
