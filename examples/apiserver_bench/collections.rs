//! Many objects at once: lists, deletions of collections, what they take in memory.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::client::{Connection, get_as, send};
use crate::servers::Server;

pub(crate) const JSON: &str = "application/json";
pub(crate) const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// The middle one of the times that a list took, in milliseconds, and its length.
pub(crate) async fn list(server: &Server, path: &str, accept: &str, rounds: usize) -> Result<(f64, usize)> {
    let mut connection = Connection::open(&server.place).await?;
    let request = get_as(path, accept);
    let mut times = Vec::new();
    // The first one fills what is filled once.
    for _ in 0..=rounds {
        let asked = Instant::now();
        connection.expect(&request).await?;
        times.push(asked.elapsed());
    }
    times.remove(0);
    times.sort_unstable();
    Ok((times[times.len() / 2].as_secs_f64() * 1e3, connection.body.len()))
}

/// How long it takes to delete a collection.
pub(crate) async fn delete(server: &Server, path: &str) -> Result<Duration> {
    let mut connection = Connection::open(&server.place).await?;
    let asked = Instant::now();
    connection.expect(&send("DELETE", path, JSON, b"")).await?;
    let took = asked.elapsed();
    let left: serde_json::Value = serde_json::from_slice(connection.expect(&get_as(path, JSON)).await?)?;
    anyhow::ensure!(left["items"].as_array().is_some_and(Vec::is_empty), "something is left");
    Ok(took)
}
