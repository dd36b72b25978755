//! A lab for placement policies: a trace of GPU jobs arrives at a cluster, and policies are compared by how much of it
//! they can use.
//!
//! A [`Policy`] says how good a node is for a job and which of its GPUs to take; everything else (filtering, queueing,
//! drawing of ties) is the scheduler's. [`compare`] runs policies over workloads and seeds, several at a time, each run
//! on its own and the same every time; [`report`] draws it. [`tutorial`] writes a policy of one's own.
//!
//! Besides: [`perf`] carries out upstream's scheduler benchmark, [`scale`] measures how cost grows with the cluster, and
//! [`simulate`] runs clusters on virtual time.
//!
//! ```
//! use kubewright_scheduler::lab::{Plan, Trace, by_name, compare};
//!
//! let nodes = "sn,cpu_milli,memory_mib,gpu,model\na,32000,65536,2,T4\nb,32000,65536,2,T4\n";
//! let jobs = "name,cpu_milli,memory_mib,num_gpu,gpu_milli\nx,1000,1024,1,500\ny,1000,1024,1,1000\nz,1000,1024,0,0\n";
//! let plan = Plan {
//!     workloads: vec![("small".to_owned(), Trace::read(nodes, jobs)?)],
//!     policies: ["bestfit", "fgd"].into_iter().filter_map(by_name).collect(),
//!     seeds: vec![42, 43],
//!     demand: 1.3,
//! };
//! let comparison = compare(&plan, &|| std::time::Duration::ZERO, &|_| {});
//! assert_eq!(comparison.runs.len(), 4);
//! assert!(comparison.table().contains("bestfit"));
//! # Ok::<(), kubewright_scheduler::lab::TraceError>(())
//! ```

mod arrivals;
mod compare;
mod gpu;
mod parallel;
pub mod perf;
mod plugin;
mod policies;
pub mod report;
mod run;
mod scale;
pub mod simulate;
mod trace;
#[doc = include_str!("tutorial.md")]
pub mod tutorial {}
mod typical;

pub use compare::{Comparison, MakePolicy, Plan, Spread, compare};
pub use gpu::{Ask, GPU, GpuNode};
pub use plugin::Policy;
pub use policies::{
    BestFit, DotProduct, Fragmentation, GpuClustering, GpuPacking, POLICIES, RandomChoice, Thrifty, by_name,
};
pub use run::{Point, Run, TurnedAway, run};
pub use scale::{ScaleConfig, ScaleRun, Shape, scale};
pub use trace::{Trace, TraceError};
pub use typical::TypicalJobs;

#[cfg(test)]
mod tests;
