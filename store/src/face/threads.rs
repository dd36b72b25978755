//! Threads of the face's own.
//!
//! Each has a runtime of its own and the connections that were given to it, and nobody else's: a request is read, carried
//! out and answered without another thread being woken. Its connections are one task, so that a thread is woken once
//! however many of them were answered meanwhile.

use std::future::{Future, poll_fn};
use std::net::TcpStream;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::Face;

/// How long a thread looks for its only client's next request before it sleeps. A client that asks one thing after the
/// other comes back within this; to be woken takes about as long, where processors are virtual.
const LOOK: Duration = Duration::from_micros(100);
/// So many requests in a row must have come soon before a thread looks for the next.
const TRUST: u32 = 4;
const TRUST_MAX: u32 = 16;

/// What the threads of a face share.
struct Shared {
    face: Face,
    tls: Option<TlsAcceptor>,
    cancelled: CancellationToken,
    /// A thread looks for requests: one at a time, so that no more than one processor is kept busy by that.
    is_looking: AtomicBool,
    may_look: bool,
}

/// A connection for a thread.
type Given = (TcpStream, OwnedSemaphorePermit);
type Connection = Pin<Box<dyn Future<Output = ()> + Send>>;

pub(super) struct Threads(Vec<Thread>);

struct Thread {
    connections: mpsc::UnboundedSender<Given>,
    /// How many connections it has.
    open: Arc<AtomicUsize>,
    ended: JoinHandle<()>,
}

impl Threads {
    /// Starts so many.
    ///
    /// # Errors
    /// The system has no thread, or no way to wait for connections, left.
    pub(super) fn start(
        count: usize,
        face: &Face,
        tls: Option<TlsAcceptor>,
        cancelled: &CancellationToken,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            face: face.clone(),
            tls,
            cancelled: cancelled.clone(),
            is_looking: false.into(),
            may_look: std::thread::available_parallelism().is_ok_and(|count| count.get() > 1),
        });
        // Those that were started end with what sends to them.
        (0..count).map(|n| Thread::start(n, shared.clone())).collect::<Result<_, _>>().map(Self)
    }

    /// Gives a connection to the thread that has the fewest.
    pub(super) fn give(&self, stream: tokio::net::TcpStream, place: OwnedSemaphorePermit) {
        let Some(thread) = self.0.iter().min_by_key(|thread| thread.open.load(Ordering::Relaxed)) else { return };
        match stream.into_std() {
            Ok(stream) => {
                thread.open.fetch_add(1, Ordering::Relaxed);
                if thread.connections.send((stream, place)).is_err() {
                    tracing::error!("a thread of the face panicked");
                }
            }
            Err(error) => tracing::debug!(%error, "a connection broke"),
        }
    }

    /// Waits until all connections are closed.
    pub(super) async fn end(self) {
        let ended: Vec<_> = self.0.into_iter().map(|thread| thread.ended).collect();
        let joined = tokio::task::spawn_blocking(|| ended.into_iter().all(|thread| thread.join().is_ok()));
        if !matches!(joined.await, Ok(true)) {
            tracing::error!("a thread of the face panicked");
        }
    }
}

impl Thread {
    fn start(n: usize, shared: Arc<Shared>) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (sender, receiver) = mpsc::unbounded_channel();
        let open = Arc::new(AtomicUsize::new(0));
        let thread = std::thread::Builder::new().name(format!("store-face-{n}"));
        let ended = thread.spawn({
            let open = open.clone();
            move || {
                let lane = Lane {
                    shared,
                    given: Some(receiver),
                    connections: FuturesUnordered::new(),
                    calls: Arc::default(),
                    open,
                    look: Look::default(),
                };
                // A task, for its own thread need not be woken by a signal.
                let lane = runtime.spawn(tokio::task::unconstrained(lane.run()));
                if runtime.block_on(lane).is_err() {
                    tracing::error!("a thread of the face panicked");
                }
                runtime.shutdown_background();
            }
        })?;
        Ok(Self { connections: sender, open, ended })
    }
}

/// One thread's connections.
struct Lane {
    shared: Arc<Shared>,
    /// Until no more will come.
    given: Option<mpsc::UnboundedReceiver<Given>>,
    connections: FuturesUnordered<Connection>,
    /// How many requests all of them have had.
    calls: Arc<AtomicU64>,
    open: Arc<AtomicUsize>,
    look: Look,
}

impl Lane {
    async fn run(mut self) {
        poll_fn(|cx| self.poll(cx)).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(given) = &mut self.given {
            match given.poll_recv(cx) {
                Poll::Ready(Some(given)) => self.connections.push(self.connection(given)),
                Poll::Ready(None) => self.given = None,
                Poll::Pending => break,
            }
        }
        loop {
            match self.connections.poll_next_unpin(cx) {
                Poll::Ready(Some(())) => {
                    self.open.fetch_sub(1, Ordering::Relaxed);
                }
                Poll::Ready(None) if self.given.is_none() => {
                    self.look.stop(&self.shared);
                    return Poll::Ready(());
                }
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        if self.shared.may_look && self.look.goes_on(self.calls.load(Ordering::Relaxed), &self.shared) {
            // Polls this again, after the connections were looked at once.
            let _ = pin!(tokio::task::yield_now()).poll(cx);
        }
        Poll::Pending
    }

    fn connection(&self, (stream, place): Given) -> Connection {
        let (shared, calls) = (self.shared.clone(), self.calls.clone());
        let serving = async move {
            let _place = place;
            match tokio::net::TcpStream::from_std(stream) {
                Ok(stream) => {
                    let (face, tls, cancelled) = (shared.face.clone(), shared.tls.clone(), shared.cancelled.clone());
                    face.connection(stream, tls, cancelled, calls).await;
                }
                Err(error) => tracing::warn!(%error, "cannot wait for a connection"),
            }
        };
        // The others go on.
        Box::pin(AssertUnwindSafe(serving).catch_unwind().map(|ended| {
            if ended.is_err() {
                tracing::error!("a connection panicked");
            }
        }))
    }
}

/// Whether a thread looks for the next request instead of sleeping until it comes.
#[derive(Default)]
struct Look {
    /// How many requests there were.
    calls: u64,
    /// When the last one was answered, or at least begun.
    last: Option<Instant>,
    /// How many came soon after the one before, less those that did not.
    trust: u32,
    is_on: bool,
}

impl Look {
    /// To be asked after every look at the connections.
    fn goes_on(&mut self, calls: u64, shared: &Shared) -> bool {
        let new = calls - self.calls;
        if new == 0 && !self.is_on {
            return false;
        }
        let now = Instant::now();
        let since = self.last.map_or(Duration::MAX, |last| now - last);
        if new == 0 {
            if since < LOOK {
                return true;
            }
            // In vain.
            self.trust /= 2;
            self.stop(shared);
            return false;
        }
        (self.calls, self.last) = (calls, Some(now));
        // Where several ask there is enough to do, and a thread that sleeps a little finds more to do at once.
        let is_soon = new == 1 && (self.is_on || since < LOOK * 4);
        self.trust = if is_soon { (self.trust + 1).min(TRUST_MAX) } else { 0 };
        if self.trust < TRUST {
            self.stop(shared);
        } else if !self.is_on {
            self.is_on = !shared.is_looking.swap(true, Ordering::Relaxed);
        }
        self.is_on
    }

    fn stop(&mut self, shared: &Shared) {
        if std::mem::take(&mut self.is_on) {
            shared.is_looking.store(false, Ordering::Relaxed);
        }
    }
}
