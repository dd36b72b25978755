//! The priority levels and flow schemas that are in force, and the way through them.

mod observe;
mod seat;
mod spec;

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::demand::{Bounds, Shares, bounds, share_out, target};
use super::metrics::{FairnessMetrics, Meter};
use super::queues::{Arrival, QueueSet, Treatment, Width};
use super::retry::RetryAfter;
use super::schema::Schema;
use crate::bootstrap::flow_control;
use crate::request::{RequestInfo, User};
pub(super) use observe::{LevelObserver, SchemaObserver};
pub(super) use seat::Seat;
use spec::LevelSpec;

/// How long a request waits for its turn at most that has no time allotted; else a quarter of that.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(15);

struct Waiting {
    queues: QueueSet,
    waiters: HashMap<u64, (oneshot::Sender<()>, Meter)>,
    bounds: Bounds,
    retry: RetryAfter,
}

impl Waiting {
    /// Lets these start; one that has gone meanwhile gives its place up by itself.
    fn wake(&mut self, started: Vec<u64>) {
        for id in self.queues.unfit.drain(..) {
            if let Some((_, meter)) = self.waiters.get(&id) {
                meter.unfit();
            }
        }
        for id in started {
            if let Some((waiter, _)) = self.waiters.remove(&id) {
                let _ = waiter.send(());
            }
        }
    }
}

/// A level in force.
pub(super) struct Level {
    pub(super) name: String,
    pub(super) uid: String,
    hand: usize,
    state: Arc<Mutex<Waiting>>,
}

fn lock(state: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Level {
    /// The most seats that one request takes here; 0 for no limit of the level's own.
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "few seats"
    )]
    pub(super) fn seats_max(&self) -> usize {
        if self.hand == 0 {
            return 0;
        }
        let nominal = lock(&self.state).bounds.nominal;
        ((nominal as f64 * 0.15).ceil() as usize).min(nominal / self.hand).max(1)
    }
}

/// What is in force.
#[derive(Default)]
struct Table {
    /// In the order in which they are asked.
    schemas: Vec<(Arc<Schema>, Arc<Level>, Meter)>,
}

#[derive(Default)]
struct Objects {
    schemas: BTreeMap<String, Arc<Schema>>,
    levels: BTreeMap<String, LevelSpec>,
}

impl Objects {
    /// Those in force even where there are none.
    fn mandatory() -> Self {
        let mut objects = Self::default();
        for (_, resource, object) in flow_control::mandatory() {
            let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            if resource == "flowschemas" {
                objects.schemas.insert(name, Arc::new(Schema::read(&object)));
            } else {
                objects.levels.insert(name, LevelSpec::read(&object));
            }
        }
        objects
    }
}

/// Where a request belongs.
#[derive(Clone)]
pub(super) struct Class {
    pub(super) schema: Arc<Schema>,
    pub(super) level: Arc<Level>,
    pub(super) meter: Meter,
    hash: u64,
}

pub(super) struct Levels {
    /// How many seats the server has.
    seats: usize,
    start: Instant,
    next_id: AtomicU64,
    objects: Mutex<Objects>,
    mandatory: Objects,
    table: RwLock<Arc<Table>>,
    pub(super) metrics: FairnessMetrics,
    /// Objects changed: what they say of themselves may be out of date.
    pub(super) changed: Notify,
}

