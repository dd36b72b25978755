//! A profile: the plugins that place the pods of one scheduler name, and how they are run until a node is chosen.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use super::event::Verdict;
use super::observer::{Ended, SUCCESS};
use super::plugin::{
    BindPlugin, FilterPlugin, PermitPlugin, PostBindPlugin, PreBindPlugin, PreEnqueuePlugin, PreFilterPlugin,
    PreScorePlugin, QueueSortPlugin, ReservePlugin, ScorePlugin,
};
use super::post_filter::PostFilterPlugin;
use super::profile_builder::Entry;
use super::{
    Candidate, CycleState, Diagnosis, ExtensionPoint, Interest, NodeSubset, PostFilterContext, PostFilterOutcome,
    PreFilterOutcome, ProfileBuilder, Status, Watch,
};
use crate::cache::{NodeInfo, Snapshot};
use crate::object::{Name, PodInfo};
use crate::queue::{Nominator, QueueProfile};

/// The plugins that place the pods of one scheduler name.
pub struct Profile {
    pub(super) name: Name,
    pub(crate) percentage_of_nodes_to_score: Option<i32>,
    pub(crate) queue_sort: Arc<dyn QueueSortPlugin>,
    pub(super) pre_enqueue: Vec<Entry<dyn PreEnqueuePlugin>>,
    pub(crate) pre_filter: Vec<Entry<dyn PreFilterPlugin>>,
    pub(crate) filter: Vec<Entry<dyn FilterPlugin>>,
    pub(super) post_filter: Vec<Entry<dyn PostFilterPlugin>>,
    pub(crate) pre_score: Vec<Entry<dyn PreScorePlugin>>,
    pub(crate) score: Vec<Entry<dyn ScorePlugin>>,
    pub(super) reserve: Vec<Entry<dyn ReservePlugin>>,
    pub(super) permit: Vec<Entry<dyn PermitPlugin>>,
    pub(super) pre_bind: Vec<Entry<dyn PreBindPlugin>>,
    pub(super) bind: Vec<Entry<dyn BindPlugin>>,
    pub(super) post_bind: Vec<Entry<dyn PostBindPlugin>>,
    pub(super) interests: Vec<(Name, Vec<Interest>)>,
    pub(crate) places_gangs: bool,
    pub(crate) makes_room_for_gangs: bool,
    pub(crate) watch: Watch,
}

/// A PreFilter plugin, or several together, said no for the whole cluster.
pub(crate) struct Rejected {
    pub(crate) status: Status,
    pub(crate) plugins: BTreeSet<Name>,
}

/// The nodes that PreFilter plugins leave, if not all, and who narrowed them down.
pub(crate) type Narrowed = Result<(Option<NodeSubset>, BTreeSet<Name>), Rejected>;

impl Profile {
    /// Starts a profile for pods of that scheduler name.
    pub fn builder(name: impl Into<Name>) -> ProfileBuilder {
        ProfileBuilder::new(name.into())
    }

    /// The scheduler name.
    #[must_use]
    pub const fn name(&self) -> &Name {
        &self.name
    }

    /// The names of the plugins at an extension point, in order.
    #[must_use]
    pub fn plugins_at(&self, point: ExtensionPoint) -> Vec<&Name> {
        fn names<T: ?Sized>(entries: &[Entry<T>]) -> Vec<&Name> {
            entries.iter().map(|entry| &entry.name).collect()
        }
        match point {
            ExtensionPoint::PreEnqueue => names(&self.pre_enqueue),
            ExtensionPoint::QueueSort => Vec::new(),
            ExtensionPoint::PreFilter => names(&self.pre_filter),
            ExtensionPoint::Filter => names(&self.filter),
            ExtensionPoint::PostFilter => names(&self.post_filter),
            ExtensionPoint::PreScore => names(&self.pre_score),
            ExtensionPoint::Score => names(&self.score),
            ExtensionPoint::Reserve => names(&self.reserve),
            ExtensionPoint::Permit => names(&self.permit),
            ExtensionPoint::PreBind => names(&self.pre_bind),
            ExtensionPoint::Bind => names(&self.bind),
            ExtensionPoint::PostBind => names(&self.post_bind),
        }
    }

    /// What the queue needs to know; where there are `extenders`, any event is news for pods that they reject.
    pub(crate) fn queue_profile(&self, extenders: bool) -> QueueProfile {
        let pre_enqueue = self.pre_enqueue.iter().map(|entry| (entry.name.clone(), entry.plugin.clone())).collect();
        let mut interests = self.interests.clone();
        if extenders {
            let anything = Interest::any(super::EventResource::Any, super::ActionType::ALL);
            interests.push((super::EXTENDER.into(), vec![anything]));
        }
        let (places_gangs, watch) = (self.places_gangs, self.watch.clone());
        QueueProfile { name: self.name.clone(), pre_enqueue, interests, places_gangs, watch }
    }

    pub(crate) fn has_post_filter(&self) -> bool {
        !self.post_filter.is_empty()
    }

