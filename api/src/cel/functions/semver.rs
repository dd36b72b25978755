//! Semantic versions.

use std::cmp::Ordering;

use super::super::EvalError;
use super::super::value::Value;
use super::Called;

/// A version by semver.org's rules, version 2.
#[derive(Clone, Debug)]
pub struct Semver {
    numbers: [u64; 3],
    prerelease: Vec<String>,
}

impl Semver {
    pub(in super::super) fn parse(text: &str) -> Result<Self, &'static str> {
        let (version, build) = text.split_once('+').map_or((text, None), |(version, build)| (version, Some(build)));
        let (core, prerelease) = version.split_once('-').map_or((version, None), |(core, rest)| (core, Some(rest)));
        let identifier = |part: &str| !part.is_empty() && part.chars().all(|c| c == '-' || c.is_ascii_alphanumeric());
        if !build.is_none_or(|build| build.split('.').all(identifier)) {
            return Err("Build meta data is empty or has invalid characters");
        }
        let mut numbers = [0; 3];
        let parts: Vec<&str> = core.split('.').collect();
        if parts.len() != 3 {
            return Err("No Major.Minor.Patch elements found");
        }
        for (number, part) in numbers.iter_mut().zip(parts) {
            if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err("Invalid character(s) found in a number of the version");
            }
            if part.len() > 1 && part.starts_with('0') {
                return Err("A number of the version must not contain leading zeroes");
            }
            *number = part.parse().map_err(|_| "A number of the version is too large")?;
        }
        let prerelease: Vec<String> =
            prerelease.map(|rest| rest.split('.').map(str::to_owned).collect()).unwrap_or_default();
        let numeric = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if prerelease.iter().any(|part| !identifier(part) || (numeric(part) && part.len() > 1 && part.starts_with('0')))
        {
            return Err("Invalid prerelease version");
        }
        Ok(Self { numbers, prerelease })
    }

    /// A version of a loose form: with a leading `v`, missing numbers, leading zeroes.
    fn normalized(text: &str) -> Result<Self, &'static str> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let end = text.find(['-', '+']).unwrap_or(text.len());
        let (core, rest) = text.split_at(end);
        let mut parts: Vec<String> = core
            .split('.')
            .map(|part| {
                let trimmed = part.trim_start_matches('0');
                if trimmed.is_empty() && !part.is_empty() { "0".to_owned() } else { trimmed.to_owned() }
            })
            .collect();
        if parts.len() < 3 {
            if !rest.is_empty() {
                return Err("Short version cannot contain PreRelease/Build meta data");
            }
            parts.resize(3, "0".into());
        }
        Self::parse(&format!("{}{rest}", parts.join(".")))
    }

    fn compare(&self, other: &Self) -> Ordering {
        let release = |version: &Self| version.prerelease.is_empty();
        self.numbers.cmp(&other.numbers).then_with(|| match (release(self), release(other)) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => {
                let pairs = self.prerelease.iter().zip(&other.prerelease);
                let differing = pairs.map(|(a, b)| compare_identifiers(a, b)).find(|ordering| ordering.is_ne());
                differing.unwrap_or_else(|| self.prerelease.len().cmp(&other.prerelease.len()))
            }
        })
    }
}

impl PartialEq for Semver {
    fn eq(&self, other: &Self) -> bool {
        self.compare(other).is_eq()
    }
}

fn compare_identifiers(a: &str, b: &str) -> Ordering {
    let numeric = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    match (numeric(a), numeric(b)) {
        (true, true) => a.len().cmp(&b.len()).then_with(|| a.cmp(b)),
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (false, false) => a.cmp(b),
    }
}

pub(super) fn make<'a>(function: &str, text: &str, rest: &[Value<'a>]) -> Called<'a> {
    let normalize = match rest {
        [] => false,
        [Value::Bool(normalize)] => *normalize,
        _ => return None,
    };
    let parsed = if normalize { Semver::normalized(text) } else { Semver::parse(text) };
    Some(match (function, parsed) {
        ("semver", parsed) => parsed.map(|version| Value::Semver(version.into())).map_err(EvalError::new),
        (_, parsed) => Ok(Value::Bool(parsed.is_ok())),
    })
}

pub(super) fn call<'a>(version: &Semver, function: &str, args: &[Value<'a>]) -> Called<'a> {
    let number = |at: usize| Some(Ok(Value::Int(i64::try_from(version.numbers[at]).unwrap_or(i64::MAX))));
    match (function, args) {
        ("major", []) => number(0),
        ("minor", []) => number(1),
        ("patch", []) => number(2),
        ("isLessThan", [Value::Semver(other)]) => Some(Ok(Value::Bool(version.compare(other).is_lt()))),
        ("isGreaterThan", [Value::Semver(other)]) => Some(Ok(Value::Bool(version.compare(other).is_gt()))),
        ("compareTo", [Value::Semver(other)]) => Some(Ok(Value::Int(version.compare(other) as i64))),
        _ => None,
    }
}
