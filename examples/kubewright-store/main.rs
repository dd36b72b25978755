//! A store that speaks etcd's API, as one program: serve it, back it up, restore it, look through it, measure it.
//!
//! `cargo run --release --example kubewright-store -- serve --data-dir DIR --listen 127.0.0.1:2379` serves a store on
//! disk; `--help` tells the rest. All that it does is in the crate `kubewright-store`; here are flags and messages.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command talks to people")]

mod bench;
mod cluster;
mod flags;
mod lean;
mod load;
mod offline;
mod progress;
mod serve;
#[path = "../side_by_side/mod.rs"]
mod side_by_side;
mod wire;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use crate::flags::{Command, Flags};

/// Every request makes and drops some dozens of small things.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let flags = Flags::parse();
    let filter = tracing_subscriber::EnvFilter::builder().parse_lossy(&flags.log);
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let result = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let result = result.map_err(Into::into).and_then(|runtime| {
        let result = runtime.block_on(run(flags.command));
        // What still reads from a terminal or a peer is not waited for.
        runtime.shutdown_background();
        result
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kubewright-store: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<()> {
    match command {
        Command::Serve(flags) => serve::run(*flags).await,
        Command::Snapshot(flags) => offline::snapshot(flags).await,
        Command::Restore(flags) => offline::restore(flags).await,
        Command::Export(flags) => offline::export(flags).await,
        Command::Verify(flags) => offline::verify(flags).await,
        Command::Status(flags) => offline::status(flags).await,
        Command::Bench(flags) => bench::run(flags).await,
        Command::Load(flags) => load::load(flags).await,
        Command::Check(flags) => load::check(flags).await,
    }
}
