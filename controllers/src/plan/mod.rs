//! What a reconciler wants done: actions as plain data, made by pure functions and carried out by the manager.

mod apply;
mod merge;

pub(crate) use apply::Applier;
pub use apply::Failure;
pub use merge::{apply_merge_patch, merge_patch};

use std::time::Duration;

use serde_json::{Value, json};

use crate::objects::{Kind, Meta, Object, ObjectKey};

/// What a reconciler wants done, in order, and when it wants to look again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Actions in order. Neighbours of one sort run together; if one fails, what follows is left for the next pass.
    pub actions: Vec<Action>,
    /// When to look again though nothing changed.
    pub requeue_after: Option<Duration>,
}

/// One change of the cluster.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Create an object.
    Create(Create),
    /// Change an object by a merge patch.
    Patch(Patch),
    /// Delete an object.
    Delete(Delete),
    /// Record an event.
    Event(Event),
}

/// Create an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Create {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; empty if cluster-scoped.
    pub namespace: String,
    /// The object, with `metadata.name` or `metadata.generateName`.
    pub object: Value,
    /// Whether it is fine if it is already there.
    pub or_exists: bool,
    /// Events that tell how it went.
    pub announce: Option<Announce>,
}

/// Change an object by a merge patch.
#[derive(Clone, Debug, PartialEq)]
pub struct Patch {
    /// Its kind.
    pub kind: Kind,
    /// Which one.
    pub key: ObjectKey,
    /// The subresource, such as `status`; empty for the object itself.
    pub subresource: &'static str,
    /// The merge patch.
    pub body: Value,
    /// Events that tell how it went.
    pub announce: Option<Announce>,
}

/// Delete an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Delete {
    /// Its kind.
    pub kind: Kind,
    /// Which one.
    pub key: ObjectKey,
    /// Only if it is still this very one.
    pub uid: String,
    /// Only if it is still at this version; empty for any.
    pub resource_version: String,
    /// What becomes of its dependents.
    pub propagation: Option<Propagation>,
    /// How long it may take its leave, in seconds.
    pub grace_seconds: Option<u32>,
    /// Events that tell how it went.
    pub announce: Option<Announce>,
}

/// What becomes of a deleted object's dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// They go later.
    Background,
    /// They go first.
    Foreground,
    /// They stay.
    Orphan,
}

impl Propagation {
    /// In the API's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Background => "Background",
            Self::Foreground => "Foreground",
            Self::Orphan => "Orphan",
        }
    }
}

/// An event to record.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// What it is about.
    pub regarding: Reference,
    /// What it says.
    pub note: Note,
}

/// Events that tell how an action went.
#[derive(Clone, Debug, PartialEq)]
pub struct Announce {
    /// What they are about.
    pub regarding: Reference,
    /// If it went well; `{name}` in it stands for the name of the object acted on.
    pub success: Option<Note>,
    /// If it failed; the error is appended to it.
    pub failure: Option<Note>,
}

/// What an event says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Whether something is wrong.
    pub warning: bool,
    /// Why, in one word.
    pub reason: &'static str,
    /// Why, in a sentence.
    pub message: String,
}

impl Note {
    /// All is well.
    pub fn normal(reason: &'static str, message: impl Into<String>) -> Self {
        Self { warning: false, reason, message: message.into() }
    }

    /// Something is wrong.
    pub fn warning(reason: &'static str, message: impl Into<String>) -> Self {
        Self { warning: true, reason, message: message.into() }
    }
}

/// Names one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace and name.
    pub key: ObjectKey,
    /// Its identity.
    pub uid: String,
    /// Its version.
    pub resource_version: String,
}

impl Reference {
    /// Names that object.
    #[must_use]
    pub fn to<K: Object>(object: &K) -> Self {
        Self::new(K::KIND, object.meta())
    }

    /// Names the object of that kind and metadata.
    #[must_use]
    pub fn new(kind: Kind, meta: &Meta) -> Self {
        Self { kind, key: meta.key(), uid: meta.uid.clone(), resource_version: meta.resource_version.clone() }
    }
}

impl Plan {
    /// Nothing to do.
    #[must_use]
    pub fn nothing() -> Self {
        Self::default()
    }

    /// Whether there is nothing to do now.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.actions.is_empty()
    }

    /// Adds an action.
    pub fn push(&mut self, action: Action) {
        self.actions.push(action);
    }

    /// Adds an event about that object.
    pub fn event(&mut self, regarding: Reference, note: Note) {
        self.push(Action::Event(Event { regarding, note }));
    }

    /// Looks again after that long, or earlier if it was so agreed before.
    pub fn look_again(&mut self, after: Duration) {
        self.requeue_after = Some(self.requeue_after.map_or(after, |before| before.min(after)));
    }

    /// Adds the actions of another plan.
    pub fn extend(&mut self, other: Self) {
        self.actions.extend(other.actions);
        if let Some(after) = other.requeue_after {
            self.look_again(after);
        }
    }

    /// Patches an object if `body` says anything. The patch holds only for the version that was seen.
    pub fn patch<K: Object>(&mut self, object: &K, subresource: &'static str, body: Value) {
        if body.as_object().is_some_and(|body| !body.is_empty()) {
            self.push(Action::patch(object, subresource, body));
        }
    }

    /// Brings an object's status from `old` to `new`, if they differ.
    pub fn status<K: Object, S: serde::Serialize + PartialEq>(&mut self, object: &K, old: &S, new: &S) {
        if old != new
            && let Some(difference) = merge_patch(&json!(old), &json!(new))
        {
            self.patch(object, "status", json!({"status": difference}));
        }
    }

    /// Deletes an object, if it is still the one that was seen.
    pub fn delete<K: Object>(&mut self, object: &K, announce: Option<Announce>) {
        self.push(Action::delete(object, announce));
    }
}

impl Action {
    /// A patch of that object which holds only for the version that was seen.
    #[must_use]
    pub fn patch<K: Object>(object: &K, subresource: &'static str, mut body: Value) -> Self {
        let meta = object.meta();
        body["metadata"]["resourceVersion"] = json!(meta.resource_version);
        Self::Patch(Patch { kind: K::KIND, key: meta.key(), subresource, body, announce: None })
    }

    /// The deletion of that object, if it is still the one that was seen.
    #[must_use]
    pub fn delete<K: Object>(object: &K, announce: Option<Announce>) -> Self {
        let meta = object.meta();
        Self::Delete(Delete {
            kind: K::KIND,
            key: meta.key(),
            uid: meta.uid.clone(),
            resource_version: String::new(),
            propagation: None,
            grace_seconds: None,
            announce,
        })
    }

    /// The creation of an object.
    #[must_use]
    pub fn create(kind: Kind, namespace: &str, object: Value, announce: Option<Announce>) -> Self {
        Self::Create(Create { kind, namespace: namespace.to_owned(), object, or_exists: false, announce })
    }
}
