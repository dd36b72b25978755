//! The scheduler lab: compares placement policies, measures the scheduler, simulates clusters.
//!
//! `cargo run --release --example scheduler_lab -- compare|perf|scale|simulate|generate …`; `--help` tells the rest.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a program prints and looks at the clock")]

mod api;
mod compare;
mod perf;
mod progress;
mod scale;
mod simulate;

use clap::{Parser, Subcommand};

/// Through the API nearly a third of the processor's time went into the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "Compares placement policies, measures the scheduler, simulates clusters")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Policies × traces × seeds on traces of GPU jobs: a table, JSON, CSV and a page with plots.
    Compare(compare::Options),
    /// Upstream's scheduler_perf workloads, on the core alone or through an API server.
    Perf(perf::Options),
    /// How the core's cost grows with the cluster.
    Scale(scale::Options),
    /// A cluster on virtual time: pods arrive and end, nodes fail, an autoscaler adds some.
    Simulate(simulate::Options),
    /// Makes a workload for `simulate`.
    Generate(simulate::Generate),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Compare(options) => compare::run(&options),
        Command::Perf(options) => perf::run(&options),
        Command::Scale(options) => scale::run(&options),
        Command::Simulate(options) => simulate::run(&options),
        Command::Generate(options) => simulate::generate_file(&options),
    }
}
