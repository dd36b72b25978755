//! Writing under faults, and checking afterwards that nothing acknowledged is lost and that a watch saw everything.

use std::collections::{BTreeMap, HashMap};
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tokio::signal::unix::{SignalKind, signal};

use crate::flags::{Check, Load};
use crate::wire::{Client, Watch, prefix_end};

/// What all keys of all runs begin with.
const PREFIX: &[u8] = b"/load/";
/// How long a request may take before another member is asked.
const PATIENCE: Duration = Duration::from_secs(1);

type Record = Arc<Mutex<BufWriter<std::fs::File>>>;

struct Shared {
    endpoints: Vec<SocketAddr>,
    run: String,
    /// The writers are to end.
    over: AtomicBool,
    /// The writers have ended: what is newest now stays so.
    is_written: AtomicBool,
    acknowledged: AtomicU64,
    refused: AtomicU64,
    /// When something was last acknowledged, and the longest time in which nothing was, in milliseconds.
    progress: Mutex<(Instant, Duration)>,
}

pub(crate) async fn load(flags: Load) -> Result<()> {
    let record = open(&flags.record)?;
    let shared = Arc::new(Shared {
        endpoints: flags.endpoints,
        run: flags.run,
        over: AtomicBool::new(false),
        is_written: AtomicBool::new(false),
        acknowledged: AtomicU64::new(0),
        refused: AtomicU64::new(0),
        progress: Mutex::new((Instant::now(), Duration::ZERO)),
    });
    let watcher = match &flags.watch {
        Some(path) => Some(tokio::spawn(watch(shared.clone(), open(path)?, last_noted(path)?))),
        None => None,
    };
    let writers: Vec<_> =
        (0..flags.clients).map(|writer| tokio::spawn(write(shared.clone(), writer, record.clone()))).collect();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        () = tokio::time::sleep(Duration::from_secs_f64(flags.seconds)) => {}
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    shared.over.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await??;
    }
    flush(&record)?;
    shared.is_written.store(true, Ordering::Relaxed);
    if let Some(watcher) = watcher {
        watcher.await??;
    }
    let (last, mut longest) = *shared.progress.lock().unwrap_or_else(PoisonError::into_inner);
    longest = longest.max(last.elapsed().saturating_sub(PATIENCE));
    println!(
        "acknowledged {} refused {} longest gap {} ms",
        shared.acknowledged.load(Ordering::Relaxed),
        shared.refused.load(Ordering::Relaxed),
        longest.as_millis()
    );
    Ok(())
}

fn open(path: &Path) -> Result<Record> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    Ok(Arc::new(Mutex::new(BufWriter::new(file.with_context(|| format!("cannot open {}", path.display()))?))))
}

fn note(record: &Record, line: &str) -> Result<()> {
    writeln!(record.lock().unwrap_or_else(PoisonError::into_inner), "{line}").context("cannot note what was done")
}

fn flush(record: &Record) -> Result<()> {
    record.lock().unwrap_or_else(PoisonError::into_inner).flush().context("cannot note what was done")
}

