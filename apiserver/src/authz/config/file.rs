//! The configuration as it is written: names and shapes only.

use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct File {
    #[serde(default)]
    pub(super) api_version: String,
    #[serde(default)]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) authorizers: Vec<Authorizer>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Authorizer {
    pub(super) r#type: String,
    pub(super) name: String,
    pub(super) webhook: Option<Webhook>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Webhook {
    #[serde(rename = "authorizedTTL")]
    pub(super) authorized_ttl: Option<String>,
    pub(super) cache_authorized_requests: Option<bool>,
    #[serde(rename = "unauthorizedTTL")]
    pub(super) unauthorized_ttl: Option<String>,
    pub(super) cache_unauthorized_requests: Option<bool>,
    pub(super) timeout: Option<String>,
    pub(super) subject_access_review_version: String,
    pub(super) match_condition_subject_access_review_version: String,
    pub(super) failure_policy: String,
    pub(super) connection_info: ConnectionInfo,
    pub(super) match_conditions: Vec<MatchCondition>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct ConnectionInfo {
    pub(super) r#type: String,
    pub(super) kube_config_file: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct MatchCondition {
    pub(super) expression: String,
}
