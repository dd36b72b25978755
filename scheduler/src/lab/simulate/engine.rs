//! The simulation itself.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

use super::gauge::Gauge;
use super::{Autoscaler, Resize, Sight, SimResult, SimWorkload, Unplaced};
use crate::framework::{Action, Profile};
use crate::lab::parallel::in_parallel;
use crate::object::{Name, Node, PodInfo, Time};
use crate::schedule::{Outcome, Scheduler, SchedulerConfig, SchedulerError};

/// How a simulation is run.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// From which ties are drawn.
    pub seed: u64,
    /// How often the cluster is looked at.
    pub sample_every: Duration,
    /// When to stop; when nothing happens any more, if it isn't said.
    pub until: Option<Duration>,
}

impl Default for SimConfig {
    /// Seed 0, a look each minute, to the end.
    fn default() -> Self {
        Self { seed: 0, sample_every: Duration::from_secs(60), until: None }
    }
}

/// How long a simulation goes on when nothing is left to happen but that pods are tried again.
const LINGER: Duration = Duration::from_secs(900);

enum Event {
    Arrive(usize),
    End { pod: Name, life: u64 },
    Fail(usize),
    Return(Arc<Node>),
    Come(Arc<Node>),
    Look,
    Flush,
}

/// A pod in the simulation.
struct Life {
    job: usize,
    pod: Arc<PodInfo>,
    since: Duration,
    node: Option<Name>,
    /// Which of its lives this is.
    life: u64,
    why: String,
}

struct Simulation<'a> {
    workload: &'a SimWorkload,
    config: &'a SimConfig,
    scheduler: Scheduler,
    autoscaler: Option<&'a mut dyn Autoscaler>,
    gauge: Gauge,
    events: BinaryHeap<Reverse<(Duration, u64, usize)>>,
    happenings: Vec<Option<Event>>,
    lives: BTreeMap<Name, Life>,
    now: Duration,
    /// How many events are due that are not just looking.
    real: usize,
    /// When such an event happened last, or a pod was placed.
    last_news: Duration,
    flush_due: Option<Duration>,
    lives_begun: u64,
    coming: usize,
    waits: Vec<f64>,
    result: SimResult,
}

/// Runs a workload. Time is virtual: it jumps from one event to the next.
///
/// # Errors
/// The profiles don't make a scheduler.
pub fn simulate<'a>(
    workload: &'a SimWorkload,
    config: &'a SimConfig,
    profiles: Vec<Profile>,
    autoscaler: Option<&'a mut dyn Autoscaler>,
) -> Result<SimResult, SchedulerError> {
    let settings = SchedulerConfig { seed: config.seed, ..SchedulerConfig::default() };
    let mut simulation = Simulation {
        workload,
        config,
        scheduler: Scheduler::new(settings, profiles)?,
        autoscaler,
        gauge: Gauge::new(workload),
        events: BinaryHeap::new(),
        happenings: Vec::new(),
        lives: BTreeMap::new(),
        now: Duration::ZERO,
        real: 0,
        last_news: Duration::ZERO,
        flush_due: None,
        lives_begun: 0,
        coming: 0,
        waits: Vec::new(),
        result: SimResult { seed: config.seed, ..SimResult::default() },
    };
    simulation.begin();
    while simulation.step() {}
    Ok(simulation.finish())
}

/// What one of several simulations is run with: its settings, profiles and autoscaler.
pub type Setup = (SimConfig, Vec<Profile>, Option<Box<dyn Autoscaler>>);

/// Runs several simulations, as many at a time as there are processors; results are in their order. `make` makes each one's
/// settings, profiles and autoscaler; `done` hears of each result.
///
/// # Errors
/// The profiles of one don't make a scheduler.
pub fn simulate_all(
    workload: &SimWorkload,
    count: usize,
    make: &(dyn Fn(usize) -> Setup + Sync),
    done: &(dyn Fn(&SimResult) + Sync),
) -> Result<Vec<SimResult>, SchedulerError> {
    let work = |number: usize| {
        let (config, profiles, mut autoscaler) = make(number);
        let autoscaler = autoscaler.as_mut().map(|own| &mut **own as &mut dyn Autoscaler);
        let result = simulate(workload, &config, profiles, autoscaler)?;
        done(&result);
        Ok(result)
    };
    in_parallel(count, &work).into_iter().collect()
}

