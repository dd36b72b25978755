use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, SeekFrom};
use tokio::sync::mpsc;

use super::{LogOptions, LogSelector};

/// Says whether the container whose log is followed still runs.
pub type StillRunning = Box<dyn Fn() -> BoxFuture<'static, bool> + Send + Sync>;

/// How often a followed log is looked at.
const POLL: Duration = Duration::from_millis(100);
/// How often a followed log's container is looked at, in polls without news.
const CHECK_EVERY: u32 = 5;
/// How much is read at a time.
const CHUNK: usize = 64 * 1024;
/// The longest line that is kept together, in bytes.
const LINE_MAX: usize = 1 << 20;

/// Sends the wanted part of a log, in pieces, until it ends or nobody listens.
///
/// # Errors
/// The log cannot be read.
pub async fn stream(
    path: PathBuf,
    options: LogOptions,
    running: StillRunning,
    sender: mpsc::Sender<Bytes>,
) -> io::Result<()> {
    let mut file = File::open(&path).await?;
    let start = match options.tail_lines {
        Some(lines) => tail_start(&mut file, lines).await?,
        None => 0,
    };
    file.seek(SeekFrom::Start(start)).await?;
    let follow = options.follow;
    let mut lines = Lines { selector: LogSelector::new(options), held: Vec::new() };
    let (mut chunk, mut quiet, mut ended) = (vec![0; CHUNK], 0_u32, false);
    loop {
        let read = file.read(&mut chunk).await?;
        if read > 0 {
            quiet = 0;
            let (out, more) = lines.take(&chunk[..read]);
            if !out.is_empty() && sender.send(out.into()).await.is_err() || !more {
                return Ok(());
            }
            continue;
        }
        if let Some(next) = rotated(&path, &file).await {
            file = next;
            continue;
        }
        // Ended is only what had ended before the last look at the file.
        if !follow || ended {
            let (out, _) = lines.finish();
            if !out.is_empty() {
                drop(sender.send(out.into()).await);
            }
            return Ok(());
        }
        if quiet.is_multiple_of(CHECK_EVERY) && !running().await {
            ended = true;
            continue;
        }
        quiet += 1;
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            () = sender.closed() => return Ok(()),
        }
    }
}

/// The new file at the path, when the one that is read was moved away.
async fn rotated(path: &Path, file: &File) -> Option<File> {
    let (old, new) = (file.metadata().await.ok()?, tokio::fs::metadata(path).await.ok()?);
    if old.ino() == new.ino() { None } else { File::open(path).await.ok() }
}

struct Lines {
    selector: LogSelector,
    held: Vec<u8>,
}

impl Lines {
    fn take(&mut self, chunk: &[u8]) -> (Vec<u8>, bool) {
        let mut out = Vec::new();
        for piece in chunk.split_inclusive(|byte| *byte == b'\n') {
            self.held.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.held.len() > LINE_MAX {
                let line = std::mem::take(&mut self.held);
                if !self.selector.push(&line, &mut out) {
                    return (out, false);
                }
            }
        }
        (out, true)
    }

    fn finish(&mut self) -> (Vec<u8>, bool) {
        let (line, mut out) = (std::mem::take(&mut self.held), Vec::new());
        let more = self.selector.push(&line, &mut out);
        (out, more)
    }
}

/// Where the last lines of a file begin.
async fn tail_start(file: &mut File, lines: u64) -> io::Result<u64> {
    let end = file.metadata().await?.len();
    if lines == 0 {
        return Ok(end);
    }
    let (mut position, mut found) = (end, 0_u64);
    let mut chunk = vec![0; CHUNK];
    while position > 0 {
        let size = position.min(CHUNK as u64);
        position -= size;
        file.seek(SeekFrom::Start(position)).await?;
        let part = &mut chunk[..usize::try_from(size).unwrap_or(CHUNK)];
        file.read_exact(part).await?;
        for (at, byte) in part.iter().enumerate().rev() {
            let place = position + at as u64;
            // The last byte ends the last line; it does not begin one.
            if *byte == b'\n' && place + 1 != end {
                found += 1;
                if found == lines {
                    return Ok(place + 1);
                }
            }
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn line(text: &str) -> String {
        format!("2026-01-01T00:00:01.000000000Z stdout F {text}\n")
    }

    async fn read(path: &Path, options: LogOptions) -> String {
        let (sender, mut receiver) = mpsc::channel(8);
        let running: StillRunning = Box::new(|| Box::pin(async { false }));
        let task = tokio::spawn(stream(path.to_owned(), options, running, sender));
        let mut out = Vec::new();
        while let Some(part) = receiver.recv().await {
            out.extend_from_slice(&part);
        }
        task.await.unwrap().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[tokio::test]
    async fn tails_are_counted_in_lines() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text: String = (0..5000).map(|n| line(&format!("line {n} {}", "x".repeat(n % 90)))).collect();
        std::fs::write(file.path(), text).unwrap();
        let tail = |lines| LogOptions { tail_lines: Some(lines), ..LogOptions::default() };
        for lines in [0, 1, 2, 3000, 5000, 9999] {
            let found = read(file.path(), tail(lines)).await;
            assert_eq!(found.lines().count() as u64, lines.min(5000), "{lines}");
            assert!(lines == 0 || found.contains("line 4999"));
        }
    }

    #[tokio::test]
    async fn following_sees_what_is_written_later_and_rotation_and_ends_with_the_container() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        std::fs::write(&path, line("one")).unwrap();
        let runs = Arc::new(AtomicBool::new(true));
        let running: StillRunning = {
            let runs = runs.clone();
            Box::new(move || {
                let runs = runs.load(Ordering::SeqCst);
                Box::pin(async move { runs })
            })
        };
        let (sender, mut receiver) = mpsc::channel(8);
        let options = LogOptions { follow: true, ..LogOptions::default() };
        let task = tokio::spawn(stream(path.clone(), options, running, sender));
        assert_eq!(receiver.recv().await.unwrap(), "one\n");
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(line("two").as_bytes()).unwrap();
        assert_eq!(receiver.recv().await.unwrap(), "two\n");
        std::fs::rename(&path, dir.path().join("0.log.1")).unwrap();
        std::fs::write(&path, line("three")).unwrap();
        assert_eq!(receiver.recv().await.unwrap(), "three\n");
        runs.store(false, Ordering::SeqCst);
        assert_eq!(receiver.recv().await, None);
        task.await.unwrap().unwrap();
    }
}
