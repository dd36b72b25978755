//! Plugins by name, and their settings.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kubewright_api::field::{FieldError, Path};
use serde::Deserialize;
use serde_json::Value;

use super::checks;
use super::reader::{Faults, Section};
use crate::framework::PluginRef;
use crate::object::{NodeSelector, Preferred, SpreadConstraint};
use crate::plugins::{
    AddedAffinity, BalancedAllocation, DefaultBinder, DefaultPreemption, DefaultPreemptionArgs, DynamicResources,
    GangScheduling, ImageLocality, InterPodAffinity, InterPodAffinityArgs, NodeAffinity, NodeDeclaredFeatures,
    NodeName, NodePorts, NodeResourcesFit, NodeResourcesFitArgs, NodeUnschedulable, NodeVolumeLimits,
    PodTopologySpread, PrioritySort, ResourceWeight, SchedulingGates, ScoringStrategy, ShapePoint, SpreadDefaults,
    TaintToleration, VolumeBinding, VolumeRestrictions, VolumeZone,
};

/// Makes a plugin from its settings, which are null when the file has none.
pub type Factory = Arc<dyn Fn(&Value) -> Result<PluginRef, String> + Send + Sync>;

/// The plugins that a configuration may name: upstream's, and those that are added.
#[derive(Clone, Default)]
pub struct Registry {
    added: BTreeMap<String, Factory>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("added", &self.added.keys()).finish()
    }
}

impl Registry {
    /// Adds a plugin of that name, in place of upstream's if there is one.
    #[must_use]
    pub fn with(mut self, name: &str, factory: Factory) -> Self {
        self.added.insert(name.to_owned(), factory);
        self
    }

    pub(super) fn make(&self, name: &str, args: &Value, path: &Path) -> Option<Result<PluginRef, Faults>> {
        let mut faults = Faults::default();
        if let Some(factory) = self.added.get(name) {
            return Some(factory(args).map_err(|message| {
                faults.invalid(path, args.clone(), &message);
                faults
            }));
        }
        let mut section = Section::new(args, path.clone(), &mut faults);
        section.text("apiVersion", &mut faults);
        if let Some(kind) = section.text("kind", &mut faults).filter(|kind| *kind != format!("{name}Args")) {
            faults.invalid(path, kind, "has to match plugin args");
        }
        let plugin = in_tree(name, &mut section, &mut faults)?;
        section.end(&mut faults);
        let sound = faults.unknown.is_empty() && faults.invalid.is_empty();
        Some(if sound { Ok(plugin) } else { Err(faults) })
    }
}

fn in_tree(name: &str, args: &mut Section<'_>, faults: &mut Faults) -> Option<PluginRef> {
    Some(match name {
        "SchedulingGates" => Arc::new(SchedulingGates),
        "PrioritySort" => Arc::new(PrioritySort),
        "NodeUnschedulable" => Arc::new(NodeUnschedulable),
        "NodeName" => Arc::new(NodeName),
        "TaintToleration" => Arc::new(TaintToleration),
        "NodePorts" => Arc::new(NodePorts),
        "VolumeRestrictions" => Arc::new(VolumeRestrictions),
        "NodeVolumeLimits" => Arc::new(NodeVolumeLimits::default()),
        "VolumeZone" => Arc::new(VolumeZone),
        "NodeDeclaredFeatures" => Arc::new(NodeDeclaredFeatures),
        "GangScheduling" => Arc::new(GangScheduling::new()),
        "DynamicResources" => {
            let timeout = binding_timeout(args, faults);
            Arc::new(DynamicResources::new(timeout))
        }
        "VolumeBinding" => Arc::new(VolumeBinding::new(bind_timeout(args, faults))),
        "ImageLocality" => Arc::new(ImageLocality),
        "DefaultBinder" => Arc::new(DefaultBinder),
        "NodeAffinity" => Arc::new(NodeAffinity::new(added_affinity(args, faults))),
        "NodeResourcesFit" => Arc::new(NodeResourcesFit::new(fit(args, faults))),
        "NodeResourcesBalancedAllocation" => Arc::new(BalancedAllocation::new(&balanced(args, faults))),
        "PodTopologySpread" => Arc::new(PodTopologySpread::new(spread(args, faults))),
        "InterPodAffinity" => Arc::new(InterPodAffinity::new(inter_pod(args, faults))),
        "DefaultPreemption" => Arc::new(DefaultPreemption::new(preemption(args, faults))),
        _ => return None,
    })
}

