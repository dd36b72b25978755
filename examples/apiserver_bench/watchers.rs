//! Many watchers of one resource, while objects of it change at a steady rate.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;
use tokio::task::LocalSet;

use crate::client::{self, Connection, get, send};
use crate::objects::configmaps;
use crate::servers::Server;
use crate::side_by_side::quantile_ms;

/// What came of it.
pub(crate) struct Watched {
    pub(crate) p50_ms: f64,
    /// From a change's request to the event that shows it.
    pub(crate) p99_ms: f64,
    /// The share of events that came, in percent.
    pub(crate) delivered: f64,
    pub(crate) changes_per_second: f64,
    pub(crate) cpu_share: f64,
}

/// So many objects change in turn.
const OBJECTS: usize = 50;
/// Of how many watchers one looks into its events; the others only count them.
const LOOKS: usize = 10;
const MARK: &[u8] = b"\"at\":\"";

#[derive(Default)]
struct Seen {
    events: Cell<usize>,
    times: RefCell<Vec<Duration>>,
}

/// Watches with so many connections while something changes so often.
pub(crate) async fn watch(server: &Server, watchers: usize, per_second: f64, seconds: Duration) -> Result<Watched> {
    let path = configmaps("watch");
    let mut connection = Connection::open(&server.place).await?;
    for number in 0..OBJECTS {
        let object = json!({ "metadata": { "name": format!("w-{number}") }, "data": { "at": "0" } });
        connection.expect(&client::json("POST", &path, &object)).await?;
    }
    let list: serde_json::Value = serde_json::from_slice(connection.expect(&get(&path)).await?)?;
    let version = list["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
    let watch = get(&format!("{path}?watch=1&resourceVersion={version}&timeoutSeconds=600"));
    let seen = Rc::new(Seen::default());
    let begun = Instant::now();
    let local = LocalSet::new();
    let mut open = Vec::new();
    for number in 0..watchers {
        let mut connection = Connection::open(&server.place).await?;
        connection.stream(&watch).await?;
        open.push((number, connection));
    }
    for (number, connection) in open {
        let seen = Rc::clone(&seen);
        local.spawn_local(async move { follow(connection, number % LOOKS == 0, &seen, begun).await });
    }
    let cpu = server.cpu_seconds()?;
    let changed = Instant::now();
    let changes = local.run_until(change(server, &path, per_second, seconds, begun)).await?;
    let took = changed.elapsed().as_secs_f64();
    let cpu_share = (server.cpu_seconds()? - cpu) / took * 100.0;
    // What is still under way may arrive.
    let wanted = changes * watchers;
    let patience = Instant::now() + Duration::from_secs(10);
    while seen.events.get() < wanted && Instant::now() < patience {
        local.run_until(tokio::time::sleep(Duration::from_millis(10))).await;
    }
    let mut times = seen.times.take();
    times.sort_unstable();
    Ok(Watched {
        p50_ms: quantile_ms(&times, 0.5),
        p99_ms: quantile_ms(&times, 0.99),
        delivered: seen.events.get() as f64 / wanted as f64 * 100.0,
        changes_per_second: changes as f64 / took,
        cpu_share,
    })
}

/// Changes objects at a steady rate, over some connections, so that one change need not wait for another. By someone whom
/// priority and fairness exempts: everybody else's writes are held back when a thousand watch, here and upstream alike.
async fn change(server: &Server, path: &str, per_second: f64, seconds: Duration, begun: Instant) -> Result<usize> {
    const WRITERS: usize = 8;
    let writers = (0..WRITERS).map(|writer| async move {
        let mut connection = Connection::open(&server.admin).await?;
        let pause = Duration::from_secs_f64(WRITERS as f64 / per_second);
        let mut tick = tokio::time::interval(pause);
        let (started, mut changes) = (Instant::now(), 0);
        while started.elapsed() < seconds {
            tick.tick().await;
            let name = (changes * WRITERS + writer) % OBJECTS;
            let body = format!("{{\"data\":{{\"at\":\"{}\"}}}}", begun.elapsed().as_nanos());
            let target = format!("{path}/w-{name}");
            connection.expect(&send("PATCH", &target, "application/merge-patch+json", body.as_bytes())).await?;
            changes += 1;
        }
        anyhow::Ok(changes)
    });
    Ok(futures::future::try_join_all(writers).await?.into_iter().sum())
}

/// Reads events until the watch ends.
async fn follow(mut connection: Connection, looks: bool, seen: &Seen, begun: Instant) {
    let mut line = Vec::new();
    loop {
        let more = connection
            .chunk(|bytes| {
                let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
                seen.events.set(seen.events.get() + lines);
                if looks {
                    line.extend_from_slice(bytes);
                    let whole = line.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                    let now = begun.elapsed();
                    for event in line[..whole].split(|byte| *byte == b'\n').filter(|event| !event.is_empty()) {
                        if let Some(at) = sent(event) {
                            seen.times.borrow_mut().push(now.saturating_sub(at));
                        }
                    }
                    line.drain(..whole);
                }
            })
            .await;
        if !more.unwrap_or(false) {
            return;
        }
    }
}

/// When the change of an event was sent.
fn sent(event: &[u8]) -> Option<Duration> {
    let at = event.windows(MARK.len()).position(|window| window == MARK)? + MARK.len();
    let digits = event[at..].split(|byte| *byte == b'"').next()?;
    Some(Duration::from_nanos(std::str::from_utf8(digits).ok()?.parse().ok()?))
}
