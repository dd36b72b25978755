//! Reads `KubeSchedulerConfiguration` files as kube-scheduler reads them.
//!
//! ```
//! use kubewright_scheduler::config::{Configuration, Registry};
//!
//! let text = "
//! apiVersion: kubescheduler.config.k8s.io/v1
//! kind: KubeSchedulerConfiguration
//! profiles:
//! - schedulerName: packing
//!   plugins:
//!     multiPoint:
//!       disabled: [{name: ImageLocality}]
//!   pluginConfig:
//!   - name: NodeResourcesFit
//!     args: {scoringStrategy: {type: MostAllocated}}
//! ";
//! let configuration = Configuration::read(text, &Registry::default())?;
//! assert_eq!(configuration.profiles[0].name(), "packing");
//!
//! let error = Configuration::read(&text.replace("disabled", "disbled"), &Registry::default()).unwrap_err();
//! assert_eq!(error.to_string(), r#"strict decoding error: unknown field "profiles[0].plugins.multiPoint.disbled""#);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod args;
mod checks;
mod extenders;
mod plugins;
mod reader;

use std::time::Duration;

use kubewright_api::field::{FieldError, Path};
use serde_json::Value;

use crate::framework::{Profile, ProfileError};
use crate::queue::QueueConfig;
use crate::schedule::SchedulerConfig;
pub use args::{Factory, Registry};
pub use extenders::{ExtenderConfig, ExtenderTls};
use reader::{Faults, Section};

/// What a configuration file says.
#[derive(Debug)]
pub struct Configuration {
    /// The profiles, in order.
    pub profiles: Vec<Profile>,
    /// How many of the nodes to look for before scoring those found, in percent; 0 adapts to the number of nodes.
    pub percentage_of_nodes_to_score: i32,
    /// How long a pod is held back after its first failure.
    pub pod_initial_backoff: Duration,
    /// How long at most.
    pub pod_max_backoff: Duration,
    /// With whom to agree on who schedules, if that is asked for.
    pub leader_election: Election,
    /// Services that have a say in decisions.
    pub extenders: Vec<ExtenderConfig>,
}

/// What a configuration file says about leader election.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Election {
    /// Whether there is one.
    pub leader_elect: bool,
    /// The Lease's namespace.
    pub resource_namespace: String,
    /// The Lease's name.
    pub resource_name: String,
    /// For how long others take an unrenewed lead for granted.
    pub lease_duration: Duration,
    /// For how long the leader tries to renew before it gives up.
    pub renew_deadline: Duration,
    /// How long between tries.
    pub retry_period: Duration,
}

