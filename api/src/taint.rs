//! Taints of nodes and tolerations of pods.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// What a taint does to pods that don't tolerate it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TaintEffect {
    /// New pods stay away.
    NoSchedule,
    /// New pods stay away if they can.
    PreferNoSchedule,
    /// New pods stay away and running ones are evicted.
    NoExecute,
}

/// A taint of a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Taint {
    /// What it is about, such as `node.kubernetes.io/not-ready`.
    pub key: String,
    /// Its value; often empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// What it does.
    pub effect: TaintEffect,
    /// When a `NoExecute` taint was added, as an RFC 3339 time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_added: Option<String>,
}

/// How a toleration compares values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TolerationOperator {
    /// Key and value must be equal.
    #[default]
    Equal,
    /// The key must exist; an empty key stands for every key.
    Exists,
    /// The taint's value must be a whole number less than the toleration's.
    Lt,
    /// The taint's value must be a whole number greater than the toleration's.
    Gt,
}

/// A toleration of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Toleration {
    /// The taint's key; empty with `Exists` tolerates all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// How values are compared.
    #[serde(default)]
    pub operator: TolerationOperator,
    /// The value to compare with.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// The effect tolerated; `None` tolerates all.
    #[serde(default, deserialize_with = "empty_is_none", skip_serializing_if = "Option::is_none")]
    pub effect: Option<TaintEffect>,
    /// For how long a `NoExecute` taint is tolerated, in seconds; `None` means forever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub toleration_seconds: Option<i64>,
}

fn empty_is_none<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<TaintEffect>, D::Error> {
    use serde::de::{Error, IntoDeserializer};
    let text = Option::<Cow<'de, str>>::deserialize(deserializer)?;
    match text.as_deref() {
        None | Some("") => Ok(None),
        Some(effect) => TaintEffect::deserialize(IntoDeserializer::<D::Error>::into_deserializer(effect))
            .map(Some)
            .map_err(D::Error::custom),
    }
}

impl Toleration {
    /// Whether it tolerates that taint.
    #[must_use]
    pub fn tolerates(&self, taint: &Taint) -> bool {
        if self.effect.is_some_and(|effect| effect != taint.effect) {
            return false;
        }
        if !self.key.is_empty() && self.key != taint.key {
            return false;
        }
        let numbers = || Some((taint.value.parse::<i64>().ok()?, self.value.parse::<i64>().ok()?));
        match self.operator {
            TolerationOperator::Exists => true,
            TolerationOperator::Equal => self.value == taint.value,
            TolerationOperator::Lt => numbers().is_some_and(|(taint, limit)| taint < limit),
            TolerationOperator::Gt => numbers().is_some_and(|(taint, limit)| taint > limit),
        }
    }
}

/// The first taint with one of those effects that no toleration covers.
pub fn untolerated<'a>(taints: &'a [Taint], tolerations: &[Toleration], effects: &[TaintEffect]) -> Option<&'a Taint> {
    let relevant = taints.iter().filter(|taint| effects.contains(&taint.effect));
    relevant.into_iter().find(|taint| !tolerations.iter().any(|toleration| toleration.tolerates(taint)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toleration(key: &str, operator: TolerationOperator, value: &str, effect: Option<TaintEffect>) -> Toleration {
        Toleration { key: key.into(), operator, value: value.into(), effect, toleration_seconds: None }
    }

    #[test]
    fn tolerations_match_as_upstream() {
        use TolerationOperator::{Equal, Exists, Gt, Lt};
        let taint = Taint { key: "k".into(), value: "5".into(), effect: TaintEffect::NoSchedule, time_added: None };
        for (toleration, expected) in [
            (toleration("", Exists, "", None), true),
            (toleration("k", Exists, "", Some(TaintEffect::NoSchedule)), true),
            (toleration("k", Exists, "", Some(TaintEffect::NoExecute)), false),
            (toleration("k", Equal, "5", None), true),
            (toleration("k", Equal, "6", None), false),
            (toleration("other", Exists, "", None), false),
            (toleration("k", Lt, "6", None), true),
            (toleration("k", Gt, "6", None), false),
        ] {
            assert_eq!(toleration.tolerates(&taint), expected, "{toleration:?}");
        }
    }

    #[test]
    fn an_empty_effect_is_any_effect() {
        let toleration: Toleration = serde_json::from_str(r#"{"key":"k","operator":"Exists","effect":""}"#).unwrap();
        assert_eq!(toleration.effect, None);
    }
}
