//! Events: what was decided, for people to read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::Clock;
use super::api::call;
use crate::object::{Name, PodInfo, Time};

/// The longest note an event may have, in bytes.
const NOTE_MAX: usize = 1024;
/// How many events are remembered, to count those that repeat.
const REMEMBERED_MAX: usize = 4096;
/// How long an event must be silent before it counts as new.
const SERIES_ENDS: Duration = Duration::from_mins(6);
/// How often the count of a repeating event is written at most.
const SERIES_WRITTEN: Duration = Duration::from_secs(30);

/// Something to tell about a pod.
#[derive(Clone, Debug)]
pub(super) struct Note {
    pub(super) pod: Arc<PodInfo>,
    pub(super) related: Option<Arc<PodInfo>>,
    pub(super) warning: bool,
    pub(super) reason: &'static str,
    pub(super) action: &'static str,
    pub(super) text: String,
}

type Key = (Name, &'static str, String);

struct Known {
    path: String,
    last: Time,
    written: Time,
    count: u64,
}

/// Writes events one after the other; the same event again only counts up.
pub(super) struct Recorder {
    client: Client,
    clock: Arc<dyn Clock>,
    instance: String,
    known: BTreeMap<Key, Known>,
    sequence: u64,
}

impl Recorder {
    pub(super) const fn new(client: Client, clock: Arc<dyn Clock>, instance: String) -> Self {
        Self { client, clock, instance, known: BTreeMap::new(), sequence: 0 }
    }

    /// Writes events until nobody can send any more.
    pub(super) async fn run(mut self, mut notes: mpsc::Receiver<Note>) {
        while let Some(note) = notes.recv().await {
            self.record(note).await;
        }
    }

    async fn record(&mut self, note: Note) {
        let now = self.clock.now();
        let text = truncated(note.text.clone());
        let key = (note.pod.uid.clone(), note.reason, text.clone());
        let since = |then: Time| Duration::try_from(now.duration_since(then)).unwrap_or_default();
        if let Some(known) = self.known.get_mut(&key).filter(|known| since(known.last) < SERIES_ENDS) {
            known.count += 1;
            known.last = now;
            if known.count > 2 && since(known.written) < SERIES_WRITTEN {
                return;
            }
            known.written = now;
            let patch = json!({"series": {"count": known.count, "lastObservedTime": micro(now)}});
            let path = known.path.clone();
            self.send(http::Method::PATCH, &path, "application/strategic-merge-patch+json", &patch).await;
            return;
        }
        self.make_room(now);
        let (event, collection) = self.event(&note, &text, now);
        let path = format!("{collection}/{}", event["metadata"]["name"].as_str().unwrap_or_default());
        self.known.insert(key, Known { path, last: now, written: now, count: 1 });
        self.send(http::Method::POST, &collection, "application/json", &event).await;
    }

    async fn send(&self, method: http::Method, path: &str, content: &str, body: &Value) {
        if let Err(error) = call(&self.client, method, path, content, body).await {
            tracing::debug!(path, error = error.message, "an event could not be written");
        }
    }

    fn make_room(&mut self, now: Time) {
        if self.known.len() < REMEMBERED_MAX {
            return;
        }
        let since = |then: Time| Duration::try_from(now.duration_since(then)).unwrap_or_default();
        self.known.retain(|_, known| since(known.last) < SERIES_ENDS);
        if self.known.len() >= REMEMBERED_MAX {
            self.known.clear();
        }
    }

    fn event(&mut self, note: &Note, text: &str, now: Time) -> (Value, String) {
        self.sequence += 1;
        let nanos = now.as_nanosecond().unsigned_abs().wrapping_add(u128::from(self.sequence));
        let controller = &note.pod.spec.scheduler_name;
        let mut event = json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": format!("{}.{nanos:x}", note.pod.name), "namespace": note.pod.namespace},
            "eventTime": micro(now),
            "reportingController": controller,
            "reportingInstance": format!("{controller}-{}", self.instance),
            "action": note.action,
            "reason": note.reason,
            "regarding": reference(&note.pod),
            "note": text,
            "type": if note.warning { "Warning" } else { "Normal" },
        });
        if let Some(related) = &note.related {
            event["related"] = reference(related);
        }
        (event, format!("/apis/events.k8s.io/v1/namespaces/{}/events", note.pod.namespace))
    }
}

fn reference(pod: &PodInfo) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "namespace": pod.namespace,
        "name": pod.name,
        "uid": pod.uid,
        "resourceVersion": pod.resource_version,
    })
}

/// A time with exactly six digits after the point, as `MicroTime` wants it.
fn micro(time: Time) -> String {
    format!("{time:.6}")
}

fn truncated(mut text: String) -> String {
    const MARK: &str = " ...";
    if text.len() > NOTE_MAX {
        let mut end = NOTE_MAX - MARK.len();
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str(MARK);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_and_times_have_their_form() {
        assert_eq!(truncated("x".repeat(1025)).len(), 1024);
        assert!(truncated("é".repeat(600)).ends_with(" ..."));
        assert_eq!(truncated("short".into()), "short");
        assert_eq!(micro(Time::from_second(0).unwrap()), "1970-01-01T00:00:00.000000Z");
    }
}
