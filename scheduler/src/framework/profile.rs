//! A profile: the plugins that place the pods of one scheduler name, and how they are run.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::event::Verdict;
use super::plugin::{
    BindPlugin, FilterPlugin, PermitPlugin, PluginRef, PostBindPlugin, PostFilterPlugin, PreBindPlugin,
    PreEnqueuePlugin, PreFilterPlugin, PreScorePlugin, QueueSortPlugin, ReservePlugin, ScorePlugin,
};
use super::{
    Action, BindOutcome, Candidate, CycleState, Diagnosis, Flow, Interest, NodeScore, NodeSubset, PermitOutcome,
    PluginScore, PostFilterContext, PostFilterOutcome, PreFilterOutcome, SCORE_MAX, Status,
};
use crate::cache::{NodeInfo, Objects, Snapshot};
use crate::object::{Name, Node, PodInfo};
use crate::queue::{Gangs, Nominator, QueueProfile};

/// A plugin at one extension point.
pub(crate) struct Entry<T: ?Sized> {
    pub(crate) id: u32,
    pub(crate) name: Name,
    pub(crate) weight: i64,
    pub(crate) plugin: Arc<T>,
}

impl<T: ?Sized> Entry<T> {
    const fn bit(&self) -> u64 {
        1 << self.id
    }
}

/// The extension points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "upstream's names, documented at the plugin traits")]
pub enum ExtensionPoint {
    PreEnqueue,
    QueueSort,
    PreFilter,
    Filter,
    PostFilter,
    PreScore,
    Score,
    Reserve,
    Permit,
    PreBind,
    Bind,
    PostBind,
}

impl ExtensionPoint {
    /// All of them, in the order in which they run.
    pub const ALL: [Self; 12] = [
        Self::PreEnqueue,
        Self::QueueSort,
        Self::PreFilter,
        Self::Filter,
        Self::PostFilter,
        Self::PreScore,
        Self::Score,
        Self::Reserve,
        Self::Permit,
        Self::PreBind,
        Self::Bind,
        Self::PostBind,
    ];

    /// Whether a plugin serves it.
    #[must_use]
    pub fn is_served_by(self, plugin: &PluginRef) -> bool {
        let p = || plugin.clone();
        match self {
            Self::PreEnqueue => p().pre_enqueue().is_some(),
            Self::QueueSort => p().queue_sort().is_some(),
            Self::PreFilter => p().pre_filter().is_some(),
            Self::Filter => p().filter().is_some(),
            Self::PostFilter => p().post_filter().is_some(),
            Self::PreScore => p().pre_score().is_some(),
            Self::Score => p().score().is_some(),
            Self::Reserve => p().reserve().is_some(),
            Self::Permit => p().permit().is_some(),
            Self::PreBind => p().pre_bind().is_some(),
            Self::Bind => p().bind().is_some(),
            Self::PostBind => p().post_bind().is_some(),
        }
    }
}

/// Why a profile cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// Exactly one plugin must order the queue.
    #[error("one queue sort plugin required for profile with scheduler name {profile:?}, found {found}")]
    QueueSort {
        /// The profile.
        profile: Name,
        /// How many there were.
        found: usize,
    },
    /// Somebody must bind.
    #[error("at least one bind plugin is needed for profile with scheduler name {0:?}")]
    NoBind(Name),
    /// A plugin is there twice.
    #[error("plugin {0:?} already registered")]
    Twice(Name),
    /// There are more plugins than a profile can hold.
    #[error("a profile can have at most 64 plugins")]
    TooMany,
    /// A plugin was asked to score with a weight that isn't positive.
    #[error("score plugin {0:?} is not configured with weight")]
    NoWeight(Name),
}

/// Collects the plugins of a profile.
#[derive(Clone, Default)]
pub struct ProfileBuilder {
    name: Name,
    percentage_of_nodes_to_score: Option<i32>,
    points: BTreeMap<ExtensionPoint, Vec<(PluginRef, i64)>>,
}

