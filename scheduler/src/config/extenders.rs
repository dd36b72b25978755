//! Extenders: services outside the scheduler that have a say in its decisions.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use kubewright_api::field::Path;
use kubewright_api::names;
use serde_json::{Value, json};

use super::reader::{Faults, Section};
use crate::framework::Extender;
use crate::object::is_extended;

/// How long an extender may take to answer if nothing is said.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What a configuration says about an extender. A verb that is empty is one that the extender lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtenderConfig {
    /// The beginning of its URL, to which verbs are appended.
    pub url_prefix: String,
    /// For ruling out nodes.
    pub filter_verb: String,
    /// For looking at who is to be preempted.
    pub preempt_verb: String,
    /// For scoring nodes.
    pub prioritize_verb: String,
    /// How much its scores count.
    pub weight: i64,
    /// For binding pods.
    pub bind_verb: String,
    /// Whether it is called over TLS, unverified unless an authority is given.
    pub enable_https: bool,
    /// How it is called over TLS.
    pub tls: Option<ExtenderTls>,
    /// How long it may take to answer.
    pub timeout: Duration,
    /// Whether it knows all nodes and need only be told their names.
    pub node_cache_capable: bool,
    /// The extended resources for whose sake it is asked; it is asked about every pod if there are none.
    pub managed_resources: BTreeSet<String>,
    /// Those of them that only the extender counts.
    pub ignored_resources: BTreeSet<String>,
    /// Whether scheduling goes on when it fails.
    pub ignorable: bool,
}

impl Default for ExtenderConfig {
    /// An extender without a URL that does nothing, and may take five seconds for that.
    fn default() -> Self {
        Self {
            url_prefix: String::new(),
            filter_verb: String::new(),
            preempt_verb: String::new(),
            prioritize_verb: String::new(),
            weight: 0,
            bind_verb: String::new(),
            enable_https: false,
            tls: None,
            timeout: TIMEOUT,
            node_cache_capable: false,
            managed_resources: BTreeSet::new(),
            ignored_resources: BTreeSet::new(),
            ignorable: false,
        }
    }
}

impl ExtenderConfig {
    /// What the scheduler's core needs to know of it.
    #[must_use]
    pub fn extender(&self) -> Extender {
        Extender {
            name: self.url_prefix.as_str().into(),
            filters: !self.filter_verb.is_empty(),
            prioritizes: !self.prioritize_verb.is_empty(),
            preempts: !self.preempt_verb.is_empty(),
            binds: !self.bind_verb.is_empty(),
            weight: self.weight,
            ignorable: self.ignorable,
            managed_resources: self.managed_resources.iter().map(|name| name.as_str().into()).collect(),
        }
    }
}

/// How an extender is called over TLS. Data goes before files, and is PEM in base64.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ExtenderTls {
    /// Whether its certificate is not verified.
    pub insecure: bool,
    /// The name that its certificate is for, if that isn't the URL's.
    pub server_name: String,
    /// A file with the certificate to show.
    pub cert_file: String,
    /// A file with its key.
    pub key_file: String,
    /// A file with the authorities to trust.
    pub ca_file: String,
    /// The certificate to show.
    pub cert_data: String,
    /// Its key.
    pub key_data: String,
    /// The authorities to trust.
    pub ca_data: String,
}

impl fmt::Debug for ExtenderTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("ExtenderTls");
        shown.field("insecure", &self.insecure).field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

/// Reads all extenders.
pub(super) fn read(root: &mut Section<'_>, faults: &mut Faults) -> Vec<ExtenderConfig> {
    let (mut all, mut names) = (Vec::new(), BTreeSet::new());
    for section in root.sections("extenders", faults) {
        all.push(one(section, &mut names, faults));
    }
    let binders = all.iter().filter(|own: &&ExtenderConfig| !own.bind_verb.is_empty()).count();
    if binders > 1 {
        let found = format!("found {binders} extenders implementing bind");
        faults.invalid(&root.path("extenders"), found, "only one extender can implement bind");
    }
    all
}

