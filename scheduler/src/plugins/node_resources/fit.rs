//! Whether a node has what a pod asks for.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::strategy::Scorer;
use super::{ResourceWeight, ScoringStrategy};
use crate::cache::{NodeInfo, NodeSlot, Snapshot};
use crate::framework::{
    ActionType, Code, CycleState, EventResource, FilterPlugin, Interest, Object, Plugin, ScorePlugin, Status,
};
use crate::object::{DeviceClass, Node, PodInfo, Resources, may_be_devices};

/// How [`NodeResourcesFit`] judges and scores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeResourcesFitArgs {
    /// Extended resources that are not its business.
    pub ignored_resources: BTreeSet<String>,
    /// Prefixes of such, up to the slash.
    pub ignored_resource_groups: BTreeSet<String>,
    /// What makes a node good.
    pub strategy: ScoringStrategy,
    /// Which resources count, and how much.
    pub resources: Vec<ResourceWeight>,
}

impl Default for NodeResourcesFitArgs {
    /// Nothing ignored; the emptier the better, by cpu and memory alike.
    fn default() -> Self {
        Self {
            ignored_resources: BTreeSet::new(),
            ignored_resource_groups: BTreeSet::new(),
            strategy: ScoringStrategy::default(),
            resources: super::balanced::cpu_and_memory(),
        }
    }
}

/// Keeps pods off nodes that lack what they ask for, and scores nodes by how full they would be.
#[derive(Clone, Debug)]
pub struct NodeResourcesFit {
    args: NodeResourcesFitArgs,
    scorer: Scorer,
}

impl Default for NodeResourcesFit {
    fn default() -> Self {
        Self::new(NodeResourcesFitArgs::default())
    }
}

/// Says whether something is short: which resource, and whether even the empty node would be too small.
struct Shortage {
    reason: Cow<'static, str>,
    hopeless: bool,
}

impl NodeResourcesFit {
    /// A plugin with those settings.
    #[must_use]
    pub fn new(args: NodeResourcesFitArgs) -> Self {
        let scorer = Scorer::new(args.strategy.clone(), &args.resources);
        Self { args, scorer }
    }

    /// Whether a node has enough, leaving out what is `others`' business.
    fn fits(&self, asked: &Resources, node: &NodeInfo, others: impl Fn(&str) -> bool) -> bool {
        let (has, used) = (&node.node.allocatable, &node.requested);
        let within = |asked: i64, has: i64, used: i64| asked <= 0 || asked <= has - used;
        (i64::try_from(node.pods.len()).unwrap_or(i64::MAX) < has.pods)
            && within(asked.cpu, has.cpu, used.cpu)
            && within(asked.memory, has.memory, used.memory)
            && within(asked.ephemeral_storage, has.ephemeral_storage, used.ephemeral_storage)
            && asked.scalars.iter().all(|(name, amount)| {
                *amount == 0
                    || *amount <= has.scalar(name) - used.scalar(name)
                    || self.ignores(name)
                    || (has.scalar(name) <= 0 && others(name))
            })
    }

    fn ignores(&self, name: &str) -> bool {
        let group = name.split('/').next().unwrap_or_default();
        (self.args.ignored_resources.contains(name) || self.args.ignored_resource_groups.contains(group))
            && crate::object::is_extended(name)
    }

    fn shortages(&self, asked: &Resources, node: &NodeInfo, others: impl Fn(&str) -> bool) -> Vec<Shortage> {
        let (has, used) = (&node.node.allocatable, &node.requested);
        let mut short = Vec::new();
        if i64::try_from(node.pods.len()).unwrap_or(i64::MAX) >= has.pods {
            short.push(Shortage { reason: "Too many pods".into(), hopeless: false });
        }
        for (reason, asked, has, used) in [
            ("Insufficient cpu", asked.cpu, has.cpu, used.cpu),
            ("Insufficient memory", asked.memory, has.memory, used.memory),
            ("Insufficient ephemeral-storage", asked.ephemeral_storage, has.ephemeral_storage, used.ephemeral_storage),
        ] {
            if asked > 0 && asked > has - used {
                short.push(Shortage { reason: reason.into(), hopeless: asked > has });
            }
        }
        for (name, asked) in &asked.scalars {
            let has = has.scalar(name);
            let short_of = *asked != 0 && *asked > has - used.scalar(name);
            if short_of && !self.ignores(name) && !(has <= 0 && others(name)) {
                short.push(Shortage { reason: format!("Insufficient {name}").into(), hopeless: *asked > has });
            }
        }
        short
    }

