//! Get, list, watch.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{Response, StatusCode};
use kubewright_api::status::Status;
use tokio::time::Instant;

use super::super::query::{ListOptions, Match, Query, parse_version};
use super::super::watch_stream::{Wakers, WatchStream, expired, failure};
use super::Handler;
use crate::body::{self, Body};
use crate::layers::WatchMeter;
use crate::registry::cache::{Broken, Cached, Selection, Watcher};
use crate::registry::{ListParams, Written};

impl Handler<'_> {
    pub(super) async fn get(&self, request: &Parts) -> Result<Response<Body>, Status> {
        let query = Query::parse(request.uri.query());
        let representation = self.representation(&request.headers, &query, false)?;
        let storage = &self.served.storage;
        let version = parse_version(query.get("resourceVersion"))?;
        if let Some(version) = version {
            self.core.registry.wait_for(version).await?;
            if let Some(cached) = storage.cache.get(&storage.path_of(self.namespace(), self.name())) {
                if representation.is_natural() {
                    return Ok(body::json_bytes(StatusCode::OK, cached.bytes.clone()));
                }
                let written = Written { object: cached.decode()?, bytes: cached.bytes.clone() };
                return Ok(representation.object(StatusCode::OK, self.shown(written).await?));
            }
        }
        if representation.is_natural() {
            let bytes = self.core.registry.get_bytes(storage, self.namespace(), self.name()).await?;
            return Ok(body::json_bytes(StatusCode::OK, bytes));
        }
        match self.core.registry.get(storage, self.namespace(), self.name()).await {
            Ok(written) => Ok(representation.object(StatusCode::OK, self.shown(written).await?)),
            Err(status) if status.code == 404 => {
                let info = &self.served.info;
                Err(Status::not_found(&info.group, &info.plural, self.name()))
            }
            Err(status) => Err(status),
        }
    }

    pub(super) async fn list(&self, request: &Parts) -> Result<Response<Body>, Status> {
        let query = Query::parse(request.uri.query());
        let representation = self.representation(&request.headers, &query, true)?;
        let options = ListOptions::parse(&query, false)?;
        let selection = self.selection(&options)?;
        let legacy_exact = options.version_match.is_none()
            && options.limit > 0
            && options.resource_version.is_some_and(|version| version > 0);
        let params = ListParams {
            limit: options.limit,
            continue_token: options.continue_token,
            resource_version: options.resource_version,
            exact: options.version_match == Some(Match::Exact) || legacy_exact,
        };
        let listed = self.core.registry.list(&self.served.storage, &selection, &params).await?;
        let shown = self.shown_list(&listed).await?;
        representation.list(listed, shown)
    }

    /// What the request selects.
    pub(super) fn selection(&self, options: &ListOptions) -> Result<Selection, Status> {
        let (storage, namespace) = (&self.served.storage, self.namespace());
        let mut fields = options.fields.clone();
        // The cache goes by the storage's fields; each version says which of them it lets clients select by.
        let known = self.served.strategy().selectable_paths();
        for requirement in &mut fields.requirements {
            if let Some(conversion) = self.served.conversion {
                requirement.field = (conversion.field)(&requirement.field).to_owned();
            }
            // What only another version has is not in the cache.
            let field = requirement.field.as_str();
            let known = ["metadata.name", "metadata.namespace"].contains(&field)
                || (known.contains(&field) && storage.strategy.selectable_paths().contains(&field));
            if !known {
                return Err(self.unknown_field(&requirement.field));
            }
        }
        Ok(Selection {
            path_prefix: if namespace.is_empty() { String::new() } else { format!("{namespace}/") },
            name: Some(self.name()).filter(|name| !name.is_empty()).map(str::to_owned),
            labels: options.labels.clone(),
            fields,
            field_names: storage.strategy.selectable_paths().into_iter().map(str::to_owned).collect(),
        })
    }

    fn unknown_field(&self, field: &str) -> Status {
        if self.served.strategy().selectable_paths().is_empty() {
            let known = "only \"metadata.name\", \"metadata.namespace\"";
            return Status::bad_request(format!("{field:?} is not a known field selector: {known}"));
        }
        Status::bad_request(format!("field label not supported: {field}"))
    }

    pub(super) async fn watch(&self, request: &Parts) -> Result<Response<Body>, Status> {
        let query = Query::parse(request.uri.query());
        let mut representation = self.representation(&request.headers, &query, false).or_else(|status| {
            // Watches of metadata may name the list.
            self.representation(&request.headers, &query, true).map_err(|_| status)
        })?;
        // Every event is a line.
        representation.form.pretty = false;
        let options = ListOptions::parse(&query, true)?;
        let selection = self.selection(&options)?;
        let started = match self.start(&options, selection).await? {
            Ok(started) => started,
            // As upstream: the answer to a watch is a watch, even if it only says that it cannot be.
            Err(Broken::Lagged(lagged)) => {
                return Ok(representation.streamed(body::full(failure(&representation, &expired(lagged)))));
            }
            Err(Broken::Unreadable(status)) => return Err(*status),
        };
        let now = Instant::now();
        // Over a WebSocket every event is a message.
        #[cfg(feature = "serve")]
        let one_by_one = super::super::websocket::is_asked_for(&request.headers);
        #[cfg(not(feature = "serve"))]
        let one_by_one = false;
        let mut watch = WatchStream {
            one_by_one,
            registry: Arc::clone(&self.core.registry),
            environment: Arc::clone(&self.core.environment),
            served: Arc::clone(self.served),
            converter: Arc::clone(&self.core.converter),
            form: representation.form,
            include: representation.include,
            watcher: started.watcher,
            initial: started.initial,
            initial_end: started.initial_end,
            bookmarks: options.bookmarks.then_some(self.core.settings.bookmark_interval),
            deadline: now + self.watch_timeout(&options),
            wakers: Wakers::new([self.core.cancel.clone(), self.served.gone.clone()]),
            pending: VecDeque::new(),
            next_bookmark: now,
            first: true,
            over: false,
            meter: request.extensions.get::<WatchMeter>().cloned(),
        };
        watch.schedule_bookmark(now);
        let answer = representation.streamed(watch.into_body());
        #[cfg(feature = "serve")]
        if super::super::websocket::is_asked_for(&request.headers) {
            return super::super::websocket::send(self.core, request, answer);
        }
        Ok(answer)
    }

    async fn start(&self, options: &ListOptions, selection: Selection) -> Result<Result<Started, Broken>, Status> {
        let (registry, storage) = (&self.core.registry, &self.served.storage);
        let wants_state = options.send_initial_events == Some(true)
            || (options.send_initial_events.is_none() && options.resource_version.unwrap_or(0) == 0);
        match options.resource_version {
            Some(version) if !wants_state && version > 0 => {
                let watcher = Watcher::from_revision(storage, selection, version);
                return Ok(watcher.map(|watcher| Started { watcher, initial: VecDeque::new(), initial_end: None }));
            }
            Some(version) => registry.wait_for(version).await?,
            None => registry.wait_for_latest().await?,
        }
        let (initial, revision, watcher) = Watcher::with_state(storage, selection, registry.published())?;
        let initial = if wants_state { initial } else { VecDeque::new() };
        let ends = options.send_initial_events == Some(true) && options.bookmarks;
        Ok(Ok(Started { watcher, initial, initial_end: ends.then_some(revision) }))
    }

    fn watch_timeout(&self, options: &ListOptions) -> Duration {
        match options.timeout_seconds.filter(|seconds| *seconds > 0) {
            Some(seconds) => Duration::from_secs(seconds.min(365 * 24 * 3600)),
            None => {
                let mut byte = [0];
                self.core.environment.fill_random(&mut byte);
                self.core.settings.watch_timeout_min.mul_f64(1.0 + f64::from(byte[0]) / 256.0)
            }
        }
    }
}

struct Started {
    watcher: Watcher,
    initial: VecDeque<Arc<Cached>>,
    initial_end: Option<u64>,
}
