//! Running policies over traces.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::Serialize;

use super::plugin::{Books, PolicyPlugin};
use super::{Ask, GpuNode, Policy, Trace, TypicalJobs};
use crate::framework::{ExtensionPoint, Profile};
use crate::object::{
    Name, Node, NodeSelector, NodeSelectorTerm, PodInfo, PodSpec, RequiredNodeAffinity, Resources, Time,
};
use crate::plugins::{DefaultBinder, NodeAffinity, NodeResourcesFit, PrioritySort};
use crate::random::Random;
use crate::schedule::{Outcome, Scheduler, SchedulerConfig};
use kubewright_api::selector::{Operator, Requirement};

const MODEL: &str = "gpu-model";

/// Makes a policy for a trace.
pub type MakePolicy = fn(&Trace) -> Box<dyn Policy>;

/// What became of one run.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Run {
    /// The policy's name.
    pub policy: String,
    /// From which the arrival order, the extra jobs and ties were drawn.
    pub seed: u64,
    /// How much of all GPUs was in use at the end, in percent.
    pub gpu_allocation_percent: f64,
    /// How much of all GPUs was of no use to a typical job at the end, in percent.
    pub gpu_fragmentation_percent: f64,
    /// How many jobs were placed.
    pub placed: usize,
    /// How many were not.
    pub failed: usize,
    /// How long the run took; 0 unless whoever ran it measured that.
    pub seconds: f64,
}

/// Several runs.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Comparison {
    /// Policy by policy, seed by seed.
    pub runs: Vec<Run>,
}

/// Jobs arrive in a random order until they ask for `demand` times the GPUs there are; where the trace has fewer, jobs
/// drawn from it come again. Jobs that don't fit are turned away, and none ends.
///
/// # Panics
/// Never: the profile it builds is sound.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "GPUs in thousandths")]
pub fn run(trace: &Trace, policy: Box<dyn Policy>, seed: u64, demand: f64) -> Run {
    let policy: Arc<dyn Policy> = policy.into();
    let mut arrivals = Random::new(seed);
    let order = arrival_order(trace, demand, &mut arrivals);
    let (kinds, names) = kinds(trace);
    let gpu_nodes = trace.nodes.iter().map(|node| {
        let gpus_left = vec![1000; node.gpus];
        (Name::from(node.name.as_str()), GpuNode { cpu_left: node.cpu, cpu: node.cpu, gpus_left, ..GpuNode::default() })
    });
    let asks = kinds.iter().map(|(ask, name)| (name.clone(), ask.clone())).collect();
    let books = Arc::new(Books::new(gpu_nodes.collect(), asks, seed));
    let mut scheduler = scheduler(&policy, &books, seed);
    let now = Time::UNIX_EPOCH;
    for node in &trace.nodes {
        scheduler.put_node(node_of(node), now);
    }
    let specs: Vec<Arc<PodSpec>> =
        trace.jobs.iter().zip(&names).map(|(ask, name)| Arc::new(spec_of(ask, name))).collect();
    let (mut placed, mut failed) = (0, 0);
    for (number, job) in order.iter().enumerate() {
        let uid = Name::from(number.to_string());
        let pod = PodInfo { name: uid.clone(), uid: uid.clone(), spec: specs[*job].clone(), ..PodInfo::default() };
        scheduler.put_pod(pod, now);
        match scheduler.schedule_one(now) {
            Some(Outcome::Placed(placement)) => {
                scheduler.bound(&placement, now);
                placed += 1;
            }
            _ => failed += 1,
        }
        if !scheduler.cache().is_assumed(&uid) {
            scheduler.remove_pod(&uid, now);
        }
    }
    let capacity = trace.gpu_capacity().max(1) as f64;
    let nodes = books.nodes();
    let left: i64 = nodes.iter().map(GpuNode::gpu_left).sum();
    let typical = TypicalJobs::of(trace);
    let useless: f64 = nodes.iter().map(|node| typical.fragmentation(node)).sum();
    Run {
        policy: policy.name().to_owned(),
        seed,
        gpu_allocation_percent: 100.0 * (1.0 - left as f64 / capacity),
        gpu_fragmentation_percent: 100.0 * useless / capacity,
        placed,
        failed,
        seconds: 0.0,
    }
}