    /// Whether the node, were it empty, could take the pod. What it does not list at all may be devices of a class.
    fn fits_empty(pod: &PodInfo, node: &Arc<Node>) -> bool {
        let plain = Self::default();
        let unlisted = |name: &str| may_be_devices(name) && node.allocatable.find(name).is_none();
        plain.fits(&pod.spec.requests, &NodeInfo::new(NodeSlot(0), node.clone()), unlisted)
    }
}

impl Plugin for NodeResourcesFit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn events(&self) -> Vec<Interest> {
        let pod_changed = |pod: &PodInfo, object: &Object| {
            let news = match object {
                Object::Pod(Some(gone), None) => gone.is_assigned() || !gone.nominated_node_name.is_empty(),
                Object::Pod(Some(old), Some(new)) => {
                    new.uid == pod.uid
                        || (new.is_assigned() && frees(&pod.spec.requests, &old.spec.requests, &new.spec.requests))
                }
                _ => true,
            };
            news.into()
        };
        let node_changed = |pod: &PodInfo, object: &Object| {
            let Object::Node(old, Some(new)) = object else { return true.into() };
            let more = |old: &Arc<Node>| offers_more(&pod.spec.requests, &old.allocatable, &new.allocatable);
            (Self::fits_empty(pod, new) && old.as_ref().is_none_or(more)).into()
        };
        let class_changed = |pod: &PodInfo, object: &Object| {
            let Object::DeviceClass(old, Some(new)) = object else { return true.into() };
            let behind = |class: &Arc<DeviceClass>, resource: &str| {
                let own = resource.strip_prefix(DeviceClass::RESOURCE_PREFIX) == Some(&class.name);
                own || class.extended_resource.as_deref() == Some(resource)
            };
            let concerns =
                |resource: &str| behind(new, resource) && !old.as_ref().is_some_and(|old| behind(old, resource));
            pod.spec.device_asks.iter().any(|ask| concerns(&ask.resource)).into()
        };
        let pod_events = ActionType::DELETE | ActionType::UPDATE_POD_SCALE_DOWN;
        let node_events = ActionType::ADD | ActionType::UPDATE_NODE_ALLOCATABLE;
        vec![
            Interest::hinted(EventResource::Pod, pod_events, pod_changed),
            Interest::hinted(EventResource::Node, node_events, node_changed),
            Interest::hinted(EventResource::DeviceClass, ActionType::ADD | ActionType::UPDATE, class_changed),
        ]
    }

    fn filter(self: Arc<Self>) -> Option<Arc<dyn FilterPlugin>> {
        Some(self)
    }

    fn score(self: Arc<Self>) -> Option<Arc<dyn ScorePlugin>> {
        Some(self)
    }
}

/// Whether another pod gave back some of what this one asks for.
fn frees(asked: &Resources, old: &Resources, new: &Resources) -> bool {
    (asked.cpu != 0 && old.cpu > new.cpu)
        || (asked.memory != 0 && old.memory > new.memory)
        || (asked.ephemeral_storage != 0 && old.ephemeral_storage > new.ephemeral_storage)
        || asked.scalars.iter().any(|(name, amount)| *amount != 0 && old.scalar(name) > new.scalar(name))
}

/// Whether a node offers more of what the pod asks for, or takes more pods.
fn offers_more(asked: &Resources, old: &Resources, new: &Resources) -> bool {
    new.pods > old.pods || frees(asked, new, old)
}

