//! Room for pods of higher priority, at the expense of pods of lower.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::cache::NodeInfo;
use crate::framework::{
    Action, ActionType, Candidate, Code, CycleState, Diagnosis, EventResource, FitError, Hint, Interest, NodeStatuses,
    Plugin, PostFilterContext, PostFilterOutcome, PostFilterPlugin, Preemption, Status,
};
use crate::object::{Budget, Name, PodInfo, Time};

mod harm;
mod trials;

use harm::Harm;
use trials::{Chosen, Trials};

/// How many candidates [`DefaultPreemption`] weighs against each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultPreemptionArgs {
    /// At least so many percent of the nodes.
    pub min_candidate_nodes_percentage: usize,
    /// At least so many nodes.
    pub min_candidate_nodes_absolute: usize,
}

impl Default for DefaultPreemptionArgs {
    /// Upstream's: 10 % and 100.
    fn default() -> Self {
        Self { min_candidate_nodes_percentage: 10, min_candidate_nodes_absolute: 100 }
    }
}

/// Finds the node where the least harm is done to pods of lower priority by making room there.
#[derive(Clone, Debug, Default)]
pub struct DefaultPreemption {
    args: DefaultPreemptionArgs,
}

impl DefaultPreemption {
    /// A plugin with those settings.
    #[must_use]
    pub const fn new(args: DefaultPreemptionArgs) -> Self {
        Self { args }
    }

    fn candidates_wanted(&self, nodes: usize) -> usize {
        let share = nodes * self.args.min_candidate_nodes_percentage / 100;
        share.max(self.args.min_candidate_nodes_absolute).min(nodes)
    }
}

impl Plugin for DefaultPreemption {
    fn name(&self) -> &'static str {
        "DefaultPreemption"
    }

    /// A pod that is kept out while others go for it is let in again when pods go, if that is news for who rejected it.
    fn events(&self) -> Vec<Interest> {
        vec![Interest::hinted(EventResource::Pod, ActionType::DELETE, |_, _| Hint::Skip)]
    }

    fn post_filter(self: Arc<Self>) -> Option<Arc<dyn PostFilterPlugin>> {
        Some(self)
    }
}

impl PostFilterPlugin for DefaultPreemption {
    fn post_filter(
        &self,
        state: &CycleState,
        pod: &Arc<PodInfo>,
        mut context: PostFilterContext<'_>,
    ) -> PostFilterOutcome {
        if let Some(reason) = why_not_eligible(pod, &context) {
            let status = Status::unschedulable(format!("preemption: {reason}"));
            return PostFilterOutcome { status: Some(status), ..PostFilterOutcome::default() };
        }
        if let Some(kept) = context.kept.take().filter(|_| !context.candidates_wanted) {
            let trials = kept.get_or_insert_with(|| Trials::new(&context));
            return match trials.choose(self, state, pod, &mut context) {
                Chosen::Best(best) => preempt(pod, best, &context),
                Chosen::None(statuses) => not_helpful(statuses, &context),
                Chosen::NothingToTry => not_helpful(NodeStatuses::default(), &context),
            };
        }
        let (candidates, statuses) = self.find_candidates(state, pod, &mut context);
        if context.candidates_wanted && !candidates.is_empty() {
            return PostFilterOutcome { candidates, ..PostFilterOutcome::default() };
        }
        match pick(candidates) {
            Some(best) => preempt(pod, best, &context),
            None => not_helpful(statuses, &context),
        }
    }

    fn choose(
        &self,
        pod: &Arc<PodInfo>,
        candidates: Vec<Candidate>,
        context: PostFilterContext<'_>,
    ) -> Option<PostFilterOutcome> {
        Some(pick(candidates).map_or_else(
            || PostFilterOutcome {
                status: Some(Status::unschedulable("preemption: no candidate node for preemption")),
                ..PostFilterOutcome::default()
            },
            |best| preempt(pod, best, &context),
        ))
    }
}

/// The victims go, and the pod is promised their node.
fn preempt(pod: &Arc<PodInfo>, best: Candidate, context: &PostFilterContext<'_>) -> PostFilterOutcome {
    let lower = |other: &&Arc<PodInfo>| other.spec.priority < pod.spec.priority;
    let lower_nominated = context.nominator.on_node(&best.node).iter().filter(lower).cloned().collect();
    let Candidate { node, victims, .. } = &best;
    let (preemptor, node, victims) = (pod.clone(), node.clone(), victims.clone());
    let preemption = Preemption { preemptor, group: None, node, victims, lower_nominated };
    PostFilterOutcome {
        nominated_node_name: Some(best.node),
        actions: vec![Action::Preempt(preemption)],
        ..PostFilterOutcome::default()
    }
}

/// Nobody's going would help; these nodes said why.
fn not_helpful(statuses: NodeStatuses, context: &PostFilterContext<'_>) -> PostFilterOutcome {
    let mut error = FitError { nodes_total: context.snapshot.len(), diagnosis: Diagnosis::default() };
    error.diagnosis.nodes = statuses;
    error.diagnosis.nodes.set_absent(Status::unresolvable("Preemption is not helpful for scheduling"));
    PostFilterOutcome {
        nominated_node_name: Some(Name::default()),
        status: Some(Status::unschedulable(format!("preemption: {error}"))),
        ..PostFilterOutcome::default()
    }
}