impl Default for Election {
    /// Upstream's defaults.
    fn default() -> Self {
        Self {
            leader_elect: true,
            resource_namespace: "kube-system".into(),
            resource_name: "kube-scheduler".into(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }
}

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// It isn't YAML.
    #[error("couldn't be read as YAML: {0}")]
    Yaml(String),
    /// It is something else.
    #[error("no kind {kind:?} is registered for version {version:?}")]
    Kind {
        /// What it says it is.
        kind: String,
        /// In which version.
        version: String,
    },
    /// It has fields that don't exist.
    #[error("strict decoding error: {}", quoted(.0))]
    Unknown(Vec<String>),
    /// Its fields break rules.
    #[error("{}", listed(.0))]
    Invalid(Vec<FieldError>),
    /// A profile's plugins don't go together.
    #[error(transparent)]
    Profile(#[from] ProfileError),
}

fn quoted(fields: &[String]) -> String {
    fields.iter().map(|field| format!("unknown field {field:?}")).collect::<Vec<_>>().join(", ")
}

fn listed(faults: &[FieldError]) -> String {
    match faults {
        [one] => one.to_string(),
        several => format!("[{}]", several.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    }
}

const VERSION: &str = "kubescheduler.config.k8s.io/v1";
const KIND: &str = "KubeSchedulerConfiguration";

impl Configuration {
    /// Reads a file's text. Plugins come from the registry.
    ///
    /// # Errors
    /// Not a scheduler configuration, unknown fields, or fields that break upstream's rules.
    pub fn read(text: &str, registry: &Registry) -> Result<Self, ConfigError> {
        let value: Value = serde_yaml_ng::from_str(text).map_err(|error| ConfigError::Yaml(error.to_string()))?;
        let word = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        if word("kind") != KIND || word("apiVersion") != VERSION {
            return Err(ConfigError::Kind { kind: word("kind"), version: word("apiVersion") });
        }
        let mut faults = Faults::default();
        let read = Self::from_value(&value, registry, &mut faults);
        if !faults.unknown.is_empty() {
            return Err(ConfigError::Unknown(faults.unknown));
        }
        if !faults.invalid.is_empty() {
            return Err(ConfigError::Invalid(faults.invalid));
        }
        let (mut configuration, profiles) = read;
        for profile in profiles {
            configuration.profiles.push(profile.build()?);
        }
        Ok(configuration)
    }

    /// How a scheduler behaves that follows it, drawing ties from that seed.
    #[must_use]
    pub fn scheduler_config(&self, seed: u64) -> SchedulerConfig {
        SchedulerConfig {
            seed,
            percentage_of_nodes_to_score: self.percentage_of_nodes_to_score,
            queue: QueueConfig {
                initial_backoff: self.pod_initial_backoff,
                max_backoff: self.pod_max_backoff,
                ..QueueConfig::default()
            },
            extenders: self.extenders.iter().map(ExtenderConfig::extender).collect(),
            ..SchedulerConfig::default()
        }
    }

    fn from_value(
        value: &Value,
        registry: &Registry,
        faults: &mut Faults,
    ) -> (Self, Vec<crate::framework::ProfileBuilder>) {
        let mut root = Section::new(value, Path::root(), faults);
        for known in ["apiVersion", "kind", "healthzBindAddress", "metricsBindAddress"] {
            root.text(known, faults);
        }
        for known in ["enableProfiling", "enableContentionProfiling", "delayCacheUntilActive"] {
            root.flag(known, faults);
        }
        let parallelism = root.integer("parallelism", faults).unwrap_or(16);
        if parallelism <= 0 {
            let rule = "should be an integer value greater than zero";
            faults.invalid(&root.path("parallelism"), parallelism, rule);
        }
        let percentage = percentage(&mut root, faults).unwrap_or(0);
        let initial = root.integer("podInitialBackoffSeconds", faults).unwrap_or(1);
        let most = root.integer("podMaxBackoffSeconds", faults).unwrap_or(10);
        if initial <= 0 {
            faults.invalid(&root.path("podInitialBackoffSeconds"), initial, "must be greater than 0");
        }
        if most < initial {
            let rule = "must be greater than or equal to PodInitialBackoffSeconds";
            faults.invalid(&root.path("podMaxBackoffSeconds"), most, rule);
        }
        if let Some(mut connection) = root.section("clientConnection", faults) {
            for key in ["kubeconfig", "acceptContentTypes", "contentType"] {
                connection.text(key, faults);
            }
            connection.any("qps");
            if let Some(burst) = connection.integer("burst", faults).filter(|burst| *burst < 0) {
                faults.invalid(&connection.path("burst"), burst, "must be non-negative");
            }
            connection.end(faults);
        }
        let leader_election = election(&mut root, faults);
        let extenders = extenders::read(&mut root, faults);
        root.any("profiles");
        let ignoring = extenders::ignoring(value, &extenders);
        plugins::check_queue_sort(value, &root.path("profiles"), faults);
        let profiles = plugins::profiles(&mut Section::new(&ignoring, Path::root(), faults), registry, faults);
        root.end(faults);
        let seconds = |n: i64| Duration::from_secs(u64::try_from(n).unwrap_or(0));
        let configuration = Self {
            profiles: Vec::new(),
            percentage_of_nodes_to_score: percentage,
            pod_initial_backoff: seconds(initial),
            pod_max_backoff: seconds(most),
            leader_election,
            extenders,
        };
        (configuration, profiles)
    }
}

/// `percentageOfNodesToScore`, of the whole or of a profile.
fn percentage(section: &mut Section<'_>, faults: &mut Faults) -> Option<i32> {
    let percentage = section.integer("percentageOfNodesToScore", faults)?;
    if !(0..=100).contains(&percentage) {
        faults.invalid(&section.path("percentageOfNodesToScore"), percentage, "not in valid range [0-100]");
    }
    i32::try_from(percentage).ok()
}

fn election(root: &mut Section<'_>, faults: &mut Faults) -> Election {
    let mut election = Election::default();
    let Some(mut section) = root.section("leaderElection", faults) else { return election };
    if let Some(elect) = section.flag("leaderElect", faults) {
        election.leader_elect = elect;
    }
    if let Some(lock) = section.text("resourceLock", faults).filter(|lock| lock != "leases" && election.leader_elect) {
        faults.invalid(&section.path("resourceLock"), lock, r#"resourceLock value must be "leases""#);
    }
    for (key, field) in
        [("resourceName", &mut election.resource_name), ("resourceNamespace", &mut election.resource_namespace)]
    {
        if let Some(text) = section.text(key, faults) {
            *field = text;
        }
    }
    for (key, field) in [
        ("leaseDuration", &mut election.lease_duration),
        ("renewDeadline", &mut election.renew_deadline),
        ("retryPeriod", &mut election.retry_period),
    ] {
        if let Some(duration) = section.duration(key, faults) {
            *field = duration;
        }
    }
    if election.leader_elect {
        check_election(&election, &section, faults);
    }
    section.end(faults);
    election
}

fn check_election(election: &Election, section: &Section<'_>, faults: &mut Faults) {
    let durations = [
        ("leaseDuration", election.lease_duration),
        ("renewDeadline", election.renew_deadline),
        ("retryPeriod", election.retry_period),
    ];
    for (key, duration) in durations.into_iter().filter(|(_, duration)| duration.is_zero()) {
        faults.invalid(&section.path(key), format!("{duration:?}"), "must be greater than zero");
    }
    if election.lease_duration <= election.renew_deadline {
        let given = format!("{:?}", election.renew_deadline);
        faults.invalid(&section.path("leaseDuration"), given, "must be greater than `RenewDeadline`");
    }
    for (key, text) in [("resourceNamespace", &election.resource_namespace), ("resourceName", &election.resource_name)]
    {
        if text.is_empty() {
            faults.invalid.push(FieldError::required(&section.path(key), ""));
        }
    }
}

#[cfg(test)]
mod refusal_tests;
#[cfg(test)]
mod tests;
