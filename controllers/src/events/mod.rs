//! Events: what controllers did and why, as `kubectl describe` shows it.

mod correlate;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::api::{Api, object_path};
use crate::manager::Clock;
use crate::objects::{ObjectKey, Time, kinds};
use crate::plan::{Note, Reference};
use correlate::{Correlator, Verdict};

/// How many events may wait to be written; more are dropped.
const WAITING: usize = 1024;

/// Takes events; they are written in the background and lost if the server can't keep up, as upstream's are.
#[derive(Clone)]
pub(crate) struct Recorder {
    sender: mpsc::Sender<Occurrence>,
    dropped: Arc<AtomicU64>,
    clock: Clock,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub(crate) struct Occurrence {
    pub(crate) component: &'static str,
    pub(crate) regarding: Reference,
    pub(crate) note: Note,
    pub(crate) at: Time,
}

/// Writes what a recorder takes.
pub(crate) struct Writer {
    receiver: mpsc::Receiver<Occurrence>,
    api: Api,
    correlator: Correlator,
}

impl Recorder {
    /// A recorder and the writer that must run for it.
    pub(crate) fn new(api: Api, clock: Clock) -> (Self, Writer) {
        let (sender, receiver) = mpsc::channel(WAITING);
        let writer = Writer { receiver, api, correlator: Correlator::default() };
        (Self { sender, dropped: Arc::default(), clock }, writer)
    }

    pub(crate) fn record(&self, component: &'static str, regarding: Reference, note: Note) {
        tracing::debug!(component, object = %regarding.key, kind = %regarding.kind, note.reason, note.message, "event");
        let occurrence = Occurrence { component, regarding, note, at: (self.clock)() };
        if self.sender.try_send(occurrence).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Writer {
    /// Writes events until cancelled, then those that wait already.
    pub(crate) async fn run(mut self, cancel: CancellationToken) {
        while let Some(Some(occurrence)) = cancel.run_until_cancelled(self.receiver.recv()).await {
            self.write(occurrence).await;
        }
        self.receiver.close();
        let farewell = async {
            while let Some(occurrence) = self.receiver.recv().await {
                self.write(occurrence).await;
            }
        };
        _ = tokio::time::timeout(std::time::Duration::from_secs(1), farewell).await;
    }

    async fn write(&mut self, occurrence: Occurrence) {
        let written = match self.correlator.observe(&occurrence) {
            Verdict::Drop => return,
            Verdict::Repeat { key, count } => match self.repeat(&key, count, occurrence.at).await {
                Err(Error::NotFound { .. }) => self.create(&occurrence).await,
                other => other,
            },
            Verdict::New => self.create(&occurrence).await,
        };
        if let Err(error) = written {
            tracing::debug!(%error, reason = occurrence.note.reason, "an event can't be written");
        }
    }

    async fn repeat(&self, key: &ObjectKey, count: u32, at: Time) -> Result<(), Error> {
        let path = object_path(&kinds::EVENT.path(&key.namespace), key, "");
        let body = json!({"count": count, "lastTimestamp": at});
        self.api.patch_path(&path, &body).await.map(drop)
    }

    async fn create(&mut self, occurrence: &Occurrence) -> Result<(), Error> {
        let Occurrence { component, regarding, note, at } = occurrence;
        let namespace: &str = if regarding.key.namespace.is_empty() { "default" } else { &regarding.key.namespace };
        let name = format!("{}.{:x}", regarding.key.name, self.correlator.unique(*at));
        let mut involved = json!({
            "kind": regarding.kind.kind,
            "apiVersion": regarding.kind.api_version(),
            "name": regarding.key.name,
            "uid": regarding.uid,
        });
        if !regarding.key.namespace.is_empty() {
            involved["namespace"] = json!(regarding.key.namespace);
        }
        if !regarding.resource_version.is_empty() {
            involved["resourceVersion"] = json!(regarding.resource_version);
        }
        let event = json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": involved,
            "type": if note.warning { "Warning" } else { "Normal" },
            "reason": note.reason,
            "message": note.message.chars().take(1024).collect::<String>(),
            "source": {"component": component},
            "reportingComponent": component,
            "firstTimestamp": at,
            "lastTimestamp": at,
            "count": 1,
        });
        match self.api.create(kinds::EVENT, namespace, &event).await {
            // A namespace on its way out takes no events.
            Err(Error::NamespaceTerminating { .. }) => Ok(()),
            Err(error) => Err(error),
            Ok(_) => {
                self.correlator.written(occurrence, ObjectKey::new(namespace, &name));
                Ok(())
            }
        }
    }
}
