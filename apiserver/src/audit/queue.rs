//! Between requests and sinks: a bounded queue for each sink, and a task that empties it in batches.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::metrics::BUFFERED;
use super::policy::Verdict;
use super::{AuditConfig, AuditMetrics, AuditPolicy, Event};
use crate::authz::Attributes;

/// Why events were not written.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
#[non_exhaustive]
pub struct SinkError {
    /// What failed.
    pub reason: String,
}

impl SinkError {
    /// Not written for that reason.
    pub fn new(reason: impl fmt::Display) -> Self {
        Self { reason: reason.to_string() }
    }
}

/// Where events go.
#[async_trait]
pub trait Sink: Send + 'static {
    /// Writes them, in order. Those that can't be written are lost; the sink decides how often it tries.
    async fn write(&mut self, events: &[Event]) -> Result<(), SinkError>;

    /// Whether events are collected for [`AuditConfig::batch_wait`] before they are written, for each write is dear
    /// (default: no). Otherwise the sink gets them as soon as it is free, and what comes meanwhile is the next batch.
    fn collects(&self) -> bool {
        false
    }

    /// What metrics call it (default: `custom`).
    fn name(&self) -> &'static str {
        "custom"
    }
}

/// Counts what is lost.
#[derive(Default)]
struct Lost {
    events: AtomicU64,
    metrics: OnceLock<AuditMetrics>,
}

impl Lost {
    fn add(&self, plugin: &'static str, events: u64) {
        self.events.fetch_add(events, Ordering::Relaxed);
        if let Some(metrics) = self.metrics.get() {
            metrics.lost(plugin, events);
        }
    }
}

/// An event that waits, with the room that it takes up.
struct Waiting {
    event: Arc<Event>,
    room: OwnedSemaphorePermit,
}

/// Events that wait for one sink: so many, and so many bytes.
struct Queue {
    sender: mpsc::Sender<Waiting>,
    /// In KiB.
    room: Arc<Semaphore>,
    room_max: u32,
}

impl Queue {
    fn new(events_max: usize, bytes_max: usize) -> (Self, mpsc::Receiver<Waiting>) {
        let (sender, receiver) = mpsc::channel(events_max.max(1));
        let room_max = u32::try_from(bytes_max / 1024).unwrap_or(u32::MAX).max(1);
        // More than a semaphore holds is no limit.
        let room = Arc::new(Semaphore::new((room_max as usize).min(Semaphore::MAX_PERMITS)));
        (Self { sender, room, room_max }, receiver)
    }

    /// Puts an event in, waiting so long for room; false if there is none.
    async fn put(&self, event: &Arc<Event>, size: usize, wait_max: Duration) -> bool {
        if self.put_now(event, size) {
            return true;
        }
        let put = async {
            let room = Arc::clone(&self.room).acquire_many_owned(self.places(size)).await.ok()?;
            self.sender.send(Waiting { event: Arc::clone(event), room }).await.ok()
        };
        !wait_max.is_zero() && matches!(tokio::time::timeout(wait_max, put).await, Ok(Some(())))
    }

    fn put_now(&self, event: &Arc<Event>, size: usize) -> bool {
        let room = Arc::clone(&self.room).try_acquire_many_owned(self.places(size));
        room.is_ok_and(|room| self.sender.try_send(Waiting { event: Arc::clone(event), room }).is_ok())
    }

    /// What is larger than all the room waits until it is alone.
    fn places(&self, size: usize) -> u32 {
        u32::try_from(size.div_ceil(1024)).unwrap_or(u32::MAX).clamp(1, self.room_max)
    }
}

/// Takes events of requests and hands them to sinks in the background.
pub struct Auditor {
    pub(super) policy: AuditPolicy,
    queues: Vec<Queue>,
    wait_max: Duration,
    lost: Arc<Lost>,
}

impl fmt::Debug for Auditor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auditor").field("lost", &self.lost()).finish_non_exhaustive()
    }
}

impl Auditor {
    /// Starts a task for each sink. Once cancelled they write what waits, and end.
    #[must_use]
    pub fn start(config: AuditConfig, tasks: &TaskTracker, cancel: &CancellationToken) -> Arc<Self> {
        let lost = Arc::new(Lost::default());
        let mut queues = Vec::new();
        for sink in config.sinks {
            let (queue, receiver) = Queue::new(config.queue_max, config.queue_bytes_max);
            let (batch_max, batch_wait) = (config.batch_max.max(1), config.batch_wait);
            let writer = Writer { sink, receiver, batch_max, batch_wait, lost: Arc::clone(&lost) };
            tasks.spawn(writer.run(cancel.clone()));
            queues.push(queue);
        }
        Arc::new(Self { policy: config.policy, queues, wait_max: config.wait_max, lost })
    }

    /// How many events were lost: there was no room for them, or a sink could not write them.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.events.load(Ordering::Relaxed)
    }

    /// Measures into these metrics.
    pub(crate) fn measure(&self, metrics: AuditMetrics) {
        let _ = self.lost.metrics.set(metrics);
    }

    /// What is logged of such a request.
    pub(super) fn verdict(&self, attributes: &Attributes) -> Verdict {
        let verdict = self.policy.verdict(attributes);
        if let Some(metrics) = self.lost.metrics.get() {
            metrics.level(verdict.level);
        }
        verdict
    }

    fn made(&self) {
        if let Some(metrics) = self.lost.metrics.get() {
            metrics.event();
        }
    }

    /// Takes an event; waits for room no longer than it may.
    pub(super) async fn take(&self, event: Event) {
        self.made();
        let (size, event) = (event.size(), Arc::new(event));
        for queue in &self.queues {
            if !queue.put(&event, size, self.wait_max).await {
                self.lost.add(BUFFERED, 1);
            }
        }
    }

    /// Takes an event without waiting.
    pub(super) fn take_now(&self, event: Event) {
        self.made();
        let (size, event) = (event.size(), Arc::new(event));
        for queue in &self.queues {
            if !queue.put_now(&event, size) {
                self.lost.add(BUFFERED, 1);
            }
        }
    }
}

