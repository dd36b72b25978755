//! Kubernetes' fixed-point numbers: `500m`, `1.5Gi`, `2e3`.
//!
//! A [`Quantity`] remembers which family of suffixes it was written in and prints itself in upstream's canonical form:
//! no fraction, and the largest suffix that needs none. Precision is a billionth; what is finer is rounded up, what is
//! larger than 2^63-1 is capped, as upstream does it.
//!
//! Source: `staging/src/k8s.io/apimachinery/pkg/api/resource` of Kubernetes.

use std::cmp::Ordering;
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

const NANO: i128 = 1_000_000_000;
const MAX: i128 = i64::MAX as i128 * NANO;
const DECIMAL: [(&str, i32); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

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

/// Why a text isn't a quantity, in upstream's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// The number part is malformed.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// The suffix is unknown.
    #[error("unable to parse quantity's suffix")]
    Suffix,
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

impl FromStr for Quantity {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let (negative, rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(ParseError::Format);
        }
        let (scale, format) = Scale::parse(suffix)?;
        let magnitude = scale.nanos(whole, fraction);
        Ok(Self { nanos: if negative { -magnitude } else { magnitude }, format })
    }
}

enum Scale {
    Ten(i32),
    Two(u32),
}

impl Scale {
    fn parse(suffix: &str) -> Result<(Self, Format), ParseError> {
        if let Some((_, exponent)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
            return Ok((Self::Ten(*exponent), Format::DecimalSi));
        }
        if let Some(at) = BINARY.iter().position(|name| *name == suffix) {
            let power = u32::try_from(at).map_err(|_| ParseError::Suffix)?;
            return Ok((Self::Two(power * 10), Format::BinarySi));
        }
        let exponent = suffix.strip_prefix(['e', 'E']).ok_or(ParseError::Suffix)?;
        let exponent: i32 = exponent.parse().map_err(|_| ParseError::Suffix)?;
        Ok((Self::Ten(exponent), Format::DecimalExponent))
    }

    /// The magnitude in billionths: digits beyond the precision round up, overflow is capped.
    fn nanos(&self, whole: &str, fraction: &str) -> i128 {
        let mut digits = 0_i128;
        let mut places = 0_i32;
        let mut sticky = false;
        let mut dropped = 0_i32;
        // So many digits that neither a power of two nor the precision overflows, and more than any value needs.
        let digits_max = 10_i128.pow(if matches!(self, Self::Two(_)) { 19 } else { 28 });
        for (at, c) in whole.bytes().chain(fraction.bytes()).enumerate() {
            let fractional = at >= whole.len();
            if digits >= digits_max {
                sticky |= c != b'0';
                dropped += i32::from(!fractional);
                continue;
            }
            digits = digits * 10 + i128::from(c - b'0');
            places += i32::from(fractional);
        }
        let (mut value, exponent) = match self {
            Self::Ten(exponent) => (digits, exponent.saturating_add(9 + dropped - places)),
            Self::Two(bits) => (digits.saturating_mul(1_i128 << bits), 9 + dropped - places),
        };
        if value == 0 && !sticky {
            return 0;
        }
        if exponent >= 0 {
            for _ in 0..exponent.min(40) {
                value = value.saturating_mul(10);
            }
        } else {
            for _ in 0..exponent.unsigned_abs().min(60) {
                sticky |= value % 10 != 0;
                value /= 10;
            }
        }
        value.saturating_add(i128::from(sticky)).min(MAX)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let small = self.nanos.abs() < 1024 * NANO;
        match self.format {
            Format::BinarySi if !small => {
                let mut value = ceil_div(self.nanos, NANO);
                let mut at = 0;
                while at + 1 < BINARY.len() && value % 1024 == 0 {
                    value /= 1024;
                    at += 1;
                }
                write!(f, "{value}{}", BINARY[at])
            }
            Format::DecimalSi | Format::BinarySi => {
                let (value, at) = canonical_thousands(self.nanos, DECIMAL.len());
                write!(f, "{value}{}", DECIMAL[at].0)
            }
            Format::DecimalExponent => {
                let (value, at) = canonical_thousands(self.nanos, usize::MAX);
                let exponent = 3 * i64::try_from(at).unwrap_or(0) - 9;
                if exponent == 0 { write!(f, "{value}") } else { write!(f, "{value}e{exponent}") }
            }
        }
    }
}

