//! A world for tests: a small API server in memory, virtual time, and controllers that run in it one step at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::Error;
use crate::cache::Caches;
use crate::manager::{Config, Context, Controller, Made, Make, Queue, Setup};
use crate::objects::{Kind, Object, ObjectKey, Time, kinds};
use crate::plan::{Action, Failure, apply_merge_patch};

pub(crate) struct World {
    pub(crate) now: Time,
    pub(crate) caches: Arc<Caches>,
    pub(crate) events: Vec<String>,
    pub(crate) writes: usize,
    /// Creations of this kind fail with that message.
    pub(crate) refuse: Option<(Kind, &'static str)>,
    objects: BTreeMap<(&'static str, ObjectKey), (Kind, Value)>,
    lanes: Vec<Lane>,
    later: Vec<(Time, usize, ObjectKey)>,
    counter: u64,
}

struct Lane {
    controller: Box<dyn Controller>,
    queue: Arc<Queue>,
    failures: BTreeMap<ObjectKey, Failure>,
}

impl World {
    pub(crate) fn new(makers: &[Make]) -> Self {
        Self::configured(makers, &Config::default())
    }

    pub(crate) fn configured(makers: &[Make], config: &Config) -> Self {
        let caches = Arc::new(Caches::default());
        let mut lanes = Vec::new();
        for make in makers {
            let queue = Arc::new(Queue::default());
            let setup = Setup::new(&caches, queue.clone());
            let Some(Made::Controller(controller)) = make(&setup, config).unwrap() else { panic!("not a controller") };
            lanes.push(Lane { controller, queue, failures: BTreeMap::new() });
        }
        Self {
            now: Time::from_seconds(1_800_000_000),
            caches,
            events: Vec::new(),
            writes: 0,
            refuse: None,
            objects: BTreeMap::new(),
            lanes,
            later: Vec::new(),
            counter: 0,
        }
    }

    /// All objects of that kind.
    pub(crate) fn all(&self, kind: Kind) -> Vec<Value> {
        self.objects.values().filter(|(k, _)| *k == kind).map(|(_, object)| object.clone()).collect()
    }

    /// All objects of that kind, as controllers see them.
    pub(crate) fn list<K: Object>(&self) -> Vec<K> {
        self.all(K::KIND).into_iter().map(|object| serde_json::from_value(object).unwrap()).collect()
    }

    pub(crate) fn get(&self, kind: Kind, namespace: &str, name: &str) -> Option<Value> {
        self.objects.get(&(kind.plural, ObjectKey::new(namespace, name))).map(|(_, object)| object.clone())
    }

    /// Creates an object and returns its name.
    pub(crate) fn add(&mut self, kind: Kind, object: Value) -> String {
        self.create(kind, object).unwrap()
    }

    /// Changes an object as its user or kubelet would.
    pub(crate) fn change(&mut self, kind: Kind, namespace: &str, name: &str, body: Value) {
        let subresource = if body.get("status").is_some() { "status" } else { "" };
        self.patch(kind, &ObjectKey::new(namespace, name), subresource, &body).unwrap();
    }

    pub(crate) fn remove(&mut self, kind: Kind, namespace: &str, name: &str) {
        self.delete(kind, &ObjectKey::new(namespace, name), "");
    }

    /// Removes an object with all that holds it.
    pub(crate) fn erase(&mut self, kind: Kind, key: &ObjectKey) {
        if let Some((_, object)) = self.objects.remove(&(kind.plural, key.clone())) {
            self.writes += 1;
            self.caches.forget(kind, key, object["metadata"]["uid"].as_str().unwrap());
        }
    }

    /// Runs all controllers until none has anything to do now; `check` is called after every write.
    pub(crate) fn settle_with(&mut self, mut check: impl FnMut(&Self)) {
        for round in 0.. {
            assert!(
                round < 3000,
                "the controllers don't come to rest; last events: {:?}",
                self.events.iter().rev().take(10).collect::<Vec<_>>()
            );
            let Some((at, key)) = (0..self.lanes.len()).find_map(|at| Some((at, self.lanes[at].queue.try_next()?)))
            else {
                return;
            };
            let context = Context { now: self.now, failure: self.lanes[at].failures.remove(&key) };
            let mut plan = self.lanes[at].controller.reconcile(&key, &context);
            if let Some(after) = plan.requeue_after {
                self.later.push((self.now + after, at, key.clone()));
            }
            for action in plan.take_actions() {
                match self.apply(action) {
                    Ok(()) => check(self),
                    Err(error) if error.is_race() => {
                        self.lanes[at].queue.add(key.clone());
                        break;
                    }
                    Err(error) => {
                        let failure = Failure { reason: "FailedCreate", message: error.message() };
                        let first = self.lanes[at].failures.insert(key.clone(), failure).is_none();
                        // Retries wait for time to pass; the first one shows the failure.
                        if first && context.failure.is_none() {
                            self.lanes[at].queue.add(key.clone());
                        } else {
                            self.later.push((self.now + Duration::from_secs(1), at, key.clone()));
                        }
                        break;
                    }
                }
            }
            self.lanes[at].queue.done(&key);
        }
    }

    pub(crate) fn settle(&mut self) {
        self.settle_with(|_| {});
    }

    /// Lets time pass and runs what is due then.
    pub(crate) fn advance(&mut self, seconds: i64) {
        self.now = self.now.plus_seconds(seconds);
        let now = self.now;
        let all = std::mem::take(&mut self.later);
        let (due, later): (Vec<_>, Vec<_>) = all.into_iter().partition(|(at, _, _)| *at <= now);
        self.later = later;
        for (_, lane, key) in due {
            self.lanes[lane].queue.add(key);
        }
        self.settle();
    }

    /// Asserts that every controller, asked about every object again, does nothing.
    pub(crate) fn assert_settled(&mut self) {
        let before = self.writes;
        let keys: Vec<ObjectKey> = self.objects.keys().map(|(_, key)| key.clone()).collect();
        for lane in &self.lanes {
            keys.iter().for_each(|key| lane.queue.add(key.clone()));
        }
        self.settle();
        assert_eq!(self.writes, before, "a second look at a settled world changes it: {:?}", self.events.last());
    }

    /// Schedules pods and brings them up, ready; ends those that are being deleted.
    pub(crate) fn run_kubelets(&mut self) {
        for pod in self.all(kinds::POD) {
            let key = key_of(&pod);
            if pod["metadata"]["deletionTimestamp"].is_string() {
                if pod["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty) {
                    self.erase(kinds::POD, &key);
                }
            } else if pod["status"]["phase"] == json!("Pending") {
                if pod["spec"]["nodeName"].is_null() {
                    self.patch(kinds::POD, &key, "", &json!({"spec": {"nodeName": "node-1"}})).unwrap();
                }
                let ready = json!([{"type": "Ready", "status": "True", "lastTransitionTime": self.now}]);
                let status =
                    json!({"phase": "Running", "podIP": "10.0.0.1", "conditions": ready, "startTime": self.now});
                self.patch(kinds::POD, &key, "status", &json!({"status": status})).unwrap();
            }
        }
    }

    /// Runs controllers and kubelets in turns until nothing changes any more.
    pub(crate) fn live(&mut self) {
        self.live_with(|_| {});
    }

    pub(crate) fn live_with(&mut self, mut check: impl FnMut(&Self)) {
        for round in 0.. {
            assert!(round < 300, "controllers and kubelets don't come to rest");
            let before = self.writes;
            self.settle_with(&mut check);
            self.run_kubelets();
            check(self);
            if self.writes == before {
                return;
            }
        }
    }

    fn apply(&mut self, action: Action) -> Result<(), Error> {
        match action {
            Action::Event(event) => self.events.push(format!("{} {}", event.note.reason, event.note.message)),
            Action::Create(create) => {
                if let Some((_, message)) = self.refuse.filter(|(kind, _)| *kind == create.kind) {
                    return Err(Error::Refused { code: 403, message: message.into() });
                }
                let name = match self.create(create.kind, create.object) {
                    Err(Error::AlreadyExists { .. }) if create.or_exists => return Ok(()),
                    other => other?,
                };
                self.announce(create.announce.and_then(|announce| announce.success), &name);
            }
            Action::Patch(patch) => {
                self.patch(patch.kind, &patch.key, patch.subresource, &patch.body)?;
                self.announce(patch.announce.and_then(|announce| announce.success), &patch.key.name);
            }
            Action::Delete(delete) => {
                self.delete(delete.kind, &delete.key, &delete.uid);
                self.announce(delete.announce.and_then(|announce| announce.success), &delete.key.name);
            }
        }
        Ok(())
    }

    fn announce(&mut self, note: Option<crate::plan::Note>, name: &str) {
        if let Some(note) = note {
            self.events.push(format!("{} {}", note.reason, note.message.replace("{name}", name)));
        }
    }

    fn create(&mut self, kind: Kind, mut object: Value) -> Result<String, Error> {
        self.counter += 1;
        if object["metadata"]["name"].is_null() {
            let prefix = object["metadata"]["generateName"].as_str().unwrap_or("object-").to_owned();
            object["metadata"]["name"] = json!(format!("{prefix}{:03}", self.counter));
        }
        if kind.namespaced && object["metadata"]["namespace"].is_null() {
            object["metadata"]["namespace"] = json!("default");
        }
        let key = key_of(&object);
        if self.objects.contains_key(&(kind.plural, key.clone())) {
            return Err(Error::AlreadyExists { message: format!("{} {:?} already exists", kind.plural, key.name) });
        }
        object["apiVersion"] = json!(kind.api_version());
        object["kind"] = json!(kind.kind);
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = json!(format!("uid-{}", self.counter));
        }
        object["metadata"]["generation"] = json!(1);
        if object["metadata"]["creationTimestamp"].is_null() {
            object["metadata"]["creationTimestamp"] = json!(self.now);
        }
        if kind == kinds::POD && object["status"]["phase"].is_null() {
            object["status"]["phase"] = json!("Pending");
        }
        let name = key.name.to_string();
        self.store(kind, key, object);
        Ok(name)
    }

    fn patch(&mut self, kind: Kind, key: &ObjectKey, subresource: &str, body: &Value) -> Result<(), Error> {
        let missing = || Error::NotFound { message: format!("{} {key} not found", kind.plural) };
        let (_, object) = self.objects.get(&(kind.plural, key.clone())).ok_or_else(missing)?;
        let mut object = object.clone();
        for field in ["resourceVersion", "uid"] {
            let asked = &body["metadata"][field];
            if !asked.is_null() && *asked != object["metadata"][field] {
                return Err(Error::Conflict { message: format!("{} {key} has another {field}", kind.plural) });
            }
        }
        let before = object.clone();
        apply_merge_patch(&mut object, body);
        let fixed = if subresource.is_empty() { "status" } else { "spec" };
        match before.get(fixed) {
            Some(value) => object[fixed] = value.clone(),
            None => _ = object.as_object_mut().unwrap().remove(fixed),
        }
        if object == before {
            return Ok(());
        }
        if object["spec"] != before["spec"] {
            let generation = before["metadata"]["generation"].as_i64().unwrap_or(0);
            object["metadata"]["generation"] = json!(generation + 1);
        }
        let ended = object["metadata"]["deletionTimestamp"].is_string() && kind != kinds::POD;
        if ended && object["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty) {
            self.erase(kind, key);
        } else {
            self.store(kind, key.clone(), object);
        }
        Ok(())
    }

    fn delete(&mut self, kind: Kind, key: &ObjectKey, uid: &str) {
        let Some((_, object)) = self.objects.get(&(kind.plural, key.clone())) else { return };
        if !uid.is_empty() && object["metadata"]["uid"] != json!(uid) {
            return;
        }
        let mut object = object.clone();
        let held = object["metadata"]["finalizers"].as_array().is_some_and(|held| !held.is_empty());
        let graceful = kind == kinds::POD && !object["spec"]["nodeName"].is_null();
        if !held && !graceful {
            self.erase(kind, key);
        } else if object["metadata"]["deletionTimestamp"].is_null() {
            object["metadata"]["deletionTimestamp"] = json!(self.now);
            self.store(kind, key.clone(), object);
        }
    }

    fn store(&mut self, kind: Kind, key: ObjectKey, mut object: Value) {
        self.writes += 1;
        object["metadata"]["resourceVersion"] = json!(format!("{}", self.writes));
        self.objects.insert((kind.plural, key), (kind, object.clone()));
        self.caches.absorb(kind, &object.to_string());
    }
}

fn key_of(object: &Value) -> ObjectKey {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or("");
    ObjectKey::new(text("namespace"), text("name"))
}