    /// How often plugins were called where upstream counts that: the extension point, the plugin, how often.
    pub fn evaluations(&self) -> impl Iterator<Item = (&'static str, &Name, u64)> {
        fn of<'a, T: ?Sized>(
            point: &'static str,
            all: &'a [Entry<T>],
        ) -> impl Iterator<Item = (&'static str, &'a Name, u64)> {
            all.iter().map(Entry::evaluations).map(move |(plugin, count)| (point, plugin, count))
        }
        let filters = of("PreFilter", &self.pre_filter).chain(of("Filter", &self.filter));
        filters.chain(of("PreScore", &self.pre_score)).chain(of("Score", &self.score))
    }

    /// Runs PreFilter plugins; gives the nodes left to look at and the plugins that narrowed them down.
    pub(crate) fn run_pre_filter(&self, state: &mut CycleState, pod: &PodInfo, snapshot: &Snapshot) -> Narrowed {
        let word = |result: &Narrowed| result.as_ref().map_or_else(|no| no.status.code().word(), |_| SUCCESS);
        self.watch.point("PreFilter", &self.name, word, || self.pre_filter_all(state, pod, snapshot))
    }

    fn pre_filter_all(&self, state: &mut CycleState, pod: &PodInfo, snapshot: &Snapshot) -> Narrowed {
        let mut subset: Option<NodeSubset> = None;
        let mut narrowing = BTreeSet::new();
        let mut unschedulable = None;
        state.skip_filter = 0;
        state.show(snapshot);
        for entry in &self.pre_filter {
            entry.count();
            let closely = state.closely;
            let run = || entry.plugin.pre_filter(state, pod, snapshot);
            match self.watch.plugin(closely, "PreFilter", &entry.name, pre_filter_word, run) {
                Ok(PreFilterOutcome::Skip) => state.skip_filter |= entry.bit(),
                Ok(PreFilterOutcome::AllNodes) => {}
                Ok(PreFilterOutcome::Nodes(nodes)) => {
                    narrowing.insert(entry.name.clone());
                    subset = Some(match subset {
                        Some(own) => own.intersection(&nodes).cloned().collect(),
                        None => nodes,
                    });
                    if subset.as_ref().is_some_and(BTreeSet::is_empty) {
                        return Err(Rejected { status: nothing_left(&narrowing), plugins: narrowing });
                    }
                }
                Err(status) if status.code() == super::Code::Unschedulable => {
                    unschedulable = Some(status.by(&entry.name));
                }
                Err(status) if status.is_rejection() => {
                    return Err(Rejected { status: status.by(&entry.name), plugins: BTreeSet::new() });
                }
                Err(status) => {
                    let status = Status::error(format!("running PreFilter plugin {:?}: {status}", &*entry.name));
                    return Err(Rejected { status: status.by(&entry.name), plugins: BTreeSet::new() });
                }
            }
        }
        match unschedulable {
            Some(status) => Err(Rejected { status, plugins: narrowing }),
            None => Ok((subset, narrowing)),
        }
    }

    /// Tells PreFilter plugins to judge as if another pod were on a node.
    pub fn run_add_pod(&self, state: &mut CycleState, pod: &PodInfo, added: &PodInfo, node: &NodeInfo) {
        for entry in self.pre_filter.iter().filter(|entry| state.skip_filter & entry.bit() == 0).collect::<Vec<_>>() {
            let closely = state.closely;
            let run = || entry.plugin.add_pod(state, pod, added, node);
            self.watch.plugin(closely, "PreFilterExtensionAddPod", &entry.name, |()| SUCCESS, run);
        }
    }

    /// Tells PreFilter plugins to judge as if a pod were gone.
    pub fn run_remove_pod(&self, state: &mut CycleState, pod: &PodInfo, removed: &PodInfo, node: &NodeInfo) {
        for entry in self.pre_filter.iter().filter(|entry| state.skip_filter & entry.bit() == 0).collect::<Vec<_>>() {
            let closely = state.closely;
            let run = || entry.plugin.remove_pod(state, pod, removed, node);
            self.watch.plugin(closely, "PreFilterExtensionRemovePod", &entry.name, |()| SUCCESS, run);
        }
    }

    /// Asks every Filter plugin about a node, until one says no.
    ///
    /// # Errors
    /// One did.
    pub fn run_filter(&self, state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Verdict {
        for entry in &self.filter {
            if state.skip_filter & entry.bit() != 0 {
                continue;
            }
            entry.count();
            let run = || entry.plugin.filter(state, pod, node);
            if let Err(status) = self.watch.plugin(state.closely, "Filter", &entry.name, Ended::word, run) {
                if status.is_rejection() {
                    return Err(status.by(&entry.name));
                }
                let message = format!("running {:?} filter plugin: {status}", &*entry.name);
                return Err(Status::error(message).by(&entry.name));
            }
        }
        Ok(())
    }

    /// Asks every Filter plugin about a node, however many say no.
    pub(crate) fn run_every_filter(&self, state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Vec<Status> {
        let asked = self.filter.iter().filter(|entry| state.skip_filter & entry.bit() == 0);
        asked.filter_map(|entry| Some(entry.plugin.filter(state, pod, node).err()?.by(&entry.name))).collect()
    }

    /// The same, as if the pods of no lower priority that were promised the node were there already; and, since they
    /// may yet go elsewhere, once more without them.
    ///
    /// # Errors
    /// One of the plugins said no.
    pub fn run_filter_with_nominated(
        &self,
        state: &CycleState,
        pod: &PodInfo,
        node: &NodeInfo,
        nominator: &Nominator,
    ) -> Verdict {
        let promised = nominator.on_node(node.name());
        let mut weighty =
            promised.iter().filter(|other| other.spec.priority >= pod.spec.priority && other.uid != pod.uid).peekable();
        if weighty.peek().is_some() {
            let (mut state, mut node) = (state.clone(), node.clone());
            for other in weighty {
                node.add_pod(other.clone());
                self.run_add_pod(&mut state, pod, other, &node);
            }
            self.run_filter(&state, pod, &node)?;
        }
        self.run_filter(state, pod, node)
    }

    /// Lets PostFilter plugins make room.
    pub(crate) fn run_post_filter(
        &self,
        state: &CycleState,
        pod: &Arc<PodInfo>,
        context: PostFilterContext<'_>,
    ) -> PostFilterOutcome {
        self.watch.point("PostFilter", &self.name, post_filter_word, || self.post_filter_all(state, pod, context))
    }

    fn post_filter_all(
        &self,
        state: &CycleState,
        pod: &Arc<PodInfo>,
        context: PostFilterContext<'_>,
    ) -> PostFilterOutcome {
        let PostFilterContext { mut kept, random, .. } = context;
        let mut merged = PostFilterOutcome::default();
        let mut reasons = Vec::new();
        for entry in &self.post_filter {
            let random = &mut *random;
            let context = PostFilterContext { random, kept: kept.as_deref_mut(), ..context };
            let run = || entry.plugin.post_filter(state, pod, context);
            let mut outcome = self.watch.plugin(state.closely, "PostFilter", &entry.name, post_filter_word, run);
            outcome.status = outcome.status.map(|status| status.by(&entry.name));
            match &outcome.status {
                Some(status) if status.code() == super::Code::Unschedulable => {
                    reasons.extend(status.reasons().iter().cloned());
                    merged.status.get_or_insert_with(|| status.clone());
                    if outcome.nominated_node_name.is_some() {
                        merged.nominated_node_name = outcome.nominated_node_name;
                    }
                    merged.actions.append(&mut outcome.actions);
                }
                _ => {
                    merged.actions.append(&mut outcome.actions);
                    return PostFilterOutcome { actions: merged.actions, ..outcome };
                }
            }
        }
        let plugin = merged.status.as_ref().and_then(Status::plugin).cloned();
        let status = Status::with_reasons(super::Code::Unschedulable, reasons);
        merged.status = Some(plugin.iter().fold(status, Status::by));
        merged
    }

    /// Lets the PostFilter plugin that named candidates choose from those that are left.
    pub(crate) fn run_choose(
        &self,
        pod: &Arc<PodInfo>,
        candidates: &[Candidate],
        context: PostFilterContext<'_>,
    ) -> PostFilterOutcome {
        let PostFilterContext { mut kept, random, .. } = context;
        let chosen = self.post_filter.iter().find_map(|entry| {
            let random = &mut *random;
            let context = PostFilterContext { random, kept: kept.as_deref_mut(), ..context };
            let mut outcome = entry.plugin.choose(pod, candidates.to_vec(), context)?;
            outcome.status = outcome.status.map(|status| status.by(&entry.name));
            Some(outcome)
        });
        chosen.unwrap_or_default()
    }

    /// Asks about every node, and keeps every answer.
    pub(crate) fn diagnose(
        &self,
        state: &CycleState,
        pod: &PodInfo,
        nodes: &[&NodeInfo],
        nominator: &Nominator,
    ) -> Diagnosis {
        let mut diagnosis = Diagnosis::default();
        for node in nodes {
            if let Err(status) = self.run_filter_with_nominated(state, pod, node, nominator) {
                diagnosis.blame(&status);
                diagnosis.nodes.set(node.slot, status);
            }
        }
        diagnosis
    }
}

fn pre_filter_word(result: &Result<PreFilterOutcome, Status>) -> &'static str {
    match result {
        Ok(PreFilterOutcome::Skip) => "Skip",
        Ok(_) => SUCCESS,
        Err(status) => status.code().word(),
    }
}

fn post_filter_word(outcome: &PostFilterOutcome) -> &'static str {
    outcome.status.as_ref().map_or(SUCCESS, |status| status.code().word())
}

fn nothing_left(plugins: &BTreeSet<Name>) -> Status {
    let names: Vec<&str> = plugins.iter().map(Name::as_str).collect();
    Status::unresolvable(match &names[..] {
        [one] => format!("node(s) didn't satisfy plugin {one}"),
        several => format!("node(s) didn't satisfy plugin(s) [{}] simultaneously", several.join(" ")),
    })
}

impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plugins: Vec<&Name> = self.interests.iter().map(|(name, _)| name).collect();
        f.debug_struct("Profile").field("name", &self.name).field("plugins", &plugins).finish_non_exhaustive()
    }
}
