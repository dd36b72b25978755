//! What benches share that put a server of ours beside another: its processes, the times, the table.

#![allow(dead_code, unused_imports, reason = "each bench takes what it needs")]

mod processes;
mod table;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

pub(crate) use self::processes::{PATIENCE, Processes, etcd, free_addresses};
pub(crate) use self::table::{Goal, Table};

/// A quantile of sorted times, in milliseconds.
pub(crate) fn quantile_ms(sorted: &[Duration], share: f64) -> f64 {
    if sorted.is_empty() {
        return f64::NAN;
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index into what was counted"
    )]
    let at = ((sorted.len() as f64 - 1.0) * share).round() as usize;
    sorted[at].as_secs_f64() * 1e3
}

/// Removes a directory and all in it, if it is there.
pub(crate) fn remove(directory: &Path) -> Result<()> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", directory.display()))
        }
        _ => Ok(()),
    }
}
