//! One HTTP/2 connection.
//!
//! Calls of KV are many and short, so the connection's own task carries them out, and writes the answers that are
//! ready together in one go. Whatever may last, as a watch does, is a task beside it, which ends with the connection.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker, ready};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use futures::task::AtomicWaker;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;

use super::route::route;
use super::serve::FAREWELL;
use super::{Inner, unary};

/// Requests that one connection may have open at a time.
const STREAMS_MAX: u32 = 4096;
/// What may be on its way to this side in one request, and in a connection.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
/// Large answers that one connection may have on their way at a time.
const LARGE_MAX: usize = 4;
/// The headers of a request, in bytes.
const HEADERS_MAX: u32 = 16 << 10;

type Call = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Serves a connection until the client ends it, or for a short while after it was cancelled; counts its calls.
pub(super) async fn serve<S>(
    inner: Arc<Inner>,
    stream: S,
    cancelled: &CancellationToken,
    count: Arc<AtomicU64>,
) -> Result<(), h2::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADERS_MAX)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    let Some(connection) = cancelled.run_until_cancelled(builder.handshake(stream)).await else { return Ok(()) };
    let (calls, tasks) = (FuturesUnordered::new(), JoinSet::new());
    let (bell, places) = (Arc::new(Bell::default()), Arc::new(Semaphore::new(LARGE_MAX)));
    let waker = bell.clone().into();
    let (connection, accepted) = (connection?, Vec::new());
    let mut serving = Serving { inner, connection, bell, waker, accepted, calls, places, tasks, count };
    if let Some(ended) = cancelled.run_until_cancelled(poll_fn(|cx| serving.poll(cx))).await {
        return ended;
    }
    serving.connection.graceful_shutdown();
    // Watches never end by themselves.
    let rest = tokio::time::timeout(FAREWELL, poll_fn(|cx| serving.poll(cx)));
    rest.await.unwrap_or(Ok(()))
}

/// By which the connection calls for its task. It does so for each answer that it is given, also by the task itself,
/// which would then run again for nothing: while the task carries out calls the bell is silent, for the task looks at
/// the connection afterwards in any case. Whoever rings meanwhile, here or elsewhere, has left the connection as it is
/// to be found then.
#[derive(Default)]
struct Bell {
    task: AtomicWaker,
    is_silent: AtomicBool,
}

impl Bell {
    fn silence(&self, is_silent: bool) {
        self.is_silent.store(is_silent, Ordering::SeqCst);
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_silent.load(Ordering::SeqCst) {
            self.task.wake();
        }
    }
}

struct Serving<S> {
    inner: Arc<Inner>,
    connection: Connection<S, Bytes>,
    bell: Arc<Bell>,
    /// Rings the bell.
    waker: Waker,
    /// Requests that nobody has looked at yet.
    accepted: Vec<(Request<RecvStream>, SendResponse<Bytes>)>,
    calls: FuturesUnordered<Call>,
    /// Places for large answers.
    places: Arc<Semaphore>,
    tasks: JoinSet<()>,
    /// How many calls there were.
    count: Arc<AtomicU64>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Serving<S> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        self.bell.task.register(cx.waker());
        loop {
            self.bell.silence(true);
            // Before the connection writes, so that it writes all there is.
            while let Poll::Ready(Some(())) = self.calls.poll_next_unpin(cx) {}
            while let Poll::Ready(Some(ended)) = self.tasks.poll_join_next(cx) {
                if ended.is_err_and(|error| error.is_panic()) {
                    tracing::error!("a call panicked");
                }
            }
            self.bell.silence(false);
            loop {
                match pin!(self.connection.accept()).poll(&mut Context::from_waker(&self.waker)) {
                    Poll::Ready(Some(Ok(call))) => self.accepted.push(call),
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                    Poll::Ready(None) => return Poll::Ready(Ok(())),
                    Poll::Pending => break,
                }
            }
            if self.accepted.is_empty() {
                return Poll::Pending;
            }
            self.count.fetch_add(self.accepted.len() as u64, Ordering::Relaxed);
            self.bell.silence(true);
            for (request, respond) in self.accepted.drain(..) {
                let inner = self.inner.clone();
                let Some(mut call) = begin(inner, request, respond, &self.places, &mut self.tasks) else { continue };
                if call.as_mut().poll(cx).is_pending() {
                    self.calls.push(call);
                }
            }
        }
    }
}

