//! Configuration files that are followed while the server runs.

use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// How often files are looked at.
pub(crate) const INTERVAL: Duration = Duration::from_secs(5);
/// Largest file that is read, in bytes.
const BYTES_MAX: u64 = 4 << 20;

/// A file, and its text when it was last looked at.
pub(crate) struct WatchedFile {
    path: PathBuf,
    seen: Mutex<String>,
}

impl WatchedFile {
    /// Reads the file for the first time.
    pub(crate) async fn open(path: PathBuf) -> Result<(Self, String), String> {
        let text = read(&path).await?;
        Ok((Self { path, seen: Mutex::new(text.clone()) }, text))
    }

    /// The file's text, if it is not what was seen last.
    pub(crate) async fn changed(&self) -> Result<Option<String>, String> {
        let text = read(&self.path).await?;
        let same = *self.seen.lock().unwrap_or_else(PoisonError::into_inner) == text;
        Ok((!same).then_some(text))
    }

    /// Notes that this text needs no second look.
    pub(crate) fn see(&self, text: String) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabels {
    status: &'static str,
}

/// What came of reading a configuration again, under upstream's names. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct ReloadMetrics {
    reloads: Family<StatusLabels, Counter>,
    last: Family<StatusLabels, Gauge<f64, AtomicU64>>,
}

impl ReloadMetrics {
    /// Metrics that this registry shows, of the `authentication` or `authorization` configuration.
    pub(crate) fn new(registry: &mut Registry, what: &str) -> Self {
        let metrics = Self::default();
        let name = |rest: &str| format!("apiserver_{what}_config_controller_{rest}");
        registry.register(
            name("automatic_reloads"),
            "How often the configuration was read anew, by what came of it",
            metrics.reloads.clone(),
        );
        registry.register(
            name("automatic_reload_last_timestamp_seconds"),
            "When the configuration was last read anew, by what came of it",
            metrics.last.clone(),
        );
        metrics
    }

    /// Counts a configuration that was taken over, or refused.
    pub(crate) fn record(&self, taken: bool, now: Timestamp) {
        let labels = StatusLabels { status: if taken { "success" } else { "failure" } };
        self.reloads.get_or_create(&labels).inc();
        self.last.get_or_create(&labels).set(now.as_duration().as_secs_f64());
    }
}

async fn read(path: &std::path::Path) -> Result<String, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("cannot read {}: {error}", path.display());
    let size = tokio::fs::metadata(path).await.map_err(|error| wrong(&error))?.len();
    if size > BYTES_MAX {
        return Err(wrong(&format!("it has {size} bytes, more than {BYTES_MAX}")));
    }
    tokio::fs::read_to_string(path).await.map_err(|error| wrong(&error))
}
