//! Upstream's scheduler benchmark: its files read as they are, and carried out.
//!
//! [`TestCase::read_all`] reads a `performance-config.yaml`; [`carry_out`] takes a workload's steps one after the other to a
//! [`Cluster`]: to [`CoreCluster`], which is a scheduler and nothing else, or to one behind an API server.

mod carry_out;
mod case;
mod check;
mod cluster;
mod core;
mod duration;
mod objects;
mod operation;
mod template;
mod throughput;

pub use carry_out::{Files, Measurement, carry_out};
pub use case::{Param, TestCase, Threshold, ThresholdMetric, Workload};
pub use cluster::{Churning, Cluster, Deleting, Updating, Which};
pub use core::CoreCluster;
pub use objects::Object;
pub use operation::*;
pub use throughput::Throughput;

/// Why a workload can't be read or carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PerfError {
    /// The file isn't what it should be; says where.
    #[error("{0}")]
    Read(String),
    /// There is no such workload.
    #[error("no workload {name:?}; there are {known}")]
    NoWorkload {
        /// The name asked for.
        name: String,
        /// The names that there are.
        known: String,
    },
    /// A template can't be read.
    #[error("{path}: {problem}")]
    Template {
        /// The file.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The cluster didn't do what was asked.
    #[error("operation {operation}: {problem}")]
    Cluster {
        /// Which operation, counted from 0.
        operation: usize,
        /// What happened.
        problem: String,
    },
}

#[cfg(test)]
mod tests;