/// The call to carry out in place; others become tasks.
fn begin(
    inner: Arc<Inner>,
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
    places: &Arc<Semaphore>,
    tasks: &mut JoinSet<()>,
) -> Option<Call> {
    // The headers of short calls are not looked at any more, and need not be kept.
    let body = |request: Request<RecvStream>| Incoming(request.into_body());
    let places = places.clone();
    let call: Call = match request.uri().path().strip_prefix("/etcdserverpb.KV/") {
        Some("Put") => {
            Box::pin(short(inner, body(request), respond, places, async |inner, asked| inner.put(asked).await))
        }
        Some("Range") => {
            Box::pin(short(inner, body(request), respond, places, async |inner, asked| inner.range(asked).await))
        }
        Some("DeleteRange") => {
            Box::pin(short(inner, body(request), respond, places, async |inner, asked| inner.delete_range(asked).await))
        }
        Some("Txn") => {
            Box::pin(short(inner, body(request), respond, places, async |inner, asked| inner.txn(asked).await))
        }
        Some(_) => Box::pin(carry_out(inner, request, respond)),
        None => {
            tasks.spawn(carry_out(inner, request, respond));
            return None;
        }
    };
    Some(call)
}

/// A call of KV, without what any call may need.
async fn short<Q, A>(
    inner: Arc<Inner>,
    body: Incoming,
    respond: SendResponse<Bytes>,
    places: Arc<Semaphore>,
    method: impl AsyncFn(&Inner, Q) -> Result<A, Status>,
) where
    Q: Message + Default,
    A: unary::Encode,
{
    let answered = match unary::request(body, inner.config.request_bytes_max).await {
        Ok(asked) => method(&inner, asked).await,
        Err(refused) => Err(refused),
    };
    let sent = match answered {
        Ok(answer) => unary::send(&answer, respond, &places).await,
        Err(status) => send(status.into_http(), respond).await,
    };
    if let Err(error) = sent {
        tracing::debug!(%error, "an answer was not wanted");
    }
}

async fn carry_out(inner: Arc<Inner>, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
    let answer = route(inner, request.map(Incoming)).await;
    if let Err(error) = send(answer, respond).await {
        tracing::debug!(%error, "an answer was not wanted");
    }
}

async fn send(answer: Response<Body>, mut respond: SendResponse<Bytes>) -> Result<(), h2::Error> {
    let (head, mut body) = answer.into_parts();
    let head = Response::from_parts(head, ());
    if body.is_end_stream() {
        return respond.send_response(head, true).map(drop);
    }
    // All of it is there already, so it may as well wait in the connection.
    let is_whole = body.size_hint().exact().is_some();
    let mut to = respond.send_response(head, false)?;
    loop {
        let frame = poll_fn(|cx| {
            if let Poll::Ready(frame) = Pin::new(&mut body).poll_frame(cx) {
                return Poll::Ready(Ok(frame));
            }
            // Who does not want to hear more says so at any time.
            to.poll_reset(cx).map(|reason| Err(reason.map_or_else(|error| error, h2::Error::from)))
        });
        let Some(frame) = frame.await? else { return to.send_data(Bytes::new(), true) };
        let Ok(frame) = frame else {
            to.send_reset(Reason::INTERNAL_ERROR);
            return Ok(());
        };
        match frame.into_data() {
            Ok(data) if is_whole && data.len() <= unary::WAITS_MAX => to.send_data(data, false)?,
            Ok(data) => send_in_turn(&mut to, data).await?,
            Err(frame) => return to.send_trailers(frame.into_trailers().unwrap_or_default()),
        }
    }
}

