//! Of which type the result of an operator is.

use super::fits::{Bound, fits};
use crate::cel::ast::Binary;
use crate::cel::types::Type;

/// `None` if the operator doesn't go with such values.
pub(super) fn binary_type(operator: Binary, left: &Type, right: &Type) -> Option<Type> {
    let unknown = |ty: &Type| matches!(ty, Type::Dyn | Type::Parameter(_));
    let mut bound = Bound::new();
    match operator {
        Binary::Equal | Binary::NotEqual => {
            (fits(left, right, &mut bound) || fits(right, left, &mut bound)).then_some(Type::Bool)
        }
        Binary::In => match right {
            Type::List(element) => fits(element, left, &mut bound).then_some(Type::Bool),
            Type::Map(key, _) => fits(key, left, &mut bound).then_some(Type::Bool),
            right => unknown(right).then_some(Type::Bool),
        },
        Binary::Less | Binary::LessEqual | Binary::Greater | Binary::GreaterEqual => {
            let numeric = |ty: &Type| matches!(ty, Type::Int | Type::Uint | Type::Double);
            let ordered = |ty: &Type| {
                matches!(ty, Type::Bool | Type::String | Type::Bytes | Type::Timestamp | Type::Duration) || numeric(ty)
            };
            let fit = match (unknown(left), unknown(right)) {
                (true, true) => true,
                (true, false) => ordered(right),
                (false, true) => ordered(left),
                (false, false) => (left == right && ordered(left)) || (numeric(left) && numeric(right)),
            };
            fit.then_some(Type::Bool)
        }
        _ => arithmetic_type(operator, left, right),
    }
}

fn arithmetic_type(operator: Binary, left: &Type, right: &Type) -> Option<Type> {
    use Type::{Bytes, Double, Duration, Int, List, String, Timestamp, Uint};
    match (operator, left, right) {
        (_, Type::Dyn | Type::Parameter(_), Type::Dyn | Type::Parameter(_)) => Some(Type::Dyn),
        (Binary::Add | Binary::Subtract, Type::Dyn, Timestamp | Duration)
        | (Binary::Add | Binary::Subtract, Timestamp | Duration, Type::Dyn) => Some(Type::Dyn),
        (_, Type::Dyn | Type::Parameter(_), known) | (_, known, Type::Dyn | Type::Parameter(_)) => {
            arithmetic_type(operator, known, known)
        }
        (Binary::Remainder, Int, Int) => Some(Int),
        (Binary::Remainder, Uint, Uint) => Some(Uint),
        (Binary::Remainder, ..) => None,
        (_, Int, Int) => Some(Int),
        (_, Uint, Uint) => Some(Uint),
        (_, Double, Double) => Some(Double),
        (Binary::Add, String, String) => Some(String),
        (Binary::Add, Bytes, Bytes) => Some(Bytes),
        (Binary::Add, List(a), List(b)) => {
            let same = a == b || fits(a, b, &mut Bound::new()) || fits(b, a, &mut Bound::new());
            same.then(|| if a.is_dyn() { right.clone() } else { left.clone() })
        }
        (Binary::Add, Timestamp, Duration) | (Binary::Add, Duration, Timestamp) => Some(Timestamp),
        (Binary::Subtract, Timestamp, Duration) => Some(Timestamp),
        (Binary::Subtract, Timestamp, Timestamp) => Some(Duration),
        (Binary::Add | Binary::Subtract, Duration, Duration) => Some(Duration),
        _ => None,
    }
}
