//! Configuration files that are followed while the server runs.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use crate::identity::{apiserver_id_hash, hash};
use crate::metrics::{Count, Named, Number};

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

/// Has a configuration read again, again and again, until cancelled. `reload` tells whether it is new, and `outcome` hears
/// of each that was taken over (`true`) or refused.
pub(crate) async fn follow<F, E>(
    what: &str,
    reload: impl Fn() -> F + Send,
    outcome: impl Fn(bool) + Send,
    cancel: CancellationToken,
) where
    F: Future<Output = Result<bool, E>> + Send,
    E: std::fmt::Display + Send,
{
    loop {
        let reloaded = async {
            tokio::time::sleep(INTERVAL).await;
            reload().await
        };
        let Some(reloaded) = cancel.run_until_cancelled(reloaded).await else { return };
        told(what, reloaded, &outcome);
    }
}

/// Tells what came of reading a configuration again.
pub(crate) fn told<E: std::fmt::Display>(what: &str, reloaded: Result<bool, E>, outcome: &impl Fn(bool)) {
    match reloaded {
        Ok(false) => return,
        Ok(true) => tracing::info!("the {what} was read anew"),
        Err(ref error) => tracing::warn!(%error, "the {what} stays as it was"),
    }
    outcome(reloaded.is_ok());
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabels {
    status: &'static str,
    apiserver_id_hash: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InfoLabels {
    apiserver_id_hash: &'static str,
    hash: String,
}

/// What came of reading a configuration again, under upstream's names. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct ReloadMetrics {
    reloads: Family<StatusLabels, Counter>,
    last: Family<StatusLabels, Number>,
    info: Family<InfoLabels, Count>,
}

impl ReloadMetrics {
    /// Metrics that this registry shows, of the `authentication`, `authorization` or `encryption` configuration.
    pub(crate) fn new(registry: &mut Registry, what: &'static str) -> Self {
        let mut named = Named::new(registry, "apiserver_");
        let name = |rest: &str| format!("{what}_config_controller_{rest}");
        Self {
            reloads: named
                .counters(&name("automatic_reloads"), "How often the configuration was read anew, by what came of it"),
            last: named.numbers(
                &name("automatic_reload_last_timestamp_seconds"),
                "When the configuration was last read anew, by what came of it",
            ),
            info: named.counts(&name("last_config_info"), "The configuration in force, by its hash"),
        }
    }

    /// Tells which configuration is in force: what was seen last in that file.
    pub(crate) fn in_force(&self, file: &WatchedFile) {
        let hash = hash(&*file.seen.lock().unwrap_or_else(PoisonError::into_inner));
        self.info.clear();
        self.info.get_or_create(&InfoLabels { apiserver_id_hash: apiserver_id_hash(), hash }).set(1);
    }

    /// Counts a configuration out of that file that was taken over, or refused.
    pub(crate) fn record(&self, file: &WatchedFile, taken: bool, now: Timestamp) {
        if taken {
            self.in_force(file);
        }
        let labels =
            StatusLabels { status: if taken { "success" } else { "failure" }, apiserver_id_hash: apiserver_id_hash() };
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
