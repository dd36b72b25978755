//! The Watch service: many watches on one stream.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{AbortHandle, BoxStream, SelectAll, abortable};
use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::{Status, Streaming};

use super::Inner;
use super::convert::{COMPACTED, revision, watch_range};
use super::encoding::{self, Encodings};
use crate::proto::{WatchCreateRequest, WatchRequest, WatchRequestUnion, WatchResponse};
use crate::{Error, Event, EventKind, ProgressRequest, Revision, WatchEvents, WatchOptions};

/// Responses that may wait for a slow client; its watches then fall behind in the store, which loses
/// nothing.
const RESPONSES_MAX: usize = 16;
/// Revisions that are put into one response if they are there at once.
const REVISIONS_PER_RESPONSE: usize = 128;
/// About how large a fragment is, for clients that ask for fragments.
const FRAGMENT_BYTES: usize = 1 << 20;
/// So many responses with events go out at once. After them the stream waits for the end of a window of this length,
/// so that watches that are told much are told it in few responses, while those that are told little wait for nothing.
const RESPONSES_PER_WINDOW: usize = 64;
const WINDOW: Duration = Duration::from_millis(10);
/// Answers to a request for progress go to all watches of the stream.
const ALL_WATCHES: i64 = -1;
const WATCHES_MAX: usize = 10_000;

type Delivered = (i64, Vec<Result<WatchEvents, Error>>);

/// Serves one stream until the client ends it. What it answers are encoded responses.
pub(super) fn serve(inner: Arc<Inner>, requests: Streaming<WatchRequest>) -> impl Stream<Item = Result<Bytes, Status>> {
    let (responses, answers) = mpsc::channel(RESPONSES_MAX);
    let session = Session {
        inner,
        responses,
        events: SelectAll::new(),
        watches: HashMap::new(),
        next_id: 0,
        progress: None,
        encodings: Encodings::default(),
        window: (Instant::now(), 0),
    };
    let work = session.run(requests);
    // The session runs as part of the response: it ends with it, and no task is left behind.
    let answers = tokio_stream::wrappers::ReceiverStream::new(answers);
    futures::stream::select(answers, work_as_stream(work))
}

/// A future that delivers nothing but its error, while it is polled.
fn work_as_stream(work: impl Future<Output = Result<(), Status>>) -> impl Stream<Item = Result<Bytes, Status>> {
    futures::stream::once(work).filter_map(async |result| result.err().map(Err))
}

struct Session {
    inner: Arc<Inner>,
    responses: mpsc::Sender<Result<Bytes, Status>>,
    events: SelectAll<BoxStream<'static, Delivered>>,
    watches: HashMap<i64, Watch>,
    next_id: i64,
    progress: Option<Progress>,
    encodings: Encodings,
    /// When the window ends, and how many responses went out in it.
    window: (Instant, usize),
}

struct Watch {
    prev_kv: bool,
    fragment: bool,
    no_puts: bool,
    no_deletes: bool,
    progress_notify: bool,
    progress: ProgressRequest,
    abort: AbortHandle,
}

/// A request for progress that is not answered yet.
struct Progress {
    waiting: HashSet<i64>,
    reached: Revision,
}

/// The client has gone.
struct Gone;

impl Session {
    async fn run(mut self, mut requests: Streaming<WatchRequest>) -> Result<(), Status> {
        loop {
            let done = tokio::select! {
                request = requests.next() => match request {
                    Some(request) => self.request(request?).await,
                    None => return Ok(()),
                },
                () = tokio::time::sleep_until(self.window.0), if self.is_full() => {
                    self.window.1 = 0;
                    Ok(())
                }
                Some((id, batches)) = self.events.next(), if !self.is_full() => self.deliver(id, batches).await,
            };
            if let Err(Gone) = done {
                return Ok(());
            }
        }
    }

    /// Whether so much was said in this window that the rest waits for the next.
    const fn is_full(&self) -> bool {
        self.window.1 >= RESPONSES_PER_WINDOW
    }

    async fn send(&mut self, response: WatchResponse) -> Result<(), Gone> {
        self.send_with(response, &[]).await
    }

    async fn send_with(&mut self, response: WatchResponse, events: &[Bytes]) -> Result<(), Gone> {
        let response = encoding::response(&response, events);
        self.responses.send(Ok(response)).await.map_err(|_| Gone)
    }

