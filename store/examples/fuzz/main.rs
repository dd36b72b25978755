//! Damages files of stores and replicas, backups, messages between replicas, and requests to the face of etcd, at
//! random, and sees that all of it is refused or harmless.
//!
//! `cargo run --release -p kubewright-store --all-features --example fuzz -- [SECONDS] [SEED]`: ten seconds of
//! each, from seed 1, unless told otherwise. What goes wrong is told with the seed that shows it; the
//! tests of the crate do the same for a moment.

#![allow(clippy::print_stdout, reason = "a command talks to people")]

mod files;
mod mutate;
mod replicas;
mod requests;

use std::time::{Duration, Instant};

use crate::files::{Sample, Tally};
use crate::mutate::Random;
use crate::replicas::{ReplicaFiles, Replicas};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().map_or(Ok(10), |seconds| seconds.parse())?;
    let seed: u64 = arguments.next().map_or(Ok(1), |seed| seed.parse())?;
    let (time, home) = (Duration::from_secs(seconds), tempfile::tempdir()?);

    let sample = Sample::new(home.path(), &mut Random::new(seed)).await?;
    let (mut tally, mut tries, begun) = (Tally::default(), seed, Instant::now());
    while begun.elapsed() < time {
        sample.damage(&mut Random::new(tries), &mut tally).map_err(|why| format!("seed {tries}: {why}"))?;
        tries += 1;
    }
    println!("files: {} damaged; {} refused, {} unharmed", tries - seed, tally.refused, tally.unharmed);

    let sample = ReplicaFiles::new(home.path()).await?;
    let (mut tally, mut tries, begun) = (Tally::default(), seed, Instant::now());
    while begun.elapsed() < time {
        sample.damage(&mut Random::new(tries), &mut tally).map_err(|why| format!("seed {tries}: {why}"))?;
        tries += 1;
    }
    println!("files of a replica: {} damaged; {} refused, {} unharmed", tries - seed, tally.refused, tally.unharmed);

    let (replicas, mut random, mut tries, begun) =
        (Replicas::start(home.path()).await?, Random::new(seed), 0, Instant::now());
    while begun.elapsed() < time {
        (0..100).for_each(|_| replicas.damage(&mut random));
        tries += 100;
        replicas.stand().await.map_err(|why| format!("seed {seed}, after {tries} messages: {why}"))?;
    }
    replicas.stop().await;
    println!("messages to replicas: {tries} damaged, and all replicas still there");

    let (mut tries, begun) = (seed, Instant::now());
    while begun.elapsed() < time {
        let (_store, face) = requests::face();
        let mut random = Random::new(tries);
        for _ in 0..100 {
            requests::damage(&face, &mut random).await.map_err(|why| format!("seed {tries}: {why}"))?;
        }
        tries += 1;
    }
    println!("requests: {} damaged, all answered", (tries - seed) * 100);
    Ok(())
}
