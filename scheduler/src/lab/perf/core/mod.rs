//! Workloads carried out on a scheduler and nothing else.

mod cluster;
mod objects;
mod timers;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::{Cluster, Which};
use crate::framework::Action;
use crate::object::{Name, PodInfo, PodSpec, Time};
use crate::schedule::{Outcome, Scheduler};
use timers::Timer;

/// How long pods may take to be scheduled, as upstream has it.
const PATIENCE: Duration = Duration::from_secs(600);
/// After how many attempts is looked whether time alone has moved pods on.
const ATTEMPTS_BETWEEN_TICKS: u32 = 64;

/// A scheduler that is told of objects directly, and whose bindings and preemptions come true at once.
///
/// Time is what its clock says. When there is nothing to do but to wait (for a back-off, or for what churns), that time is
/// skipped, and what it takes to read pods is not measured, so that only what the scheduler itself takes counts.
pub struct CoreCluster<'a> {
    scheduler: Scheduler,
    clock: &'a dyn Fn() -> Duration,
    skipped: Duration,
    pods: BTreeMap<Name, Tracked>,
    specs: HashMap<String, Arc<PodSpec>>,
    timers: Vec<Timer>,
    waiting: Option<Waiting>,
    collecting: Option<Collecting>,
    names: u64,
    attempts: u32,
}

struct Tracked {
    namespace: Name,
    labels: crate::object::Labels,
    scheduled: bool,
    attempted: bool,
}

struct Waiting {
    which: Which,
    attempted: bool,
    done: usize,
}

struct Collecting {
    which: Vec<Which>,
    start: Duration,
    scheduled: Vec<Duration>,
}

impl Which {
    fn has(&self, pod: &Tracked) -> bool {
        *self.namespace == *pod.namespace
            && self.labels.iter().all(|(key, value)| pod.labels.get(key).is_some_and(|own| own == value.as_str()))
    }
}

impl<'a> CoreCluster<'a> {
    /// A cluster without nodes. `clock` says how much time has passed since some fixed moment.
    #[must_use]
    pub fn new(scheduler: Scheduler, clock: &'a dyn Fn() -> Duration) -> Self {
        Self {
            scheduler,
            clock,
            skipped: Duration::ZERO,
            pods: BTreeMap::new(),
            specs: HashMap::new(),
            timers: Vec::new(),
            waiting: None,
            collecting: None,
            names: 0,
            attempts: 0,
        }
    }

    /// The scheduler.
    #[must_use]
    pub const fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }

    fn now(&self) -> Time {
        Time::UNIX_EPOCH.checked_add(self.elapsed()).unwrap_or(Time::MAX)
    }

    /// Does one thing, if there is one to be done now.
    fn pump(&mut self) -> Result<bool, String> {
        let elapsed = self.elapsed();
        if let Some(at) = self.timers.iter().position(|timer| timer.next <= elapsed) {
            self.fire(at)?;
            return Ok(true);
        }
        let now = self.now();
        self.attempts += 1;
        if self.attempts >= ATTEMPTS_BETWEEN_TICKS {
            self.attempts = 0;
            self.scheduler.tick(now);
        }
        let mut outcome = self.scheduler.schedule_one(now);
        if outcome.is_none() && self.scheduler.queue().next_flush().is_some_and(|due| due <= now) {
            self.scheduler.tick(now);
            outcome = self.scheduler.schedule_one(now);
        }
        let Some(outcome) = outcome else { return Ok(false) };
        match outcome {
            Outcome::Placed(placement) => {
                self.scheduler.binding(&placement).map_err(|status| status.message())?;
                self.scheduler.bound(&placement, now);
                self.scheduler.put_pod(placement.pod.clone(), now);
                self.mark(&placement.pod.uid, true);
            }
            Outcome::Failed(failure) => {
                self.mark(&failure.pod.uid, false);
                self.act(failure.actions);
            }
            Outcome::Waiting(_) | Outcome::Skipped { .. } | Outcome::Group(_) | Outcome::Consult(_) => {}
        }
        Ok(true)
    }

    /// Does what the scheduler asks for.
    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            let now = self.now();
            match action {
                Action::Preempt(preemption) => {
                    for victim in &preemption.victims {
                        self.delete(&victim.uid);
                    }
                    self.scheduler.preempted(&preemption.preemptor, &preemption.victims, Ok(()), now);
                }
                Action::UpdatePodStatus { pod, nominated_node_name: Some(node), .. }
                    if node != pod.nominated_node_name && self.pods.contains_key(&pod.uid) =>
                {
                    let pod = PodInfo { nominated_node_name: node, ..(*pod).clone() };
                    self.scheduler.put_pod(pod, now);
                }
                _ => {}
            }
        }
    }

    fn mark(&mut self, uid: &str, scheduled: bool) {
        let at = (self.clock)();
        let Some(pod) = self.pods.get_mut(uid) else { return };
        let news = (scheduled && !pod.scheduled, !pod.attempted && !pod.scheduled);
        pod.attempted = true;
        pod.scheduled |= scheduled;
        if let Some(waiting) = &mut self.waiting
            && waiting.which.has(pod)
            && (if waiting.attempted { news.1 } else { news.0 })
        {
            waiting.done += 1;
        }
        if news.0
            && let Some(collecting) = &mut self.collecting
            && collecting.which.iter().any(|which| which.has(pod))
        {
            collecting.scheduled.push(at.saturating_sub(collecting.start));
        }
    }

    fn delete(&mut self, uid: &Name) {
        let now = self.now();
        self.scheduler.remove_pod(uid, now);
        let Some(pod) = self.pods.remove(uid) else { return };
        if let Some(waiting) = &mut self.waiting
            && waiting.which.has(&pod)
            && (pod.scheduled || (waiting.attempted && pod.attempted))
        {
            waiting.done = waiting.done.saturating_sub(1);
        }
    }

    /// Works until something is so; time in which there is nothing to do is skipped.
    fn until(&mut self, what: &str, mut so: impl FnMut(&Self) -> bool) -> Result<(), String> {
        let end = self.elapsed() + PATIENCE;
        while !so(self) {
            if self.pump()? {
                continue;
            }
            let elapsed = self.elapsed();
            let flush = self.scheduler.queue().next_flush();
            let flush = flush.and_then(|due| Duration::try_from(due.duration_since(Time::UNIX_EPOCH)).ok());
            let next = self.timers.iter().map(|timer| timer.next).chain(flush).min();
            let next = next.ok_or_else(|| format!("{what}: nothing is left that could change that"))?;
            self.skipped += next.saturating_sub(elapsed).max(Duration::from_millis(1));
            if self.elapsed() > end {
                return Err(format!("{what}: not within {} s", PATIENCE.as_secs()));
            }
        }
        Ok(())
    }
}