impl Levels {
    pub(super) fn new(seats: usize, metrics: FairnessMetrics) -> Arc<Self> {
        let levels = Arc::new(Self {
            seats,
            start: Instant::now(),
            next_id: AtomicU64::new(1),
            objects: Mutex::default(),
            mandatory: Objects::mandatory(),
            table: RwLock::default(),
            metrics,
            changed: Notify::new(),
        });
        levels.rebuild(&Objects::default());
        levels
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn table(&self) -> Arc<Table> {
        Arc::clone(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether a level of that name is there.
    pub(super) fn has_level(&self, name: &str) -> bool {
        let objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        objects.levels.contains_key(name) || matches!(name, "exempt" | "catch-all")
    }

    /// Puts in force what the objects say, and what no server may be without.
    fn rebuild(&self, objects: &Objects) {
        let mut schemas: Vec<Arc<Schema>> = objects.schemas.values().cloned().collect();
        let mut specs = objects.levels.clone();
        let missing = |(name, _): &(&String, &Arc<Schema>)| !objects.schemas.contains_key(*name);
        schemas.extend(self.mandatory.schemas.iter().filter(missing).map(|(_, schema)| Arc::clone(schema)));
        for (name, spec) in &self.mandatory.levels {
            specs.entry(name.clone()).or_insert_with(|| spec.clone());
        }
        schemas.sort_by(|a, b| (a.precedence, &a.name).cmp(&(b.precedence, &b.name)));
        let old = self.table();
        let shares: Vec<Shares> = specs.values().map(|spec| spec.shares).collect();
        let all = bounds(&shares, self.seats);
        let now = self.now();
        let mut levels: BTreeMap<String, Arc<Level>> = BTreeMap::new();
        for ((name, spec), bounds) in specs.iter().zip(all) {
            let before = old.schemas.iter().find(|(_, level, _)| level.name == *name).map(|(_, level, _)| &level.state);
            let state = before.map_or_else(
                || {
                    let queues = QueueSet::new(spec.treatment, bounds.nominal, now);
                    let retry = RetryAfter::default();
                    Arc::new(Mutex::new(Waiting { queues, waiters: HashMap::new(), bounds, retry }))
                },
                Arc::clone,
            );
            let mut locked = lock(&state);
            let limit = if locked.bounds == bounds { locked.queues.limit() } else { bounds.nominal };
            locked.bounds = bounds;
            self.metrics.limited(name, bounds, limit);
            let started = locked.queues.configure(spec.treatment, limit, now);
            locked.wake(started);
            drop(locked);
            let hand = if let Treatment::Queue { hand, .. } = spec.treatment { hand } else { 0 };
            let (name, uid) = (name.clone(), spec.uid.clone());
            levels.insert(name.clone(), Arc::new(Level { name, uid, hand, state }));
        }
        // A schema that refers to no level is as good as none.
        let known = |schema: Arc<Schema>| {
            let level = Arc::clone(levels.get(&schema.level)?);
            let meter = self.metrics.meter(&level.name, &schema.name);
            Some((schema, level, meter))
        };
        let schemas = schemas.into_iter().filter_map(known).collect();
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Table { schemas });
    }

    /// Where a request belongs.
    pub(super) fn classify(&self, user: &User, info: &RequestInfo) -> Option<Class> {
        let table = self.table();
        let catch_all = || table.schemas.iter().find(|(schema, ..)| schema.name == "catch-all");
        let found = table.schemas.iter().find(|(schema, ..)| schema.matches(user, info)).or_else(catch_all)?;
        let (schema, level, meter) = found.clone();
        // The same flow gets the same queues; nobody gains by knowing which.
        let mut hasher = DefaultHasher::new();
        (&schema.name, schema.flow(user, info)).hash(&mut hasher);
        Some(Class { schema, level, meter, hash: hasher.finish() })
    }

    /// Waits for the request's turn, no longer than `wait_max`. Gives its seat, which is given back when it is dropped, or
    /// after how many seconds to come again.
    pub(super) async fn enter(self: &Arc<Self>, class: &Class, width: Width, wait_max: Duration) -> Result<Seat, u64> {
        class.meter.estimated(width.seats());
        let (seat, mut turn) = match self.arrive(class, width)? {
            (seat, None) => return Ok(seat.taken(Duration::ZERO)),
            (seat, Some(turn)) => (seat, turn),
        };
        let since = Instant::now();
        let _queued = class.meter.waits(width.seats());
        let deadline = since + wait_max;
        loop {
            let release = lock(&class.level.state).queues.next_release().map(|at| self.start + at);
            let until = release.map_or(deadline, |at| at.min(deadline));
            tokio::select! {
                biased;
                _ = &mut turn => return Ok(seat.taken(since.elapsed())),
                () = tokio::time::sleep_until(until) => {}
            }
            if until < deadline {
                self.tick(&class.level);
            } else if let Some(seconds) = self.give_up(&class.level, seat.id) {
                return Err(self.refuse(class, "time-out", seconds, since.elapsed()));
            }
        }
    }

    /// The request's place: it runs, or waits for a word.
    fn arrive(self: &Arc<Self>, class: &Class, width: Width) -> Result<(Seat, Option<oneshot::Receiver<()>>), u64> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (state, now) = (&class.level.state, self.now());
        let mut locked = lock(state);
        let (arrival, started) = locked.queues.arrive(id, class.hash, width, now);
        if locked.queues.unfit.contains(&id) {
            class.meter.unfit();
        }
        locked.wake(started);
        if let Some(length) = locked.queues.last_length {
            class.meter.enqueued(length);
        }
        let turn = match arrival {
            Arrival::Runs => None,
            Arrival::Waits => {
                let (sender, turn) = oneshot::channel();
                locked.waiters.insert(id, (sender, class.meter.clone()));
                Some(turn)
            }
            Arrival::Refused(reason) => {
                let seconds = locked.retry.refused(now);
                drop(locked);
                return Err(self.refuse(class, reason, seconds, Duration::ZERO));
            }
        };
        drop(locked);
        let (levels, meter) = (Arc::clone(self), class.meter.clone());
        let (state, seats) = (Arc::clone(state), width.seats());
        Ok((Seat { levels, state, id, meter, seats, is_watch: false, runs: None }, turn))
    }

    /// Seats that lingered may be free now.
    fn tick(&self, level: &Level) {
        let now = self.now();
        let mut locked = lock(&level.state);
        let started = locked.queues.tick(now);
        locked.wake(started);
    }

    /// Takes a request out of its queue, and tells after how many seconds to come again; nothing if it may start.
    fn give_up(&self, level: &Level, id: u64) -> Option<u64> {
        let now = self.now();
        let mut locked = lock(&level.state);
        let (gave_up, started) = locked.queues.give_up(id, now);
        locked.wake(started);
        if !gave_up {
            return None;
        }
        locked.waiters.remove(&id);
        Some(locked.retry.refused(now))
    }

    fn refuse(&self, class: &Class, reason: &'static str, seconds: u64, waited: Duration) -> u64 {
        self.metrics.rejected(&class.level.name, &class.schema.name, reason, waited);
        seconds
    }

    /// Lends what levels leave free to those that need it; to be called every ten seconds.
    pub(super) fn adjust(&self) {
        let (table, now) = (self.table(), self.now());
        let mut levels: BTreeMap<&str, &Arc<Level>> = BTreeMap::new();
        for (_, level, _) in &table.schemas {
            levels.insert(&level.name, level);
        }
        let seen: Vec<_> = levels
            .values()
            .map(|level| {
                let mut locked = lock(&level.state);
                (locked.bounds, locked.queues.demand.take(now))
            })
            .collect();
        let sharing = share_out(&seen);
        self.metrics.shared(sharing.fair_fraction);
        for (((name, level), limit), (bounds, observed)) in levels.into_iter().zip(sharing.limits).zip(seen) {
            let mut locked = lock(&level.state);
            let treatment = locked.queues.treatment();
            let started = locked.queues.configure(treatment, limit, now);
            locked.wake(started);
            let progress = locked.queues.progress(now);
            drop(locked);
            self.metrics.limited(name, bounds, limit);
            self.metrics.adjusted(name, observed, target(&(bounds, observed)));
            if let Treatment::Queue { .. } = treatment {
                self.metrics.progressed(name, progress);
            }
        }
    }

    /// Whether no seat of any level is taken or waited for.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.table().schemas.iter().all(|(_, level, _)| {
            let locked = lock(&level.state);
            locked.queues.seats_in_use == 0 && locked.queues.seats_waiting == 0
        })
    }
}
