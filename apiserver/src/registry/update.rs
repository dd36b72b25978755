//! Changing an object.

use std::sync::Arc;

use kubewright_api::field::{FieldError, FieldErrors, Path};
use kubewright_api::status::Status;
use kubewright_store::{Compare, Entry, Op, Put, ReadOptions, Txn};
use serde_json::Value;

use super::call::{Call, Written};
use super::create::{begin, end, refuse};
use super::strategy::Strategy;
use super::{Registry, errors, ownership};
use crate::admission::Operation;
use crate::kinds::validate::meta;
use crate::object::{self, codec, depth, metadata_mut};

/// Makes the new object of the current one: in the stored version, or the request's where a webhook converts.
pub(crate) type CurrentToNew<'a> = dyn Fn(Option<&Value>) -> Result<Value, Status> + Send + Sync + 'a;

/// What sets kinds of updates apart.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct UpdateRules {
    /// Create the object if it isn't there.
    pub(crate) create: bool,
    /// The change notes itself in `managedFields` (server-side apply).
    pub(crate) manages_fields: bool,
    /// The subresource that `managedFields` names, where it isn't the call's.
    pub(crate) subresource: Option<&'static str>,
}

const MODIFIED: &str = "the object has been modified; please apply your changes to the latest version and try again";

/// How an attempt to change an object ended.
enum Attempt {
    Done(Box<Written>),
    /// Someone else was first; this is there now.
    Again(Option<Arc<Entry>>),
}

impl Registry {
    /// Changes an object, again and again until nobody else changes it at the same time. Says whether it created it.
    pub(crate) async fn update(
        &self,
        call: &Call<'_>,
        change: &CurrentToNew<'_>,
        rules: UpdateRules,
    ) -> Result<(Written, bool), Status> {
        let key = call.storage().key_of(call.namespace, call.name);
        let mut entry = self.store.get(&key, ReadOptions::latest()).await.map_err(errors::of_store)?;
        loop {
            let Some(current) = entry else {
                if !rules.create {
                    return Err(call.not_found());
                }
                match self.create_as(call, change(None)?, !rules.manages_fields).await {
                    Err(status) if status.reason == "AlreadyExists" => {
                        entry = self.store.get(&key, ReadOptions::latest()).await.map_err(errors::of_store)?;
                        continue;
                    }
                    other => return other.map(|written| (written, true)),
                }
            };
            match self.attempt(call, change, rules, &current).await? {
                Attempt::Done(written) => return Ok((*written, false)),
                Attempt::Again(newer) => entry = newer,
            }
        }
    }

    async fn attempt(
        &self,
        call: &Call<'_>,
        change: &CurrentToNew<'_>,
        rules: UpdateRules,
        entry: &Arc<Entry>,
    ) -> Result<Attempt, Status> {
        let (storage, strategy) = (call.storage(), call.strategy()?);
        let old = call.for_write(storage.decode(entry)?).await?;
        let mut new = change(Some(&old))?;
        keep_system_fields(call, rules, &mut new, &old)?;
        // What admission and the server itself change is nobody's. Of what is sent to most subresources only a part counts,
        // which their strategies know.
        let at_once = ["", "status"].contains(&call.subresource);
        if !rules.manages_fields && at_once {
            ownership::note(call, rules.subresource, &mut new, Some(&old));
        }
        let mut new = call.admit(Operation::Update, new, Some(&old)).await?;
        strategy.prepare_for_update(&call.context(), &mut new, &old);
        bump_generation(call.served.strategy(), &mut new, &old);
        let (mut unauthorized, mut reservation) = (FieldErrors::new(), None);
        if let Some(hook) = storage.hook.get() {
            unauthorized = hook.unauthorized(&call.request(), &new, &old).await;
            reservation = hook.before(&mut new, Some(&old), call.dry_run).await?;
        }
        if !rules.manages_fields && !at_once {
            ownership::note(call, rules.subresource, &mut new, Some(&old));
        }
        unauthorized.extend(faults(strategy, &new, &old));
        refuse(call, &new, &unauthorized)?;
        for warning in strategy.warnings(&new, Some(&old)) {
            call.warnings.add(warning);
        }
        let new = call.validate(Operation::Update, new, Some(&old)).await?;
        if is_released(&*storage.strategy, &new) {
            return self.finish_deletion(call, entry, new).await;
        }
        begin(call, &mut reservation);
        let attempt = self.store_change(call, entry, new).await;
        end(call, reservation, attempt.as_ref().map(|attempt| matches!(attempt, Attempt::Done(_))));
        attempt
    }

