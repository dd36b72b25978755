//! Requests again and again, over some connections at once.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::client::{Connection, Place};
use crate::servers::Server;
use crate::side_by_side::quantile_ms;

/// What came of it.
pub(crate) struct Repeated {
    pub(crate) rate: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// CPU time of the servers for one request.
    pub(crate) cpu_micros: f64,
}

/// Makes requests for some time over so many connections; each gets numbers of its own.
pub(crate) async fn repeat(
    server: &Server,
    connections: usize,
    seconds: Duration,
    request: impl Fn(usize) -> Vec<u8>,
) -> Result<Repeated> {
    let mut open = Vec::new();
    for _ in 0..connections {
        open.push(Connection::open(&server.place).await?);
    }
    let cpu = server.cpu_seconds()?;
    let begun = Instant::now();
    let loops = open.iter_mut().enumerate().map(|(n, connection)| {
        let request = &request;
        async move {
            let mut times = Vec::new();
            let mut number = n;
            while begun.elapsed() < seconds {
                let request = request(number);
                let asked = Instant::now();
                connection.expect(&request).await?;
                times.push(asked.elapsed());
                number += connections;
            }
            anyhow::Ok(times)
        }
    });
    let mut times: Vec<Duration> = futures::future::try_join_all(loops).await?.into_iter().flatten().collect();
    let took = begun.elapsed().as_secs_f64();
    let cpu = server.cpu_seconds()? - cpu;
    times.sort_unstable();
    let count = times.len() as f64;
    Ok(Repeated {
        rate: count / took,
        p50_ms: quantile_ms(&times, 0.5),
        p99_ms: quantile_ms(&times, 0.99),
        cpu_micros: cpu * 1e6 / count,
    })
}

/// Makes so many requests over so many connections.
pub(crate) async fn each(
    place: &Place,
    connections: usize,
    count: usize,
    request: impl Fn(usize) -> Vec<u8>,
) -> Result<()> {
    let loops = (0..connections).map(|n| {
        let request = &request;
        async move {
            let mut connection = Connection::open(place).await?;
            for number in (n..count).step_by(connections) {
                connection.expect(&request(number)).await?;
            }
            anyhow::Ok(())
        }
    });
    futures::future::try_join_all(loops).await?;
    Ok(())
}