impl Simulation<'_> {
    fn begin(&mut self) {
        let time = self.time();
        for node in &self.workload.nodes {
            self.scheduler.put_node(node.clone(), time);
        }
        for (at, job) in self.workload.jobs.iter().enumerate() {
            self.schedule(job.at, Event::Arrive(at));
        }
        for (at, outage) in self.workload.outages.iter().enumerate() {
            self.schedule(outage.at, Event::Fail(at));
        }
        self.schedule(Duration::ZERO, Event::Look);
    }

    fn time(&self) -> Time {
        Time::UNIX_EPOCH.checked_add(self.now).unwrap_or(Time::MAX)
    }

    fn schedule(&mut self, at: Duration, event: Event) {
        self.real += usize::from(!matches!(event, Event::Look | Event::Flush));
        let number = self.happenings.len();
        self.happenings.push(Some(event));
        self.events.push(Reverse((at, number as u64, number)));
    }

    /// Does what happens next, and lets the scheduler act on it.
    fn step(&mut self) -> bool {
        let Some(Reverse((at, _, number))) = self.events.pop() else { return false };
        if self.config.until.is_some_and(|until| at > until) {
            return false;
        }
        self.now = at;
        self.take(number);
        while let Some(Reverse((next, ..))) = self.events.peek()
            && *next == at
            && let Some(Reverse((_, _, number))) = self.events.pop()
        {
            self.take(number);
        }
        self.decide();
        self.real > 0 || self.hopes()
    }

    /// Whether something happened lately that may yet place a pod that waits, or move the autoscaler.
    fn hopes(&self) -> bool {
        let waits = || self.lives.values().any(|life| life.node.is_none());
        self.now.saturating_sub(self.last_news) <= LINGER && (self.autoscaler.is_some() || waits())
    }

    fn take(&mut self, number: usize) {
        let Some(event) = self.happenings[number].take() else { return };
        if !matches!(event, Event::Look | Event::Flush) {
            self.real -= 1;
            self.last_news = self.now;
        }
        self.happen(event);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive(job) => {
                for replica in 0..self.workload.jobs[job].replicas {
                    let name = Name::from(format!("{}-{replica}", self.workload.jobs[job].name));
                    self.arrive(name, job);
                }
            }
            Event::End { pod, life } => {
                if self.lives.get(&pod).is_some_and(|known| known.life == life) {
                    self.lives.remove(&pod);
                    self.result.ended += 1;
                    let time = self.time();
                    self.scheduler.remove_pod(&pod, time);
                }
            }
            Event::Fail(at) => {
                let outage = &self.workload.outages[at];
                let node = self.scheduler.snapshot().node(&outage.node).map(|info| info.node.clone());
                if let Some(node) = node {
                    self.lose_node(&node.name);
                    if let Some(duration) = outage.duration {
                        self.schedule(self.now + duration, Event::Return(node));
                    }
                }
            }
            Event::Return(node) => {
                let time = self.time();
                self.scheduler.put_node(node, time);
            }
            Event::Come(node) => {
                let time = self.time();
                self.coming -= 1;
                self.scheduler.put_node(node, time);
            }
            Event::Look => self.look(),
            Event::Flush => {
                self.flush_due = None;
                let time = self.time();
                self.scheduler.tick(time);
            }
        }
    }

    fn arrive(&mut self, name: Name, job: usize) {
        let template = &self.workload.jobs[job].pod;
        let pod = PodInfo { name: name.clone(), uid: name.clone(), node_name: Name::default(), ..(**template).clone() };
        let pod = Arc::new(pod);
        self.lives_begun += 1;
        let (life, since) = (self.lives_begun, self.now);
        self.lives.insert(name, Life { job, pod: pod.clone(), since, node: None, life, why: String::new() });
        self.result.arrived += 1;
        let time = self.time();
        self.scheduler.put_pod(pod, time);
    }

    /// A pod lost its node: it arrives anew.
    fn lose_pod(&mut self, name: &Name) {
        let Some(life) = self.lives.remove(name) else { return };
        let time = self.time();
        self.scheduler.remove_pod(name, time);
        self.result.moves += 1;
        self.arrive(name.clone(), life.job);
    }

    fn lose_node(&mut self, name: &Name) {
        let time = self.time();
        let on_it = |life: &&Life| life.node.as_ref() == Some(name);
        let lost: Vec<Name> = self.lives.values().filter(on_it).map(|life| life.pod.name.clone()).collect();
        self.scheduler.remove_node(name, time);
        for pod in lost {
            self.lose_pod(&pod);
        }
    }

    /// Places what can be placed now.
    fn decide(&mut self) {
        let time = self.time();
        while let Some(outcome) = self.scheduler.schedule_one(time) {
            match outcome {
                Outcome::Placed(placement) => {
                    self.scheduler.bound(&placement, time);
                    self.scheduler.put_pod(placement.pod.clone(), time);
                    self.placed(&placement.pod);
                }
                Outcome::Failed(failure) => {
                    if let Some(life) = self.lives.get_mut(&failure.pod.uid) {
                        life.why.clone_from(&failure.message);
                    }
                    self.act(failure.actions);
                }
                _ => {}
            }
        }
        let due = self.scheduler.queue().next_flush();
        let due = due.and_then(|due| Duration::try_from(due.duration_since(Time::UNIX_EPOCH)).ok());
        if let Some(due) = due.map(|due| due.max(self.now + Duration::from_millis(1)))
            && self.flush_due.is_none_or(|known| due < known)
        {
            self.flush_due = Some(due);
            self.schedule(due, Event::Flush);
        }
    }

    fn placed(&mut self, pod: &PodInfo) {
        let Some(life) = self.lives.get_mut(&pod.uid) else { return };
        life.node = Some(pod.node_name.clone());
        self.last_news = self.now;
        self.result.placed += 1;
        self.waits.push(self.now.saturating_sub(life.since).as_secs_f64());
        let (number, job) = (life.life, life.job);
        if let Some(duration) = self.workload.jobs[job].duration {
            self.schedule(self.now + duration, Event::End { pod: pod.uid.clone(), life: number });
        }
    }

    fn act(&mut self, actions: Vec<Action>) {
        let time = self.time();
        for action in actions {
            match action {
                Action::Preempt(preemption) => {
                    for victim in &preemption.victims {
                        self.lose_pod(&victim.uid);
                    }
                    self.scheduler.preempted(&preemption.preemptor, &preemption.victims, Ok(()), time);
                }
                Action::UpdatePodStatus { pod, nominated_node_name: Some(node), .. }
                    if node != pod.nominated_node_name && self.lives.contains_key(&pod.uid) =>
                {
                    self.scheduler.put_pod(PodInfo { nominated_node_name: node, ..(*pod).clone() }, time);
                }
                _ => {}
            }
        }
    }

    /// Writes down how things are; returns what waits, and since when.
    fn sample(&mut self) -> Vec<(Arc<PodInfo>, Duration)> {
        let waiting: Vec<(Arc<PodInfo>, Duration)> =
            self.lives.values().filter(|life| life.node.is_none()).map(|life| (life.pod.clone(), life.since)).collect();
        let mut demand: BTreeMap<&str, [i64; 2]> = BTreeMap::new();
        for life in self.lives.values() {
            let cpu = life.pod.spec.requests.cpu;
            let [asked, got] = demand.entry(self.workload.jobs[life.job].owner.as_str()).or_default();
            *asked += cpu;
            *got += if life.node.is_some() { cpu } else { 0 };
        }
        let sample = self.gauge.look(self.now, self.scheduler.snapshot(), &waiting, &demand, self.result.moves);
        self.result.samples.push(sample);
        waiting
    }

    fn look(&mut self) {
        let waiting = self.sample();
        let mut wanted = Vec::new();
        if let Some(autoscaler) = &mut self.autoscaler {
            let (snapshot, coming) = (self.scheduler.snapshot(), self.coming);
            wanted = autoscaler.decide(&Sight { now: self.now, snapshot, waiting: &waiting, coming });
        }
        for resize in wanted {
            match resize {
                Resize::Add { node, after } => {
                    self.coming += 1;
                    self.schedule(self.now + after, Event::Come(node));
                }
                Resize::Remove(node) => self.lose_node(&node),
            }
        }
        if self.real > 0 || self.hopes() {
            self.schedule(self.now + self.config.sample_every.max(Duration::from_millis(1)), Event::Look);
        }
    }

    fn finish(mut self) -> SimResult {
        if self.result.samples.last().is_none_or(|last| last.seconds < self.now.as_secs_f64()) {
            self.sample();
        }
        let mut result = std::mem::take(&mut self.result);
        result.seconds = self.now.as_secs_f64();
        result.running = self.lives.values().filter(|life| life.node.is_some()).count();
        for life in self.lives.values().filter(|life| life.node.is_none()) {
            let waited_seconds = self.now.saturating_sub(life.since).as_secs_f64();
            result.unplaced.push(Unplaced { pod: life.pod.name.to_string(), waited_seconds, why: life.why.clone() });
        }
        result.sum_up(self.waits);
        result
    }
}
