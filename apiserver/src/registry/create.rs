//! Creating an object.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use kubewright_api::field::FieldErrors;
use kubewright_api::status::Status;
use kubewright_store::{Compare, LeaseId, Op, OpResult, Put, Revision, Store, Txn};
use serde_json::Value;
use tokio::sync::Mutex;

use super::call::{Call, Written};
use super::{Registry, Reservation, errors, ownership};
use crate::admission::Operation;
use crate::environment::{name_suffix, new_uid, time};
use crate::kinds::validate::meta;
use crate::object::{self, codec, depth, metadata_mut};

/// How often a generated name that is taken is replaced by another.
const GENERATE_ATTEMPTS: usize = 8;
const GENERATED_BASE_MAX: usize = 58;

impl Registry {
    /// Creates an object given in its stored version, or the request's where a webhook converts, defaulted.
    pub(crate) async fn create(&self, call: &Call<'_>, object: Value) -> Result<Written, Status> {
        self.create_as(call, object, true).await
    }

    /// The same; `notes` says whether the registry notes who owns the fields, or the object says it already.
    pub(super) async fn create_as(&self, call: &Call<'_>, object: Value, notes: bool) -> Result<Written, Status> {
        if call.storage().schema.custom().is_some() && !call.served.info.has_verb("create") {
            // An apply or an update that would create comes this way; who creates was refused before.
            let (info, name) = (&call.served.info, object::name(&object));
            let why = "create not allowed while custom resource definition is terminating";
            return Err(Status::forbidden(&info.group, &info.plural, name, why));
        }
        let generated = object::name(&object).is_empty() && !object::meta_str(&object, "generateName").is_empty();
        for _ in 1..if generated { GENERATE_ATTEMPTS } else { 1 } {
            match self.try_create(call, object.clone(), notes).await {
                Err(status) if status.reason == "AlreadyExists" => {}
                other => return other,
            }
        }
        self.try_create(call, object, notes).await
    }

    async fn try_create(&self, call: &Call<'_>, mut object: Value, notes: bool) -> Result<Written, Status> {
        let (storage, strategy, context) = (call.storage(), call.served.strategy(), call.context());
        let versioned = object::resource_version(&object) != 0;
        let uid = new_uid(&*self.environment);
        identify(call, &mut object, &uid)?;
        // What admission and the server itself set is nobody's.
        if notes {
            ownership::note(call, None, &mut object, None);
        }
        let mut object = call.admit(Operation::Create, object, None).await?;
        // It was authorized, and is counted, as what it was: a webhook does not move it elsewhere.
        identify(call, &mut object, &uid)?;
        self.name(&mut object);
        strategy.prepare_for_create(&context, &mut object);
        let mut reservation = match storage.hook.get() {
            Some(hook) => hook.before(&mut object, None, call.dry_run).await?,
            None => None,
        };
        let mut faults = meta::object_meta(&object, storage.info.namespaced(), strategy.name_rule());
        if !matches!(&*storage.info.group, "apiextensions.k8s.io" | "apiregistration.k8s.io")
            && storage.schema.built_in().is_some()
        {
            faults.extend(meta::standard_finalizers(&object));
        }
        faults.extend(strategy.validate(&object));
        refuse(call, &object, &faults)?;
        for warning in strategy.warnings(&object, None) {
            call.warnings.add(warning);
        }
        let object = call.validate(Operation::Create, object, None).await?;
        // As upstream, where the store says so: who may not create it at all hears that first.
        if versioned {
            return Err(Status::bad_request("resourceVersion should not be set on objects to be created"));
        }
        begin(call, &mut reservation);
        let written = self.store_new(call, object).await;
        end(call, reservation, written.as_ref().map(|_| true));
        written
    }

    fn name(&self, object: &mut Value) {
        let base = object::meta_str(object, "generateName");
        if object::name(object).is_empty() && !base.is_empty() {
            let mut length = base.len().min(GENERATED_BASE_MAX);
            while !base.is_char_boundary(length) {
                length -= 1;
            }
            let name = format!("{}{}", &base[..length], name_suffix(&*self.environment));
            metadata_mut(object).insert("name".into(), name.into());
        }
    }