impl ProfileBuilder {
    /// Adds a plugin at every extension point that it serves, scoring with that weight.
    #[must_use]
    pub fn with(mut self, plugin: PluginRef, weight: i64) -> Self {
        for point in ExtensionPoint::ALL {
            if point.is_served_by(&plugin) {
                self.points.entry(point).or_default().push((plugin.clone(), weight));
            }
        }
        self
    }

    /// Adds a plugin at one extension point.
    #[must_use]
    pub fn with_at(mut self, point: ExtensionPoint, plugin: PluginRef, weight: i64) -> Self {
        self.points.entry(point).or_default().push((plugin, weight));
        self
    }

    /// Takes a plugin out everywhere.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        for plugins in self.points.values_mut() {
            plugins.retain(|(plugin, _)| plugin.name() != name);
        }
        self
    }

    /// Takes a plugin out at one extension point.
    #[must_use]
    pub fn without_at(mut self, point: ExtensionPoint, name: &str) -> Self {
        self.points.entry(point).or_default().retain(|(plugin, _)| plugin.name() != name);
        self
    }

    /// How many of the nodes to look for before scoring those found, in percent; 0 adapts to the number of nodes,
    /// `None` follows the scheduler's own setting.
    #[must_use]
    pub const fn percentage_of_nodes_to_score(mut self, percentage: Option<i32>) -> Self {
        self.percentage_of_nodes_to_score = percentage;
        self
    }

    /// Builds the profile.
    ///
    /// # Errors
    /// No queue order or more than one, nobody to bind, a plugin twice at one point, or a scorer without weight.
    pub fn build(&self) -> Result<Profile, ProfileError> {
        let mut ids: Vec<PluginRef> = Vec::new();
        for (plugin, _) in self.points.values().flatten() {
            if !ids.iter().any(|own| own.name() == plugin.name()) {
                ids.push(plugin.clone());
            }
        }
        if ids.len() > 64 {
            return Err(ProfileError::TooMany);
        }
        let plugins = Points { points: &self.points, ids: &ids };
        let mut sorts = plugins.at(ExtensionPoint::QueueSort, |p| p.queue_sort())?;
        if sorts.len() != 1 {
            return Err(ProfileError::QueueSort { profile: self.name.clone(), found: sorts.len() });
        }
        let profile = Profile {
            name: self.name.clone(),
            percentage_of_nodes_to_score: self.percentage_of_nodes_to_score,
            queue_sort: sorts.remove(0).plugin,
            pre_enqueue: plugins.at(ExtensionPoint::PreEnqueue, |p| p.pre_enqueue())?,
            pre_filter: plugins.at(ExtensionPoint::PreFilter, |p| p.pre_filter())?,
            filter: plugins.at(ExtensionPoint::Filter, |p| p.filter())?,
            post_filter: plugins.at(ExtensionPoint::PostFilter, |p| p.post_filter())?,
            pre_score: plugins.at(ExtensionPoint::PreScore, |p| p.pre_score())?,
            score: plugins.at(ExtensionPoint::Score, |p| p.score())?,
            reserve: plugins.at(ExtensionPoint::Reserve, |p| p.reserve())?,
            permit: plugins.at(ExtensionPoint::Permit, |p| p.permit())?,
            pre_bind: plugins.at(ExtensionPoint::PreBind, |p| p.pre_bind())?,
            bind: plugins.at(ExtensionPoint::Bind, |p| p.bind())?,
            post_bind: plugins.at(ExtensionPoint::PostBind, |p| p.post_bind())?,
            interests: ids.iter().map(|plugin| (plugin.name().into(), plugin.events())).collect(),
            places_gangs: ids.iter().any(|plugin| plugin.places_gangs()),
        };
        if profile.bind.is_empty() {
            return Err(ProfileError::NoBind(self.name.clone()));
        }
        match profile.score.iter().find(|entry| entry.weight <= 0) {
            Some(entry) => Err(ProfileError::NoWeight(entry.name.clone())),
            None => Ok(profile),
        }
    }
}