    fn response(&self, watch_id: i64, revision: Revision) -> WatchResponse {
        WatchResponse { header: Some(self.inner.header(revision)), watch_id, ..WatchResponse::default() }
    }

    async fn request(&mut self, request: WatchRequest) -> Result<(), Gone> {
        match request.request {
            Some(WatchRequestUnion::Create(create)) => self.create(create).await,
            Some(WatchRequestUnion::Cancel(cancel)) => self.cancel(cancel.watch_id).await,
            Some(WatchRequestUnion::Progress(_)) => self.ask_for_progress().await,
            None => Ok(()),
        }
    }

    async fn create(&mut self, create: WatchCreateRequest) -> Result<(), Gone> {
        let newest = match self.inner.newest().await {
            Ok(newest) => newest,
            Err(status) => return self.refuse(create.watch_id, Revision::ZERO, status.message(), None).await,
        };
        if create.watch_id != 0 && self.watches.contains_key(&create.watch_id) {
            return self.refuse(ALL_WATCHES, newest, "etcdserver: duplicate watch id", None).await;
        }
        if self.watches.len() >= WATCHES_MAX {
            return self.refuse(ALL_WATCHES, newest, "etcdserver: too many watches on one stream", None).await;
        }
        let id = if create.watch_id == 0 { self.unused_id() } else { create.watch_id };
        let Ok(from) = revision(create.start_revision) else {
            return self.refuse(ALL_WATCHES, newest, "etcdserver: invalid start revision", None).await;
        };
        let progress_interval = create.progress_notify.then_some(self.inner.config.progress_interval);
        let options = WatchOptions { prev_value: create.prev_kv, progress_interval };
        let range = watch_range(create.key, create.range_end);
        if range.is_empty() {
            return self.refuse(ALL_WATCHES, newest, "mvcc: watcher range is empty", None).await;
        }
        // From now on means from the revision that the answer names.
        let watch = self.inner.store.watch(range, from.unwrap_or_else(|| newest.next()), options).await;
        let mut created = self.response(id, newest);
        created.created = true;
        self.send(created).await?;
        let stream = match watch {
            Ok(stream) => stream,
            Err(error) => return self.end(id, &error).await,
        };
        let progress = stream.progress();
        let chunks = stream.ready_chunks(REVISIONS_PER_RESPONSE).map(move |batches| (id, batches));
        let (chunks, abort) = abortable(chunks);
        self.events.push(chunks.boxed());
        let watch = Watch {
            prev_kv: create.prev_kv,
            fragment: create.fragment,
            no_puts: create.filters.contains(&0),
            no_deletes: create.filters.contains(&1),
            progress_notify: create.progress_notify,
            progress,
            abort,
        };
        self.watches.insert(id, watch);
        Ok(())
    }

    fn unused_id(&mut self) -> i64 {
        loop {
            let id = self.next_id;
            self.next_id += 1;
            if !self.watches.contains_key(&id) {
                return id;
            }
        }
    }

    /// A watch that never was.
    async fn refuse(
        &mut self,
        id: i64,
        newest: Revision,
        reason: &str,
        compact_revision: Option<Revision>,
    ) -> Result<(), Gone> {
        let mut response = self.response(id, newest);
        (response.created, response.canceled) = (true, true);
        response.cancel_reason = reason.to_owned();
        response.compact_revision = compact_revision.map_or(0, |revision| revision.0 as i64);
        self.send(response).await
    }

    async fn cancel(&mut self, id: i64) -> Result<(), Gone> {
        let Some(watch) = self.watches.remove(&id) else { return Ok(()) };
        watch.abort.abort();
        let mut response = self.response(id, self.inner.recent());
        response.canceled = true;
        self.send(response).await?;
        self.progressed(id, None).await
    }

    /// A watch that the store ended.
    async fn end(&mut self, id: i64, error: &Error) -> Result<(), Gone> {
        self.watches.remove(&id);
        let mut response = self.response(id, self.inner.recent());
        response.canceled = true;
        if let Error::Compacted { compacted, .. } = error {
            response.compact_revision = compacted.0 as i64;
            response.cancel_reason = COMPACTED.to_owned();
        } else {
            response.cancel_reason = error.to_string();
        }
        self.send(response).await?;
        self.progressed(id, None).await
    }

