//! A log of one JSON event a line, rotated by size and age.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use super::{Event, Sink, SinkError};
use crate::environment::Environment;

/// When the log is rotated, and what is kept of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// The file that is written.
    pub path: PathBuf,
    /// How large it may become, in bytes (default: 100 MiB).
    pub bytes_max: u64,
    /// How many rotated files are kept; 0 keeps all (default: 10).
    pub backups_max: usize,
    /// How old rotated files may become (default: 30 days).
    pub age_max: Duration,
}

impl LogConfig {
    /// A log in that file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let age_max = Duration::from_secs(30 * 24 * 3600);
        Self { path: path.into(), bytes_max: 100 << 20, backups_max: 10, age_max }
    }
}

/// Writes the log. Only the server's own user may read it.
pub struct LogSink {
    state: Option<State>,
}

struct State {
    config: LogConfig,
    environment: Arc<dyn Environment>,
    file: Option<(File, u64)>,
}

impl std::fmt::Debug for LogSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("LogSink").field(&self.state.as_ref().map(|state| &state.config.path)).finish()
    }
}

impl LogSink {
    /// Writes there, after what the file holds already.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn open(config: LogConfig, environment: Arc<dyn Environment>) -> io::Result<Self> {
        let mut state = State { config, environment, file: None };
        state.file()?;
        Ok(Self { state: Some(state) })
    }
}

impl State {
    fn file(&mut self) -> io::Result<&mut (File, u64)> {
        if self.file.is_none() {
            let mut options = OpenOptions::new();
            options.append(true).create(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let file = options.open(&self.config.path)?;
            let length = file.metadata()?.len();
            self.file = Some((file, length));
        }
        self.file.as_mut().ok_or_else(|| io::Error::other("the file was just opened"))
    }

    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let bytes_max = self.config.bytes_max;
        let (_, length) = self.file()?;
        if *length > 0 && *length + lines.len() as u64 > bytes_max {
            self.rotate()?;
        }
        let (file, length) = self.file()?;
        file.write_all(lines)?;
        *length += lines.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.file = None;
        let stamp = self.environment.now().strftime("%Y-%m-%dT%H-%M-%S.%3f").to_string();
        std::fs::rename(&self.config.path, self.backup(&stamp))?;
        self.prune()
    }

    /// `audit-STAMP.log` beside `audit.log`.
    fn backup(&self, stamp: &str) -> PathBuf {
        let (stem, extension) = names(&self.config.path);
        self.config.path.with_file_name(format!("{stem}-{stamp}{extension}"))
    }

    fn prune(&self) -> io::Result<()> {
        let (stem, extension) = names(&self.config.path);
        let directory = self.config.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let mut backups = Vec::new();
        for entry in std::fs::read_dir(directory.unwrap_or_else(|| Path::new(".")))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.strip_prefix(&stem).is_some_and(|rest| rest.starts_with('-')) && name.ends_with(&extension) {
                backups.push((name, entry));
            }
        }
        // Their names tell their age; the newest first.
        backups.sort_by(|a, b| b.0.cmp(&a.0));
        let now = SystemTime::UNIX_EPOCH + Duration::try_from(self.environment.now().as_duration()).unwrap_or_default();
        for (nth, (_, entry)) in backups.into_iter().enumerate() {
            let age = entry.metadata()?.modified().ok().and_then(|modified| now.duration_since(modified).ok());
            let too_old = age.is_some_and(|age| age > self.config.age_max);
            if too_old || (self.config.backups_max > 0 && nth >= self.config.backups_max) {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

fn names(path: &Path) -> (String, String) {
    let text = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    let extension = text(path.extension());
    (text(path.file_stem()), if extension.is_empty() { extension } else { format!(".{extension}") })
}

#[async_trait]
impl Sink for LogSink {
    fn name(&self) -> &'static str {
        "log"
    }

    async fn write(&mut self, events: &[Event]) -> Result<(), SinkError> {
        let mut lines = Vec::new();
        for event in events {
            serde_json::to_writer(&mut lines, event.json()).map_err(SinkError::new)?;
            lines.push(b'\n');
        }
        let Some(mut state) = self.state.take() else {
            return Err(SinkError::new("an earlier write did not come back"));
        };
        let (state, outcome) = tokio::task::spawn_blocking(move || {
            let outcome = state.append(&lines);
            (state, outcome)
        })
        .await
        .map_err(SinkError::new)?;
        self.state = Some(state);
        outcome.map_err(SinkError::new)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    struct Ticking(AtomicI64);

    impl Environment for Ticking {
        fn now(&self) -> Timestamp {
            let second = self.0.fetch_add(1, Ordering::Relaxed);
            Timestamp::now() + jiff::SignedDuration::from_secs(second)
        }

        fn fill_random(&self, _: &mut [u8]) {}
    }

    #[tokio::test]
    async fn the_log_is_rotated_and_old_files_go() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.log");
        let config = LogConfig { bytes_max: 30, backups_max: 2, ..LogConfig::new(&path) };
        let mut sink = LogSink::open(config, Arc::new(Ticking(AtomicI64::new(0)))).unwrap();
        for at in 0..8 {
            sink.write(&[Event(json!({"n": at, "text": "0123456789"}))]).await.unwrap();
        }
        let mut names: Vec<String> = std::fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        assert_eq!(names.len(), 3, "{names:?}");
        assert!(names[0].starts_with("audit-2") && names[2] == "audit.log");
        let last = std::fs::read_to_string(&path).unwrap();
        assert_eq!(last, "{\"n\":7,\"text\":\"0123456789\"}\n");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }
}