/// Divides by 1000 while nothing is lost; gives the rest and how many times.
fn canonical_thousands(nanos: i128, limit: usize) -> (i128, usize) {
    if nanos == 0 {
        return (0, 3);
    }
    let (mut value, mut at) = (nanos, 0);
    while at + 1 < limit && value % 1000 == 0 {
        value /= 1000;
        at += 1;
    }
    (value, at)
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

impl AddAssign for Quantity {
    /// Keeps the format of the left side, unless that is zero.
    fn add_assign(&mut self, other: Self) {
        if self.nanos == 0 {
            self.format = other.format;
        }
        self.nanos = (self.nanos + other.nanos).clamp(-MAX, MAX);
    }
}

impl Add for Quantity {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}

impl Neg for Quantity {
    type Output = Self;

    fn neg(self) -> Self {
        Self { nanos: -self.nanos, ..self }
    }
}

impl SubAssign for Quantity {
    fn sub_assign(&mut self, other: Self) {
        *self += -other;
    }
}

impl Sub for Quantity {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl Sum for Quantity {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Add::add)
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    /// Takes a string, or a bare number as upstream does.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Quantity;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a quantity such as 500m or 2Gi")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Quantity, E> {
                text.trim().parse().map_err(E::custom)
            }

            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Quantity, E> {
                Ok(Quantity::new(value, Format::DecimalSi))
            }

            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Quantity, E> {
                value.to_string().parse().map_err(E::custom)
            }

            fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Quantity, E> {
                value.to_string().parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl TryFrom<&k8s_openapi::apimachinery::pkg::api::resource::Quantity> for Quantity {
    type Error = ParseError;

    fn try_from(quantity: &k8s_openapi::apimachinery::pkg::api::resource::Quantity) -> Result<Self, ParseError> {
        quantity.0.trim().parse()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(input: &str, canonical: &str) {
        assert_eq!(input.parse::<Quantity>().unwrap().to_string(), canonical, "canonical form of {input}");
    }

    #[test]
    fn canonical_forms_are_upstreams() {
        for (input, canonical) in [
            ("0", "0"),
            ("0Ki", "0"),
            ("1000m", "1"),
            ("0.5", "500m"),
            ("1.5Gi", "1536Mi"),
            ("1024", "1024"),
            ("1024Ki", "1Mi"),
            ("512Ki", "512Ki"),
            ("100Ki", "100Ki"),
            ("1000Ki", "1000Ki"),
            ("0.5Ki", "512"),
            ("1000", "1k"),
            ("1e3", "1e3"),
            ("1.1e3", "1100"),
            ("100e3", "100e3"),
            ("1E", "1E"),
            ("12E-2", "120e-3"),
            ("-2.5", "-2500m"),
            ("+1.2", "1200m"),
            ("0.1n", "1n"),
            ("3.01n", "4n"),
            (".001", "1m"),
            ("5.", "5"),
            ("1Ei", "1Ei"),
            ("9223372036854775807", "9223372036854775807"),
            ("99999999999999999999", "9223372036854775807"),
            ("100E", "9223372036854775807"),
        ] {
            check(input, canonical);
        }
    }

    #[test]
    fn malformed_texts_are_refused() {
        for bad in ["", "-", ".", "1.2.3", "a", "1x", "1KiB", "1e", "1 Gi", "0x10", "1mm"] {
            assert!(bad.parse::<Quantity>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn values_round_up() {
        let q: Quantity = "1500m".parse().unwrap();
        assert_eq!((q.value(), q.millis()), (2, 1500));
        let q: Quantity = "0.1m".parse().unwrap();
        assert_eq!((q.value(), q.millis()), (1, 1));
        let q: Quantity = "1Ki".parse().unwrap();
        assert_eq!((q.value(), q.millis()), (1024, 1_024_000));
    }

    proptest! {
        #[test]
        fn printing_and_parsing_agree(value in any::<i64>(), millis in 0_i64..1000) {
            for format in [Format::DecimalSi, Format::BinarySi, Format::DecimalExponent] {
                let q = Quantity::new(value / 1024, format);
                prop_assert_eq!(q.to_string().parse::<Quantity>().unwrap(), q);
            }
            let q = Quantity::from_millis(value / 1_000_000) + Quantity::from_millis(millis);
            prop_assert_eq!(q.to_string().parse::<Quantity>().unwrap(), q);
        }

        #[test]
        fn parsing_never_panics(text in "[-+]?[0-9.]{0,60}[a-zA-Z]{0,3}[-+]?[0-9]{0,12}") {
            let _ = text.parse::<Quantity>();
        }
    }
}
