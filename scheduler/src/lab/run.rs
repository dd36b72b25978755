//! One run: a policy, a trace and a seed.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;

use super::plugin::{Books, Part, PolicyPlugin};
use super::{Ask, GpuNode, Policy, Trace, TypicalJobs, arrivals};
use crate::framework::{ExtensionPoint, Profile};
use crate::object::{
    Name, Node, NodeSelector, NodeSelectorTerm, PodInfo, PodSpec, RequiredNodeAffinity, Resources, Time,
};
use crate::plugins::{DefaultBinder, NodeAffinity, NodeResourcesFit, PrioritySort};
use crate::random::Random;
use crate::schedule::{Outcome, Scheduler, SchedulerConfig};
use kubewright_api::selector::{Operator, Requirement};

const MODEL: &str = "gpu-model";

/// What became of one run. Percentages are of all GPUs, unless they say otherwise.
///
/// As in the published results, values at a demand are means over the arrivals that bring it to that many percent,
/// rounded; so are the values at the end.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Run {
    /// The trace's name.
    pub workload: String,
    /// The policy's name.
    pub policy: String,
    /// From which the arrival order, the extra jobs and ties were drawn.
    pub seed: u64,
    /// How much of the GPUs was in use at the end.
    pub gpu_allocation_percent: f64,
    /// How much of the GPUs was idle at the end, and of no use to a typical job.
    pub gpu_fragmentation_percent: f64,
    /// How much of what was idle at the end was of no use to a typical job.
    pub gpu_fragmentation_of_idle_percent: f64,
    /// How much of the CPUs was in use at the end.
    pub cpu_allocation_percent: f64,
    /// How many jobs arrived.
    pub arrived: usize,
    /// How many jobs were placed.
    pub placed: usize,
    /// How many were not.
    pub failed: usize,
    /// How long the run took.
    pub seconds: f64,
    /// How it went as demand grew.
    pub curve: Vec<Point>,
    /// The jobs that were not placed, and why.
    #[serde(skip)]
    pub turned_away: Vec<TurnedAway>,
}

/// The state of the cluster when jobs for that many percent of its GPUs have arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Point {
    /// What has been asked for.
    pub arrived_percent: u32,
    /// What is in use.
    pub allocated_percent: f64,
    /// What is idle and of no use to a typical job.
    pub fragmented_percent: f64,
    /// The same, of what is idle.
    pub fragmented_of_idle_percent: f64,
}

/// A job that no node could take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnedAway {
    /// Its name in the trace.
    pub job: String,
    /// How many jobs had arrived before it.
    pub arrival: usize,
    /// What the scheduler says.
    pub why: String,
}

/// Jobs arrive until they ask for `demand` times the GPUs there are. Those that don't fit are turned away, and none ends.
///
/// # Panics
/// Never: the profile it builds is sound.
#[must_use]
pub fn run(trace: &Trace, policy: Box<dyn Policy>, seed: u64, demand: f64) -> Run {
    let policy: Arc<dyn Policy> = policy.into();
    let mut random = Random::new(seed);
    let order = arrivals::order(trace, demand, &mut random);
    let (kinds, names) = kinds(trace);
    let gpu_nodes = trace
        .nodes
        .iter()
        .map(|node| (Name::from(node.name.as_str()), GpuNode::idle(node.cpu, node.gpus, &node.model)));
    let asks = kinds.iter().map(|(ask, name)| (name.clone(), ask.clone())).collect();
    let books = Arc::new(Books::new(gpu_nodes.collect(), asks, random));
    let mut scheduler = scheduler(&policy, &books, seed);
    let now = Time::UNIX_EPOCH;
    for node in &trace.nodes {
        scheduler.put_node(node_of(node), now);
    }
    let specs: Vec<Arc<PodSpec>> =
        trace.jobs.iter().zip(&names).map(|(ask, name)| Arc::new(spec_of(ask, name))).collect();
    let mut result = Run { policy: policy.name().to_owned(), seed, arrived: order.len(), ..Run::default() };
    let mut gauge = Gauge::new(trace, &books);
    for (number, job) in order.iter().enumerate() {
        let uid = Name::from(number.to_string());
        let pod = PodInfo { name: uid.clone(), uid: uid.clone(), spec: specs[*job].clone(), ..PodInfo::default() };
        scheduler.put_pod(pod, now);
        match scheduler.schedule_one(now) {
            Some(Outcome::Placed(placement)) => {
                scheduler.bound(&placement, now);
                gauge.placed(placement.node(), &books);
                result.placed += 1;
            }
            Some(Outcome::Failed(failure)) => {
                let job = trace.names[*job].clone();
                result.turned_away.push(TurnedAway { job, arrival: number, why: failure.message.clone() });
            }
            _ => {}
        }
        if !scheduler.cache().is_assumed(&uid) {
            scheduler.remove_pod(&uid, now);
        }
        gauge.arrived(&trace.jobs[*job]);
    }
    result.failed = result.arrived - result.placed;
    gauge.finish(&mut result);
    result
}

/// Keeps count of the cluster as a whole.
struct Gauge {
    typical: TypicalJobs,
    capacity: f64,
    cpu_capacity: f64,
    /// What each node's part of the sums is: GPUs left, what of them is of no use, and CPUs left.
    parts: Vec<[f64; 3]>,
    sums: [f64; 3],
    arrived: f64,
    /// For each percent of demand: how many arrivals, and the sums of their three percentages.
    buckets: Vec<(u32, [f64; 3])>,
}

