//! Bodies are read before their requests take their turn: a request that waits for its client keeps no other one waiting.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response};
use http_body::Body as _;
use http_body_util::BodyExt;
use kubewright_api::status::Status;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use super::{Next, Step, is_long_running};
use crate::body::{self, Body};
use crate::keyed::Keyed;
use crate::request::{Context, SYSTEM_MASTERS};

/// Largest body of a request, in bytes: 3 MiB, as upstream.
pub const BODY_BYTES_MAX: usize = 3 * 1024 * 1024;

/// What a body may be without asking for room.
const SMALL_BYTES_MAX: usize = UNIT;

/// Room is counted in units of so many bytes.
const UNIT: usize = 64 << 10;

/// Room for all bodies that are not small: 128 MiB.
const UNITS: usize = 2048;

/// Reads the body of every request that is not a connection, up to [`BODY_BYTES_MAX`], before anything else is done for
/// it.
///
/// Upstream reads bodies while their requests take up seats of a priority level, so that clients who send theirs slowly
/// can keep everybody waiting. Here they only keep those waiting who send large bodies, too: what is beyond 64 KiB
/// needs room, of which there is 128 MiB, no more than half of it for one user. `system:masters` need not wait for it.
#[derive(Clone, Debug)]
pub struct LimitBody {
    bytes_max: usize,
    room: Arc<Room>,
}

impl Default for LimitBody {
    fn default() -> Self {
        Self::with(BODY_BYTES_MAX, UNITS)
    }
}

impl LimitBody {
    fn with(bytes_max: usize, units: usize) -> Self {
        let room = Room { units, all: Arc::new(Semaphore::new(units)), users: Keyed::default() };
        Self { bytes_max, room: Arc::new(room) }
    }

    fn too_large(&self) -> Response<Body> {
        body::status(&Status::too_large(&format!("limit is {}", self.bytes_max)))
    }

    /// Reads a body that says to be so long.
    async fn read(&self, mut body: Body, length: Option<usize>, user: Option<&str>) -> Result<Whole, Unread> {
        let mut whole = Whole { bytes: Bytes::new(), _held: None };
        let mut pieces = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| Unread::Broken)?.into_data() else { continue };
            if pieces.len() + data.len() > self.bytes_max {
                return Err(Unread::TooLarge);
            }
            // Most bodies come in one piece.
            if pieces.is_empty() && body.is_end_stream() {
                whole.bytes = data;
                return Ok(whole);
            }
            pieces.extend_from_slice(&data);
            if let (Some(user), None) = (user, &whole._held)
                && pieces.len() > SMALL_BYTES_MAX
            {
                let bytes = length.unwrap_or(self.bytes_max);
                whole._held = Some(self.room.take(user, bytes).await.map_err(|_| Unread::Broken)?);
            }
        }
        whole.bytes = pieces.freeze();
        Ok(whole)
    }
}

#[async_trait]
impl Step for LimitBody {
    async fn call(&self, request: Request<Body>, next: Next) -> Response<Body> {
        let context = request.extensions().get::<Context>().cloned();
        let connects = context.as_ref().is_some_and(|context| is_long_running(&context.info));
        if connects || matches!(*request.method(), Method::GET | Method::HEAD) {
            return next(request).await;
        }
        let (parts, body) = request.into_parts();
        let length = parts.headers.get(http::header::CONTENT_LENGTH);
        let length = length.and_then(|value| value.to_str().ok()).and_then(|value| value.parse::<usize>().ok());
        if length.is_some_and(|length| length > self.bytes_max) {
            return self.too_large();
        }
        let user = context.as_ref().map(|context| &context.user).filter(|user| !user.in_group(SYSTEM_MASTERS));
        match self.read(body, length, user.map(|user| user.name.as_str())).await {
            Ok(whole) => next(Request::from_parts(parts, body::full(whole.bytes))).await,
            Err(Unread::TooLarge) => self.too_large(),
            Err(Unread::Broken) => body::status(&Status::bad_request("the request's body could not be read")),
        }
    }
}

