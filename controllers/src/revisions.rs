//! Remembered templates of stateful and daemon sets, by which rollouts are told apart and undone.

use std::sync::Arc;

use kubewright_api::selector::LabelSelector;
use serde_json::json;

use crate::objects::{
    ControllerRevision, Kind, Labels, Meta, Object, ObjectKey, OwnerReference, Template, kinds, template_hash,
};
use crate::ownership::claim;
use crate::plan::{Action, Plan};

/// Which revision is the newest, what must be done about revisions, and what they are.
#[derive(Debug)]
pub(crate) struct History {
    /// The newest revision; `None` until it is created.
    pub(crate) newest: Option<Arc<ControllerRevision>>,
    /// All revisions, oldest first.
    pub(crate) all: Vec<Arc<ControllerRevision>>,
    /// Adoptions, creations, renumberings.
    pub(crate) actions: Vec<Action>,
    /// The name of the newest revision is taken by something else: count it.
    pub(crate) collided: bool,
}

/// A set whose templates are remembered.
pub(crate) struct Subject<'a> {
    pub(crate) kind: Kind,
    pub(crate) meta: &'a Meta,
    pub(crate) template: &'a Template,
    pub(crate) collisions: Option<i32>,
    /// The label that carries the hash.
    pub(crate) hash_label: &'static str,
}

/// What is remembered of a template: the patch that brings it back.
fn data(template: &Template) -> Template {
    let mut value = template.to_value();
    value["$patch"] = json!("replace");
    Template::new(json!({"spec": {"template": value}}))
}

/// The template that a revision remembers.
pub(crate) fn template_of(revision: &ControllerRevision) -> Template {
    let mut value = revision.data.to_value();
    let mut template = value["spec"]["template"].take();
    if let Some(fields) = template.as_object_mut() {
        fields.remove("$patch");
    }
    Template::new(template)
}

/// Finds or makes the newest revision among those that the set manages or might adopt.
pub(crate) fn history<O: Object>(
    owner: &O,
    subject: &Subject<'_>,
    selector: &LabelSelector,
    candidates: Vec<Arc<ControllerRevision>>,
    taken: impl Fn(&str) -> bool,
) -> History {
    let claimed = claim(owner, selector, candidates, &[]);
    let mut all = claimed.owned;
    all.sort_by(|a, b| {
        (a.revision, a.metadata.creation_timestamp, &a.metadata.name).cmp(&(
            b.revision,
            b.metadata.creation_timestamp,
            &b.metadata.name,
        ))
    });
    let mut history = History { newest: None, all, actions: claimed.actions, collided: false };
    if subject.meta.deleting() {
        history.newest = history.all.last().cloned();
        return history;
    }
    let wanted = data(subject.template);
    let highest = history.all.last().map_or(0, |last| last.revision);
    match history.all.iter().rev().find(|revision| revision.data == wanted).cloned() {
        Some(found) => {
            if found.revision < highest {
                history.actions.push(Action::patch(found.as_ref(), "", json!({"revision": highest + 1})));
            }
            history.newest = Some(found);
        }
        None => {
            let hash = template_hash(subject.template.as_str(), subject.collisions);
            let name = format!("{}-{hash}", truncated(&subject.meta.name, 252 - hash.len()));
            if taken(&name) {
                history.collided = true;
            } else {
                history.actions.push(create(subject, &name, &hash, &wanted, highest + 1));
            }
        }
    }
    history
}

fn truncated(name: &str, length: usize) -> &str {
    // Names are ASCII, so that every byte is a character.
    &name[..name.len().min(length)]
}

fn create(subject: &Subject<'_>, name: &str, hash: &str, data: &Template, revision: i64) -> Action {
    let labels = subject.template.labels().with(subject.hash_label, hash);
    let mut object = json!({
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": name,
            "namespace": subject.meta.namespace,
            "labels": labels,
            "ownerReferences": [OwnerReference::to_controller(subject.kind, subject.meta)],
        },
        "data": data,
        "revision": revision,
    });
    let kept: Labels =
        subject.meta.annotations.iter().filter(|(key, _)| !key.ends_with("last-applied-configuration")).collect();
    if !kept.is_empty() {
        object["metadata"]["annotations"] = json!(kept);
    }
    Action::create(kinds::CONTROLLER_REVISION, &subject.meta.namespace, object, None)
}

/// Removes revisions beyond the limit, oldest first, except those in use.
pub(crate) fn remove_old(
    plan: &mut Plan,
    history: &History,
    limit: Option<i32>,
    used: impl Fn(&ControllerRevision) -> bool,
) {
    let Some(newest) = &history.newest else { return };
    let idle = |revision: &&Arc<ControllerRevision>| revision.metadata.uid != newest.metadata.uid && !used(revision);
    let idle: Vec<_> = history.all.iter().filter(idle).collect();
    let surplus = idle.len().saturating_sub(usize::try_from(limit.unwrap_or(10)).unwrap_or(0));
    for revision in idle.into_iter().take(surplus) {
        plan.delete(revision.as_ref(), None);
    }
}

/// The key of a revision of that name.
pub(crate) fn key(meta: &Meta, name: &str) -> ObjectKey {
    ObjectKey::new(&meta.namespace, name)
}
