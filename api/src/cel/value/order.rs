//! Which values are equal, and which is less.

use std::cmp::Ordering;

use super::*;

impl Value<'_> {
    /// Whether two values are equal; values of different types are not.
    pub(in crate::cel) fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::String(a), Self::String(b)) => **a == **b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::Timestamp(a), Self::Timestamp(b)) => a == b,
            (Self::Duration(a), Self::Duration(b)) => a == b,
            (Self::Type(a), Self::Type(b)) => a == b,
            (Self::Ip(a), Self::Ip(b)) => a == b,
            (Self::Cidr(a, p), Self::Cidr(b, q)) => (a, p) == (b, q),
            (Self::Url(a), Self::Url(b)) => a == b,
            (Self::Quantity(a), Self::Quantity(b)) => a == b,
            (Self::Semver(a), Self::Semver(b)) => a == b,
            (Self::Format(a), Self::Format(b)) => std::ptr::eq(*a, *b),
            (Self::Optional(a), Self::Optional(b)) => match (a, b) {
                (Some(a), Some(b)) => a.equals(b),
                (a, b) => a.is_none() && b.is_none(),
            },
            (Self::Int(_) | Self::Uint(_) | Self::Double(_), Self::Int(_) | Self::Uint(_) | Self::Double(_)) => {
                self.compare(other) == Some(Ordering::Equal)
            }
            (Self::Object(name, a), Self::Object(other, b)) => {
                name == other
                    && a.len() == b.len()
                    && a.iter().zip(b.iter()).all(|((key, a), (other, b))| key == other && a.equals(b))
            }
            (Self::Json(a, None), Self::Json(b, None)) if std::ptr::eq(*a, *b) => true,
            _ => self.equal_parts(other),
        }
    }

    fn equal_parts(&self, other: &Self) -> bool {
        if let (Some(a), Some(b)) = (self.elements(), other.elements()) {
            return a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| a.equals(b));
        }
        let (Some(a), true) = (self.entries(), self.size() == other.size()) else { return false };
        a.iter().all(|(key, value)| other.at(key).ok().flatten().is_some_and(|other| value.equals(&other)))
    }

    /// How two values are ordered, if they are.
    pub(in crate::cel) fn compare(&self, other: &Self) -> Option<Ordering> {
        let whole = |value: &Self| match value {
            Self::Int(number) => Some(i128::from(*number)),
            Self::Uint(number) => Some(i128::from(*number)),
            _ => None,
        };
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            (Self::String(a), Self::String(b)) => Some((**a).cmp(&**b)),
            (Self::Bytes(a), Self::Bytes(b)) => Some(a.cmp(b)),
            (Self::Timestamp(a), Self::Timestamp(b)) => Some(a.cmp(b)),
            (Self::Duration(a), Self::Duration(b)) => Some(a.cmp(b)),
            (Self::Double(a), Self::Double(b)) => a.partial_cmp(b),
            (Self::Double(a), b) => whole(b).and_then(|b| compare_mixed(*a, b)),
            (a, Self::Double(b)) => whole(a).and_then(|a| compare_mixed(*b, a)).map(Ordering::reverse),
            (a, b) => Some(whole(a)?.cmp(&whole(b)?)),
        }
    }
}

fn compare_mixed(double: f64, whole: i128) -> Option<Ordering> {
    if double.is_nan() {
        return None;
    }
    #[allow(clippy::cast_possible_truncation, reason = "saturates, which orders as well")]
    let truncated = double.trunc() as i128;
    Some(truncated.cmp(&whole).then(double.fract().partial_cmp(&0.0).unwrap_or(Ordering::Equal)))
}