/// Runs every policy with every seed, as many at a time as there are processors. `done` hears of each run.
#[must_use]
pub fn compare(
    trace: &Trace,
    policies: &[MakePolicy],
    seeds: &[u64],
    demand: f64,
    done: &(dyn Fn(&Run) + Sync),
) -> Comparison {
    let tasks: Vec<(MakePolicy, u64)> =
        policies.iter().flat_map(|policy| seeds.iter().map(|seed| (*policy, *seed))).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut runs = Vec::new();
        while let Some((policy, seed)) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
            let run = run(trace, policy(trace), *seed, demand);
            done(&run);
            runs.push(run);
        }
        runs
    };
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(tasks.len().max(1));
    let mut runs: Vec<Run> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        handles.into_iter().flat_map(|handle| handle.join().unwrap_or_default()).collect()
    });
    let place = |run: &Run| {
        let made = policies.iter().position(|policy| policy(trace).name() == run.policy);
        (made, seeds.iter().position(|seed| *seed == run.seed))
    };
    runs.sort_by_key(place);
    Comparison { runs }
}

impl Comparison {
    /// A line for each policy: mean and range of what was allocated, and mean of what was fragmented.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a number of seeds")]
    pub fn table(&self) -> String {
        let mut table = format!("{:<16}{:>10}{:>10}{:>10}{:>12}\n", "policy", "mean %", "min %", "max %", "frag %");
        let mut policies: Vec<&str> = self.runs.iter().map(|run| run.policy.as_str()).collect();
        policies.dedup();
        for policy in policies {
            let runs: Vec<&Run> = self.runs.iter().filter(|run| run.policy == policy).collect();
            let of = |value: fn(&Run) -> f64| runs.iter().map(|run| value(run)).collect::<Vec<f64>>();
            let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
            let allocated = of(|run| run.gpu_allocation_percent);
            let least = allocated.iter().copied().fold(f64::INFINITY, f64::min);
            let most = allocated.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let fragmented = mean(&of(|run| run.gpu_fragmentation_percent));
            let allocated = mean(&allocated);
            let _ = writeln!(table, "{policy:<16}{allocated:>10.2}{least:>10.2}{most:>10.2}{fragmented:>12.2}");
        }
        table
    }
}

#[allow(clippy::cast_precision_loss, reason = "GPUs in thousandths")]
fn arrival_order(trace: &Trace, demand: f64, random: &mut Random) -> Vec<usize> {
    let enough = trace.gpu_capacity() as f64 * demand;
    let mut order: Vec<usize> = (0..trace.jobs.len()).collect();
    let mut asked: i64 = trace.jobs.iter().map(Ask::gpu_total).sum();
    while asked > 0 && (asked as f64) < enough {
        let again = random.below(trace.jobs.len());
        asked += trace.jobs[again].gpu_total();
        order.push(again);
    }
    for at in (1..order.len()).rev() {
        order.swap(at, random.below(at + 1));
    }
    order
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
    let plugin = |fine| Arc::new(PolicyPlugin { policy: policy.clone(), books: books.clone(), fine });
    let profile = Profile::builder("lab")
        .with(Arc::new(PrioritySort), 0)
        .with(Arc::new(DefaultBinder), 0)
        .with_at(ExtensionPoint::PreFilter, Arc::new(NodeAffinity::default()), 0)
        .with_at(ExtensionPoint::Filter, Arc::new(NodeAffinity::default()), 0)
        .with_at(ExtensionPoint::Filter, Arc::new(NodeResourcesFit::default()), 0)
        .with(plugin(false), 101)
        .with(plugin(true), 1)
        .percentage_of_nodes_to_score(Some(100))
        .build()
        .expect("the lab's profile has a queue order, a binder and weights");
    let config = SchedulerConfig { seed, ..SchedulerConfig::default() };
    Scheduler::new(config, vec![profile]).expect("one profile")
}
