//! Clusters simulated on virtual time: pods arrive and end, nodes fail and come back, an autoscaler may add and remove some.
//!
//! A simulation is driven by its events alone, so it takes no longer than the decisions in it; the same workload and seed
//! give the same result.
//!
//! ```
//! use kubewright_scheduler::lab::simulate::{GenerateConfig, SimConfig, SimWorkload, generate, simulate};
//! use kubewright_scheduler::plugins::default_profile;
//!
//! let rows = generate(&GenerateConfig { nodes: 4, jobs: 20, outages: 0, ..GenerateConfig::default() });
//! let workload = SimWorkload::read_csv(&rows)?;
//! let profile = default_profile("default-scheduler").build()?;
//! let result = simulate(&workload, &SimConfig::default(), vec![profile], None)?;
//! assert_eq!(result.placed, result.ended + result.running);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod autoscale;
mod engine;
mod gauge;
mod generate;
mod result;
mod workload;

pub use autoscale::{Autoscaler, GrowAndShrink, Resize, Sight};
pub use engine::{Setup, SimConfig, simulate, simulate_all};
pub use gauge::Sample;
pub use generate::{GenerateConfig, generate};
pub use result::{SimResult, Unplaced};
pub use workload::{Outage, SimJob, SimWorkload, WorkloadError};

#[cfg(test)]
mod tests;
