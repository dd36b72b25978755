//! Policies from the literature, each in a file of its own, and one of our own.
//!
//! Six of them are those that "Beware of Fragmentation" (ATC 2023) compares; they score in whole numbers, and
//! the first of equals in an order of the nodes drawn from the seed is taken, as in the published simulator.

mod best_fit;
mod dot_product;
mod fragmentation;
mod gpu_clustering;
mod gpu_packing;
mod random_choice;
mod thrifty;

pub use best_fit::BestFit;
pub use dot_product::DotProduct;
pub use fragmentation::Fragmentation;
pub use gpu_clustering::GpuClustering;
pub use gpu_packing::GpuPacking;
pub use random_choice::RandomChoice;
pub use thrifty::Thrifty;

use super::{GPU, MakePolicy};

/// The largest node there is, by which remainders are made comparable: 128 cpus and 8 GPUs.
const CPU_MOST: i64 = 128_000;
const GPU_MOST: i64 = 8 * GPU;

/// The policies by name.
pub const POLICIES: [(&str, MakePolicy); 7] = [
    ("random", |_| Box::new(RandomChoice)),
    ("dotprod", |_| Box::new(DotProduct)),
    ("gpuclustering", |_| Box::new(GpuClustering)),
    ("gpupacking", |_| Box::new(GpuPacking)),
    ("bestfit", |_| Box::new(BestFit)),
    ("fgd", |trace| Box::new(Fragmentation::of(trace))),
    ("thrifty", |trace| Box::new(Thrifty::of(trace))),
];

/// A policy by its name.
#[must_use]
pub fn by_name(name: &str) -> Option<MakePolicy> {
    POLICIES.iter().find(|(own, _)| *own == name).map(|(_, make)| *make)
}

/// What CPUs and GPUs are of the largest node's.
#[allow(clippy::cast_precision_loss, reason = "thousandths of cpus and GPUs")]
fn shares(cpu: i64, gpu: i64) -> (f64, f64) {
    (cpu as f64 / CPU_MOST as f64, gpu as f64 / GPU_MOST as f64)
}

/// A number between 0 and 1 as a whole score.
#[allow(clippy::cast_possible_truncation, reason = "a score has a hundred steps")]
fn percent(part: f64) -> i64 {
    (part * 100.0).clamp(0.0, 100.0) as i64
}