/// Writes key after key, each until it is acknowledged or refused.
async fn write(shared: Arc<Shared>, writer: usize, record: Record) -> Result<()> {
    let (mut client, mut member, mut n) = (None::<Client>, writer, 0_u64);
    let value = vec![b'v'; 256];
    while !shared.over.load(Ordering::Relaxed) {
        let endpoint = shared.endpoints[member % shared.endpoints.len()];
        let Some(connected) = &mut client else {
            client = tokio::time::timeout(PATIENCE, Client::connect(endpoint)).await.ok().and_then(Result::ok);
            if client.is_none() {
                member += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            continue;
        };
        // A key is never tried twice, so that each has at most one version.
        let key = format!("/load/{}/{writer}/{n}", shared.run);
        n += 1;
        match tokio::time::timeout(PATIENCE, connected.put(key.as_bytes(), &value)).await {
            Ok(Ok(revision)) => {
                note(&record, &format!("{revision} {key}"))?;
                shared.acknowledged.fetch_add(1, Ordering::Relaxed);
                let mut progress = shared.progress.lock().unwrap_or_else(PoisonError::into_inner);
                progress.1 = progress.1.max(progress.0.elapsed());
                progress.0 = Instant::now();
            }
            Ok(Err(_)) | Err(_) => {
                shared.refused.fetch_add(1, Ordering::Relaxed);
                client = None;
                member += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
    Ok(())
}

/// Watches everything from the start, going on where it was whenever the connection breaks, until it has seen
/// what is newest after the writers are done.
async fn watch(shared: Arc<Shared>, record: Record, mut seen: u64) -> Result<()> {
    let (mut member, mut until) = (0, None);
    let mut idle_since = Instant::now();
    loop {
        if until.is_some_and(|until| seen >= until) {
            return flush(&record);
        }
        if shared.is_written.load(Ordering::Relaxed) && idle_since.elapsed() > Duration::from_secs(60) {
            bail!("the watch does not get on: it stands at revision {seen} of {until:?}");
        }
        let endpoint = shared.endpoints[member % shared.endpoints.len()];
        member += 1;
        let opened = tokio::time::timeout(PATIENCE, async {
            let mut client = Client::connect(endpoint).await?;
            let watch = client.watch(PREFIX, &prefix_end(PREFIX), seen + 1, 1).await?;
            Ok::<_, anyhow::Error>((client, watch))
        });
        let Ok(Ok((mut client, mut watch))) = opened.await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        loop {
            if shared.is_written.load(Ordering::Relaxed) && until.is_none() {
                until = newest(&mut client).await;
            }
            if until.is_some_and(|until| seen >= until) {
                break;
            }
            match next(&mut watch).await {
                Ok(revisions) => {
                    for (revision, key) in revisions {
                        note(&record, &format!("{revision} {key}"))?;
                        seen = seen.max(revision);
                        idle_since = Instant::now();
                    }
                }
                // Nothing for a while: perhaps the member hangs, perhaps there is nothing.
                Err(None) => break,
                Err(Some(error)) => {
                    if error.to_string().contains("compacted") {
                        bail!("the watch has a gap: {error}");
                    }
                    break;
                }
            }
        }
    }
}

/// The newest revision that is under the prefix.
async fn newest(client: &mut Client) -> Option<u64> {
    let end = prefix_end(PREFIX);
    let found = client.range(PREFIX, &end, 0, true);
    let found = tokio::time::timeout(PATIENCE * 10, found).await.ok()?.ok()?;
    Some(found.entries.iter().map(|entry| entry.mod_revision).max().unwrap_or_default())
}

async fn next(watch: &mut Watch) -> Result<Vec<(u64, String)>, Option<anyhow::Error>> {
    match tokio::time::timeout(PATIENCE, watch.next(true)).await {
        Err(_) => Err(None),
        Ok(Err(error)) => Err(Some(error)),
        Ok(Ok(told)) => match told.cancelled {
            Some(why) => Err(Some(anyhow::anyhow!("cancelled: {why}"))),
            None => Ok(told
                .entries
                .iter()
                .map(|entry| (entry.mod_revision, String::from_utf8_lossy(&entry.key).into_owned()))
                .collect()),
        },
    }
}

fn lines(path: &Path) -> Result<Vec<(u64, String)>> {
    let file = std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut found = Vec::new();
    for line in BufReader::new(file).lines() {
        let line = line?;
        let (revision, key) = line.split_once(' ').with_context(|| format!("no note: {line}"))?;
        found.push((revision.parse()?, key.to_owned()));
    }
    Ok(found)
}

fn last_noted(path: &Path) -> Result<u64> {
    Ok(lines(path)?.last().map_or(0, |(revision, _)| *revision))
}

/// Every member must have every key that was acknowledged, with the revision that was answered; no revision twice.
pub(crate) async fn check(flags: Check) -> Result<()> {
    let acknowledged: HashMap<String, u64> = lines(&flags.record)?.into_iter().map(|(r, key)| (key, r)).collect();
    let mut first: Option<BTreeMap<u64, String>> = None;
    for endpoint in &flags.endpoints {
        let mut client = Client::connect(*endpoint).await?;
        let found = client.range(PREFIX, &prefix_end(PREFIX), 0, true).await?;
        let mut there = BTreeMap::new();
        for entry in &found.entries {
            let key = String::from_utf8_lossy(&entry.key).into_owned();
            if let Some(other) = there.insert(entry.mod_revision, key.clone()) {
                bail!("{endpoint}: revision {} was given to {other} and to {key}", entry.mod_revision);
            }
        }
        let by_key: HashMap<&String, u64> = there.iter().map(|(revision, key)| (key, *revision)).collect();
        for (key, revision) in &acknowledged {
            match by_key.get(key) {
                Some(found) if found == revision => {}
                Some(found) => bail!("{endpoint}: {key} was acknowledged at revision {revision} and is at {found}"),
                None => bail!("{endpoint}: {key} was acknowledged at revision {revision} and is gone"),
            }
        }
        if first.as_ref().is_some_and(|first| *first != there) {
            bail!("{endpoint} has other entries than {}", flags.endpoints[0]);
        }
        first.get_or_insert(there);
    }
    let there = first.unwrap_or_default();
    let (entries, mut watched) = (there.len(), 0);
    if let Some(path) = &flags.watch {
        let seen = lines(path)?;
        watched = seen.len();
        if let Some([before, after]) = seen.array_windows().find(|[before, after]| after.0 <= before.0) {
            bail!("the watch told of revision {} after {}", after.0, before.0);
        }
        let seen: BTreeMap<u64, String> = seen.into_iter().collect();
        let last = seen.last_key_value().map_or(0, |(revision, _)| *revision);
        // What nobody was told of may have been written after the watch had seen what was newest.
        let must: BTreeMap<u64, String> =
            there.into_iter().filter(|(revision, key)| *revision <= last || acknowledged.contains_key(key)).collect();
        if let Some((revision, key)) = must.iter().find(|(revision, _)| !seen.contains_key(revision)) {
            bail!("the watch has a gap: it did not tell of {key} at revision {revision}");
        }
        if seen != must {
            bail!("the watch told of entries that are not there");
        }
    }
    println!("{} acknowledged, all there; {entries} entries; {watched} events, none missing", acknowledged.len());
    Ok(())
}
