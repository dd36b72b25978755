//! What upstream's configuration files have in common: YAML or JSON, strictly read, of a kind of `apiserver.config.k8s.io`,
//! and all their faults told at once.

use kubewright_api::field::FieldError;
use serde::de::DeserializeOwned;

/// Reads a file; fields that are unknown are faults.
pub(crate) fn decode<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_yaml_ng::from_str(text).map_err(|error| format!("strict decoding error: {error}"))
}

/// Whether it is of that kind, in any of the versions in which there ever was one.
pub(crate) fn check_kind(api_version: &str, kind: &str, wanted: &str) -> Result<(), String> {
    let version = api_version.strip_prefix("apiserver.config.k8s.io/");
    if matches!(version, Some("v1" | "v1beta1" | "v1alpha1")) && kind == wanted {
        return Ok(());
    }
    Err(format!("apiVersion {api_version:?}, kind {kind:?}: must be apiserver.config.k8s.io/v1, {wanted}"))
}

/// Several faults as one text: a single one as it is, more in brackets.
pub(crate) fn together<T: ToString>(faults: &[T]) -> String {
    let texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
    match texts.as_slice() {
        [one] => one.clone(),
        several => format!("[{}]", several.join(", ")),
    }
}

/// That value, if nothing is wrong with its fields.
pub(crate) fn unless<T>(faults: &[FieldError], value: T) -> Result<T, String> {
    if faults.is_empty() { Ok(value) } else { Err(together(faults)) }
}
