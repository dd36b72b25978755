//! Kubernetes' fixed-point numbers: `500m`, `1.5Gi`, `2e3`.
//!
//! A [`Quantity`] remembers which family of suffixes it was written in and prints itself in upstream's canonical form:
//! no fraction, and the largest suffix that needs none. Precision is a billionth; what is finer is rounded up, what is
//! larger than 2^63-1 is capped, as upstream does it.
//!
//! Source: `staging/src/k8s.io/apimachinery/pkg/api/resource` of Kubernetes.

mod arithmetic;
mod text;

use std::cmp::Ordering;

pub use self::text::ParseError;

const NANO: i128 = 1_000_000_000;
const MAX: i128 = i64::MAX as i128 * NANO;

/// The family of suffixes in which a quantity is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// `n u m k M G T P E`, powers of 1000.
    #[default]
    DecimalSi,
    /// `Ki Mi Gi Ti Pi Ei`, powers of 1024.
    BinarySi,
    /// `1e3`.
    DecimalExponent,
}

/// A fixed-point number with a billionth's precision. Equality and order look at the value alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

impl Quantity {
    /// Nothing.
    pub const ZERO: Self = Self { nanos: 0, format: Format::DecimalSi };

    /// A whole number in the given format.
    #[must_use]
    pub const fn new(value: i64, format: Format) -> Self {
        Self { nanos: value as i128 * NANO, format }
    }

    /// A number of thousandths, such as millicores.
    #[must_use]
    pub const fn from_millis(value: i64) -> Self {
        Self { nanos: value as i128 * 1_000_000, format: Format::DecimalSi }
    }

    /// The whole number, rounded up, capped at the ends of `i64`. Units: whatever is counted (bytes, pods).
    #[must_use]
    pub fn value(&self) -> i64 {
        saturate(ceil_div(self.nanos, NANO))
    }

    /// The number of thousandths, rounded up, capped at the ends of `i64`. For CPU: millicores.
    #[must_use]
    pub fn millis(&self) -> i64 {
        saturate(ceil_div(self.nanos, 1_000_000))
    }

    /// As a floating-point number, with the usual loss.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "an approximation is what is asked for")]
    pub fn as_f64(&self) -> f64 {
        self.nanos as f64 / NANO as f64
    }

    /// Whether it is exactly zero.
    #[must_use]
    pub const fn is_zero(&self) -> bool {
        self.nanos == 0
    }

    /// -1, 0 or 1.
    #[must_use]
    pub const fn signum(&self) -> i32 {
        self.nanos.signum() as i32
    }

    /// The family of suffixes it is written in.
    #[must_use]
    pub const fn format(&self) -> Format {
        self.format
    }

    /// Whether it is a whole number.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.nanos % NANO == 0
    }
}

fn saturate(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

/// Rounds away from zero, as upstream does for both signs.
fn ceil_div(value: i128, by: i128) -> i128 {
    let whole = value / by;
    if value % by == 0 { whole } else { whole + value.signum() }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl std::hash::Hash for Quantity {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.nanos.hash(state);
    }
}

#[cfg(test)]
mod tests;
