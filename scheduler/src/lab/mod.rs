//! A lab for placement policies: a trace of GPU jobs arrives at a cluster, and policies are compared by how much of it
//! they can use.
//!
//! A [`Policy`] says how good a node is for a job and which of its GPUs to take; everything else (filtering, queueing,
//! drawing of ties) is the scheduler's. [`compare`] runs policies over seeds, several at a time, each run on its own and
//! the same every time.
//!
//! ```
//! use kubewright_scheduler::lab::{BestFit, Comparison, Fragmentation, Policy, Trace, compare};
//!
//! let nodes = "sn,cpu_milli,memory_mib,gpu,model\na,32000,65536,2,T4\nb,32000,65536,2,T4\n";
//! let jobs = "name,cpu_milli,memory_mib,num_gpu,gpu_milli\nx,1000,1024,1,500\ny,1000,1024,1,1000\nz,1000,1024,0,0\n";
//! let trace = Trace::read(nodes, jobs)?;
//! let policies: Vec<fn(&Trace) -> Box<dyn Policy>> =
//!     vec![|_| Box::new(BestFit), |trace| Box::new(Fragmentation::of(trace))];
//! let comparison: Comparison = compare(&trace, &policies, &[42, 43], 1.0, &|_| {});
//! assert_eq!(comparison.runs.len(), 4);
//! assert!(comparison.table().contains("bestfit"));
//! # Ok::<(), kubewright_scheduler::lab::TraceError>(())
//! ```

mod gpu;
mod plugin;
mod policies;
mod run;
mod trace;

pub use gpu::{Ask, GpuNode, TypicalJobs};
pub use plugin::Policy;
pub use policies::{BestFit, DotProduct, Fragmentation, GpuClustering, GpuPacking, RandomChoice, by_name};
pub use run::{Comparison, MakePolicy, Run, compare, run};
pub use trace::{Trace, TraceError};

#[cfg(test)]
mod tests;