/// A body that was read, with the room that it takes.
struct Whole {
    bytes: Bytes,
    _held: Option<Held>,
}

enum Unread {
    TooLarge,
    Broken,
}

/// Room that is given back when this is dropped: the user's and everybody's.
type Held = (OwnedSemaphorePermit, OwnedSemaphorePermit);

/// Room for bodies.
#[derive(Debug)]
struct Room {
    units: usize,
    all: Arc<Semaphore>,
    users: Keyed<Semaphore>,
}

impl Room {
    /// Waits until there is room for so many bytes of that user's.
    async fn take(&self, user: &str, bytes: usize) -> Result<Held, AcquireError> {
        let share = self.units / 2;
        let own = self.users.get(user, || Semaphore::new(share));
        let units = u32::try_from(bytes.div_ceil(UNIT).min(share)).unwrap_or(u32::MAX);
        let of_user = own.acquire_many_owned(units).await?;
        Ok((of_user, Arc::clone(&self.all).acquire_many_owned(units).await?))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::StreamExt;
    use futures::channel::mpsc;
    use http_body::Frame;
    use jiff::Timestamp;

    use super::*;
    use crate::request::User;

    fn answer() -> Next {
        Box::new(|request: Request<Body>| {
            Box::pin(async { Response::new(body::full(request.into_body().collect().await.unwrap().to_bytes())) })
        })
    }

    fn post(bytes: usize) -> Request<Body> {
        Request::post("/api/v1/namespaces").body(body::full(vec![b'x'; bytes])).unwrap()
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused() {
        let limit = LimitBody::with(10, 2);
        assert_eq!(limit.call(post(10), answer()).await.status(), 200);
        let refused = limit.call(post(11), answer()).await;
        assert_eq!(refused.status(), 413);
        let text = refused.into_body().collect().await.unwrap().to_bytes();
        let status: Status = serde_json::from_slice(&text).unwrap();
        assert_eq!(status.message, "Request entity too large: limit is 10");
    }

    /// A request of that user's, and what its body is sent through.
    fn slowly(user: &str) -> (Request<Body>, mpsc::UnboundedSender<Bytes>) {
        let (sender, pieces) = mpsc::unbounded();
        let pieces = pieces.map(|piece| Ok::<_, Infallible>(Frame::data(piece)));
        let body = http_body_util::StreamBody::new(pieces).map_err(|never| match never {}).boxed_unsync();
        let mut request = Request::post("/api/v1/namespaces").body(body).unwrap();
        let info = super::super::info_of(&request);
        request.extensions_mut().insert(Context::new(User::new(user, &[]), info, Timestamp::UNIX_EPOCH));
        (request, sender)
    }

    #[tokio::test]
    async fn large_bodies_wait_for_room_and_small_ones_do_not() {
        let limit = LimitBody::with(4 * UNIT, 4);
        let large = Bytes::from(vec![b'x'; UNIT + 1]);
        let mut under_way = Vec::new();
        // One user takes all that one may have; what is sent slowly keeps it.
        for user in ["eve", "eve", "alice"] {
            let (request, sender) = slowly(user);
            sender.unbounded_send(large.clone()).unwrap();
            let limit = limit.clone();
            let mut call = Box::pin(async move { limit.call(request, answer()).await });
            assert!(futures::poll!(&mut call).is_pending());
            under_way.push((call, sender));
        }
        assert_eq!(limit.room.all.available_permits(), 0);
        // Small ones are read at once.
        let (request, sender) = slowly("bob");
        sender.unbounded_send(Bytes::from_static(b"small")).unwrap();
        drop(sender);
        assert_eq!(limit.call(request, answer()).await.status(), 200);
        // Whoever waits is let in as others end, and all of it arrives.
        let (eve, sender) = under_way.remove(0);
        drop(sender);
        assert_eq!(eve.await.status(), 200);
        for (call, sender) in under_way {
            sender.unbounded_send(large.clone()).unwrap();
            drop(sender);
            let whole = call.await.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(whole.len(), 2 * large.len());
        }
        assert_eq!(limit.room.all.available_permits(), 4);
    }
}
