//! A whole Kubernetes cluster in one process: the reference assembly of Kubewright's crates.
//!
//! `cargo run --release --example cluster` starts the embedded store, the API server, the scheduler, the controllers
//! and a node, applies a demonstration, shows it, and stays up until Ctrl-C. `--help` tells the flags.
//!
//! This is the one place where concrete choices are made; read [`control_plane`] for the API server, [`components`] for
//! what talks to it, [`node`] for what runs pods.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command talks to people")]

mod clients;
mod components;
mod control_plane;
mod demo;
mod flags;
mod health;
mod network;
mod node;
mod stages;

use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::clients::Clients;
use crate::control_plane::ControlPlane;
use crate::flags::{Component, DataPlane, Flags, RuntimeKind};
use crate::network::Addresses;
use crate::stages::Stages;

fn main() -> ExitCode {
    // The process runtime starts this program again as the helper that holds a container.
    if let Some(code) = kubewright::runtime_shim::process::dispatch(std::env::args_os()) {
        return code;
    }
    let flags = Flags::parse();
    let filter = tracing_subscriber::EnvFilter::builder().parse_lossy(&flags.log);
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(&format!("cannot start threads: {error}")),
    };
    match runtime.block_on(run(flags)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refuse(&format!("{error:#}")),
    }
}

fn refuse(why: &str) -> ExitCode {
    eprintln!("cluster: {why}");
    ExitCode::FAILURE
}

/// Starts everything, shows it, waits for the end, stops everything in the reverse order.
async fn run(flags: Flags) -> anyhow::Result<()> {
    flags.validate().map_err(anyhow::Error::msg)?;
    let stages = Stages::start();
    let interrupted = on_signals()?;
    control_plane::prepare_data_dir(&flags.data_dir)?;
    let addresses = Addresses::choose(&flags.data_dir, flags.runtime)?;
    let pulses = health::Pulses::default();
    let plane = match flags.runs(Component::Apiserver) {
        true => Some(ControlPlane::start(&flags, &addresses, &pulses, stages).await?),
        false => None,
    };
    let outcome = async {
        let clients = Clients::new(plane.as_ref(), &flags).await?;
        let running =
            components::start(&flags, &addresses, &clients, plane.as_ref().map(|plane| &plane.pki), &pulses, stages)
                .await?;
        let shown = tokio::select! {
            () = interrupted.cancelled() => Ok(()),
            shown = show(&flags, &clients, stages, &interrupted) => shown,
        };
        stages.note("stopping", "pods, components, API server");
        running.stop().await;
        shown
    };
    let outcome = outcome.await;
    if let Some(plane) = plane {
        plane.stop().await;
    }
    if outcome.is_ok() {
        stages.ready("stopped", "nothing is left running");
    }
    outcome
}

async fn show(flags: &Flags, clients: &Clients, stages: Stages, ended: &CancellationToken) -> anyhow::Result<()> {
    stages.ready("up", "the cluster is up");
    if !flags.no_demo {
        let answers = flags.runtime != RuntimeKind::Sim && flags.dataplane != DataPlane::None;
        let shown = demo::run(&clients.admin(), stages, answers).await;
        if flags.exit_after_demo {
            return shown;
        }
        if let Err(error) = shown {
            stages.failed("demo", &format!("{error:#}"));
        }
    }
    stages.note("waiting", "press Ctrl-C to stop");
    ended.cancelled().await;
    Ok(())
}

/// A token that Ctrl-C and SIGTERM cancel.
fn on_signals() -> anyhow::Result<CancellationToken> {
    let token = CancellationToken::new();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let cancel = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        cancel.cancel();
    });
    Ok(token)
}
