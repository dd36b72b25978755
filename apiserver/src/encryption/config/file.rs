//! Upstream's `EncryptionConfiguration` as it stands in the file, before it is checked.

use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct File {
    pub(super) api_version: String,
    pub(super) kind: String,
    #[serde(default)]
    pub(super) resources: Vec<RuleFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleFile {
    #[serde(default)]
    pub(super) resources: Vec<String>,
    #[serde(default)]
    pub(super) providers: Vec<ProviderFile>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ProviderFile {
    pub(super) aesgcm: Option<KeysFile>,
    pub(super) aescbc: Option<KeysFile>,
    pub(super) secretbox: Option<KeysFile>,
    pub(super) identity: Option<Identity>,
    pub(super) kms: Option<KmsFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Identity {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeysFile {
    pub(super) keys: Option<Vec<KeyFile>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct KeyFile {
    pub(super) name: String,
    pub(super) secret: String,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct KmsFile {
    #[serde(rename = "apiVersion")]
    pub(super) api_version: Option<String>,
    pub(super) name: String,
    pub(super) cachesize: Option<i32>,
    pub(super) endpoint: String,
    pub(super) timeout: Option<String>,
}
