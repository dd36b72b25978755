//! Levels, versions, and what a namespace's labels say.

use std::fmt;

use kubewright_api::field::{FieldError, FieldErrors, Path};
use serde_json::Value;

/// How the labels begin.
const PREFIX: &str = "pod-security.kubernetes.io/";

/// How strict a policy is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Everything goes.
    #[default]
    Privileged,
    /// Nothing that is known to break out of a pod.
    Baseline,
    /// Hardened.
    Restricted,
}

impl Level {
    /// Reads a level; gives `None` for anything else than upstream's three words.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "privileged" => Some(Self::Privileged),
            "baseline" => Some(Self::Baseline),
            "restricted" => Some(Self::Restricted),
            _ => None,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        })
    }
}

/// Which minor version of Kubernetes a policy is taken from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// Version 1 with that minor.
    Minor(u32),
    /// The newest there is.
    #[default]
    Latest,
}

impl Version {
    /// Reads `latest` or `v1.x`; gives `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == "latest" {
            return Some(Self::Latest);
        }
        let minor = text.strip_prefix("v1.")?;
        let plain = minor.bytes().all(|byte| byte.is_ascii_digit()) && (minor == "0" || !minor.starts_with('0'));
        if plain { minor.parse().ok().map(Self::Minor) } else { None }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Minor(minor) => write!(f, "v1.{minor}"),
            Self::Latest => f.write_str("latest"),
        }
    }
}

/// A level as one version defines it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LevelVersion {
    /// The level.
    pub level: Level,
    /// The version.
    pub version: Version,
}

impl LevelVersion {
    fn equivalent(self, other: Self) -> bool {
        (self.level == Level::Privileged && other.level == Level::Privileged) || self == other
    }
}

impl fmt::Display for LevelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.level, self.version)
    }
}

/// What a namespace asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Pods that violate it are refused.
    pub enforce: LevelVersion,
    /// Violations are noted in the audit log.
    pub audit: LevelVersion,
    /// Whoever makes something that violates it is warned.
    pub warn: LevelVersion,
}

impl Policy {
    /// Whether it asks for nothing.
    #[must_use]
    pub fn is_privileged(&self) -> bool {
        [self.enforce, self.audit, self.warn].iter().all(|mode| mode.level == Level::Privileged)
    }

    pub(super) fn equivalent(&self, other: &Self) -> bool {
        self.enforce.equivalent(other.enforce) && self.audit.equivalent(other.audit) && self.warn.equivalent(other.warn)
    }

    /// What these labels ask for, and what is wrong with them. Enforcement fails closed, the other modes fail open.
    #[must_use]
    pub fn of_labels(labels: &Value, defaults: Self) -> (Self, FieldErrors) {
        let (mut policy, mut faults) = (defaults, FieldErrors::new());
        let label = |name: &str| labels[format!("{PREFIX}{name}")].as_str();
        let mut fault = |name: &str, value: &str, rule: &str| {
            let path = Path::new("metadata").child("labels").key(&format!("{PREFIX}{name}"));
            faults.push(FieldError::invalid(&path, value, rule));
        };
        let mut enforce_given = false;
        let on_fault = [Level::Restricted, Level::Privileged, Level::Privileged];
        let modes = [("enforce", &mut policy.enforce), ("audit", &mut policy.audit), ("warn", &mut policy.warn)];
        for ((mode, wanted), on_fault) in modes.into_iter().zip(on_fault) {
            if let Some(text) = label(mode) {
                wanted.level = Level::parse(text).unwrap_or_else(|| {
                    fault(mode, text, "must be one of privileged, baseline, restricted");
                    on_fault
                });
                enforce_given |= mode == "enforce" && Level::parse(text).is_some();
            }
            let version = format!("{mode}-version");
            if let Some(text) = label(&version) {
                wanted.version = Version::parse(text).unwrap_or_else(|| {
                    fault(&version, text, r#"must be "latest" or "v1.x""#);
                    Version::Latest
                });
            }
        }
        // Who is held to a level wants to be warned of what will be refused.
        if label("warn").is_none() && enforce_given && policy.enforce.level > policy.warn.level {
            policy.warn.level = policy.enforce.level;
            if label("warn-version").is_none() {
                policy.warn.version = policy.enforce.version;
            }
        }
        (policy, faults)
    }

    /// The modes that labels ask for and that aren't privileged, such as `enforce=baseline:latest`.
    pub(super) fn describe(&self, labels: &Value) -> String {
        let given = |name: &str| !labels[format!("{PREFIX}{name}")].is_null();
        let modes = [("enforce", self.enforce), ("audit", self.audit), ("warn", self.warn)];
        let shown = modes.into_iter().filter(|(mode, wanted)| {
            wanted.level != Level::Privileged && (given(mode) || given(&format!("{mode}-version")))
        });
        shown.map(|(mode, wanted)| format!("{mode}={wanted}")).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn versions() {
        for (text, expected) in [
            ("latest", Some(Version::Latest)),
            ("v1.0", Some(Version::Minor(0))),
            ("v1.36", Some(Version::Minor(36))),
            ("v1.01", None),
            ("v2.1", None),
            ("1.3", None),
            ("v1.", None),
            ("v1.-1", None),
        ] {
            assert_eq!(Version::parse(text), expected, "{text}");
        }
        assert!(Version::Latest > Version::Minor(9999));
    }

    #[test]
    fn labels() {
        let of = |labels: Value| Policy::of_labels(&labels, Policy::default());
        let (policy, faults) = of(json!({"pod-security.kubernetes.io/enforce": "baseline",
            "pod-security.kubernetes.io/enforce-version": "v1.20"}));
        assert!(faults.is_empty());
        assert_eq!(policy.enforce.to_string(), "baseline:v1.20");
        // Warnings follow what is enforced, unless they are asked for themselves.
        assert_eq!(policy.warn, policy.enforce);
        assert_eq!(policy.audit.level, Level::Privileged);
        let (policy, faults) = of(json!({"pod-security.kubernetes.io/enforce": "strict",
            "pod-security.kubernetes.io/audit": "strict", "pod-security.kubernetes.io/warn-version": "1"}));
        let said: Vec<String> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                r#"metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "strict": must be one of privileged, baseline, restricted"#,
                r#"metadata.labels[pod-security.kubernetes.io/audit]: Invalid value: "strict": must be one of privileged, baseline, restricted"#,
                r#"metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: "1": must be "latest" or "v1.x""#,
            ]
        );
        assert_eq!((policy.enforce.level, policy.audit.level), (Level::Restricted, Level::Privileged));
        assert_eq!(policy.warn.level, Level::Privileged);
    }
}
