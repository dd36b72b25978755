//! Carries out plans.

use std::future::Future;
use std::sync::Arc;

use futures::StreamExt;
use serde::Deserialize;

use super::{Action, Announce, Create, Delete, Note, Patch, Plan};
use crate::Error;
use crate::api::Api;
use crate::cache::Caches;
use crate::events::Recorder;
use crate::manager::Clock;
use crate::objects::{Meta, ObjectKey};

/// How many patches or deletions of one plan are under way at once.
const PARALLEL: usize = 16;

/// Carries out plans.
#[derive(Clone)]
pub(crate) struct Applier {
    pub(crate) api: Api,
    pub(crate) caches: Arc<Caches>,
    pub(crate) recorder: Recorder,
    pub(crate) clock: Clock,
}

/// What failed, for the next pass to show in a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// `FailedCreate`, `FailedUpdate` or `FailedDelete`.
    pub reason: &'static str,
    /// The server's words.
    pub message: String,
}

/// What kept a plan from being carried out.
pub(crate) struct Broken {
    pub(crate) error: Error,
    pub(crate) failure: Failure,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Answer {
    kind: String,
    metadata: Meta,
}

impl Applier {
    /// Carries out the actions in order; neighbours of one sort run together. Stops at the first failure.
    pub(crate) async fn apply(&self, component: &'static str, actions: Vec<Action>) -> Result<(), Broken> {
        let mut actions = actions.into_iter().peekable();
        while let Some(first) = actions.next() {
            match first {
                Action::Event(event) => self.recorder.record(component, event.regarding, event.note),
                Action::Create(create) => {
                    let mut batch = vec![create];
                    while let Some(Action::Create(_)) = actions.peek() {
                        if let Some(Action::Create(next)) = actions.next() {
                            batch.push(next);
                        }
                    }
                    self.create_all(component, batch).await?;
                }
                Action::Patch(patch) => {
                    let kind = patch.kind;
                    let mut batch = vec![patch];
                    while let Some(Action::Patch(next)) = actions.peek() {
                        if next.kind != kind || batch.iter().any(|patch| patch.key == next.key) {
                            break;
                        }
                        if let Some(Action::Patch(next)) = actions.next() {
                            batch.push(next);
                        }
                    }
                    self.all(batch, |patch| self.patch(component, patch)).await?;
                }
                Action::Delete(delete) => {
                    let mut batch = vec![delete];
                    while let Some(Action::Delete(_)) = actions.peek() {
                        if let Some(Action::Delete(next)) = actions.next() {
                            batch.push(next);
                        }
                    }
                    self.all(batch, |delete| self.delete(component, delete)).await?;
                }
            }
        }
        Ok(())
    }

    /// Creates in batches of 1, 2, 4, …: if all would fail (a quota, say), only one request is wasted.
    async fn create_all(&self, component: &'static str, creates: Vec<Create>) -> Result<(), Broken> {
        let mut rest = creates;
        let mut size = 1;
        while !rest.is_empty() {
            let later = rest.split_off(size.min(rest.len()));
            let batch = std::mem::replace(&mut rest, later);
            self.all(batch, |create| self.create(component, create)).await?;
            size = (size * 2).min(PARALLEL * 4);
        }
        Ok(())
    }

    async fn all<T, F: Future<Output = Result<(), Broken>>>(
        &self,
        batch: Vec<T>,
        act: impl Fn(T) -> F,
    ) -> Result<(), Broken> {
        let mut outcomes = futures::stream::iter(batch.into_iter().map(act)).buffer_unordered(PARALLEL);
        let mut first = Ok(());
        while let Some(outcome) = outcomes.next().await {
            if first.is_ok() {
                first = outcome;
            }
        }
        first
    }

    async fn create(&self, component: &'static str, create: Create) -> Result<(), Broken> {
        match self.api.create(create.kind, &create.namespace, &create.object).await {
            Ok(answer) => {
                self.caches.absorb(create.kind, &answer);
                let name = serde_json::from_str::<Answer>(&answer).unwrap_or_default().metadata.name;
                self.succeeded(component, create.announce.as_ref(), &name);
                Ok(())
            }
            Err(Error::AlreadyExists { .. }) if create.or_exists => Ok(()),
            // Whatever wanted this is on its way out too.
            Err(Error::NamespaceTerminating { .. }) => Ok(()),
            Err(error) => Err(self.failed(component, create.announce.as_ref(), "FailedCreate", error)),
        }
    }

    async fn patch(&self, component: &'static str, patch: Patch) -> Result<(), Broken> {
        match self.api.patch(patch.kind, &patch.key, patch.subresource, &patch.body).await {
            Ok(answer) => {
                self.absorb_or_forget(patch.kind, &patch.key, &answer);
                self.succeeded(component, patch.announce.as_ref(), &patch.key.name);
                Ok(())
            }
            Err(error) => Err(self.failed(component, patch.announce.as_ref(), "FailedUpdate", error)),
        }
    }

    async fn delete(&self, component: &'static str, delete: Delete) -> Result<(), Broken> {
        match self.api.delete(&delete).await {
            Ok(answer) => {
                let still = serde_json::from_str::<Answer>(&answer).unwrap_or_default();
                if still.kind != "Status" && still.metadata.deleting() {
                    self.absorb_or_forget(delete.kind, &delete.key, &answer);
                } else {
                    self.caches.forget(delete.kind, &delete.key, &delete.uid);
                }
                self.succeeded(component, delete.announce.as_ref(), &delete.key.name);
                Ok(())
            }
            Err(Error::NotFound { .. }) => {
                self.caches.forget(delete.kind, &delete.key, &delete.uid);
                Ok(())
            }
            Err(error) => Err(self.failed(component, delete.announce.as_ref(), "FailedDelete", error)),
        }
    }

    /// Takes an answer into the caches. If it shows an object that was being deleted and lost its last finalizer, the
    /// object is gone.
    fn absorb_or_forget(&self, kind: crate::objects::Kind, key: &ObjectKey, answer: &str) {
        let meta = serde_json::from_str::<Answer>(answer).unwrap_or_default().metadata;
        let gone_pod = kind == crate::objects::kinds::POD && meta.deleting();
        if meta.deleting() && meta.finalizers.is_empty() && !gone_pod {
            self.caches.forget(kind, key, &meta.uid);
        } else {
            self.caches.absorb(kind, answer);
        }
    }

    fn succeeded(&self, component: &'static str, announce: Option<&Announce>, name: &str) {
        if let Some(Announce { regarding, success: Some(note), .. }) = announce {
            let note = Note { message: note.message.replace("{name}", name), ..note.clone() };
            self.recorder.record(component, regarding.clone(), note);
        }
    }

    fn failed(
        &self,
        component: &'static str,
        announce: Option<&Announce>,
        reason: &'static str,
        error: Error,
    ) -> Broken {
        if let Some(Announce { regarding, failure: Some(note), .. }) = announce
            && !error.is_race()
        {
            let note = Note { message: format!("{}{}", note.message, error.message()), ..note.clone() };
            self.recorder.record(component, regarding.clone(), note);
        }
        let failure = Failure { reason, message: error.message() };
        Broken { error, failure }
    }
}

impl Plan {
    /// Splits off the actions.
    pub(crate) fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }
}