impl Gauge {
    #[allow(clippy::cast_precision_loss, reason = "thousandths of GPUs and cpus")]
    fn new(trace: &Trace, books: &Books) -> Self {
        let typical = TypicalJobs::of(trace);
        let mut parts = Vec::with_capacity(trace.nodes.len());
        books.each(|node| parts.push(part(&typical, node)));
        let sum = |at: usize| -> f64 { parts.iter().map(|part: &[f64; 3]| part[at]).sum() };
        let sums = [sum(0), sum(1), sum(2)];
        let capacity = trace.gpu_capacity().max(1) as f64;
        Self { typical, capacity, cpu_capacity: sums[2].max(1.0), parts, sums, arrived: 0.0, buckets: Vec::new() }
    }

    fn placed(&mut self, node: &str, books: &Books) {
        let found = books.named(node, |place, node| (place, part(&self.typical, node)));
        let Some((place, new)) = found else { return };
        for (sum, (old, new)) in self.sums.iter_mut().zip(self.parts[place].iter().zip(&new)) {
            *sum += new - old;
        }
        self.parts[place] = new;
    }

    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "percentages"
    )]
    fn arrived(&mut self, job: &Ask) {
        self.arrived += job.gpu_total() as f64;
        let percent = (100.0 * self.arrived / self.capacity).round_ties_even() as usize;
        if self.buckets.len() <= percent {
            self.buckets.resize(percent + 1, (0, [0.0; 3]));
        }
        let [left, useless, _] = self.sums;
        let now = [
            100.0 * (1.0 - left / self.capacity),
            100.0 * useless / self.capacity,
            if left > 0.0 { 100.0 * useless / left } else { 0.0 },
        ];
        let (count, sums) = &mut self.buckets[percent];
        *count += 1;
        sums.iter_mut().zip(now).for_each(|(sum, now)| *sum += now);
    }

    fn finish(self, result: &mut Run) {
        let reached = (0_u32..).zip(self.buckets).filter(|(_, (count, _))| *count > 0);
        let point = |(percent, (count, sums)): (u32, (u32, [f64; 3]))| {
            let [allocated, fragmented, of_idle] = sums.map(|sum| sum / f64::from(count));
            Point {
                arrived_percent: percent,
                allocated_percent: allocated,
                fragmented_percent: fragmented,
                fragmented_of_idle_percent: of_idle,
            }
        };
        result.curve = reached.map(point).collect();
        let last = result.curve.last().copied().unwrap_or_default();
        result.gpu_allocation_percent = last.allocated_percent;
        result.gpu_fragmentation_percent = last.fragmented_percent;
        result.gpu_fragmentation_of_idle_percent = last.fragmented_of_idle_percent;
        result.cpu_allocation_percent = 100.0 * (1.0 - self.sums[2] / self.cpu_capacity);
    }
}

#[allow(clippy::cast_precision_loss, reason = "thousandths of GPUs and cpus")]
fn part(typical: &TypicalJobs, node: &GpuNode) -> [f64; 3] {
    [node.gpu_left() as f64, typical.fragmentation(node), node.cpu_left as f64]
}

/// Every kind of job with a name, and each job's kind.
fn kinds(trace: &Trace) -> (HashMap<Ask, Name>, Vec<Name>) {
    let mut kinds: HashMap<Ask, Name> = HashMap::new();
    let mut names = Vec::new();
    for job in &trace.jobs {
        let number = kinds.len();
        let name = kinds.entry(job.clone()).or_insert_with(|| format!("kind-{number}:latest").into());
        names.push(name.clone());
    }
    (kinds, names)
}

fn node_of(node: &super::trace::TraceNode) -> Node {
    Node {
        name: node.name.as_str().into(),
        labels: [(MODEL, node.model.as_str())].into_iter().collect(),
        allocatable: Resources {
            cpu: node.cpu,
            memory: node.memory_mib << 20,
            pods: i64::from(u32::MAX),
            ..Resources::default()
        },
        ..Node::default()
    }
}

fn spec_of(ask: &Ask, kind: &Name) -> PodSpec {
    let requests = Resources { cpu: ask.cpu, memory: ask.memory_mib << 20, ..Resources::default() };
    let model = || Requirement { key: MODEL.to_owned(), operator: Operator::In, values: ask.models.clone() };
    let models = (!ask.models.is_empty())
        .then(|| NodeSelector { node_selector_terms: vec![NodeSelectorTerm::new(vec![model()], Vec::new())] });
    PodSpec {
        scheduler_name: "lab".into(),
        images: vec![kind.clone()],
        requests_nonzero: requests.clone(),
        requests,
        required_nodes: RequiredNodeAffinity { affinity: models, ..RequiredNodeAffinity::default() },
        ..PodSpec::default()
    }
}

fn scheduler(policy: &Arc<dyn Policy>, books: &Arc<Books>, seed: u64) -> Scheduler {
    let mut profile = Profile::builder("lab")
        .with(Arc::new(PrioritySort), 0)
        .with(Arc::new(DefaultBinder), 0)
        .with_at(ExtensionPoint::PreFilter, Arc::new(NodeAffinity::default()), 0)
        .with_at(ExtensionPoint::Filter, Arc::new(NodeAffinity::default()), 0)
        .with_at(ExtensionPoint::Filter, Arc::new(NodeResourcesFit::default()), 0)
        .percentage_of_nodes_to_score(Some(100));
    for (part, weight) in Part::of(&**policy) {
        let plugin = PolicyPlugin { policy: policy.clone(), books: books.clone(), part: *part };
        profile = profile.with(Arc::new(plugin), *weight);
    }
    let profile = profile.build().expect("the lab's profile has a queue order, a binder and weights");
    let config = SchedulerConfig { seed, ..SchedulerConfig::default() };
    Scheduler::new(config, vec![profile]).expect("one profile")
}
