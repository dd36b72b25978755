//! Deleting an object: at once, after a grace period, or when its finalizers are done.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kubewright_api::status::Status;
use kubewright_store::{Compare, Entry, Op, Put, ReadOptions, Txn};
use serde_json::Value;

use super::call::{Call, Written};
use super::storage::Storage;
use super::strategy::{GarbageCollection, Strategy};
use super::{Registry, errors};
use crate::admission::Operation;
use crate::environment::time;
use crate::object::{self, codec, metadata_mut};

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// What a delete request asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeleteOptions {
    pub(crate) grace_period_seconds: Option<i64>,
    pub(crate) propagation: Option<String>,
    pub(crate) orphan_dependents: Option<bool>,
    pub(crate) preconditions: Preconditions,
}

/// What must hold of the object that is deleted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Preconditions {
    pub(crate) uid: Option<String>,
    pub(crate) resource_version: Option<String>,
}

/// What came of a deletion.
pub(crate) struct Deleted {
    /// The object as it is while it waits, or as it was.
    pub(crate) last: Written,
    /// Whether it is gone.
    pub(crate) gone: bool,
}

/// What to do next with an object that shall be deleted.
enum Step {
    /// Remove it.
    Remove,
    /// Store it like this, and wait.
    Mark(Value),
    /// It waits already.
    Pending,
}

impl Registry {
    /// Deletes an object, or marks it for deletion.
    pub(crate) async fn delete(&self, call: &Call<'_>, options: &DeleteOptions) -> Result<Deleted, Status> {
        let storage = call.storage();
        let key = storage.key_of(call.namespace, call.name);
        let mut entry = self.store.get(&key, ReadOptions::latest()).await.map_err(errors::of_store)?;
        loop {
            let current = entry.ok_or_else(|| call.not_found())?;
            let written = Written::of_entry(storage, &current)?;
            check(call, &written.object, &options.preconditions)?;
            if !call.admission.is_empty() {
                let seen = call.for_write(written.object.clone()).await?;
                call.admit(Operation::Delete, Value::Null, Some(&seen)).await?;
                call.validate(Operation::Delete, Value::Null, Some(&seen)).await?;
            }
            let step = next_step(call, &written.object, options);
            if call.dry_run {
                return Ok(match step {
                    Step::Mark(object) => Deleted { last: Written::imagined(object), gone: false },
                    Step::Pending => Deleted { last: written, gone: false },
                    Step::Remove => Deleted { last: written, gone: true },
                });
            }
            let marked = match step {
                Step::Pending => return Ok(Deleted { last: written, gone: false }),
                Step::Remove => match self.remove(storage, &current).await? {
                    Ok(_) => return Ok(Deleted { last: written, gone: true }),
                    Err(newer) => {
                        entry = newer;
                        continue;
                    }
                },
                Step::Mark(object) => object,
            };
            match self.mark(storage, &current, marked).await? {
                Ok(last) => return Ok(Deleted { last, gone: false }),
                Err(newer) => entry = newer,
            }
        }
    }

    async fn mark(
        &self,
        storage: &Storage,
        entry: &Arc<Entry>,
        object: Value,
    ) -> Result<Result<Written, Option<Arc<Entry>>>, Status> {
        let stored = bytes::Bytes::from(codec::encode(&object));
        if stored == entry.value {
            return Ok(Ok(Written::of_entry(storage, entry)?));
        }
        let put = Put::new(entry.key.clone(), stored.clone()).lease(entry.lease);
        let committed = self.commit_if_unchanged(storage, entry, Op::Put(put)).await?;
        Ok(committed.map(|revision| Written::stored(storage, object, &stored, revision)))
    }

    /// Removes an object that is still as it was; otherwise gives what is there now.
    pub(super) async fn remove(
        &self,
        storage: &Storage,
        entry: &Arc<Entry>,
    ) -> Result<Result<u64, Option<Arc<Entry>>>, Status> {
        let removed = self.commit_if_unchanged(storage, entry, Op::delete(entry.key.clone())).await?;
        if let (Ok(_), Some(hook)) = (&removed, storage.hook.get()) {
            hook.deleted(&storage.decode(entry)?);
        }
        Ok(removed)
    }