/// Sends as the client makes room.
pub(super) async fn send_in_turn(to: &mut SendStream<Bytes>, mut data: Bytes) -> Result<(), h2::Error> {
    while !data.is_empty() {
        to.reserve_capacity(data.len());
        let room = poll_fn(|cx| {
            if let Poll::Ready(reason) = to.poll_reset(cx)? {
                return Poll::Ready(Err(reason.into()));
            }
            match ready!(to.poll_capacity(cx)) {
                Some(room) => Poll::Ready(room),
                None => Poll::Ready(Err(Reason::CANCEL.into())),
            }
        });
        let room = room.await?.min(data.len());
        to.send_data(data.split_to(room), false)?;
    }
    Ok(())
}

/// A request's body.
struct Incoming(RecvStream);

impl HttpBody for Incoming {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        match ready!(self.0.poll_data(cx)) {
            Some(Ok(data)) => {
                // Taken, so that as much may come again.
                let released = self.0.flow_control().release_capacity(data.len());
                Poll::Ready(Some(released.map(|()| Frame::data(data))))
            }
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
            None => {
                let trailers = ready!(self.0.poll_trailers(cx));
                Poll::Ready(trailers.transpose().map(|trailers| trailers.map(Frame::trailers)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use bytes::{BufMut, BytesMut};
    use h2::client::{ResponseFuture, SendRequest};
    use tokio::task::JoinHandle;

    use super::*;
    use crate::face::{Face, FaceConfig};
    use crate::{MemoryStore, Store, proto};

    struct Served {
        store: Arc<MemoryStore>,
        send: SendRequest<Bytes>,
        connection: JoinHandle<Result<(), h2::Error>>,
        serving: JoinHandle<Result<(), h2::Error>>,
        cancelled: CancellationToken,
    }

    async fn connect() -> Served {
        let store = Arc::new(MemoryStore::new());
        let face = Face::new(store.clone(), FaceConfig::default());
        let (client, server) = tokio::io::duplex(64 << 10);
        let cancelled = CancellationToken::new();
        let told = cancelled.clone();
        let serving = tokio::spawn(async move { serve(face.inner, server, &told, Arc::default()).await });
        let (send, connection) = h2::client::handshake(client).await.expect("a connection");
        Served { store, send, connection: tokio::spawn(connection), serving, cancelled }
    }

    impl Served {
        async fn call(
            &mut self,
            method: &str,
            message: &impl Message,
            ends: bool,
        ) -> (ResponseFuture, SendStream<Bytes>) {
            let mut framed = BytesMut::new();
            framed.put_u8(0);
            framed.put_u32(message.encoded_len() as u32);
            message.encode(&mut framed).expect("room");
            let uri = format!("http://store/etcdserverpb.{method}");
            let request = Request::post(uri).version(http::Version::HTTP_2).body(()).expect("a request");
            poll_fn(|cx| self.send.poll_ready(cx)).await.expect("ready");
            let (answer, mut body) = self.send.send_request(request, false).expect("sent");
            body.send_data(framed.freeze(), ends).expect("sent");
            (answer, body)
        }

        /// A watch of everything that has begun.
        async fn watch(&mut self) -> (RecvStream, SendStream<Bytes>) {
            let create = proto::WatchCreateRequest { key: "a".into(), range_end: "\0".into(), ..<_>::default() };
            let request = Some(proto::WatchRequestUnion::Create(create));
            let (answer, request) = self.call("Watch/Watch", &proto::WatchRequest { request }, false).await;
            let mut body = answer.await.expect("an answer").into_body();
            body.data().await.expect("created").expect("goes on");
            assert_eq!(self.watches().await, 1);
            (body, request)
        }

        async fn watches(&self) -> u64 {
            self.store.status().await.expect("a status").watches
        }

        async fn has_no_watch(&self) {
            for _ in 0..10_000 {
                if self.watches().await == 0 {
                    return;
                }
                tokio::task::yield_now().await;
            }
            panic!("the watch goes on");
        }
    }

    async fn whole<A: Message + Default>(answer: ResponseFuture) -> A {
        let mut body = answer.await.expect("an answer").into_body();
        let mut all = BytesMut::new();
        while let Some(data) = body.data().await {
            let data = data.expect("goes on");
            body.flow_control().release_capacity(data.len()).expect("was taken");
            all.extend_from_slice(&data);
        }
        let trailers = body.trailers().await.expect("an end").expect("a status");
        assert_eq!(trailers["grpc-status"], "0");
        A::decode(&all[5..]).expect("a message")
    }

    #[tokio::test]
    async fn calls_share_a_connection_and_large_messages_come_in_pieces() {
        let mut served = connect().await;
        let mut answers = Vec::new();
        for n in 0..100 {
            let put =
                proto::PutRequest { key: format!("{n:03}").into(), value: vec![n; 40_000].into(), ..<_>::default() };
            answers.push(served.call("KV/Put", &put, true).await.0);
        }
        for answer in answers {
            let put: proto::PutResponse = whole(answer).await;
            assert!(put.header.is_some_and(|header| header.revision > 1));
        }
        let all = proto::RangeRequest { key: "0".into(), range_end: "\0".into(), ..<_>::default() };
        let (answer, _) = served.call("KV/Range", &all, true).await;
        let found: proto::RangeResponse = whole(answer).await;
        assert_eq!(found.kvs.len(), 100);
        assert!(found.kvs.iter().enumerate().all(|(n, kv)| *kv.value == vec![n as u8; 40_000]));
    }

    #[tokio::test]
    async fn who_asks_for_much_and_reads_nothing_has_little_made_for_it() {
        let mut served = connect().await;
        let value = vec![7; 1 << 20];
        let put = proto::PutRequest { key: "a".into(), value: value.clone().into(), ..<_>::default() };
        let (answer, _) = served.call("KV/Put", &put, true).await;
        let _: proto::PutResponse = whole(answer).await;
        let get = proto::RangeRequest { key: "a".into(), ..<_>::default() };
        let mut answers = FuturesUnordered::new();
        for n in 0..20 {
            let (answer, _) = served.call("KV/Range", &get, true).await;
            answers.push(async move { (n, answer.await.expect("an answer").into_body()) });
        }
        // The head of an answer comes when the rest was made.
        let mut begun = Vec::new();
        for _ in 0..LARGE_MAX {
            begun.push(answers.next().await.expect("an answer"));
        }
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        assert!(futures::poll!(answers.next()).is_pending(), "no more are made than may be on their way");
        // When they are read, the others come.
        let (mut reading, mut read) = (JoinSet::new(), 0);
        loop {
            for (_, mut body) in begun.drain(..) {
                reading.spawn(async move {
                    let mut length = 0;
                    while let Some(data) = body.data().await {
                        let data = data.expect("goes on");
                        body.flow_control().release_capacity(data.len()).expect("was taken");
                        length += data.len();
                    }
                    length
                });
            }
            let Some(length) = reading.join_next().await else { break };
            assert!(length.expect("no panic") > value.len());
            read += 1;
            begun.extend(answers.next().await);
        }
        assert_eq!(read, 20);
    }

    #[tokio::test]
    async fn a_watch_ends_with_its_stream_and_with_its_connection() {
        let mut served = connect().await;
        let (_body, mut request) = served.watch().await;
        request.send_reset(Reason::CANCEL);
        served.has_no_watch().await;
        let _open = served.watch().await;
        served.connection.abort();
        served.has_no_watch().await;
        let _ = (&mut served.serving).await.expect("no panic");
    }

    #[tokio::test]
    async fn who_is_cancelled_waits_for_watches_only_so_long() {
        let mut served = connect().await;
        let _open = served.watch().await;
        served.cancelled.cancel();
        assert!((&mut served.serving).await.expect("no panic").is_ok());
        served.has_no_watch().await;
    }
}
