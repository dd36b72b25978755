//! Which types will do where others are wanted.

use std::collections::HashMap;
use std::sync::Arc;

use crate::cel::types::Type;

/// What the parameters of a signature stand for.
pub(super) type Bound = HashMap<char, Type>;

/// Whether a value of a type will do where another is wanted.
pub(super) fn fits(wanted: &Type, given: &Type, bound: &mut Bound) -> bool {
    match (wanted, given) {
        (Type::Parameter(name), given) => match bound.get(name).cloned() {
            None => {
                bound.insert(*name, given.clone());
                true
            }
            Some(known) if known.is_dyn() => {
                bound.insert(*name, given.clone());
                true
            }
            Some(known) => fits(&known, given, bound),
        },
        // An empty list or map takes whatever element is wanted.
        (_, Type::Dyn | Type::Parameter(_)) | (Type::Dyn, _) => true,
        (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => fits(a, b, bound),
        (Type::Map(a, b), Type::Map(c, d)) => fits(a, c, bound) && fits(b, d, bound),
        (Type::Object(a), Type::Object(b)) => a.name == b.name,
        (Type::Null, other) | (other, Type::Null) => {
            matches!(other, Type::Null | Type::Named(_) | Type::Object(_) | Type::Timestamp | Type::Duration)
        }
        (a, b) => a == b,
    }
}

/// A type with what its parameters stand for in their place.
pub(super) fn resolve(ty: &Type, bound: &Bound) -> Type {
    match ty {
        Type::Parameter(name) => bound.get(name).cloned().unwrap_or(Type::Dyn),
        Type::List(inner) => Type::List(Arc::new(resolve(inner, bound))),
        Type::Optional(inner) => Type::Optional(Arc::new(resolve(inner, bound))),
        Type::Map(key, value) => Type::Map(Arc::new(resolve(key, bound)), Arc::new(resolve(value, bound))),
        ty => ty.clone(),
    }
}
