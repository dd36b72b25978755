//! Upstream's `TracingConfiguration`: how many requests are traced, and where spans go.

use kubewright_api::field::{FieldError, FieldErrors, Path};
use serde::Deserialize;

use crate::config_file;

/// Where spans go if nothing else is said: the collector on this machine.
const ENDPOINT: &str = "localhost:4317";
const PER_MILLION_MAX: i64 = 1_000_000;

/// Why a configuration can't be used: every field that breaks a rule, and the rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("tracing configuration: {problem}")]
#[non_exhaustive]
pub struct TracingConfigError {
    /// Which fields, which rules.
    pub problem: String,
}

impl TracingConfigError {
    pub(super) fn new(problem: impl Into<String>) -> Self {
        Self { problem: problem.into() }
    }
}

/// What is traced: upstream's `TracingConfiguration`, checked.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TracingConfig {
    /// `host:port` of the collector, which speaks OTLP over gRPC without TLS (default: `localhost:4317`).
    pub endpoint: String,
    /// Of a million requests that nobody else began to trace, so many are (default: none).
    pub sampling_rate_per_million: u32,
}

impl Default for TracingConfig {
    fn default() -> Self {
        Self { endpoint: ENDPOINT.into(), sampling_rate_per_million: 0 }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    endpoint: Option<String>,
    sampling_rate_per_million: Option<i64>,
}

impl TracingConfig {
    /// Reads upstream's `TracingConfiguration` (YAML or JSON, `apiserver.config.k8s.io/v1`).
    ///
    /// # Errors
    /// The text is no such configuration, or fields break rules; the message names all of them.
    pub fn parse(text: &str) -> Result<Self, TracingConfigError> {
        let file: File = config_file::decode(text).map_err(TracingConfigError::new)?;
        config_file::check_kind(&file.api_version, &file.kind, "TracingConfiguration")
            .map_err(TracingConfigError::new)?;
        let mut faults = FieldErrors::new();
        let rate = file.sampling_rate_per_million.unwrap_or(0);
        let path = Path::new("tracing").child("samplingRatePerMillion");
        if rate < 0 {
            faults.push(FieldError::invalid(&path, rate, "sampling rate must be positive"));
        }
        if rate > PER_MILLION_MAX {
            let why = "sampling rate per million must be less than or equal to one million";
            faults.push(FieldError::invalid(&path, rate, why));
        }
        let endpoint = file.endpoint.unwrap_or_else(|| ENDPOINT.into());
        check_endpoint(&endpoint, &Path::new("tracing").child("endpoint"), &mut faults);
        let endpoint = endpoint.trim_start_matches("dns://").trim_start_matches('/').to_owned();
        let config = Self { endpoint, sampling_rate_per_million: u32::try_from(rate).unwrap_or_default() };
        config_file::unless(&faults, config).map_err(TracingConfigError::new)
    }
}

fn check_endpoint(endpoint: &str, path: &Path, faults: &mut FieldErrors) {
    let Some((scheme, _)) = endpoint.split_once("//") else {
        if format!("http://{endpoint}").parse::<http::Uri>().is_err() {
            faults.push(FieldError::invalid(path, endpoint, "must be the host and port of a collector"));
        }
        return;
    };
    match scheme.trim_end_matches(':') {
        "dns" => {}
        "unix" | "unix-abstract" => {
            faults.push(FieldError::invalid(
                path,
                endpoint,
                "sockets of this machine are not supported: use host:port",
            ));
        }
        other => {
            let why = format!("unsupported scheme: {other}.  Options are none or dns");
            faults.push(FieldError::invalid(path, endpoint, why));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_are_checked() {
        let parse = |fields: &str| {
            let head = "apiVersion: apiserver.config.k8s.io/v1, kind: TracingConfiguration";
            TracingConfig::parse(&format!("{{{head}{fields}}}"))
        };
        assert_eq!(parse("").unwrap(), TracingConfig::default());
        let all = parse(", endpoint: 'collector.test:4317', samplingRatePerMillion: 100").unwrap();
        assert_eq!((all.endpoint.as_str(), all.sampling_rate_per_million), ("collector.test:4317", 100));
        assert_eq!(parse(", endpoint: 'dns:///c.test:1'").unwrap().endpoint, "c.test:1");
        for (fields, why) in [
            (
                ", samplingRatePerMillion: -1",
                "tracing.samplingRatePerMillion: Invalid value: -1: sampling rate must be positive",
            ),
            (", samplingRatePerMillion: 1000001", "must be less than or equal to one million"),
            (", endpoint: 'http://c.test'", "unsupported scheme: http"),
            (", endpoint: 'unix:///x'", "sockets of this machine are not supported"),
            (", nonsense: 1", "unknown field `nonsense`"),
        ] {
            let error = parse(fields).unwrap_err().problem;
            assert!(error.contains(why), "{error}");
        }
    }
}