/// Decodes a part that has types of its own.
fn decode<T: for<'de> Deserialize<'de>>(value: &Value, path: &Path, faults: &mut Faults) -> Option<T> {
    T::deserialize(value).map_err(|error| faults.invalid(path, value.clone(), &error.to_string())).ok()
}

fn added_affinity(args: &mut Section<'_>, faults: &mut Faults) -> AddedAffinity {
    let mut added = AddedAffinity::default();
    let Some(mut affinity) = args.section("addedAffinity", faults) else { return added };
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    if let Some(value) = affinity.any(required) {
        checks::node_selector(value, &affinity.path(required), faults);
        added.required = decode::<NodeSelector>(value, &affinity.path(required), faults);
    }
    let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
    for (value, path) in affinity.list(preferred, faults) {
        checks::node_selector_term(&value["preference"], &path, faults);
        added.preferred.extend(decode::<Preferred>(value, &path, faults));
    }
    affinity.end(faults);
    added
}

fn resources(section: &mut Section<'_>, faults: &mut Faults) -> Vec<(ResourceWeight, Path)> {
    let mut resources = Vec::new();
    for mut entry in section.sections("resources", faults) {
        let name = entry.text("name", faults).unwrap_or_default();
        let weight = entry.integer("weight", faults).filter(|weight| *weight != 0).unwrap_or(1);
        resources.push((ResourceWeight { name, weight }, entry.own_path().clone()));
        entry.end(faults);
    }
    resources
}

/// Names that look like labels' keys.
fn texts(
    section: &mut Section<'_>,
    key: &'static str,
    faults: &mut Faults,
    check: impl Fn(&str, &Path, &mut Faults),
) -> BTreeSet<String> {
    let mut texts = BTreeSet::new();
    for (value, path) in section.list(key, faults) {
        let Some(text) = decode::<String>(value, &path, faults) else { continue };
        check(&text, &path, faults);
        checks::label_key(&text, &path, faults);
        texts.insert(text);
    }
    texts
}

fn fit(args: &mut Section<'_>, faults: &mut Faults) -> NodeResourcesFitArgs {
    let mut fit = NodeResourcesFitArgs {
        ignored_resources: texts(args, "ignoredResources", faults, |_, _, _| {}),
        ignored_resource_groups: texts(args, "ignoredResourceGroups", faults, |group, path, faults| {
            if group.contains('/') {
                faults.invalid(path, group, "resource group name can't contain '/'");
            }
        }),
        ..NodeResourcesFitArgs::default()
    };
    let Some(mut strategy) = args.section("scoringStrategy", faults) else { return fit };
    let given = resources(&mut strategy, faults);
    for (resource, path) in given.iter().filter(|(resource, _)| !(1..=100).contains(&resource.weight)) {
        let rule = format!("resource weight of {} not in valid range (0, 100]", resource.name);
        faults.invalid(&path.child("weight"), resource.weight, &rule);
    }
    if !given.is_empty() {
        fit.resources = given.into_iter().map(|(resource, _)| resource).collect();
    }
    let ratio = strategy.section("requestedToCapacityRatio", faults);
    let ratio_path = strategy.path("requestedToCapacityRatio");
    let kind = strategy.text("type", faults).unwrap_or_default();
    if ratio.is_some() && kind != "RequestedToCapacityRatio" {
        let rule = "must be nil when type is not RequestedToCapacityRatio";
        faults.invalid.push(FieldError::forbidden(&ratio_path, rule));
    }
    fit.strategy = match (kind.as_str(), ratio) {
        ("RequestedToCapacityRatio", Some(ratio)) => ScoringStrategy::RequestedToCapacityRatio(shape(ratio, faults)),
        ("RequestedToCapacityRatio", None) => {
            let rule = "must be specified when type is RequestedToCapacityRatio";
            faults.invalid.push(FieldError::required(&ratio_path, rule));
            ScoringStrategy::LeastAllocated
        }
        ("LeastAllocated", _) => ScoringStrategy::LeastAllocated,
        ("MostAllocated", _) => ScoringStrategy::MostAllocated,
        (other, _) => {
            let supported = ["LeastAllocated", "MostAllocated", "RequestedToCapacityRatio"];
            faults.invalid.push(FieldError::not_supported(&strategy.path("type"), Value::from(other), &supported));
            ScoringStrategy::LeastAllocated
        }
    };
    strategy.end(faults);
    fit
}