/// Why a pod may not preempt others now.
fn why_not_eligible(pod: &PodInfo, context: &PostFilterContext<'_>) -> Option<&'static str> {
    if pod.spec.never_preempts {
        return Some("not eligible due to preemptionPolicy=Never.");
    }
    let promised = context.nominator.node_of(&pod.uid).unwrap_or(&pod.nominated_node_name);
    let node = context.snapshot.node(promised)?;
    if context.statuses.code(node.slot) == Code::UnschedulableAndUnresolvable {
        return None;
    }
    let going = |other: &Arc<PodInfo>| other.spec.priority < pod.spec.priority && goes_for_another(other);
    node.pods.iter().any(going).then_some("not eligible due to a terminating pod on the nominated node.")
}

/// Whether a pod is on its way out because of a preemption.
fn goes_for_another(pod: &PodInfo) -> bool {
    let preempted = |c: &crate::object::Condition| {
        c.kind == "DisruptionTarget" && c.status == "True" && c.reason == "PreemptionByScheduler"
    };
    pod.deletion_timestamp.is_some() && pod.conditions.iter().any(preempted)
}

impl DefaultPreemption {
    /// Tries nodes in turn from a random one on, until enough candidates are found.
    fn find_candidates(
        &self,
        state: &CycleState,
        pod: &Arc<PodInfo>,
        context: &mut PostFilterContext<'_>,
    ) -> (Vec<Candidate>, NodeStatuses) {
        let nodes = context.statuses.resolvable(context.snapshot);
        let mut statuses = NodeStatuses::default();
        let (mut harmless, mut harmful) = (Vec::new(), Vec::new());
        if nodes.is_empty() {
            return (harmless, statuses);
        }
        let wanted = self.candidates_wanted(nodes.len());
        let start = context.random.below(nodes.len());
        for node in nodes[start..].iter().chain(&nodes[..start]) {
            match try_node(state, pod, node, context) {
                Ok(candidate) if candidate.budget_violations == 0 => harmless.push(candidate),
                Ok(candidate) => harmful.push(candidate),
                Err(status) => statuses.set(node.slot, status),
            }
            if !harmless.is_empty() && harmless.len() + harmful.len() >= wanted {
                break;
            }
        }
        harmless.append(&mut harmful);
        (harmless, statuses)
    }
}

/// What comes of making room on a node, or why that does not help.
type Trial = Result<Candidate, Status>;

/// The victims on a node: all pods of lower priority but those that may stay after all, the more important first.
fn try_node(state: &CycleState, pod: &Arc<PodInfo>, node: &NodeInfo, context: &PostFilterContext<'_>) -> Trial {
    let profile = context.profile;
    let mut potential: Vec<Arc<PodInfo>> =
        node.pods.iter().filter(|other| other.spec.priority < pod.spec.priority).cloned().collect();
    if potential.is_empty() {
        return Err(Status::unresolvable("No preemption victims found for incoming pod"));
    }
    let (mut state, mut node) = (state.clone(), node.clone());
    for victim in &potential {
        node.remove_pod(&victim.uid);
        profile.run_remove_pod(&mut state, pod, victim, &node);
    }
    profile.run_filter_with_nominated(&state, pod, &node, context.nominator)?;
    potential.sort_by(|a, b| by_importance(a, b));
    let (violating, others) = split_by_budget(potential, context.snapshot.objects().budgets());
    let mixed = !violating.is_empty() && !others.is_empty();
    let mut victims = Vec::new();
    let mut budget_violations = 0;
    let violating = violating.into_iter().map(|victim| (victim, 1));
    for (victim, violation) in violating.chain(others.into_iter().map(|victim| (victim, 0))) {
        node.add_pod(victim.clone());
        profile.run_add_pod(&mut state, pod, &victim, &node);
        if profile.run_filter_with_nominated(&state, pod, &node, context.nominator).is_err() {
            node.remove_pod(&victim.uid);
            profile.run_remove_pod(&mut state, pod, &victim, &node);
            victims.push(victim);
            budget_violations += violation;
        }
    }
    if victims.is_empty() {
        return Err(Status::error(format!("expected at least one victim pod on node {:?}", &**node.name())));
    }
    if mixed {
        victims.sort_by(|a, b| by_importance(a, b));
    }
    Ok(Candidate { node: node.name().clone(), victims, budget_violations })
}

/// Higher priority first, then those that run longer.
fn by_importance(a: &PodInfo, b: &PodInfo) -> Ordering {
    let start = |pod: &PodInfo| pod.start_time.unwrap_or(Time::MAX);
    b.spec.priority.cmp(&a.spec.priority).then(start(a).cmp(&start(b))).then(a.uid.cmp(&b.uid))
}

type Pods = Vec<Arc<PodInfo>>;

/// Those whose going would break a disruption budget, and the others.
pub(crate) fn split_by_budget<'a>(pods: Pods, budgets: impl Iterator<Item = &'a Budget>) -> (Pods, Pods) {
    let mut budgets: Vec<(&Budget, i32)> = budgets.map(|budget| (budget, budget.disruptions_allowed)).collect();
    let breaks = |pod: &Arc<PodInfo>| {
        let mut breaks = false;
        for (budget, allowed) in &mut budgets {
            let protects = !pod.labels.is_empty()
                && budget.namespace == pod.namespace
                && !budget.selector.is_everything()
                && budget.selector.matches(&pod.labels)
                && !budget.disrupted_pods.contains(&pod.name);
            if protects {
                *allowed -= 1;
                breaks |= *allowed < 0;
            }
        }
        breaks
    };
    pods.into_iter().partition(breaks)
}

/// The candidate that does the least harm: fewest broken budgets, then the lowest highest priority, the lowest sum of
/// priorities, the fewest victims, and the victims of highest priority that run the shortest.
fn pick(candidates: Vec<Candidate>) -> Option<Candidate> {
    candidates.into_iter().min_by_key(Harm::of)
}

#[cfg(test)]
mod tests;