    async fn ask_for_progress(&mut self) -> Result<(), Gone> {
        if self.watches.is_empty() {
            let Ok(newest) = self.inner.newest().await else { return Ok(()) };
            return self.send(self.response(ALL_WATCHES, newest)).await;
        }
        // A request that is not answered yet starts anew: its answer may come later, not earlier.
        let waiting = self.watches.keys().copied().collect();
        self.progress = Some(Progress { waiting, reached: Revision(u64::MAX) });
        self.watches.values().for_each(|watch| watch.progress.ask());
        Ok(())
    }

    /// A watch has delivered everything up to `mark`, or is no more. When all have, the client is told.
    async fn progressed(&mut self, id: i64, mark: Option<Revision>) -> Result<(), Gone> {
        let Some(progress) = &mut self.progress else { return Ok(()) };
        if progress.waiting.remove(&id) {
            progress.reached = progress.reached.min(mark.unwrap_or(progress.reached));
        }
        if !progress.waiting.is_empty() {
            return Ok(());
        }
        let reached = progress.reached;
        self.progress = None;
        if reached == Revision(u64::MAX) {
            return Ok(());
        }
        self.send(self.response(ALL_WATCHES, reached)).await
    }

    async fn deliver(&mut self, id: i64, batches: Vec<Result<WatchEvents, Error>>) -> Result<(), Gone> {
        let mut encoded = Vec::with_capacity(batches.len());
        let (mut reached, mut marked, mut ended) = (Revision::ZERO, None, None);
        // What an aborted watch had ready is not wanted any more.
        let Some(watch) = self.watches.get(&id) else { return Ok(()) };
        for batch in &batches {
            match batch {
                Ok(batch) if batch.is_progress() => marked = Some(batch.revision),
                Ok(batch) => {
                    reached = batch.revision;
                    if watch.wants_all() {
                        encoded.push(self.encodings.of(batch, watch.prev_kv));
                    } else {
                        let wanted = batch.events.iter().filter(|event| watch.wants(event));
                        encoded.extend(wanted.map(|event| encoding::event(event, watch.prev_kv)));
                    }
                }
                Err(error) => ended = Some(error),
            }
        }
        let size: usize = encoded.iter().map(Bytes::len).sum();
        let (fragment, progress_notify) = (watch.fragment, watch.progress_notify);
        if fragment && size > FRAGMENT_BYTES {
            self.send_fragments(id, reached, &batches).await?;
        } else if size > 0 {
            self.send_with(self.response(id, reached), &encoded).await?;
        }
        self.note_sent();
        if let Some(mark) = marked {
            if progress_notify {
                self.send(self.response(id, mark)).await?;
            }
            self.progressed(id, Some(mark)).await?;
        }
        match ended {
            Some(error) => self.end(id, error).await,
            None => Ok(()),
        }
    }

    fn note_sent(&mut self) {
        let now = Instant::now();
        if now >= self.window.0 {
            self.window = (now + WINDOW, 0);
        }
        self.window.1 += 1;
    }

    async fn send_fragments(
        &mut self,
        id: i64,
        reached: Revision,
        batches: &[Result<WatchEvents, Error>],
    ) -> Result<(), Gone> {
        let Some(watch) = self.watches.get(&id) else { return Ok(()) };
        let events = batches.iter().flatten().flat_map(|batch| batch.events.iter());
        let wanted = events.filter(|event| watch.wants(event));
        let events: Vec<Bytes> = wanted.map(|event| encoding::event(event, watch.prev_kv)).collect();
        let (mut from, mut size) = (0, 0);
        for n in 0..events.len() {
            size += events[n].len();
            let more = n + 1 < events.len();
            if more && size < FRAGMENT_BYTES {
                continue;
            }
            let response = WatchResponse { fragment: more, ..self.response(id, reached) };
            self.send_with(response, &events[from..=n]).await?;
            (from, size) = (n + 1, 0);
        }
        Ok(())
    }
}

impl Watch {
    const fn wants_all(&self) -> bool {
        !self.no_puts && !self.no_deletes
    }

    fn wants(&self, event: &Event) -> bool {
        match event.kind {
            EventKind::Put => !self.no_puts,
            EventKind::Delete => !self.no_deletes,
        }
    }
}