struct Points<'a> {
    points: &'a BTreeMap<ExtensionPoint, Vec<(PluginRef, i64)>>,
    ids: &'a [PluginRef],
}

impl Points<'_> {
    fn at<T: ?Sized>(
        &self,
        point: ExtensionPoint,
        cast: fn(PluginRef) -> Option<Arc<T>>,
    ) -> Result<Vec<Entry<T>>, ProfileError> {
        let mut entries: Vec<Entry<T>> = Vec::new();
        for (plugin, weight) in self.points.get(&point).into_iter().flatten() {
            let id = self.ids.iter().position(|own| own.name() == plugin.name()).unwrap_or(0);
            let Some(cast) = cast(plugin.clone()) else { continue };
            let entry = Entry {
                id: u32::try_from(id).unwrap_or(0),
                name: Name::from(plugin.name()),
                weight: *weight,
                plugin: cast,
            };
            if entries.iter().any(|own| own.name == entry.name) {
                return Err(ProfileError::Twice(entry.name));
            }
            entries.push(entry);
        }
        Ok(entries)
    }
}

/// The plugins that place the pods of one scheduler name.
pub struct Profile {
    name: Name,
    pub(crate) percentage_of_nodes_to_score: Option<i32>,
    pub(crate) queue_sort: Arc<dyn QueueSortPlugin>,
    pre_enqueue: Vec<Entry<dyn PreEnqueuePlugin>>,
    pub(crate) pre_filter: Vec<Entry<dyn PreFilterPlugin>>,
    pub(crate) filter: Vec<Entry<dyn FilterPlugin>>,
    post_filter: Vec<Entry<dyn PostFilterPlugin>>,
    pub(crate) pre_score: Vec<Entry<dyn PreScorePlugin>>,
    pub(crate) score: Vec<Entry<dyn ScorePlugin>>,
    reserve: Vec<Entry<dyn ReservePlugin>>,
    permit: Vec<Entry<dyn PermitPlugin>>,
    pre_bind: Vec<Entry<dyn PreBindPlugin>>,
    bind: Vec<Entry<dyn BindPlugin>>,
    post_bind: Vec<Entry<dyn PostBindPlugin>>,
    interests: Vec<(Name, Vec<Interest>)>,
    pub(crate) places_gangs: bool,
}

/// What Permit plugins decided.
#[derive(Default)]
pub(crate) struct Permission {
    /// Who makes the pod wait, and for how long.
    pub(crate) waits: BTreeMap<Name, std::time::Duration>,
    /// Waiting pods that may go on, as far as a plugin is concerned.
    pub(crate) allowed: Vec<(Name, Name)>,
    /// Pods to be tried now.
    pub(crate) wanted: Vec<Name>,
}

/// A PreFilter plugin, or several together, said no for the whole cluster.
pub(crate) struct Rejected {
    pub(crate) status: Status,
    pub(crate) plugins: BTreeSet<Name>,
}

impl Profile {
    /// Starts a profile for pods of that scheduler name.
    pub fn builder(name: impl Into<Name>) -> ProfileBuilder {
        ProfileBuilder { name: name.into(), ..ProfileBuilder::default() }
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
        QueueProfile { pre_enqueue, interests }
    }

    pub(crate) fn has_post_filter(&self) -> bool {
        !self.post_filter.is_empty()
    }

