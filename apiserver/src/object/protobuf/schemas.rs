//! Fields whose JSON is one of several things, for which protobuf has a message with a field for each: those of the
//! schemas in CustomResourceDefinitions, and two more.

use kubewright_api::schema::{self, Type};
use serde_json::{Map, Value};

use super::encode::{write_map, write_message};
use super::wire::{self, Item, Reader, Writer};
use super::{Field, ProtobufError, read_message, wrong};

const SCHEMA: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A schema, or a list of them.
    SchemaOrArray,
    /// A schema, or whether anything is allowed.
    SchemaOrBool,
    /// Schemas or lists of names, by name.
    SchemasOrStrings,
    /// An object without fields.
    Empty,
    /// A list that has a message of its own.
    Strings,
}

/// The special form of a type's field, if it has one.
pub(super) fn form_of(ty: &Type, field: &str) -> Option<Form> {
    match field {
        "items" if ty.name == SCHEMA => Some(Form::SchemaOrArray),
        "additionalItems" | "additionalProperties" if ty.name == SCHEMA => Some(Form::SchemaOrBool),
        "dependencies" if ty.name == SCHEMA => Some(Form::SchemasOrStrings),
        "status" if ty.name.ends_with(".CustomResourceSubresources") => Some(Form::Empty),
        "basic" if ty.name.ends_with(".PodGroupSchedulingPolicy") => Some(Form::Empty),
        "verbs" if ty.name.ends_with(".APIResource") => Some(Form::Strings),
        _ => None,
    }
}

impl Form {
    pub(super) fn read_field(
        self,
        field: &Field,
        item: Item<'_>,
        object: &mut Map<String, Value>,
        depth: usize,
    ) -> Result<(), ProtobufError> {
        let Item::Bytes(bytes) = item else { return Err(wrong(field.name)) };
        if self != Self::SchemasOrStrings {
            object.insert(field.name.to_owned(), self.read(bytes, depth)?);
            return Ok(());
        }
        let (mut key, mut value) = (String::new(), Value::Array(Vec::new()));
        for part in Reader::new(bytes) {
            match part? {
                (1, Item::Bytes(text)) => key = wire::text(text)?,
                (2, Item::Bytes(inner)) => value = self.read(inner, depth)?,
                _ => {}
            }
        }
        let map = object.entry(field.name).or_insert_with(|| Value::Object(Map::new()));
        map[key] = value;
        Ok(())
    }

    fn read(self, bytes: &[u8], depth: usize) -> Result<Value, ProtobufError> {
        let (mut one, mut many, mut allowed) = (None, Vec::new(), false);
        for part in Reader::new(bytes) {
            match (self, part?) {
                (Self::SchemaOrArray | Self::SchemasOrStrings, (1, Item::Bytes(inner)))
                | (Self::SchemaOrBool, (2, Item::Bytes(inner))) => one = Some(read_schema(inner, depth)?),
                (Self::SchemaOrArray, (2, Item::Bytes(inner))) => many.push(read_schema(inner, depth)?),
                (Self::SchemaOrBool, (1, Item::Varint(value))) => allowed = value != 0,
                (Self::SchemasOrStrings, (2, Item::Bytes(text))) | (Self::Strings, (1, Item::Bytes(text))) => {
                    many.push(wire::text(text)?.into());
                }
                _ => {}
            }
        }
        Ok(match (self, one) {
            (Self::Empty, _) => Value::Object(Map::new()),
            (_, Some(schema)) => schema,
            (Self::SchemaOrBool, None) => allowed.into(),
            (Self::SchemaOrArray, None) if many.is_empty() => Value::Null,
            (_, None) => many.into(),
        })
    }

    pub(super) fn write_field(
        self,
        writer: &mut Writer,
        number: u32,
        value: Option<&Value>,
    ) -> Result<(), ProtobufError> {
        if self == Self::SchemasOrStrings {
            return write_map(writer, value, number, |writer, value| {
                let end = writer.end();
                self.write(writer, value)?;
                writer.begin(2, end);
                Ok(())
            });
        }
        let Some(value) = value else { return Ok(()) };
        let end = writer.end();
        self.write(writer, value)?;
        writer.begin(number, end);
        Ok(())
    }

    fn write(self, writer: &mut Writer, value: &Value) -> Result<(), ProtobufError> {
        let many = value.as_array().into_iter().flatten().rev();
        match self {
            Self::Empty => {}
            Self::SchemaOrBool => {
                if value.is_object() {
                    write_schema(writer, 2, value)?;
                }
                // A schema allows what it describes.
                writer.varint(1, u64::from(value.as_bool().unwrap_or(true)));
            }
            Self::SchemaOrArray if value.is_array() => {
                for schema in many {
                    write_schema(writer, 2, schema)?;
                }
            }
            Self::SchemasOrStrings | Self::Strings if value.is_array() => {
                let number = if self == Self::Strings { 1 } else { 2 };
                many.for_each(|text| writer.bytes(number, text.as_str().unwrap_or_default().as_bytes()));
            }
            Self::SchemaOrArray | Self::SchemasOrStrings | Self::Strings => write_schema(writer, 1, value)?,
        }
        Ok(())
    }
}

fn schema_type() -> Result<&'static Type, ProtobufError> {
    schema::of_name(SCHEMA).ok_or_else(|| ProtobufError::new("schemas are not known"))
}

fn read_schema(bytes: &[u8], depth: usize) -> Result<Value, ProtobufError> {
    let mut object = Map::new();
    read_message(schema_type()?, SCHEMA, bytes, &mut object, depth + 1)?;
    Ok(object.into())
}

fn write_schema(writer: &mut Writer, number: u32, value: &Value) -> Result<(), ProtobufError> {
    let end = writer.end();
    write_message(writer, schema_type()?, SCHEMA, value.as_object())?;
    writer.begin(number, end);
    Ok(())
}
