//! A policy as scheduler plugins.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Ask, GpuNode};
use crate::cache::{NodeInfo, NodeSlot, Snapshot};
use crate::framework::{CycleState, FilterPlugin, Plugin, ReservePlugin, SCORE_MAX, ScorePlugin, Status};
use crate::object::{Name, PodInfo};
use crate::random::Random;

/// Says how good a node is for a job, and which of its GPUs to take.
pub trait Policy: Send + Sync + 'static {
    /// What it is called in results.
    fn name(&self) -> &'static str;

    /// How good the node is, from 0 to 1. It is only asked about nodes that can take the job.
    fn score(&self, ask: &Ask, node: &GpuNode) -> f64;

    /// Which GPUs to take: as many as the job asks for, each with enough left. Those with the least left, unless a
    /// policy knows better.
    fn pick(&self, ask: &Ask, node: &GpuNode, _random: &mut Random) -> Vec<usize> {
        node.tightest(ask)
    }
}

/// The GPUs of all nodes, and what each pod asks of them.
pub(super) struct Books {
    nodes: Mutex<Vec<GpuNode>>,
    places: HashMap<Name, usize>,
    asks: HashMap<Name, Ask>,
    random: Mutex<Random>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Books {
    /// Nodes in the order of their slots; jobs by the name of the pod's kind.
    pub(super) fn new(nodes: Vec<(Name, GpuNode)>, asks: HashMap<Name, Ask>, seed: u64) -> Self {
        let places = nodes.iter().enumerate().map(|(at, (name, _))| (name.clone(), at)).collect();
        let nodes = Mutex::new(nodes.into_iter().map(|(_, node)| node).collect());
        Self { nodes, places, asks, random: Mutex::new(Random::new(seed)) }
    }

    pub(super) fn nodes(&self) -> Vec<GpuNode> {
        locked(&self.nodes).clone()
    }

    fn ask(&self, pod: &PodInfo) -> &Ask {
        // A job's kind is the first image of its pod: pods of a kind have equal specs.
        &self.asks[&pod.spec.images[0]]
    }

    fn on<T>(&self, slot: NodeSlot, look: impl FnOnce(&GpuNode) -> T) -> T {
        look(&locked(&self.nodes)[slot.at()])
    }
}

/// The policy's plugin. Scores have a hundred steps, which is too coarse for some policies: so there are two of it, of
/// which the second one tells what the first leaves over.
pub(super) struct PolicyPlugin {
    pub(super) policy: Arc<dyn Policy>,
    pub(super) books: Arc<Books>,
    pub(super) fine: bool,
}

impl Plugin for PolicyPlugin {
    fn name(&self) -> &'static str {
        if self.fine { "PolicyRemainder" } else { "Policy" }
    }

    fn filter(self: Arc<Self>) -> Option<Arc<dyn FilterPlugin>> {
        if self.fine { None } else { Some(self) }
    }

    fn score(self: Arc<Self>) -> Option<Arc<dyn ScorePlugin>> {
        Some(self)
    }

    fn reserve(self: Arc<Self>) -> Option<Arc<dyn ReservePlugin>> {
        if self.fine { None } else { Some(self) }
    }
}

impl FilterPlugin for PolicyPlugin {
    fn filter(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Result<(), Status> {
        let ask = self.books.ask(pod);
        if self.books.on(node.slot, |node| node.has_gpus_for(ask)) {
            Ok(())
        } else {
            Err(Status::unschedulable("Insufficient gpu"))
        }
    }

    fn is_node_local(&self, _: &PodInfo, _: &Snapshot) -> bool {
        true
    }
}

impl ScorePlugin for PolicyPlugin {
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "a score between 0 and 1 becomes whole steps"
    )]
    fn score(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo, _: &Snapshot) -> Result<i64, Status> {
        let ask = self.books.ask(pod);
        let score = self.books.on(node.slot, |node| self.policy.score(ask, node));
        if !(0.0..=1.0).contains(&score) {
            return Err(Status::error(format!("policy {} gave the score {score}", self.policy.name())));
        }
        // The small addend undoes what is lost when hundredths are not exact in binary.
        let steps = score * SCORE_MAX as f64 + 1e-9;
        Ok(if self.fine { (steps.fract() * SCORE_MAX as f64) as i64 } else { steps as i64 }.min(SCORE_MAX))
    }

    fn is_node_local(&self, _: &PodInfo, _: &Snapshot) -> bool {
        true
    }
}

impl ReservePlugin for PolicyPlugin {
    fn reserve(&self, _: &mut CycleState, pod: &PodInfo, node: &Name) -> Result<(), Status> {
        let ask = self.books.ask(pod);
        let mut nodes = locked(&self.books.nodes);
        let place = self.books.places.get(node).ok_or_else(|| Status::error("a node that isn't in the trace"))?;
        let node = &mut nodes[*place];
        let gpus = self.policy.pick(ask, node, &mut locked(&self.books.random));
        let enough = gpus.len() == ask.gpus && gpus.iter().all(|gpu| node.gpus_left[*gpu] >= ask.gpu_milli);
        if !enough {
            return Err(Status::error(format!("policy {} picked GPUs that don't fit", self.policy.name())));
        }
        node.take(ask, &gpus);
        Ok(())
    }

    /// Nothing is ever taken back in a run: its bindings don't fail.
    fn unreserve(&self, _: &mut CycleState, _: &PodInfo, _: &Name) {}
}