    /// Runs PreFilter plugins; gives the nodes left to look at and the plugins that narrowed them down.
    pub(crate) fn run_pre_filter(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        snapshot: &Snapshot,
    ) -> Result<(Option<NodeSubset>, BTreeSet<Name>), Rejected> {
        let mut subset: Option<NodeSubset> = None;
        let mut narrowing = BTreeSet::new();
        let mut unschedulable = None;
        state.skip_filter = 0;
        state.show(snapshot);
        for entry in &self.pre_filter {
            match entry.plugin.pre_filter(state, pod, snapshot) {
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
            entry.plugin.add_pod(state, pod, added, node);
        }
    }

    /// Tells PreFilter plugins to judge as if a pod were gone.
    pub fn run_remove_pod(&self, state: &mut CycleState, pod: &PodInfo, removed: &PodInfo, node: &NodeInfo) {
        for entry in self.pre_filter.iter().filter(|entry| state.skip_filter & entry.bit() == 0).collect::<Vec<_>>() {
            entry.plugin.remove_pod(state, pod, removed, node);
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
            if let Err(status) = entry.plugin.filter(state, pod, node) {
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
        let PostFilterContext { profile, snapshot, nominator, statuses, random, candidates_wanted } = context;
        let mut merged = PostFilterOutcome::default();
        let mut reasons = Vec::new();
        for entry in &self.post_filter {
            let random = &mut *random;
            let context = PostFilterContext { profile, snapshot, nominator, statuses, random, candidates_wanted };
            let mut outcome = entry.plugin.post_filter(state, pod, context);
            outcome.status = outcome.status.map(|status| status.by(&entry.name));
            match &outcome.status {
                Some(status) if status.code() == super::Code::Unschedulable => {
                    reasons.extend(status.reasons().iter().cloned());
                    merged.status.get_or_insert_with(|| status.clone());
                    if outcome.nominated_node_name.is_some() {
                        merged.nominated_node_name = outcome.nominated_node_name;
                    }
                }
                _ => return outcome,
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
        let PostFilterContext { profile, snapshot, nominator, statuses, random, candidates_wanted } = context;
        let chosen = self.post_filter.iter().find_map(|entry| {
            let random = &mut *random;
            let context = PostFilterContext { profile, snapshot, nominator, statuses, random, candidates_wanted };
            let mut outcome = entry.plugin.choose(pod, candidates.to_vec(), context)?;
            outcome.status = outcome.status.map(|status| status.by(&entry.name));
            Some(outcome)
        });
        chosen.unwrap_or_default()
    }

    pub(crate) fn run_pre_score(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        nodes: &[&NodeInfo],
        snapshot: &Snapshot,
    ) -> Verdict {
        state.skip_score = 0;
        for entry in &self.pre_score {
            match entry.plugin.pre_score(state, pod, nodes, snapshot) {
                Ok(Flow::Continue) => {}
                Ok(Flow::Skip) => state.skip_score |= entry.bit(),
                Err(status) => {
                    return Err(Status::error(format!("running PreScore plugin {:?}: {status}", &*entry.name)));
                }
            }
        }
        Ok(())
    }

    /// Scores nodes: the sum of every plugin's normalized score times its weight. `each` hears of the parts.
    pub(crate) fn run_score(
        &self,
        state: &CycleState,
        pod: &PodInfo,
        nodes: &[&NodeInfo],
        snapshot: &Snapshot,
        mut each: impl FnMut(usize, PluginScore),
    ) -> Result<Vec<i64>, Status> {
        let mut totals = vec![0; nodes.len()];
        let mut scores = Vec::with_capacity(nodes.len());
        let failed = |name: &Name, status: &Status| {
            Status::error(format!("running Score plugins: plugin {:?} failed with: {status}", &**name))
        };
        for entry in self.score.iter().filter(|entry| state.skip_score & entry.bit() == 0) {
            scores.clear();
            for node in nodes {
                let score = entry.plugin.score(state, pod, node, snapshot);
                let score = score.map_err(|status| failed(&entry.name, &status))?;
                scores.push(NodeScore { node: node.slot, score });
            }
            entry.plugin.normalize(state, pod, &mut scores).map_err(|status| failed(&entry.name, &status))?;
            for (at, NodeScore { score, .. }) in scores.iter().enumerate() {
                if !(0..=SCORE_MAX).contains(score) {
                    return Err(out_of_range(&entry.name, *score));
                }
                let score = score * entry.weight;
                totals[at] += score;
                each(at, PluginScore { plugin: entry.name.clone(), score });
            }
        }
        Ok(totals)
    }

    pub(crate) fn run_reserve(&self, state: &mut CycleState, pod: &PodInfo, node: &Name) -> Verdict {
        for entry in &self.reserve {
            if let Err(status) = entry.plugin.reserve(state, pod, node) {
                let wrap = || Status::error(format!("running Reserve plugin {:?}: {status}", &*entry.name));
                return Err(if status.is_rejection() { status.by(&entry.name) } else { wrap() });
            }
        }
        Ok(())
    }

    /// Lets plugins enter a decision into the cluster's books.
    pub(crate) fn run_enter(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        node: &Node,
        objects: &mut Objects,
    ) -> Verdict {
        for entry in &self.reserve {
            if let Err(status) = entry.plugin.enter(state, pod, node, objects) {
                let wrap = || Status::error(format!("running Reserve plugin {:?}: {status}", &*entry.name));
                return Err(if status.is_rejection() { status.by(&entry.name) } else { wrap() });
            }
        }
        Ok(())
    }

    /// Lets plugins strike it out again.
    pub(crate) fn run_strike(&self, state: &mut CycleState, pod: &PodInfo, node: &Name, objects: &mut Objects) {
        for entry in self.reserve.iter().rev() {
            entry.plugin.strike(state, pod, node, objects);
        }
    }

    pub(crate) fn run_unreserve(&self, state: &mut CycleState, pod: &PodInfo, node: &Name) {
        for entry in self.reserve.iter().rev() {
            entry.plugin.unreserve(state, pod, node);
        }
    }

    /// Runs Permit plugins.
    pub(crate) fn run_permit(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        node: &Name,
        gangs: &Gangs,
    ) -> Result<Permission, Status> {
        let mut permission = Permission::default();
        for entry in &self.permit {
            match entry.plugin.permit(state, pod, node, gangs) {
                Ok(PermitOutcome::Allow) => {}
                Ok(PermitOutcome::Wait(time)) => drop(permission.waits.insert(entry.name.clone(), time)),
                Ok(PermitOutcome::WaitFor { others, most }) => {
                    permission.waits.insert(entry.name.clone(), most);
                    permission.wanted.extend(others);
                }
                Ok(PermitOutcome::AllowWith(others)) => {
                    permission.allowed.extend(others.into_iter().map(|uid| (uid, entry.name.clone())));
                }
                Err(status) if status.is_rejection() => return Err(status.by(&entry.name)),
                Err(status) => {
                    return Err(Status::error(format!("running Permit plugin {:?}: {status}", &*entry.name)));
                }
            }
        }
        Ok(permission)
    }

    /// What must be done to bind a pod: the PreBind plugins' actions, then the first willing Bind plugin's.
    pub(crate) fn run_bind(&self, state: &CycleState, pod: &Arc<PodInfo>, node: &Name) -> Result<Vec<Action>, Status> {
        let mut actions = Vec::new();
        for entry in &self.pre_bind {
            actions.extend(entry.plugin.pre_bind(state, pod, node).map_err(|status| status.by(&entry.name))?);
        }
        for entry in &self.bind {
            match entry.plugin.bind(state, pod, node).map_err(|status| status.by(&entry.name))? {
                BindOutcome::Skip => {}
                BindOutcome::Do(action) => {
                    actions.push(action);
                    return Ok(actions);
                }
            }
        }
        Err(Status::error("no bind plugin took the pod"))
    }

    pub(crate) fn run_post_bind(&self, pod: &PodInfo, node: &Name) {
        for entry in &self.post_bind {
            entry.plugin.post_bind(pod, node);
        }
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

pub(crate) fn out_of_range(plugin: &Name, score: i64) -> Status {
    Status::error(format!(
        "applying score defaultWeights on Score plugins: plugin {:?} returns an invalid score {score}, \
         it should in the range of [0, {SCORE_MAX}] after normalizing",
        &**plugin
    ))
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