    async fn commit_if_unchanged(
        &self,
        storage: &Storage,
        entry: &Arc<Entry>,
        op: Op,
    ) -> Result<Result<u64, Option<Arc<Entry>>>, Status> {
        let txn = Txn::new()
            .when(Compare::mod_revision(entry.key.clone(), entry.mod_revision))
            .then(op)
            .otherwise(Op::get(entry.key.clone()));
        let committed = self.store.commit(txn).await.map_err(errors::of_store)?;
        if !committed.succeeded {
            return Ok(Err(committed.entry().cloned()));
        }
        self.settle(storage, committed.revision.get()).await?;
        Ok(Ok(committed.revision.get()))
    }
}

fn check(call: &Call<'_>, object: &Value, preconditions: &Preconditions) -> Result<(), Status> {
    let checks = [
        ("UID", &preconditions.uid, object::uid(object), "been deleted and then recreated"),
        (
            "ResourceVersion",
            &preconditions.resource_version,
            object::meta_str(object, "resourceVersion"),
            "been modified",
        ),
    ];
    for (what, wanted, actual, guess) in checks {
        if let Some(wanted) = wanted.as_deref().filter(|wanted| *wanted != actual) {
            let why = format!(
                "the {what} in the precondition ({wanted}) does not match the {what} in record ({actual}). The object \
                 might have {guess}"
            );
            let info = &call.served.info;
            return Err(Status::conflict(&info.group, &info.kind, object::name(object), &why));
        }
    }
    Ok(())
}

