//! Quantities as texts: how they are read and how they are written.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Format, MAX, NANO, Quantity, ceil_div};

const DECIMAL: [(&str, i32); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

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