    async fn store_new(&self, call: &Call<'_>, object: Value) -> Result<Written, Status> {
        let storage = call.storage();
        let name = object::name(&object).to_owned();
        let key = storage.key_of(object::namespace(&object), &name);
        depth::check(&object)?;
        if call.dry_run {
            return match self.store.get(&key, Default::default()).await.map_err(errors::of_store)? {
                Some(_) => Err(call.already_exists(&name)),
                None => Ok(Written::imagined(object)),
            };
        }
        let object = call.for_store(object).await?;
        depth::check(&object)?;
        let stored = bytes::Bytes::from(codec::encode(&object));
        let lease = match storage.strategy.time_to_live() {
            Some(seconds) => Some(self.leases.current(&*self.store, seconds, call.now).await?),
            None => None,
        };
        let put = Op::Put(Put::new(key.clone(), stored.clone()).lease(lease));
        let txn = Txn::new().when(Compare::mod_revision(key.clone(), Revision::ZERO)).then(put).otherwise(Op::get(key));
        let committed = self.store.commit(txn).await.map_err(errors::of_store)?;
        if !committed.succeeded {
            let mut status = call.already_exists(&name);
            if let Some(OpResult::Got(Some(entry))) = committed.results.first()
                && object::is_terminating(&storage.decode(entry)?)
            {
                status.message = format!("object is being deleted: {}", status.message);
            }
            return Err(status);
        }
        self.settle(storage, committed.revision.get()).await?;
        Ok(Written::stored(storage, object, &stored, committed.revision.get()))
    }
}

/// Checks what the request may not say, and sets what only the server says.
fn identify(call: &Call<'_>, object: &mut Value, uid: &str) -> Result<(), Status> {
    let storage = call.storage();
    let own = object::namespace(object);
    if storage.info.namespaced() && !own.is_empty() && own != call.namespace {
        let why = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(Status::bad_request(why));
    }
    // Whoever creates by POST names nothing but the object.
    let (name, is_named) = (object::name(object), call.options["kind"] != "CreateOptions" && !call.name.is_empty());
    if is_named && !name.is_empty() && name != call.name {
        let why = format!("the name of the object ({name}) does not match the name on the URL ({})", call.name);
        return Err(Status::bad_request(why));
    }
    object["apiVersion"] = call.api_version().into();
    object["kind"] = (*storage.info.kind).into();
    let metadata = metadata_mut(object);
    for field in ["resourceVersion", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"] {
        metadata.remove(field);
    }
    if storage.info.namespaced() {
        metadata.insert("namespace".into(), call.namespace.into());
    } else if metadata.get("namespace").is_some_and(|namespace| namespace == "") {
        metadata.remove("namespace");
    }
    metadata.insert("uid".into(), uid.into());
    metadata.insert("creationTimestamp".into(), time(call.now).into());
    if call.served.strategy().tracks_generation() {
        metadata.insert("generation".into(), 1.into());
    }
    Ok(())
}

/// What was reserved is in the store's hands, unless it is asked only what would be.
pub(super) fn begin(call: &Call<'_>, reservation: &mut Option<Box<dyn Reservation>>) {
    if let Some(reservation) = reservation.as_mut().filter(|_| !call.dry_run) {
        reservation.begin();
    }
}

/// Whether it was stored, if that is known: after an error of the server it isn't.
pub(super) fn end(call: &Call<'_>, reservation: Option<Box<dyn Reservation>>, stored: Result<bool, &Status>) {
    let stored = match stored {
        Ok(stored) => stored,
        Err(status) if status.code < 500 => false,
        Err(_) => return,
    };
    if let Some(reservation) = reservation.filter(|_| !call.dry_run) {
        reservation.end(stored);
    }
}

/// 422 if there are faults.
pub(super) fn refuse(call: &Call<'_>, object: &Value, faults: &FieldErrors) -> Result<(), Status> {
    if faults.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(&call.served.info.group, &call.served.info.kind, object::name(object), faults))
}

/// Leases for objects that vanish by themselves. Objects of a minute share one, which lives a minute longer than the
/// first of them asked for.
#[derive(Default)]
pub(super) struct Leases {
    by_seconds: Mutex<HashMap<u32, (Timestamp, LeaseId)>>,
}

const LEASE_SHARED: Duration = Duration::from_secs(60);

impl Leases {
    pub(super) async fn current(&self, store: &dyn Store, seconds: u32, now: Timestamp) -> Result<LeaseId, Status> {
        let mut leases = self.by_seconds.lock().await;
        if let Some((since, id)) = leases.get(&seconds)
            && now >= *since
            && now.duration_since(*since).unsigned_abs() < LEASE_SHARED
        {
            return Ok(*id);
        }
        let ttl = Duration::from_secs(seconds.into()) + LEASE_SHARED;
        let lease = store.lease_grant(None, ttl).await.map_err(errors::of_store)?;
        leases.insert(seconds, (now, lease.id));
        Ok(lease.id)
    }
}
