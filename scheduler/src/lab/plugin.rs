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

    /// How good the node is, from 0 to 100, as the scores of all plugins are. It is only asked about nodes that can take
    /// the job.
    fn score(&self, ask: &Ask, node: &GpuNode) -> i64;

    /// Which of the nodes with the same score is better, from 0 to 100; none, unless a policy knows better.
    fn tie_break(&self, _ask: &Ask, _node: &GpuNode) -> i64 {
        0
    }

    /// Whether one of several equally good nodes is drawn each time. If not, nodes are put in an order, drawn once, and
    /// the first of the best is taken, so that ties fill one node after the other.
    fn draws_ties(&self) -> bool {
        false
    }

    /// Which GPUs to take: as many as the job asks for, each with enough left. Those with the least left, unless a
    /// policy knows better.
    fn pick(&self, ask: &Ask, node: &GpuNode, _random: &mut Random) -> Vec<usize> {
        node.tightest(ask).into_vec()
    }
}

/// The GPUs of all nodes, and what each pod asks of them.
pub(super) struct Books {
    nodes: Mutex<Vec<GpuNode>>,
    places: HashMap<Name, usize>,
    asks: HashMap<Name, Ask>,
    random: Mutex<Random>,
    /// How far a node is from the end of the order in which ties are resolved.
    ranks: Vec<usize>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Books {
    /// Nodes in the order of their slots; jobs by the name of the pod's kind.
    pub(super) fn new(nodes: Vec<(Name, GpuNode)>, asks: HashMap<Name, Ask>, mut random: Random) -> Self {
        let mut ranks: Vec<usize> = (0..nodes.len()).collect();
        random.shuffle(&mut ranks);
        let places = nodes.iter().enumerate().map(|(at, (name, _))| (name.clone(), at)).collect();
        let nodes = Mutex::new(nodes.into_iter().map(|(_, node)| node).collect());
        Self { nodes, places, asks, random: Mutex::new(random), ranks }
    }

    fn ask(&self, pod: &PodInfo) -> &Ask {
        // A job's kind is the first image of its pod: pods of a kind have equal specs.
        &self.asks[&pod.spec.images[0]]
    }

    fn on<T>(&self, slot: NodeSlot, look: impl FnOnce(&GpuNode) -> T) -> T {
        look(&locked(&self.nodes)[slot.at()])
    }

    /// Looks at every node, in order.
    pub(super) fn each(&self, look: impl FnMut(&GpuNode)) {
        locked(&self.nodes).iter().for_each(look);
    }

    /// Looks at the node of a name; its place comes along.
    pub(super) fn named<T>(&self, name: &str, look: impl FnOnce(usize, &GpuNode) -> T) -> Option<T> {
        let place = *self.places.get(name)?;
        Some(look(place, &locked(&self.nodes)[place]))
    }
}

/// What one of the plugins that make up a policy scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// What the policy says.
    Score,
    /// How it breaks ties.
    Tie,
    /// The order of nodes, which has more steps than a score: the first digit.
    Rank,
    /// The second digit.
    RankDigit,
}

/// How many scores there are.
const STEPS: i64 = SCORE_MAX + 1;

impl Part {
    /// The parts that a policy needs, each with a weight that makes it count less than one step of the part before.
    pub(super) fn of(policy: &dyn Policy) -> &'static [(Self, i64)] {
        const ALL: [(Part, i64); 4] = [
            (Part::Score, STEPS * STEPS * STEPS),
            (Part::Tie, STEPS * STEPS),
            (Part::Rank, STEPS),
            (Part::RankDigit, 1),
        ];
        if policy.draws_ties() { &ALL[..2] } else { &ALL }
    }
}

/// A plugin of a policy.
pub(super) struct PolicyPlugin {
    pub(super) policy: Arc<dyn Policy>,
    pub(super) books: Arc<Books>,
    pub(super) part: Part,
}

impl Plugin for PolicyPlugin {
    fn name(&self) -> &'static str {
        match self.part {
            Part::Score => "Policy",
            Part::Tie => "PolicyTies",
            Part::Rank => "NodeOrder",
            Part::RankDigit => "NodeOrderDigit",
        }
    }

    fn filter(self: Arc<Self>) -> Option<Arc<dyn FilterPlugin>> {
        if self.part == Part::Score { Some(self) } else { None }
    }

    fn score(self: Arc<Self>) -> Option<Arc<dyn ScorePlugin>> {
        Some(self)
    }

    fn reserve(self: Arc<Self>) -> Option<Arc<dyn ReservePlugin>> {
        if self.part == Part::Score { Some(self) } else { None }
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
    fn score(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo, _: &Snapshot) -> Result<i64, Status> {
        let books = &self.books;
        let rank = || i64::try_from(books.ranks[node.slot.at()]).unwrap_or(i64::MAX).min(STEPS * STEPS - 1);
        Ok(match self.part {
            Part::Score => books.on(node.slot, |node| self.policy.score(books.ask(pod), node)),
            Part::Tie => books.on(node.slot, |node| self.policy.tie_break(books.ask(pod), node)),
            Part::Rank => rank() / STEPS,
            Part::RankDigit => rank() % STEPS,
        })
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
        let gpus =
            if ask.gpus == 0 { Vec::new() } else { self.policy.pick(ask, node, &mut locked(&self.books.random)) };
        let distinct = gpus.iter().enumerate().all(|(at, gpu)| !gpus[..at].contains(gpu));
        let enough = gpus.iter().all(|gpu| node.gpus_left.get(*gpu).is_some_and(|left| *left >= ask.gpu_milli));
        if gpus.len() != ask.gpus || !distinct || !enough {
            return Err(Status::error(format!("policy {} picked GPUs that don't fit", self.policy.name())));
        }
        node.take(ask, &gpus);
        Ok(())
    }

    /// Nothing is ever taken back in a run: its bindings don't fail.
    fn unreserve(&self, _: &mut CycleState, _: &PodInfo, _: &Name) {}
}
