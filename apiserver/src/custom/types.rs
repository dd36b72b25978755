//! What a schema tells expressions: types, and how large values can get.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::structural::Structural;
use crate::cel::{ObjectType, Sizes, Type, escape_property};

/// The largest request, which bounds what the schema leaves open.
const REQUEST_MAX: u64 = 3 * 1024 * 1024;

/// The type of a schema's values.
#[derive(Clone, Debug)]
pub(super) struct Declared {
    pub(super) ty: Type,
    pub(super) sizes: Sizes,
    /// What a value takes in a request, at least.
    least: u64,
}

impl Declared {
    fn plain(ty: Type, max: u64, least: u64) -> Self {
        Self { ty, sizes: Sizes { max, ..Sizes::default() }, least }
    }
}

/// The type of the objects that an OpenAPI schema describes.
pub(crate) fn type_of_schema(schema: &serde_json::Value) -> Type {
    declare(&Structural::read(schema), true).ty
}

/// The type of a schema's values; of a resource's root with its name and kind.
pub(super) fn declare(schema: &Structural, root: bool) -> Declared {
    if schema.int_or_string {
        return Declared::plain(Type::Dyn, text_max(schema), 1);
    }
    match schema.kind.as_str() {
        "array" => {
            let Some(items) = &schema.items else { return Declared::plain(Type::list(Type::Dyn), REQUEST_MAX, 2) };
            let items = declare(items, items.embedded);
            let max = schema.checks.max_items.unwrap_or((REQUEST_MAX - 2) / (items.least + 1));
            let sizes = Sizes { max, element: Some(Box::new(items.sizes)), ..Sizes::default() };
            Declared { ty: Type::list(items.ty), sizes, least: 2 }
        }
        "object" => object(schema, root),
        "string" => text(schema),
        "boolean" => Declared::plain(Type::Bool, 1, 4),
        "number" => Declared::plain(Type::Double, 1, 1),
        "integer" => Declared::plain(Type::Int, 1, 1),
        _ => Declared::plain(Type::Dyn, REQUEST_MAX, 1),
    }
}

fn object(schema: &Structural, root: bool) -> Declared {
    if let Some(additional) = &schema.additional {
        let value = declare(additional, additional.embedded);
        let max = schema.checks.max_properties.unwrap_or((REQUEST_MAX - 2) / (value.least + 6));
        let sizes = Sizes { max, element: Some(Box::new(value.sizes)), map: true, ..Sizes::default() };
        return Declared { ty: Type::map(value.ty), sizes, least: 2 };
    }
    let (mut fields, mut sizes, mut least) = (BTreeMap::new(), BTreeMap::new(), 2);
    for (name, property) in &schema.properties {
        let declared = declare(property, property.embedded);
        if schema.checks.required.contains(name) && property.default.is_none() {
            least += name.len() as u64 + declared.least + 4;
        }
        if let Some(escaped) = escape_property(name) {
            fields.insert(escaped.clone(), declared.ty);
            sizes.insert(escaped, declared.sizes);
        }
    }
    if root {
        let text = Sizes { max: 253, ..Sizes::default() };
        let metadata = Type::object("objectmeta", [("name", Type::String), ("generateName", Type::String)]);
        let below = BTreeMap::from([("name".into(), text.clone()), ("generateName".into(), text.clone())]);
        for name in ["apiVersion", "kind"] {
            fields.insert(name.into(), Type::String);
            sizes.insert(name.into(), text.clone());
        }
        fields.insert("metadata".into(), metadata);
        sizes.insert("metadata".into(), Sizes { max: 2, fields: below, ..Sizes::default() });
    }
    let max = fields.len() as u64;
    let ty = Type::Object(Arc::new(ObjectType { name: "object".into(), fields }));
    Declared { ty, sizes: Sizes { max, fields: sizes, ..Sizes::default() }, least }
}

fn text(schema: &Structural) -> Declared {
    match schema.checks.format.as_str() {
        "byte" => Declared::plain(Type::Bytes, schema.checks.max_length.unwrap_or(REQUEST_MAX - 2), 2),
        "duration" => Declared::plain(Type::Duration, 32, 4),
        "date" => Declared::plain(Type::Timestamp, 12, 12),
        "date-time" => Declared::plain(Type::Timestamp, 29, 22),
        _ => Declared::plain(Type::String, text_max(schema), 2),
    }
}

fn text_max(schema: &Structural) -> u64 {
    let choices = schema.checks.choices.iter().flatten().filter_map(|choice| choice.as_str()).map(str::len).max();
    match (schema.checks.max_length, choices) {
        (Some(max), _) => max.saturating_mul(4),
        (None, Some(longest)) => longest as u64,
        (None, None) => REQUEST_MAX - 2,
    }
}
