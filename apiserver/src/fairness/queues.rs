//! The queues of one priority level: who runs, who waits and who is turned away. A state machine without clock or IO:
//! the time comes as an argument, and what may start is an answer.
//!
//! Queues share the level's seats fairly in virtual time. `r` is how far a queue would be that always had something to
//! run; each queue's `next_start` is where in that time its next request begins. The queue whose oldest request would
//! end first goes first. Work is measured in seconds times seats.

mod progress;
mod queue;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::time::Duration;

use super::demand::Demand;
use super::shuffle;
pub(super) use progress::Progress;
use queue::Queue;

/// What a request is expected to run for until it tells otherwise, in seconds.
const EXPECTED_SECONDS: f64 = 0.003;

/// How a level treats what can't run at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Treatment {
    /// Nothing ever waits.
    Exempt,
    /// It is turned away.
    Reject,
    /// It waits: in one of `hand` queues of its flow among `queues`, each no longer than `length_max`.
    Queue { queues: usize, hand: usize, length_max: usize },
}

/// How many seats a request takes: while it runs, and for how long after that while others deal with what it did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Width {
    pub(super) initial: usize,
    pub(super) last: usize,
    pub(super) linger: Duration,
}

impl Width {
    #[cfg(test)]
    pub(super) const ONE: Self = Self::of(1);

    pub(super) const fn of(initial: usize) -> Self {
        Self { initial, last: 0, linger: Duration::ZERO }
    }

    /// The most seats that it takes at a time.
    pub(super) fn seats(self) -> usize {
        self.initial.max(self.last)
    }

    #[allow(clippy::cast_precision_loss, reason = "seats are few")]
    fn work(self) -> f64 {
        self.initial as f64 * EXPECTED_SECONDS + self.last as f64 * self.linger.as_secs_f64()
    }
}

/// What becomes of a request that arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It runs.
    Runs,
    /// It waits until its number is among those that may start.
    Waits,
    /// It is turned away, for that reason in upstream's words.
    Refused(&'static str),
}

#[derive(Debug)]
struct Request {
    queue: Option<usize>,
    width: Width,
    /// When it arrived, in virtual time.
    arrived: f64,
    started: Option<Duration>,
}

/// The queues of one level.
#[derive(Debug)]
pub(super) struct QueueSet {
    treatment: Treatment,
    /// How many seats may be taken at a time.
    limit: usize,
    queues: Vec<Queue>,
    requests: HashMap<u64, Request>,
    /// Requests that are over but still take seats, with the time until when.
    lingering: Vec<(Duration, u64)>,
    robin: usize,
    arrivals: usize,
    r: f64,
    last: Duration,
    active_queues: usize,
    pub(super) seats_in_use: usize,
    pub(super) seats_waiting: usize,
    pub(super) executing: usize,
    pub(super) waiting: usize,
    pub(super) demand: Demand,
    /// Where the request stood in virtual time that was let run last, and how far virtual time was then.
    dispatched: (f64, f64),
    /// How often virtual time began anew.
    epochs: u64,
    /// Requests whose turn it was while too few seats were free, since they were last asked for.
    pub(super) unfit: Vec<u64>,
    /// How long the queue was that the last request came into, with it; nothing where there are no queues.
    pub(super) last_length: Option<usize>,
}

impl QueueSet {
    pub(super) fn new(treatment: Treatment, limit: usize, now: Duration) -> Self {
        let mut set = Self {
            treatment,
            limit,
            queues: Vec::new(),
            requests: HashMap::new(),
            lingering: Vec::new(),
            robin: 0,
            arrivals: 0,
            r: 0.0,
            last: now,
            active_queues: 0,
            seats_in_use: 0,
            seats_waiting: 0,
            executing: 0,
            waiting: 0,
            demand: Demand::new(now),
            dispatched: (0.0, 0.0),
            epochs: 0,
            unfit: Vec::new(),
            last_length: None,
        };
        let _ = set.configure(treatment, limit, now);
        set
    }

    /// Goes by another configuration from now on; gives what may start for it.
    pub(super) fn configure(&mut self, treatment: Treatment, limit: usize, now: Duration) -> Vec<u64> {
        self.advance(now);
        self.treatment = treatment;
        self.limit = limit;
        if let Treatment::Queue { queues, .. } = treatment {
            // Queues that are too many still empty; nothing new gets into them.
            let wanted = queues.max(self.queues.len());
            self.queues.resize_with(wanted, Queue::default);
        }
        self.trim();
        self.dispatch(now)
    }

