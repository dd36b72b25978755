//! Runs the simulation of a replicated store for any number of seeds.
//!
//! `cargo run --release -p kubewright-store --features simulation --example simulate -- --replicas 3 --seeds 0-999`
//! With `--bug NAME` it plants a bug and says which seed finds it; `--bug all` plants each in turn.

use std::process::ExitCode;

use kubewright_store::simulation::{Bug, Options, Report, run};

const USAGE: &str = "simulate [--replicas 1|3|5] [--seeds FIRST-LAST] [--bug NAME|all]";

struct Arguments {
    replicas: u64,
    seeds: std::ops::RangeInclusive<u64>,
    bugs: Vec<Bug>,
}

fn arguments() -> Result<Arguments, String> {
    let mut parsed = Arguments { replicas: 3, seeds: 0..=999, bugs: Vec::new() };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value; usage: {USAGE}"))?;
        match &*name {
            "--replicas" => parsed.replicas = value.parse().map_err(|error| format!("--replicas: {error}"))?,
            "--seeds" => {
                let (first, last) = value.split_once('-').ok_or("--seeds: FIRST-LAST is wanted")?;
                let number = |text: &str| text.parse::<u64>().map_err(|error| format!("--seeds: {error}"));
                parsed.seeds = number(first)?..=number(last)?;
            }
            "--bug" if value == "all" => parsed.bugs = Bug::ALL.to_vec(),
            "--bug" => {
                let bug = Bug::ALL.into_iter().find(|bug| format!("{bug:?}") == value);
                parsed.bugs = vec![bug.ok_or_else(|| format!("--bug: one of {:?} is wanted", Bug::ALL))?];
            }
            _ => return Err(format!("{name} is unknown; usage: {USAGE}")),
        }
    }
    if !(1..=9).contains(&parsed.replicas) {
        return Err("--replicas: 1 to 9 are wanted".to_owned());
    }
    Ok(parsed)
}

#[expect(clippy::print_stdout, reason = "what it is for")]
fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(error) => {
            println!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let Arguments { replicas, seeds, bugs } = arguments;
    if bugs.is_empty() {
        let mut total = Report::default();
        for seed in seeds.clone() {
            match run(seed, Options::replicas(replicas)) {
                Ok(report) => {
                    total += report;
                }
                Err(failure) => {
                    println!("{failure}");
                    return ExitCode::FAILURE;
                }
            }
        }
        println!("seeds {}-{} of {replicas} replicas: all promises kept; {total}", seeds.start(), seeds.end());
        return ExitCode::SUCCESS;
    }
    let mut missed = false;
    for bug in bugs {
        let fails = |seed: &u64| {
            // What a broken replica trips over may as well be an assertion.
            let result = std::panic::catch_unwind(|| run(*seed, Options::replicas(replicas).bug(bug)));
            !matches!(result, Ok(Ok(_)))
        };
        match seeds.clone().find(fails) {
            Some(seed) => println!("{bug:?}: found by seed {seed}"),
            None => {
                println!("{bug:?}: not found");
                missed = true;
            }
        }
    }
    if missed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
