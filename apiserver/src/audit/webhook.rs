//! Sends events to a collector.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, header};
use serde_json::{Value, json};

use super::{Event, Sink, SinkError};
use crate::remote::{Remote, Target};

const TRIES: u32 = 4;
const FIRST_DELAY: Duration = Duration::from_secs(1);
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// Posts `EventList`s. What the collector doesn't take is sent again, ever less often, and lost after four times.
pub struct WebhookSink {
    remote: Arc<dyn Remote>,
    target: Target,
}

impl fmt::Debug for WebhookSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WebhookSink").field(&self.target.url).finish()
    }
}

impl WebhookSink {
    /// Posts to that target.
    #[must_use]
    pub fn new(remote: Arc<dyn Remote>, target: Target) -> Self {
        Self { remote, target }
    }

    async fn send(&self, body: Bytes) -> Result<(), String> {
        let path = self.target.url.path_and_query().map_or("/", |path| path.as_str());
        let request = Request::post(path).header(header::CONTENT_TYPE, "application/json").body(body);
        let request = request.map_err(|error| error.to_string())?;
        let answer = tokio::time::timeout(ANSWER_LIMIT, self.remote.send(&self.target, request)).await;
        let answer = answer.map_err(|_| "no answer in time")?.map_err(|error| error.to_string())?;
        if answer.status().is_success() { Ok(()) } else { Err(format!("the collector answered {}", answer.status())) }
    }
}

#[async_trait]
impl Sink for WebhookSink {
    fn name(&self) -> &'static str {
        "webhook"
    }

    fn collects(&self) -> bool {
        true
    }

    async fn write(&mut self, events: &[Event]) -> Result<(), SinkError> {
        let items: Vec<&Value> = events.iter().map(Event::json).collect();
        let list = json!({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": items});
        let body = Bytes::from(list.to_string());
        let mut delay = FIRST_DELAY;
        let mut last = String::new();
        for attempt in 1..=TRIES {
            match self.send(body.clone()).await {
                Ok(()) => return Ok(()),
                Err(reason) => last = reason,
            }
            if attempt < TRIES {
                tokio::time::sleep(delay).await;
                delay *= 2;
            }
        }
        Err(SinkError::new(last))
    }
}