fn shape(mut ratio: Section<'_>, faults: &mut Faults) -> Vec<ShapePoint> {
    let mut points: Vec<ShapePoint> = Vec::new();
    let (path, mut sorted) = (ratio.path("shape"), true);
    for mut entry in ratio.sections("shape", faults) {
        let utilization = entry.integer("utilization", faults).unwrap_or(0);
        let score = entry.integer("score", faults).unwrap_or(0);
        let at = entry.own_path().clone();
        if sorted && points.last().is_some_and(|last| last.utilization >= utilization) {
            sorted = false;
            faults.invalid(&at.child("utilization"), utilization, "values must be sorted in increasing order");
        }
        if !(0..=100).contains(&utilization) {
            faults.invalid(&at.child("utilization"), utilization, "not in valid range [0, 100]");
        }
        if !(0..=10).contains(&score) {
            faults.invalid(&at.child("score"), score, "not in valid range [0, 10]");
        }
        points.push(ShapePoint { utilization, score });
        entry.end(faults);
    }
    if points.is_empty() {
        faults.invalid.push(FieldError::required(&path, "at least one point must be specified"));
    }
    ratio.end(faults);
    points
}

fn balanced(args: &mut Section<'_>, faults: &mut Faults) -> Vec<ResourceWeight> {
    let given = resources(args, faults);
    for (at, (resource, path)) in given.iter().enumerate() {
        if given[..at].iter().any(|(other, _)| other.name == resource.name) {
            faults.invalid.push(FieldError::duplicate(&path.child("name"), Value::from(resource.name.clone())));
        }
        if resource.weight != 1 {
            faults.invalid(&path.child("weight"), resource.weight, "must be 1");
        }
    }
    if given.is_empty() {
        return NodeResourcesFitArgs::default().resources;
    }
    given.into_iter().map(|(resource, _)| resource).collect()
}

fn spread(args: &mut Section<'_>, faults: &mut Faults) -> SpreadDefaults {
    let path = args.path("defaultingType");
    let kind = args.text("defaultingType", faults).unwrap_or_else(|| "System".into());
    let mut constraints: Vec<SpreadConstraint> = Vec::new();
    for (value, path) in args.list("defaultConstraints", faults) {
        if !checks::when_unsatisfiable(value, &path, faults) {
            continue;
        }
        let Some(constraint) = decode::<SpreadConstraint>(value, &path, faults) else { continue };
        if constraint.max_skew <= 0 {
            faults.invalid(&path.child("maxSkew"), constraint.max_skew, "not in valid range (0, inf)");
        }
        if constraint.topology_key.is_empty() {
            faults.invalid.push(FieldError::required(&path.child("topologyKey"), "can not be empty"));
        } else {
            checks::label_key(&constraint.topology_key, &path.child("topologyKey"), faults);
        }
        if !value["labelSelector"].is_null() {
            let rule = "constraint must not define a selector, as they deduced for each pod";
            faults.invalid.push(FieldError::forbidden(&path.child("labelSelector"), rule));
        }
        let same = |other: &SpreadConstraint| {
            other.topology_key == constraint.topology_key && other.when_unsatisfiable == constraint.when_unsatisfiable
        };
        if constraints.iter().any(same) {
            let pair = format!("{{{}, {:?}}}", constraint.topology_key, constraint.when_unsatisfiable);
            faults.invalid.push(FieldError::duplicate(&path, Value::from(pair)));
        }
        constraints.push(constraint);
    }
    match kind.as_str() {
        "System" if constraints.is_empty() => SpreadDefaults::System,
        "System" => {
            faults.invalid(&path, kind, "when .defaultConstraints are not empty");
            SpreadDefaults::System
        }
        "List" => SpreadDefaults::List(constraints),
        other => {
            faults.invalid.push(FieldError::not_supported(&path, Value::from(other), &["System", "List"]));
            SpreadDefaults::System
        }
    }
}