    async fn store_change(&self, call: &Call<'_>, entry: &Arc<Entry>, new: Value) -> Result<Attempt, Status> {
        let storage = call.storage();
        let new = call.for_store(new).await?;
        depth::check(&new)?;
        let stored = bytes::Bytes::from(codec::encode(&new));
        if stored == entry.value {
            return Ok(Attempt::Done(Box::new(Written::of_entry(storage, entry)?)));
        }
        if call.dry_run {
            return Ok(Attempt::Done(Box::new(Written::imagined(new))));
        }
        // What vanishes by itself lives on for as long again.
        let lease = match storage.strategy.time_to_live() {
            Some(seconds) => Some(self.leases.current(&*self.store, seconds, call.now).await?),
            None => entry.lease,
        };
        let put = Op::Put(Put::new(entry.key.clone(), stored.clone()).lease(lease));
        let txn = Txn::new()
            .when(Compare::mod_revision(entry.key.clone(), entry.mod_revision))
            .then(put)
            .otherwise(Op::get(entry.key.clone()));
        let committed = self.store.commit(txn).await.map_err(errors::of_store)?;
        if !committed.succeeded {
            return Ok(Attempt::Again(committed.entry().cloned()));
        }
        let revision = committed.revision.get();
        self.settle(storage, revision).await?;
        Ok(Attempt::Done(Box::new(Written::stored(storage, new, &stored, revision))))
    }

    /// The last finalizer is gone: the update becomes the deletion.
    async fn finish_deletion(&self, call: &Call<'_>, entry: &Arc<Entry>, new: Value) -> Result<Attempt, Status> {
        if call.dry_run {
            return Ok(Attempt::Done(Box::new(Written::imagined(new))));
        }
        match self.remove(call.storage(), entry).await? {
            Ok(revision) => {
                let stored = codec::encode(&new);
                Ok(Attempt::Done(Box::new(Written::stored(call.storage(), new, &stored, revision))))
            }
            Err(newer) => Ok(Attempt::Again(newer)),
        }
    }
}

/// Whether an object whose deletion has begun has nothing left to wait for.
fn is_released(strategy: &dyn Strategy, object: &Value) -> bool {
    object::is_terminating(object)
        && object::finalizers(object).next().is_none()
        && object["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0
        && !strategy.has_own_finalizers(object)
}

/// Checks the object's identity and version, and keeps what no update may change.
fn keep_system_fields(call: &Call<'_>, rules: UpdateRules, new: &mut Value, old: &Value) -> Result<(), Status> {
    let storage = call.storage();
    let name = object::name(old).to_owned();
    new["apiVersion"] = call.api_version().into();
    new["kind"] = (*storage.info.kind).into();
    let uid = object::uid(new);
    if !uid.is_empty() && uid != object::uid(old) {
        let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {}", object::uid(old));
        return Err(call.conflict(&name, &why));
    }
    match object::resource_version(new) {
        // A scale without a version goes by the object as it is.
        0 if !storage.strategy.allow_unconditional_update() && rules.subresource != Some("scale") => {
            let path = Path::new("metadata").child("resourceVersion");
            let fault = FieldError::invalid(&path, 0, "must be specified for an update");
            return Err(Status::invalid(&call.served.info.group, &call.served.info.plural, &name, &[fault]));
        }
        0 => {}
        version if version != object::resource_version(old) => return Err(call.conflict(&name, MODIFIED)),
        _ => {}
    }
    let metadata = metadata_mut(new);
    metadata.remove("selfLink");
    for field in ["resourceVersion", "generation", "creationTimestamp"] {
        match old["metadata"].get(field) {
            Some(value) => metadata.insert(field.into(), value.clone()),
            None => metadata.remove(field),
        };
    }
    for field in ["uid", "namespace", "name"] {
        if metadata.get(field).is_none_or(|value| value.is_null() || value == "")
            && let Some(value) = old["metadata"].get(field)
        {
            metadata.insert(field.into(), value.clone());
        }
    }
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds"] {
        match old["metadata"].get(field) {
            // Nobody takes a deletion back, and its time is set by deletes alone.
            Some(value) if field == "deletionTimestamp" || metadata.get(field).is_none() => {
                metadata.insert(field.into(), value.clone());
            }
            Some(_) => {}
            None => {
                metadata.remove(field);
            }
        }
    }
    Ok(())
}

fn bump_generation(strategy: &dyn Strategy, new: &mut Value, old: &Value) {
    if !strategy.tracks_generation() {
        return;
    }
    let same = |name: &str| new.get(name) == old.get(name);
    let status = strategy.generation_ignores_status();
    let aside = |name: &&String| match name.as_str() {
        "metadata" | "apiVersion" | "kind" => false,
        "status" => !status,
        _ => true,
    };
    let names = new.as_object().into_iter().chain(old.as_object()).flat_map(serde_json::Map::keys);
    if !names.filter(aside).all(|name| same(name)) {
        let generation = old["metadata"]["generation"].as_i64().unwrap_or(0) + 1;
        metadata_mut(new).insert("generation".into(), generation.into());
    }
}

fn faults(strategy: &dyn Strategy, new: &Value, old: &Value) -> FieldErrors {
    let mut faults = meta::object_meta_update(new, old);
    faults.extend(strategy.validate_update(new, old));
    faults
}