struct Writer {
    sink: Box<dyn Sink>,
    receiver: mpsc::Receiver<Waiting>,
    batch_max: usize,
    batch_wait: Duration,
    lost: Arc<Lost>,
}

impl Writer {
    async fn run(mut self, cancel: CancellationToken) {
        let mut batch = Vec::new();
        while let Some(Some(first)) = cancel.run_until_cancelled(self.receiver.recv()).await {
            batch.push(first);
            if !self.sink.collects() {
                // Who is answered at the same time comes along.
                tokio::task::yield_now().await;
                while batch.len() < self.batch_max
                    && let Ok(event) = self.receiver.try_recv()
                {
                    batch.push(event);
                }
                self.write(&mut batch).await;
                continue;
            }
            let more = async {
                while batch.len() < self.batch_max {
                    let room = self.batch_max - batch.len();
                    if self.receiver.recv_many(&mut batch, room).await == 0 {
                        break;
                    }
                }
            };
            // Full, or waited long enough, or asked to end.
            let waited = tokio::time::timeout(self.batch_wait, cancel.run_until_cancelled(more)).await;
            drop(waited);
            self.write(&mut batch).await;
        }
        self.receiver.close();
        while let Some(event) = self.receiver.recv().await {
            batch.push(event);
            if batch.len() >= self.batch_max {
                self.write(&mut batch).await;
            }
        }
        if !batch.is_empty() {
            self.write(&mut batch).await;
        }
    }

    async fn write(&mut self, batch: &mut Vec<Waiting>) {
        // The room is given back once they are written.
        let (events, _room): (Vec<Event>, Vec<OwnedSemaphorePermit>) =
            batch.drain(..).map(|waiting| (Arc::unwrap_or_clone(waiting.event), waiting.room)).unzip();
        if let Err(error) = self.sink.write(&events).await {
            self.lost.add(self.sink.name(), events.len() as u64);
            tracing::error!(%error, events = events.len(), "audit events were lost");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::audit::Level;

    struct Gather(mpsc::UnboundedSender<usize>, bool);

    #[async_trait]
    impl Sink for Gather {
        async fn write(&mut self, events: &[Event]) -> Result<(), SinkError> {
            self.0.send(events.len()).map_err(SinkError::new)
        }

        fn collects(&self) -> bool {
            self.1
        }
    }

    struct Stuck;

    #[async_trait]
    impl Sink for Stuck {
        async fn write(&mut self, _: &[Event]) -> Result<(), SinkError> {
            std::future::pending().await
        }
    }

    fn config(sink: impl Sink) -> AuditConfig {
        AuditConfig::new(AuditPolicy::all(Level::Metadata)).sink(sink)
    }

    #[tokio::test(start_paused = true)]
    async fn events_are_written_in_batches_and_at_the_end() {
        let (sender, mut written) = mpsc::unbounded_channel();
        let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
        let auditor = Auditor::start(AuditConfig { batch_max: 3, ..config(Gather(sender, true)) }, &tasks, &cancel);
        for _ in 0..4 {
            auditor.take(Event(json!({}))).await;
        }
        assert_eq!(written.recv().await, Some(3));
        assert_eq!(written.recv().await, Some(1));
        auditor.take(Event(json!({}))).await;
        cancel.cancel();
        tasks.close();
        tasks.wait().await;
        assert_eq!((written.recv().await, auditor.lost()), (Some(1), 0));
    }

    #[tokio::test(start_paused = true)]
    async fn large_events_fill_the_queue_sooner() {
        let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
        let config = AuditConfig { queue_bytes_max: 1 << 20, batch_max: 1, ..config(Stuck) };
        let auditor = Auditor::start(config, &tasks, &cancel);
        let large = || Event(json!({"requestObject": "x".repeat(200 << 10)}));
        for _ in 0..10 {
            auditor.take(large()).await;
        }
        assert_eq!(auditor.lost(), 5);
        // There is still room for small ones, and none for what is larger than all.
        auditor.take(Event(json!({}))).await;
        auditor.take_now(Event(json!({"requestObject": "x".repeat(2 << 20)})));
        assert_eq!(auditor.lost(), 6);
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_collect_gets_events_at_once() {
        let (sender, mut written) = mpsc::unbounded_channel();
        let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
        let auditor = Auditor::start(AuditConfig { batch_max: 3, ..config(Gather(sender, false)) }, &tasks, &cancel);
        let start = tokio::time::Instant::now();
        for _ in 0..4 {
            auditor.take(Event(json!({}))).await;
        }
        assert_eq!((written.recv().await, written.recv().await), (Some(3), Some(1)));
        assert_eq!(start.elapsed(), Duration::ZERO);
        cancel.cancel();
        tasks.close();
        tasks.wait().await;
        assert_eq!(auditor.lost(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stuck_sink_holds_up_nobody_past_the_bound() {
        let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
        let wait_max = Duration::from_millis(20);
        let config = AuditConfig { queue_max: 2, batch_max: 1, wait_max, ..config(Stuck) };
        let auditor = Auditor::start(config, &tasks, &cancel);
        let start = tokio::time::Instant::now();
        for _ in 0..10 {
            auditor.take(Event(json!({}))).await;
        }
        assert!(start.elapsed() <= wait_max * 10);
        assert!(auditor.lost() >= 7, "{}", auditor.lost());
    }
}