impl FilterPlugin for NodeResourcesFit {
    fn filter(&self, state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Result<(), Status> {
        let asked = &pod.spec.requests;
        // Where a node has none of a resource but a class of devices stands behind it, the devices are looked at
        // elsewhere.
        let devices = |name: &str| state.objects().is_ok_and(|objects| objects.devices.class_behind(name).is_some());
        if self.fits(asked, node, devices) {
            return Ok(());
        }
        let mut short = self.shortages(asked, node, devices);
        let hopeless = short.iter().any(|shortage| shortage.hopeless);
        let code = if hopeless { Code::UnschedulableAndUnresolvable } else { Code::Unschedulable };
        Err(match short.len() {
            1 => Status::new(code, short.remove(0).reason),
            _ => Status::with_reasons(code, short.into_iter().map(|shortage| shortage.reason).collect()),
        })
    }

    fn is_node_local(&self, _: &PodInfo, _: &Snapshot) -> bool {
        true
    }

    fn stamp(&self, pod: &PodInfo, snapshot: &Snapshot) -> u64 {
        super::classes_stamp(pod, snapshot)
    }
}

impl ScorePlugin for NodeResourcesFit {
    fn score(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo, snapshot: &Snapshot) -> Result<i64, Status> {
        Ok(self.scorer.score(pod, node, &snapshot.objects().devices))
    }

    fn is_node_local(&self, pod: &PodInfo, snapshot: &Snapshot) -> bool {
        !self.scorer.counts_devices(pod, &snapshot.objects().devices)
    }