    pub(super) const fn treatment(&self) -> Treatment {
        self.treatment
    }

    pub(super) const fn limit(&self) -> usize {
        self.limit
    }

    fn trim(&mut self) {
        let wanted = if let Treatment::Queue { queues, .. } = self.treatment { queues } else { 0 };
        // Requests that are over and linger still have their seats in their queue.
        let is_empty = |queue: &Queue| !queue.is_active() && queue.seats_in_use == 0;
        while self.queues.len() > wanted && self.queues.last().is_some_and(is_empty) {
            self.queues.pop();
        }
    }

    /// Virtual time goes on as if everything had been as it is since the last call.
    #[allow(clippy::cast_precision_loss, reason = "seats and queues are few")]
    fn advance(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.last).as_secs_f64();
        self.last = self.last.max(now);
        if self.active_queues == 0 {
            if self.requests.is_empty() {
                // Nothing is measured against it now, so that it starts afresh and never grows too large to be exact.
                self.epochs += u64::from(self.r > 0.0);
                self.r = 0.0;
            }
            return;
        }
        let seats = (self.seats_in_use + self.seats_waiting).min(self.limit);
        self.r += passed * seats as f64 / self.active_queues as f64;
    }

    fn note_demand(&mut self, now: Duration) {
        self.demand.note(self.seats_in_use + self.seats_waiting, now);
    }

    fn fits(&self, seats: usize) -> bool {
        match self.treatment {
            Treatment::Exempt => true,
            // What is wider than the level runs alone.
            _ if seats > self.limit => self.executing == 0,
            _ => self.seats_in_use + seats <= self.limit,
        }
    }

    /// A request of the flow with that hash arrives under a number of its own. What may start besides comes with it.
    pub(super) fn arrive(&mut self, id: u64, hash: u64, width: Width, now: Duration) -> (Arrival, Vec<u64>) {
        let mut started = self.tick(now);
        self.last_length = None;
        let Treatment::Queue { queues, hand, length_max } = self.treatment else {
            if !self.fits(width.seats()) {
                return (Arrival::Refused("concurrency-limit"), started);
            }
            let request = Request { queue: None, width, arrived: self.r, started: Some(now) };
            self.requests.insert(id, request);
            self.executing += 1;
            self.seats_in_use += width.seats();
            self.note_demand(now);
            return (Arrival::Runs, started);
        };
        let at = self.choose(hash, queues, hand);
        let queue = &mut self.queues[at];
        if self.seats_in_use >= self.limit && queue.waiting.len() >= length_max {
            return (Arrival::Refused("queue-full"), started);
        }
        if !queue.is_active() {
            queue.next_start = self.r;
            self.active_queues += 1;
        }
        queue.waiting.push_back(id);
        self.last_length = Some(queue.waiting.len());
        queue.waiting_work += width.work();
        queue.not_before(self.requests.get(&queue.waiting[0]).map_or(self.r, |request| request.arrived), now);
        self.requests.insert(id, Request { queue: Some(at), width, arrived: self.r, started: None });
        self.waiting += 1;
        self.seats_waiting += width.seats();
        self.note_demand(now);
        started.extend(self.dispatch(now));
        match started.iter().position(|other| *other == id) {
            Some(own) => {
                started.remove(own);
                (Arrival::Runs, started)
            }
            None => (Arrival::Waits, started),
        }
    }

    /// The queue of the flow's hand with the least work waiting; the hand is looked at from another card each time.
    fn choose(&mut self, hash: u64, queues: usize, hand: usize) -> usize {
        let dealt = shuffle::deal(hash, queues, hand);
        self.arrivals = self.arrivals.wrapping_add(1);
        let turned = (0..dealt.len()).map(|at| dealt[(at + self.arrivals) % dealt.len()]);
        let least = turned.min_by(|a, b| self.queues[*a].waiting_work.total_cmp(&self.queues[*b].waiting_work));
        least.unwrap_or_default()
    }

    /// A running request is over; gives what may start.
    pub(super) fn finish(&mut self, id: u64, now: Duration) -> Vec<u64> {
        let mut started = self.tick(now);
        let Some(request) = self.requests.get(&id) else { return started };
        let Some(since) = request.started else { return started };
        let width = request.width;
        self.executing -= 1;
        if let Some(at) = request.queue {
            let queue = &mut self.queues[at];
            queue.end(width, since, now);
            if let Some(oldest) = queue.waiting.front().and_then(|id| self.requests.get(id)) {
                queue.not_before(oldest.arrived, now);
            }
            self.active_queues -= usize::from(!queue.is_active());
        }
        if width.linger.is_zero() || width.last == 0 {
            self.release(id, now);
        } else {
            self.lingering.push((now + width.linger, id));
        }
        started.extend(self.dispatch(now));
        started
    }

    fn release(&mut self, id: u64, now: Duration) {
        let Some(request) = self.requests.remove(&id) else { return };
        self.seats_in_use -= request.width.seats();
        if let Some(queue) = request.queue.and_then(|at| self.queues.get_mut(at)) {
            queue.seats_in_use -= request.width.seats();
        }
        self.trim();
        self.note_demand(now);
    }

    /// A request that waits gives up; whether it did wait.
    pub(super) fn give_up(&mut self, id: u64, now: Duration) -> (bool, Vec<u64>) {
        let mut started = self.tick(now);
        let Some(request) = self.requests.get(&id).filter(|request| request.started.is_none()) else {
            return (false, started);
        };
        let width = request.width;
        if let Some(at) = request.queue {
            self.remove_waiting(at, id, width, now);
            self.active_queues -= usize::from(!self.queues[at].is_active());
        }
        self.requests.remove(&id);
        self.trim();
        self.note_demand(now);
        // It may have stood in the way of narrower ones.
        started.extend(self.dispatch(now));
        (true, started)
    }

    fn remove_waiting(&mut self, at: usize, id: u64, width: Width, now: Duration) {
        let queue = &mut self.queues[at];
        queue.waiting.retain(|other| *other != id);
        queue.waiting_work = if queue.waiting.is_empty() { 0.0 } else { queue.waiting_work - width.work() };
        if let Some(oldest) = queue.waiting.front().and_then(|id| self.requests.get(id)) {
            queue.not_before(oldest.arrived, now);
        }
        self.waiting -= 1;
        self.seats_waiting -= width.seats();
    }

    /// Time passes: gives what may start for seats that were still taken.
    pub(super) fn tick(&mut self, now: Duration) -> Vec<u64> {
        self.advance(now);
        if self.lingering.iter().all(|(until, _)| *until > now) {
            return Vec::new();
        }
        let over: Vec<u64> = self.lingering.extract_if(.., |(until, _)| *until <= now).map(|(_, id)| id).collect();
        for id in over {
            self.release(id, now);
        }
        self.dispatch(now)
    }

    /// When seats are given back by themselves next.
    pub(super) fn next_release(&self) -> Option<Duration> {
        self.lingering.iter().map(|(until, _)| *until).min()
    }

    fn dispatch(&mut self, now: Duration) -> Vec<u64> {
        let mut started = Vec::new();
        while self.waiting > 0 {
            let Some((at, id, width)) = self.next(now) else { break };
            if !self.fits(width.seats()) {
                self.unfit.push(id);
                break;
            }
            self.dispatched = (self.r, self.queues[at].start(now));
            self.remove_waiting(at, id, width, now);
            self.robin = at;
            if let Some(request) = self.requests.get_mut(&id) {
                request.started = Some(now);
            }
            self.queues[at].begin(width, now);
            self.executing += 1;
            self.seats_in_use += width.seats();
            started.push(id);
        }
        if !started.is_empty() {
            self.note_demand(now);
        }
        started
    }

    /// The oldest request of the queue where that would end first; among equals, of the queue after the last one's.
    fn next(&self, now: Duration) -> Option<(usize, u64, Width)> {
        let count = self.queues.len();
        let mut best: Option<(f64, usize, u64, Width)> = None;
        for step in 1..=count {
            let at = (self.robin + step) % count;
            let queue = &self.queues[at];
            let Some(id) = queue.waiting.front() else { continue };
            let Some(request) = self.requests.get(id) else { continue };
            let end = queue.start(now) + request.width.work();
            if best.is_none_or(|(least, ..)| end < least) {
                best = Some((end, at, *id, request.width));
            }
            if self.waiting == queue.waiting.len() {
                break;
            }
        }
        best.map(|(_, at, id, width)| (at, id, width))
    }
}