fn next_step(call: &Call<'_>, current: &Value, options: &DeleteOptions) -> Step {
    let strategy = call.served.strategy();
    let mut object = current.clone();
    let grace = graceful(strategy, &mut object, options, call.now);
    if grace == Grace::Pending {
        return Step::Pending;
    }
    let mut finalizers = wanted_finalizers(strategy, &object, options);
    if let Some(own) = strategy.deletion_finalizer()
        && deletion_time(current).is_none()
        && !finalizers.iter().any(|finalizer| finalizer == own)
    {
        finalizers.push(own.to_owned());
    }
    let metadata = metadata_mut(&mut object);
    if finalizers.is_empty() {
        metadata.remove("finalizers");
    } else {
        metadata.insert("finalizers".into(), finalizers.clone().into());
    }
    let held = !finalizers.is_empty() || strategy.has_own_finalizers(&object);
    match (grace, held) {
        (Grace::Wait, _) => Step::Mark(object),
        (_, true) => {
            mark_as_deleting(&mut object, call.now, !finalizers.is_empty());
            strategy.prepare_for_delete(&call.context(), &mut object);
            Step::Mark(object)
        }
        (_, false) => Step::Remove,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grace {
    /// There is none, or it is over.
    None,
    /// It begins, or was shortened.
    Wait,
    /// It goes on as it was.
    Pending,
}

/// Begins or shortens the grace period.
fn graceful(strategy: &dyn Strategy, object: &mut Value, options: &DeleteOptions, now: Timestamp) -> Grace {
    let requested = options.grace_period_seconds.map(|seconds| if seconds < 0 { 1 } else { seconds });
    let Some(period) = strategy.grace_period(object, requested) else { return Grace::None };
    let generation = object["metadata"]["generation"].as_i64().unwrap_or(0);
    let since = deletion_time(object);
    let (at, period) = match since {
        Some(deadline) => {
            let running = object["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
            match (running, requested) {
                (0, _) => return Grace::None,
                (running, Some(requested)) if requested < running => shorten(deadline, running, requested, now),
                _ => return Grace::Pending,
            }
        }
        None => (add_seconds(now, period), period),
    };
    let metadata = metadata_mut(object);
    metadata.insert("deletionTimestamp".into(), time(at).into());
    metadata.insert("deletionGracePeriodSeconds".into(), period.into());
    if since.is_none() && generation > 0 {
        metadata.insert("generation".into(), (generation + 1).into());
    }
    if period == 0 { Grace::None } else { Grace::Wait }
}

/// A grace period can only get shorter, and not end in the past unless it is to end at once.
fn shorten(deadline: Timestamp, running: i64, requested: i64, now: Timestamp) -> (Timestamp, i64) {
    let at = add_seconds(deadline, requested - running);
    if at >= now { (at, requested) } else { (now, requested.min(1)) }
}

fn add_seconds(timestamp: Timestamp, seconds: i64) -> Timestamp {
    timestamp.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(timestamp)
}

fn deletion_time(object: &Value) -> Option<Timestamp> {
    object::meta_str(object, "deletionTimestamp").parse().ok()
}

fn mark_as_deleting(object: &mut Value, now: Timestamp, grace: bool) {
    let since = deletion_time(object);
    let generation = object["metadata"]["generation"].as_i64().unwrap_or(0);
    let metadata = metadata_mut(object);
    if since.is_none() && generation > 0 {
        metadata.insert("generation".into(), (generation + 1).into());
    }
    if since.is_none_or(|since| since > now) {
        metadata.insert("deletionTimestamp".into(), time(now).into());
    }
    // What only the kind's own finalizers keep (a namespace) has no grace period to speak of.
    if grace {
        metadata.insert("deletionGracePeriodSeconds".into(), 0.into());
    }
}

/// The finalizers with those that make the garbage collector do what the request, the object or the kind wants.
fn wanted_finalizers(strategy: &dyn Strategy, object: &Value, options: &DeleteOptions) -> Vec<String> {
    let policy = strategy.garbage_collection();
    let present = |name: &str| object::finalizers(object).any(|finalizer| finalizer == name);
    let own = object::finalizers(object).find(|finalizer| [ORPHAN, FOREGROUND].contains(finalizer));
    let wanted = match (policy, options.orphan_dependents, options.propagation.as_deref()) {
        (GarbageCollection::Unsupported, ..) => None,
        (_, Some(true), _) | (_, None, Some("Orphan")) => Some(ORPHAN),
        (_, None, Some("Foreground")) => Some(FOREGROUND),
        (_, Some(false), _) | (_, None, Some(_)) => None,
        (policy, None, None) => match own {
            Some(own) => Some(own),
            None => (policy == GarbageCollection::Orphan).then_some(ORPHAN),
        },
    };
    let mut finalizers: Vec<String> = object::finalizers(object)
        .filter(|finalizer| ![ORPHAN, FOREGROUND].contains(finalizer) || Some(*finalizer) == wanted)
        .map(str::to_owned)
        .collect();
    if let Some(wanted) = wanted.filter(|wanted| !present(wanted)) {
        finalizers.push(wanted.to_owned());
    }
    finalizers
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    struct Pods;
    impl Strategy for Pods {
        fn grace_period(&self, _: &Value, requested: Option<i64>) -> Option<i64> {
            Some(requested.unwrap_or(30))
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    fn options(grace: Option<i64>) -> DeleteOptions {
        DeleteOptions { grace_period_seconds: grace, ..DeleteOptions::default() }
    }

    #[test]
    fn a_grace_period_begins_once_and_only_gets_shorter() {
        let mut pod = json!({ "metadata": { "generation": 1 } });
        assert_eq!(graceful(&Pods, &mut pod, &options(None), at(0)), Grace::Wait);
        assert_eq!(deletion_time(&pod), Some(at(30)));
        assert_eq!(pod["metadata"]["generation"], 2);
        assert_eq!(graceful(&Pods, &mut pod, &options(None), at(1)), Grace::Pending);
        assert_eq!(graceful(&Pods, &mut pod, &options(Some(40)), at(1)), Grace::Pending);
        assert_eq!(graceful(&Pods, &mut pod, &options(Some(10)), at(2)), Grace::Wait);
        assert_eq!(deletion_time(&pod), Some(at(10)));
        assert_eq!(graceful(&Pods, &mut pod, &options(Some(5)), at(20)), Grace::Wait);
        assert_eq!((deletion_time(&pod), &pod["metadata"]["deletionGracePeriodSeconds"]), (Some(at(20)), &json!(1)));
        assert_eq!(graceful(&Pods, &mut pod, &options(Some(0)), at(21)), Grace::None);
    }

    #[test]
    fn policies_become_finalizers() {
        struct Jobs;
        impl Strategy for Jobs {
            fn garbage_collection(&self) -> GarbageCollection {
                GarbageCollection::Orphan
            }
        }
        let object = json!({ "metadata": { "finalizers": ["a/b", "foregroundDeletion"] } });
        let with = |propagation: Option<&str>| DeleteOptions {
            propagation: propagation.map(str::to_owned),
            ..DeleteOptions::default()
        };
        let check = |strategy: &dyn Strategy, object: &Value, propagation, expected: &[&str]| {
            assert_eq!(wanted_finalizers(strategy, object, &with(propagation)), expected);
        };
        check(&Pods, &object, None, &["a/b", "foregroundDeletion"]);
        check(&Pods, &object, Some("Background"), &["a/b"]);
        check(&Pods, &object, Some("Orphan"), &["a/b", "orphan"]);
        check(&Jobs, &json!({ "metadata": {} }), None, &["orphan"]);
        check(&Jobs, &json!({ "metadata": {} }), Some("Foreground"), &["foregroundDeletion"]);
    }
}