    fn stamp(&self, pod: &PodInfo, snapshot: &Snapshot) -> u64 {
        super::classes_stamp(pod, snapshot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framework::Hint;
    use crate::plugins::ShapePoint;
    use crate::testing::{PodMaker, node, node_info, pod, scores};

    const GPU: &str = "example.com/aaa";

    #[track_caller]
    fn check(asks: PodMaker, there: PodMaker, expected: &[&str]) {
        let info =
            node_info(node("n").capacity(&[("cpu", "10m"), ("memory", "20"), ("pods", "32"), (GPU, "5")]), [there]);
        let verdict = FilterPlugin::filter(&NodeResourcesFit::default(), &CycleState::new(), &asks.build(), &info);
        let reasons = verdict.err().map(|status| status.reasons().to_vec()).unwrap_or_default();
        assert_eq!(reasons, expected);
    }

    fn asks(cpu: &str, memory: &str) -> PodMaker {
        pod("asks").requests(&[("cpu", cpu), ("memory", memory)])
    }

    #[test]
    fn shortages_are_named() {
        check(pod("nothing"), asks("10m", "20"), &[]);
        check(asks("1m", "1"), asks("10m", "20"), &["Insufficient cpu", "Insufficient memory"]);
        check(asks("1m", "1"), asks("5m", "5"), &[]);
        check(asks("2m", "1"), asks("9m", "5"), &["Insufficient cpu"]);
        check(asks("1m", "2"), asks("5m", "19"), &["Insufficient memory"]);
        check(asks("5m", "1"), asks("5m", "19"), &[]);
        let extended = |amount: &str| pod("x").requests(&[(GPU, amount)]);
        check(extended("3"), extended("2"), &[]);
        check(extended("3"), extended("3"), &["Insufficient example.com/aaa"]);
        check(extended("10"), pod("none"), &["Insufficient example.com/aaa"]);
        check(pod("x").requests(&[("example.com/unknown", "1")]), pod("none"), &["Insufficient example.com/unknown"]);
        check(pod("x").requests(&[("example.com/unknown", "0")]), pod("none"), &[]);
        check(pod("x").init_requests(&[("cpu", "11m")]), pod("none"), &["Insufficient cpu"]);
        check(pod("x").requests(&[("cpu", "1m")]).init_requests(&[("cpu", "5m")]), asks("5m", "0"), &[]);
        check(asks("1m", "1").overhead(&[("cpu", "15m")]), pod("none"), &["Insufficient cpu"]);
    }

    #[test]
    fn too_many_pods_and_hopeless_requests() {
        let full = node_info(node("n").capacity(&[("pods", "1"), ("cpu", "1")]), [pod("a")]);
        let judge = |asked: PodMaker| {
            FilterPlugin::filter(&NodeResourcesFit::default(), &CycleState::new(), &asked.build(), &full).unwrap_err()
        };
        let status = judge(pod("b"));
        assert_eq!((status.message().as_str(), status.code()), ("Too many pods", Code::Unschedulable));
        let status = judge(pod("b").requests(&[("cpu", "2")]));
        assert_eq!(status.message(), "Too many pods, Insufficient cpu");
        assert_eq!(status.code(), Code::UnschedulableAndUnresolvable);
    }

    #[test]
    fn some_extended_resources_are_not_its_business() {
        let args = NodeResourcesFitArgs {
            ignored_resources: ["example.com/bbb".to_owned()].into(),
            ignored_resource_groups: ["group.example".to_owned()].into(),
            ..NodeResourcesFitArgs::default()
        };
        let plugin = NodeResourcesFit::new(args);
        let info = node_info(node("n").capacity(&[("pods", "10")]), []);
        for (name, fits) in [("example.com/bbb", true), ("group.example/x", true), (GPU, false)] {
            let asked = pod("p").requests(&[(name, "1")]).build();
            let verdict = FilterPlugin::filter(&plugin, &CycleState::new(), &asked, &info);
            assert_eq!(verdict.is_ok(), fits, "{name}");
        }
    }

    fn plugin(strategy: ScoringStrategy) -> NodeResourcesFit {
        NodeResourcesFit::new(NodeResourcesFitArgs { strategy, ..NodeResourcesFitArgs::default() })
    }

    fn two_nodes() -> [crate::testing::NodeMaker; 2] {
        let of = |name: &str, cpu: &str, memory: &str| {
            node(name).capacity(&[("cpu", cpu), ("memory", memory), ("pods", "110")])
        };
        [of("a", "4", "10000"), of("b", "6", "10000")]
    }

    #[test]
    fn emptier_or_fuller_nodes_are_better() {
        let asked = || pod("p").requests(&[("cpu", "3"), ("memory", "5000")]);
        // cpu: (4-3)/4 = 25 and (6-3)/6 = 50; memory 50 on both.
        let least = plugin(ScoringStrategy::LeastAllocated);
        assert_eq!(scores(least, asked(), two_nodes(), []), [37, 50]);
        let most = plugin(ScoringStrategy::MostAllocated);
        assert_eq!(scores(most, asked(), two_nodes(), []), [62, 50]);
        let beside = || [pod("x").on("a").requests(&[("cpu", "2"), ("memory", "1000")])];
        let least = plugin(ScoringStrategy::LeastAllocated);
        assert_eq!(scores(least, asked(), two_nodes(), beside()), [20, 50]);
    }

    #[test]
    fn a_curve_scores() {
        let shape = vec![ShapePoint { utilization: 0, score: 10 }, ShapePoint { utilization: 100, score: 0 }];
        let curve = plugin(ScoringStrategy::RequestedToCapacityRatio(shape));
        let asked = pod("p").requests(&[("cpu", "3"), ("memory", "5000")]);
        assert_eq!(scores(curve, asked, two_nodes(), []), [38, 50]);
    }

    #[test]
    fn what_is_news_for_a_rejected_pod() {
        let events = NodeResourcesFit::default().events();
        let waiting = pod("w").requests(&[("cpu", "2")]).build();
        let hint = |at: usize, object: Object| events[at].hint.as_ref().unwrap()(&waiting, &object);
        let gone = |maker: PodMaker| Object::Pod(Some(Arc::new(maker.build())), None);
        assert_eq!(hint(0, gone(pod("g").on("n"))), Hint::Queue);
        assert_eq!(hint(0, gone(pod("g"))), Hint::Skip);
        let resized = |from: &str, to: &str| {
            let of = |cpu: &str| Some(Arc::new(pod("r").on("n").requests(&[("cpu", cpu)]).build()));
            Object::Pod(of(from), of(to))
        };
        assert_eq!(hint(0, resized("2", "1")), Hint::Queue);
        assert_eq!(hint(0, resized("1", "2")), Hint::Skip);
        let sized = |cpu: &str| Arc::new(node("n").capacity(&[("cpu", cpu), ("pods", "10")]).build());
        assert_eq!(hint(1, Object::Node(None, Some(sized("4")))), Hint::Queue);
        assert_eq!(hint(1, Object::Node(None, Some(sized("1")))), Hint::Skip);
        assert_eq!(hint(1, Object::Node(Some(sized("4")), Some(sized("3")))), Hint::Skip);
        assert_eq!(hint(1, Object::Node(Some(sized("1")), Some(sized("3")))), Hint::Queue);
    }
}
