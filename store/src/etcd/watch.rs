//! Watches, one stream each.

use std::collections::VecDeque;

use futures::Stream;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::client::Client;
use super::convert::{bounds, error, event, is_compacted};
use crate::proto::{Nothing, WatchCreateRequest, WatchRequest, WatchRequestUnion, WatchResponse};
use crate::{Error, Event, KeyRange, Revision, WatchEvents, WatchOptions, WatchStream};

/// Requests for progress that may wait; another one would ask for the same.
const REQUESTS_MAX: usize = 8;

struct Watching {
    responses: Streaming<WatchResponse>,
    from: Revision,
    ready: VecDeque<WatchEvents>,
    /// What came of a response that is not complete.
    partial: Vec<Event>,
    over: bool,
}

/// Opens a watch and waits until it stands.
pub(super) async fn open(
    client: &Client,
    range: &KeyRange,
    from: Revision,
    options: WatchOptions,
) -> Result<WatchStream, Error> {
    // Etcd does not watch nothing, but it can leave out all there is.
    let nothing = KeyRange::key("\0");
    let (key, range_end) = bounds(if range.is_empty() { &nothing } else { range });
    let create = WatchCreateRequest {
        key,
        range_end,
        start_revision: from.0 as i64,
        progress_notify: options.progress_interval.is_some(),
        prev_kv: options.prev_value,
        fragment: true,
        filters: if range.is_empty() { vec![0, 1] } else { Vec::new() },
        ..WatchCreateRequest::default()
    };
    let (requests, sent) = mpsc::channel(REQUESTS_MAX);
    let create = WatchRequest { request: Some(WatchRequestUnion::Create(create)) };
    // There is room: it is the first.
    let _ = requests.try_send(create);
    let sent = tokio_stream::wrappers::ReceiverStream::new(sent);
    let opened = client.streaming("/etcdserverpb.Watch/Watch", sent).await;
    let responses: Streaming<WatchResponse> = opened.map_err(|status| broken(&status))?;
    let mut watching = Watching { responses, from, ready: VecDeque::new(), partial: Vec::new(), over: false };
    let created = client.in_time(async { watching.responses.message().await }).await;
    let created =
        created.map_err(|status| broken(&status))?.ok_or_else(|| Error::unavailable("etcd ended the watch"))?;
    watching.take(created)?;
    Ok(WatchStream::new(watching.into_stream(), move || {
        let progress = WatchRequest { request: Some(WatchRequestUnion::Progress(Nothing {})) };
        // If there is no room another one is on its way.
        let _ = requests.try_send(progress);
    }))
}

fn broken(status: &Status) -> Error {
    error(status, Revision::ZERO, Revision::ZERO)
}

impl Watching {
    fn into_stream(self) -> impl Stream<Item = Result<WatchEvents, Error>> {
        futures::stream::unfold(self, |mut watching| async move {
            loop {
                if let Some(batch) = watching.ready.pop_front() {
                    return Some((Ok(batch), watching));
                }
                if watching.over {
                    return None;
                }
                let taken = match watching.responses.message().await {
                    Ok(Some(response)) => watching.take(response),
                    Ok(None) => Err(Error::unavailable("etcd ended the watch")),
                    Err(status) => Err(broken(&status)),
                };
                if let Err(error) = taken {
                    watching.over = true;
                    return Some((Err(error), watching));
                }
            }
        })
    }

    fn take(&mut self, response: WatchResponse) -> Result<(), Error> {
        if response.canceled {
            let status = Status::unavailable(response.cancel_reason);
            if response.compact_revision > 0 || is_compacted(&status) {
                let compacted = Revision(response.compact_revision as u64);
                return Err(Error::Compacted { requested: self.from, compacted });
            }
            return Err(broken(&status));
        }
        if response.created {
            return Ok(());
        }
        let revision = Revision(response.header.map_or(0, |header| header.revision as u64));
        if response.events.is_empty() && !response.fragment {
            self.ready.push_back(WatchEvents::progress(revision));
            return Ok(());
        }
        self.partial.extend(response.events.into_iter().filter_map(event));
        if response.fragment {
            return Ok(());
        }
        let events = std::mem::take(&mut self.partial);
        for revision in events.chunk_by(|a, b| a.entry.mod_revision == b.entry.mod_revision) {
            self.from = revision[0].entry.mod_revision.next();
            self.ready.push_back(WatchEvents::new(revision[0].entry.mod_revision, revision.into()));
        }
        Ok(())
    }
}
