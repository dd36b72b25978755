//! What is in a value: elements, entries, fields, and what they go by.

use super::*;

impl<'a> Value<'a> {
    /// Elements, entries, characters or bytes.
    pub(in crate::cel) fn size(&self) -> Option<usize> {
        Some(match self {
            Self::String(text) => text.chars().count(),
            Self::Bytes(bytes) => bytes.len(),
            Self::List(values) => values.len(),
            Self::Map(entries) | Self::MapOr(entries, _) => entries.len(),
            Self::Json(Json::Array(list), _) => list.len(),
            Self::Json(Json::Object(map), _) => map.len(),
            _ => return None,
        })
    }

    /// The elements of a list.
    pub(in crate::cel) fn elements(&self) -> Option<Vec<Self>> {
        match self {
            Self::List(values) => Some(values.to_vec()),
            Self::Json(Json::Array(list), ty) => {
                let element = ty.and_then(|ty| ty.below(None));
                Some(list.iter().map(|json| Self::typed(json, element)).collect())
            }
            _ => None,
        }
    }

    /// The entries of a map. Of an object these are its fields.
    pub(in crate::cel) fn entries(&self) -> Option<Vec<(Self, Self)>> {
        match self {
            Self::Map(entries) | Self::MapOr(entries, _) => {
                Some(entries.iter().map(|(key, value)| (key.value(), value.clone())).collect())
            }
            Self::Json(Json::Object(map), ty) => Some(
                map.iter()
                    .map(|(key, json)| {
                        let value = Self::typed(json, ty.and_then(|ty| ty.below(Some(key))));
                        (Self::String(Text::Borrowed(key)), value)
                    })
                    .collect(),
            ),
            _ => None,
        }
    }

    /// A field of an object or an entry of a map.
    pub(in crate::cel) fn field(&self, name: &str) -> Result<Option<Self>, EvalError> {
        match self {
            Self::Map(entries) | Self::Object(_, entries) => Ok(entries.get(&Key::String(name.to_owned())).cloned()),
            Self::MapOr(entries, or) => Ok(Some(entries.get(&Key::String(name.to_owned())).unwrap_or(or).clone())),
            Self::Json(Json::Object(map), ty) => {
                if let Some(Type::Object(object)) = ty {
                    let property = unescape_property(name);
                    let value = map.get(&property).filter(|json| !json.is_null());
                    return Ok(value.map(|json| Self::typed(json, object.fields.get(name))));
                }
                Ok(property(map, name, *ty).map(|json| Self::typed(json, ty.and_then(|ty| ty.below(Some(name))))))
            }
            _ => Err(EvalError::no_overload()),
        }
    }

    /// The value at a key or an index.
    pub(in crate::cel) fn at(&self, index: &Self) -> Result<Option<Self>, EvalError> {
        match self {
            Self::Map(entries) => Ok(entries.get(&index.key()?).cloned()),
            Self::MapOr(entries, or) => Ok(Some(entries.get(&index.key()?).unwrap_or(or).clone())),
            Self::Json(Json::Object(map), ty) => match index {
                Self::String(name) => {
                    Ok(property(map, name, *ty).map(|json| Self::typed(json, ty.and_then(|ty| ty.below(Some(name))))))
                }
                _ => Ok(None),
            },
            Self::List(values) => Ok(index.position()?.and_then(|at| values.get(at).cloned())),
            Self::Json(Json::Array(list), ty) => {
                let json = index.position()?.and_then(|at| list.get(at));
                Ok(json.map(|json| Self::typed(json, ty.and_then(|ty| ty.below(None)))))
            }
            _ => Err(EvalError::no_overload()),
        }
    }

    fn position(&self) -> Result<Option<usize>, EvalError> {
        match self {
            Self::Int(at) => Ok(usize::try_from(*at).ok()),
            Self::Uint(at) => Ok(usize::try_from(*at).ok()),
            // As in Go, a double that is a whole number will do.
            Self::Double(at) if at.fract() == 0.0 && *at >= 0.0 && *at < 1e15 => {
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, and in range")]
                let at = *at as usize;
                Ok(Some(at))
            }
            _ => Err(EvalError::new("unsupported index type in list")),
        }
    }

    /// The value as a key of a map.
    pub(in crate::cel) fn key(&self) -> Result<Key, EvalError> {
        match self {
            Self::Bool(truth) => Ok(Key::Bool(*truth)),
            Self::Int(number) => Ok(Key::Int((*number).into())),
            Self::Uint(number) => Ok(Key::Int((*number).into())),
            Self::Double(number) if number.fract() == 0.0 && number.abs() < 1e15 => {
                #[allow(clippy::cast_possible_truncation, reason = "whole, and in range")]
                let number = *number as i128;
                Ok(Key::Int(number))
            }
            Self::String(text) => Ok(Key::String(text.to_string())),
            _ => Err(EvalError::new("unsupported key type")),
        }
    }
}