/// How long devices may take to become ready. How long upstream's allocator may take is read and left at that: here
/// looking for devices is limited by the number of choices.
fn binding_timeout(args: &mut Section<'_>, faults: &mut Faults) -> Duration {
    args.duration("filterTimeout", faults);
    let timeout = args.duration("bindingTimeout", faults).unwrap_or(Duration::from_mins(10));
    if timeout.as_secs() < 1 {
        faults.invalid(&args.path("bindingTimeout"), format!("{timeout:?}"), "must be at least 1 second");
    }
    timeout
}

fn bind_timeout(args: &mut Section<'_>, faults: &mut Faults) -> Duration {
    let seconds = args.integer("bindTimeoutSeconds", faults).unwrap_or(600);
    if seconds < 0 {
        faults.invalid(
            &args.path("bindTimeoutSeconds"),
            seconds,
            "invalid BindTimeoutSeconds, should not be a negative value",
        );
    }
    let path = args.path("shape");
    if args.any("shape").is_some_and(|shape| !shape.is_null()) {
        let rule =
            "unexpected field, use of shape requires the StorageCapacityScoring feature, which this scheduler lacks";
        faults.invalid(&path, Value::Null, rule);
    }
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

fn inter_pod(args: &mut Section<'_>, faults: &mut Faults) -> InterPodAffinityArgs {
    let weight = args.integer("hardPodAffinityWeight", faults).unwrap_or(1);
    if !(0..=100).contains(&weight) {
        faults.invalid(&args.path("hardPodAffinityWeight"), weight, "not in valid range [0, 100]");
    }
    InterPodAffinityArgs {
        hard_pod_affinity_weight: i32::try_from(weight).unwrap_or(1),
        ignore_preferred_terms_of_existing_pods: args
            .flag("ignorePreferredTermsOfExistingPods", faults)
            .unwrap_or(false),
    }
}

fn preemption(args: &mut Section<'_>, faults: &mut Faults) -> DefaultPreemptionArgs {
    let percentage = args.integer("minCandidateNodesPercentage", faults).unwrap_or(10);
    let absolute = args.integer("minCandidateNodesAbsolute", faults).unwrap_or(100);
    let (of, least) = (args.path("minCandidateNodesPercentage"), args.path("minCandidateNodesAbsolute"));
    if !(0..=100).contains(&percentage) {
        faults.invalid(&of, percentage, "not in valid range [0, 100]");
    }
    if absolute < 0 {
        faults.invalid(&least, absolute, "not in valid range [0, inf)");
    }
    if percentage == 0 && absolute == 0 {
        faults.invalid(&of, percentage, "cannot be zero at the same time as minCandidateNodesAbsolute");
        faults.invalid(&least, absolute, "cannot be zero at the same time as minCandidateNodesPercentage");
    }
    let number = |n: i64| usize::try_from(n).unwrap_or(0);
    DefaultPreemptionArgs {
        min_candidate_nodes_percentage: number(percentage),
        min_candidate_nodes_absolute: number(absolute),
    }
}
