//! Compares the lab's policies on a trace in openb's format:
//! `cargo run --release --example openb -- NODES.csv PODS.csv [SEEDS] [POLICIES]`, such as `42-51 bestfit,fgd`.
#![allow(clippy::print_stdout, reason = "it prints what it found")]

use std::fs::read_to_string;

use kubewright_scheduler::lab::{
    BestFit, DotProduct, Fragmentation, GpuClustering, GpuPacking, MakePolicy, RandomChoice, Trace, compare,
};

const POLICIES: [(&str, MakePolicy); 6] = [
    ("random", |_| Box::new(RandomChoice)),
    ("dotprod", |_| Box::new(DotProduct)),
    ("gpuclustering", |_| Box::new(GpuClustering)),
    ("gpupacking", |_| Box::new(GpuPacking)),
    ("bestfit", |_| Box::new(BestFit)),
    ("fgd", |trace| Box::new(Fragmentation::of(trace))),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [nodes, pods, rest @ ..] = &arguments[..] else { return Err("give a list of nodes and a list of pods".into()) };
    let trace = Trace::read(&read_to_string(nodes)?, &read_to_string(pods)?)?;
    let (first, last) = rest.first().map_or("42-51", String::as_str).split_once('-').ok_or("seeds are FIRST-LAST")?;
    let seeds: Vec<u64> = (first.parse()?..=last.parse()?).collect();
    let wanted = |name: &str| rest.get(1).is_none_or(|list| list.split(',').any(|own| own == name));
    let policies: Vec<MakePolicy> = POLICIES.iter().filter(|(name, _)| wanted(name)).map(|(_, make)| *make).collect();
    let comparison = compare(&trace, &policies, &seeds, 1.3, &|run| {
        println!("{} {}: {:.2} %", run.policy, run.seed, run.gpu_allocation_percent);
    });
    println!("{}", comparison.table());
    Ok(())
}
