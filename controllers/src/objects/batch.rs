//! Jobs and cron jobs.

use kubewright_api::selector::LabelSelector;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Condition, Meta, Template, Time, is_zero, kinds, null_default, objects};

/// A job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Job {
    /// Metadata.
    pub metadata: Meta,
    /// What it should be.
    pub spec: JobSpec,
    /// What it is.
    pub status: JobStatus,
}

/// What a job should be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct JobSpec {
    /// How many pods run at once; `None` means one.
    pub parallelism: Option<i32>,
    /// How many pods must succeed; `None` means that the first success ends the job.
    pub completions: Option<i32>,
    /// After how many seconds it fails.
    pub active_deadline_seconds: Option<i64>,
    /// How many pods may fail; `None` means 6.
    pub backoff_limit: Option<i32>,
    /// How many pods of one index may fail.
    pub backoff_limit_per_index: Option<i32>,
    /// How many indexes may fail.
    pub max_failed_indexes: Option<i32>,
    /// Which pods are its.
    pub selector: Option<LabelSelector>,
    /// Whether the user wrote the selector.
    pub manual_selector: bool,
    /// What its pods look like.
    pub template: Template,
    /// How long it stays after it finished, in seconds.
    pub ttl_seconds_after_finished: Option<i64>,
    /// `NonIndexed` or `Indexed`.
    pub completion_mode: String,
    /// Whether it has no pods for now.
    pub suspend: bool,
    /// When failed pods are replaced: `Failed` or `TerminatingOrFailed`.
    pub pod_replacement_policy: String,
    /// What pods' failures mean.
    pub pod_failure_policy: Option<PodFailurePolicy>,
    /// When successes are enough.
    pub success_policy: Option<SuccessPolicy>,
    /// Who manages it; empty or `kubernetes.io/job-controller` means us.
    pub managed_by: String,
}

/// What pods' failures mean.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PodFailurePolicy {
    /// The first rule that matches decides.
    pub rules: Vec<PodFailureRule>,
}

/// What a failure means.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodFailureRule {
    /// `FailJob`, `FailIndex`, `Ignore` or `Count`.
    pub action: String,
    /// Matches by a container's exit code.
    pub on_exit_codes: Option<OnExitCodes>,
    /// Matches by the pod's conditions.
    #[serde(deserialize_with = "null_default")]
    pub on_pod_conditions: Vec<OnPodCondition>,
}

/// Matches by a container's exit code.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct OnExitCodes {
    /// Which container; `None` means any.
    pub container_name: Option<String>,
    /// `In` or `NotIn`.
    pub operator: String,
    /// Exit codes.
    pub values: Vec<i32>,
}

/// Matches by a condition of the pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct OnPodCondition {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its status; empty means `True`.
    pub status: String,
}

/// When successes are enough.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SuccessPolicy {
    /// One of them must hold.
    pub rules: Vec<SuccessRule>,
}

/// When successes are enough.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SuccessRule {
    /// The indexes that count; `None` means all.
    pub succeeded_indexes: Option<String>,
    /// How many of them; `None` means all.
    pub succeeded_count: Option<i32>,
}

/// What a job is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct JobStatus {
    /// Conditions.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// When it started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When it completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
    /// Pods that run or wait.
    #[serde(skip_serializing_if = "is_zero")]
    pub active: i32,
    /// Pods that succeeded.
    #[serde(skip_serializing_if = "is_zero")]
    pub succeeded: i32,
    /// Pods that failed.
    #[serde(skip_serializing_if = "is_zero")]
    pub failed: i32,
    /// Pods that are being deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminating: Option<i32>,
    /// Indexes that succeeded, such as `0,2-4`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub completed_indexes: String,
    /// Indexes that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_indexes: Option<String>,
    /// Finished pods that are not yet in the counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uncounted_terminated_pods: Option<UncountedPods>,
    /// Ready pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<i32>,
}

/// UIDs of finished pods that are not yet in the counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UncountedPods {
    /// Of those that succeeded.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub succeeded: Vec<String>,
    /// Of those that failed.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<String>,
}

/// A cron job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct CronJob {
    /// Metadata.
    pub metadata: Meta,
    /// What it should be.
    pub spec: CronJobSpec,
    /// What it is.
    pub status: CronJobStatus,
}

/// What a cron job should be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CronJobSpec {
    /// When jobs start.
    pub schedule: String,
    /// In which time zone; `None` means UTC.
    pub time_zone: Option<String>,
    /// How late a job may start, in seconds.
    pub starting_deadline_seconds: Option<i64>,
    /// `Allow`, `Forbid` or `Replace`.
    pub concurrency_policy: String,
    /// Whether no jobs start for now.
    pub suspend: bool,
    /// What its jobs look like.
    pub job_template: Value,
    /// How many successful jobs are kept.
    pub successful_jobs_history_limit: Option<i32>,
    /// How many failed jobs are kept.
    pub failed_jobs_history_limit: Option<i32>,
}

/// What a cron job is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CronJobStatus {
    /// Its jobs that run.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub active: Vec<JobReference>,
    /// When a job was last due and started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_schedule_time: Option<Time>,
    /// When a job last succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_successful_time: Option<Time>,
}

/// A reference to a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct JobReference {
    /// `Job`
    pub kind: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Identity.
    pub uid: String,
    /// `batch/v1`
    pub api_version: String,
    /// The version of the job when it was added.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource_version: String,
}

objects!(Job => kinds::JOB, CronJob => kinds::CRON_JOB);