fn one(mut section: Section<'_>, names: &mut BTreeSet<String>, faults: &mut Faults) -> ExtenderConfig {
    let mut text = |key| section.text(key, faults).unwrap_or_default();
    let mut config = ExtenderConfig {
        url_prefix: text("urlPrefix"),
        filter_verb: text("filterVerb"),
        preempt_verb: text("preemptVerb"),
        prioritize_verb: text("prioritizeVerb"),
        bind_verb: text("bindVerb"),
        ..ExtenderConfig::default()
    };
    config.weight = section.integer("weight", faults).unwrap_or(0);
    if !config.prioritize_verb.is_empty() && config.weight <= 0 {
        let rule = "must have a positive weight applied to it";
        faults.invalid(&section.path("weight"), config.weight, rule);
    }
    config.enable_https = section.flag("enableHTTPS", faults).unwrap_or(false);
    config.node_cache_capable = section.flag("nodeCacheCapable", faults).unwrap_or(false);
    config.ignorable = section.flag("ignorable", faults).unwrap_or(false);
    config.timeout = section.duration("httpTimeout", faults).filter(|time| !time.is_zero()).unwrap_or(TIMEOUT);
    config.tls = section.section("tlsConfig", faults).map(|tls| read_tls(tls, faults));
    for mut resource in section.sections("managedResources", faults) {
        let name = resource.text("name", faults).unwrap_or_default();
        check_name(&name, &resource.path("name"), names, faults);
        if resource.flag("ignoredByScheduler", faults).unwrap_or(false) {
            config.ignored_resources.insert(name.clone());
        }
        config.managed_resources.insert(name);
        resource.end(faults);
    }
    section.end(faults);
    config
}

fn check_name(name: &str, path: &Path, names: &mut BTreeSet<String>, faults: &mut Faults) {
    let wrong = names::qualified_name(name);
    for fault in &wrong {
        faults.invalid(path, name, fault);
    }
    if wrong.is_empty() && !is_extended(name) {
        faults.invalid(path, name, "is an invalid extended resource name");
    }
    if !names.insert(name.to_owned()) {
        faults.invalid(path, name, "duplicate extender managed resource name");
    }
}

fn read_tls(mut section: Section<'_>, faults: &mut Faults) -> ExtenderTls {
    let insecure = section.flag("insecure", faults).unwrap_or(false);
    let mut text = |key| section.text(key, faults).unwrap_or_default();
    let tls = ExtenderTls {
        insecure,
        server_name: text("serverName"),
        cert_file: text("certFile"),
        key_file: text("keyFile"),
        ca_file: text("caFile"),
        cert_data: text("certData"),
        key_data: text("keyData"),
        ca_data: text("caData"),
    };
    section.end(faults);
    tls
}

/// The configuration with every profile's NodeResourcesFit leaving to extenders what they alone count.
pub(super) fn ignoring(configuration: &Value, extenders: &[ExtenderConfig]) -> Value {
    let mut configuration = configuration.clone();
    let ignored: Vec<&String> = extenders.iter().flat_map(|own| &own.ignored_resources).collect();
    if ignored.is_empty() {
        return configuration;
    }
    if !configuration["profiles"].is_array() {
        configuration["profiles"] = json!([{}]);
    }
    for profile in configuration["profiles"].as_array_mut().into_iter().flatten().filter(|own| own.is_object()) {
        if !profile["pluginConfig"].is_array() {
            profile["pluginConfig"] = json!([]);
        }
        let Some(plugins) = profile["pluginConfig"].as_array_mut() else { continue };
        let own = match plugins.iter().position(|own| own["name"] == "NodeResourcesFit") {
            Some(at) => at,
            None => {
                plugins.push(json!({"name": "NodeResourcesFit"}));
                plugins.len() - 1
            }
        };
        plugins[own]["args"]["ignoredResources"] = json!(ignored);
    }
    configuration
}
