//! The Watch service: many watches on one stream.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::stream::{AbortHandle, BoxStream, SelectAll, abortable};
use futures::{Stream, StreamExt};
use prost::Message;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::Inner;
use super::convert::{COMPACTED, event, revision, watch_range};
use crate::proto::{Event, WatchCreateRequest, WatchRequest, WatchRequestUnion, WatchResponse};
use crate::{Error, EventKind, ProgressRequest, Revision, WatchEvents, WatchOptions};

/// Responses that may wait for a slow client; its watches then fall behind in the store, which loses
/// nothing.
const RESPONSES_MAX: usize = 16;
/// Revisions that are put into one response if they are there at once.
const REVISIONS_PER_RESPONSE: usize = 128;
/// About how large a fragment is, for clients that ask for fragments.
const FRAGMENT_BYTES: usize = 1 << 20;
/// Answers to a request for progress go to all watches of the stream.
const ALL_WATCHES: i64 = -1;
const WATCHES_MAX: usize = 10_000;

type Delivered = (i64, Vec<Result<WatchEvents, Error>>);

/// Serves one stream until the client ends it.
pub(super) fn serve(
    inner: Arc<Inner>,
    requests: Streaming<WatchRequest>,
) -> impl Stream<Item = Result<WatchResponse, Status>> {
    let (responses, answers) = mpsc::channel(RESPONSES_MAX);
    let session =
        Session { inner, responses, events: SelectAll::new(), watches: HashMap::new(), next_id: 0, progress: None };
    let work = session.run(requests);
    // The session runs as part of the response: it ends with it, and no task is left behind.
    let answers = tokio_stream::wrappers::ReceiverStream::new(answers);
    futures::stream::select(answers, work_as_stream(work))
}

/// A future that delivers nothing but its error, while it is polled.
fn work_as_stream(work: impl Future<Output = Result<(), Status>>) -> impl Stream<Item = Result<WatchResponse, Status>> {
    futures::stream::once(work).filter_map(async |result| result.err().map(Err))
}

struct Session {
    inner: Arc<Inner>,
    responses: mpsc::Sender<Result<WatchResponse, Status>>,
    events: SelectAll<BoxStream<'static, Delivered>>,
    watches: HashMap<i64, Watch>,
    next_id: i64,
    progress: Option<Progress>,
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
                Some((id, batches)) = self.events.next() => self.deliver(id, batches).await,
            };
            if let Err(Gone) = done {
                return Ok(());
            }
        }
    }

    async fn send(&mut self, response: WatchResponse) -> Result<(), Gone> {
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
        let mut events = Vec::new();
        let (mut reached, mut marked, mut ended) = (Revision::ZERO, None, None);
        // What an aborted watch had ready is not wanted any more.
        let Some(watch) = self.watches.get(&id) else { return Ok(()) };
        for batch in batches {
            match batch {
                Ok(batch) if batch.is_progress() => marked = Some(batch.revision),
                Ok(batch) => {
                    reached = batch.revision;
                    let wanted = batch.events.iter().filter(|event| match event.kind {
                        EventKind::Put => !watch.no_puts,
                        EventKind::Delete => !watch.no_deletes,
                    });
                    events.extend(wanted.map(|e| event(e, watch.prev_kv)));
                }
                Err(error) => ended = Some(error),
            }
        }
        let (fragment, progress_notify) = (watch.fragment, watch.progress_notify);
        if !events.is_empty() {
            self.send_events(id, reached, events, fragment).await?;
        }
        if let Some(mark) = marked {
            if progress_notify {
                self.send(self.response(id, mark)).await?;
            }
            self.progressed(id, Some(mark)).await?;
        }
        match ended {
            Some(error) => self.end(id, &error).await,
            None => Ok(()),
        }
    }

    async fn send_events(
        &mut self,
        id: i64,
        reached: Revision,
        events: Vec<Event>,
        may_fragment: bool,
    ) -> Result<(), Gone> {
        if !may_fragment {
            return self.send(WatchResponse { events, ..self.response(id, reached) }).await;
        }
        let (mut part, mut size) = (Vec::new(), 0);
        let mut events = events.into_iter().peekable();
        while let Some(event) = events.next() {
            size += event.encoded_len();
            part.push(event);
            let more = events.peek().is_some();
            if more && size < FRAGMENT_BYTES {
                continue;
            }
            size = 0;
            let events = std::mem::take(&mut part);
            self.send(WatchResponse { events, fragment: more, ..self.response(id, reached) }).await?;
        }
        Ok(())
    }
}
