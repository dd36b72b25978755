//! Profiles: which plugins are enabled where, after the defaults and the file are merged.

use std::collections::BTreeMap;

use kubewright_api::field::{FieldError, Path};
use serde_json::Value;

use super::args::Registry;
use super::percentage;
use super::reader::{Faults, Section};
use crate::framework::{ExtensionPoint, PluginRef, Profile, ProfileBuilder};
use crate::plugins::default_plugins;

/// Which plugins one extension point, or all of them, have and do without.
#[derive(Clone, Debug, Default)]
struct PluginSet {
    enabled: Vec<(String, i64, Path)>,
    disabled: Vec<String>,
}

const POINTS: [(&str, ExtensionPoint); 12] = [
    ("preEnqueue", ExtensionPoint::PreEnqueue),
    ("queueSort", ExtensionPoint::QueueSort),
    ("preFilter", ExtensionPoint::PreFilter),
    ("filter", ExtensionPoint::Filter),
    ("postFilter", ExtensionPoint::PostFilter),
    ("preScore", ExtensionPoint::PreScore),
    ("score", ExtensionPoint::Score),
    ("reserve", ExtensionPoint::Reserve),
    ("permit", ExtensionPoint::Permit),
    ("preBind", ExtensionPoint::PreBind),
    ("bind", ExtensionPoint::Bind),
    ("postBind", ExtensionPoint::PostBind),
];

impl PluginSet {
    fn read(mut section: Section<'_>, faults: &mut Faults) -> Self {
        let mut set = Self::default();
        for mut plugin in section.sections("enabled", faults) {
            let name = plugin.text("name", faults).unwrap_or_default();
            let weight = plugin.integer("weight", faults).unwrap_or(0);
            set.enabled.push((name, weight, plugin.own_path().clone()));
            plugin.end(faults);
        }
        for mut plugin in section.sections("disabled", faults) {
            set.disabled.extend(plugin.text("name", faults));
            plugin.integer("weight", faults);
            plugin.end(faults);
        }
        section.end(faults);
        set
    }

    fn disables(&self, name: &str) -> bool {
        self.disabled.iter().any(|own| own == name || own == "*")
    }
}

/// Reads all profiles; without any there is the default one.
pub(super) fn profiles(root: &mut Section<'_>, registry: &Registry, faults: &mut Faults) -> Vec<ProfileBuilder> {
    let sections = root.sections("profiles", faults);
    let only = sections.len() <= 1;
    let mut builders = Vec::new();
    let mut names: Vec<(String, Path)> = Vec::new();
    let empty = Value::Null;
    let sections =
        if sections.is_empty() { vec![Section::new(&empty, root.path("profiles").index(0), faults)] } else { sections };
    for mut section in sections {
        let path = section.path("schedulerName");
        let name = section.text("schedulerName", faults);
        let name = name.unwrap_or_else(|| if only { "default-scheduler".into() } else { String::new() });
        if name.is_empty() {
            faults.invalid.push(FieldError::required(&path, ""));
        } else if let Some((_, first)) = names.iter().find(|(own, _)| *own == name) {
            faults.invalid.push(FieldError::duplicate(&path, Value::from(first.to_string())));
        }
        names.push((name.clone(), path));
        builders.push(profile(&name, &mut section, registry, faults));
        section.end(faults);
    }
    builders
}

/// One plugin orders the queue for all profiles.
pub(super) fn check_queue_sort(configuration: &Value, path: &Path, faults: &mut Faults) {
    let profiles = configuration["profiles"].as_array().map_or(&[][..], Vec::as_slice);
    let Some(first) = profiles.first() else { return };
    let own = &first["plugins"]["queueSort"];
    let enabled = own["enabled"].as_array().map_or(0, Vec::len);
    if enabled > 1 {
        let place = path.index(0).child("plugins").child("queueSort").child("enabled");
        faults.invalid(&place, enabled, "only one queue sort plugin can be enabled");
    }
    let name = &own["enabled"][0]["name"];
    let args = |profile: &Value| -> Value {
        let all = profile["pluginConfig"].as_array().into_iter().flatten();
        all.filter(|entry| entry["name"] == *name).map(|entry| entry["args"].clone()).next_back().unwrap_or_default()
    };
    for (at, profile) in profiles.iter().enumerate().skip(1) {
        let other = &profile["plugins"]["queueSort"];
        if other != own {
            let place = path.index(at).child("plugins").child("queueSort");
            faults.invalid(&place, other.clone(), "must be the same for all profiles");
        }
        if !name.is_null() && args(profile) != args(first) {
            let place = path.index(at).child("pluginConfig").child("args");
            faults.invalid(&place, args(profile), "queueSort must be the same for all profiles");
        }
    }
}

fn profile(name: &str, section: &mut Section<'_>, registry: &Registry, faults: &mut Faults) -> ProfileBuilder {
    let percentage = percentage(section, faults);
    let mut multi_point = PluginSet::default();
    let mut points: BTreeMap<ExtensionPoint, PluginSet> = BTreeMap::new();
    if let Some(mut sets) = section.section("plugins", faults) {
        if let Some(set) = sets.section("multiPoint", faults) {
            multi_point = PluginSet::read(set, faults);
        }
        for (key, point) in POINTS {
            if let Some(set) = sets.section(key, faults) {
                points.insert(point, PluginSet::read(set, faults));
            }
        }
        sets.end(faults);
    }
    let mut instances = Instances { registry, args: args(section, faults), made: BTreeMap::new() };
    let multi_point = with_defaults(&multi_point);
    let mut builder = Profile::builder(name).percentage_of_nodes_to_score(percentage);
    for point in ExtensionPoint::ALL {
        let set = points.remove(&point).unwrap_or_default();
        for (plugin, weight) in expand(point, &set, &multi_point, &mut instances, faults) {
            builder = builder.with_at(point, plugin, weight.max(1));
        }
    }
    instances.check_the_rest(faults);
    builder
}

/// A plugin's settings, and where in the file they are.
type Args<'a> = BTreeMap<String, (Option<&'a Value>, Path)>;

fn args<'a>(section: &mut Section<'a>, faults: &mut Faults) -> Args<'a> {
    let mut all = Args::new();
    for mut entry in section.sections("pluginConfig", faults) {
        let name = entry.text("name", faults).unwrap_or_default();
        let path = entry.path("args");
        if all.contains_key(&name) {
            faults.invalid.push(FieldError::duplicate(entry.own_path(), Value::from(name.clone())));
        }
        all.insert(name, (entry.any("args"), path));
        entry.end(faults);
    }
    all
}

/// Upstream's defaults with the file's changes: what the file mentions again takes the default's place.
fn with_defaults(custom: &PluginSet) -> PluginSet {
    let mut merged = PluginSet { enabled: Vec::new(), disabled: custom.disabled.clone() };
    let mut replaced = Vec::new();
    for (plugin, weight) in default_plugins() {
        let name = plugin.name();
        if custom.disables(name) {
            continue;
        }
        match custom.enabled.iter().find(|(own, ..)| own == name) {
            Some(entry) => {
                replaced.push(name.to_owned());
                merged.enabled.push(entry.clone());
            }
            None => merged.enabled.push((name.to_owned(), weight, Path::root())),
        }
    }
    merged.enabled.extend(custom.enabled.iter().filter(|(name, ..)| !replaced.contains(name)).cloned());
    merged
}

/// The plugins of one extension point: those that the point itself and the multi-point set both name, then those of the
/// multi-point set, then the point's own.
fn expand(
    point: ExtensionPoint,
    set: &PluginSet,
    multi_point: &PluginSet,
    instances: &mut Instances<'_>,
    faults: &mut Faults,
) -> Vec<(PluginRef, i64)> {
    let (mut overriding, mut common, mut own) = (Vec::new(), Vec::new(), Vec::new());
    for (name, weight, path) in &set.enabled {
        let Some(plugin) = instances.get(name, path, faults) else { continue };
        if !point.is_served_by(&plugin) {
            let rule = format!("plugin {name:?} does not extend {point:?} plugin");
            faults.invalid(path, name.clone(), &rule);
            continue;
        }
        let both = multi_point.enabled.iter().any(|(other, ..)| other == name);
        if both { &mut overriding } else { &mut own }.push((plugin, *weight));
    }
    for (name, weight, path) in &multi_point.enabled {
        if set.disables(name) || set.enabled.iter().any(|(own, ..)| own == name) {
            continue;
        }
        if let Some(plugin) = instances.get(name, path, faults).filter(|plugin| point.is_served_by(plugin)) {
            common.push((plugin, *weight));
        }
    }
    overriding.into_iter().chain(common).chain(own).collect()
}

/// Plugins that upstream had once.
const REMOVED: [&str; 4] = ["AzureDiskLimits", "CinderLimits", "EBSLimits", "GCEPDLimits"];

/// Makes each plugin once.
struct Instances<'a> {
    registry: &'a Registry,
    args: Args<'a>,
    made: BTreeMap<String, Option<PluginRef>>,
}

fn removed() -> String {
    let version = super::VERSION;
    format!("was invalid in version {version:?} (KubeSchedulerConfiguration is version {version:?})")
}

impl Instances<'_> {
    /// Settings of plugins that are not enabled must be sound, too; those of plugins that nobody knows are left alone.
    fn check_the_rest(&self, faults: &mut Faults) {
        for (name, (args, path)) in self.args.iter().filter(|(name, _)| !self.made.contains_key(*name)) {
            match self.registry.make(name, args.unwrap_or(&Value::Null), path) {
                Some(Err(found)) => {
                    faults.unknown.extend(found.unknown);
                    faults.invalid.extend(found.invalid);
                }
                None if REMOVED.contains(&name.as_str()) => faults.invalid(path, name.clone(), &removed()),
                _ => {}
            }
        }
    }

    fn get(&mut self, name: &str, path: &Path, faults: &mut Faults) -> Option<PluginRef> {
        if let Some(made) = self.made.get(name) {
            return made.clone();
        }
        let nothing = Value::Null;
        let (args, args_path) = match self.args.get(name) {
            Some((args, path)) => (args.unwrap_or(&nothing), path.clone()),
            None => (&nothing, Path::root()),
        };
        let made = match self.registry.make(name, args, &args_path) {
            Some(Ok(plugin)) => Some(plugin),
            Some(Err(found)) => {
                faults.unknown.extend(found.unknown);
                faults.invalid.extend(found.invalid);
                None
            }
            None if REMOVED.contains(&name) => {
                faults.invalid(path, name, &removed());
                None
            }
            None => {
                faults.invalid.push(FieldError::not_found(path, Value::from(name)));
                None
            }
        };
        self.made.insert(name.to_owned(), made.clone());
        made
    }
}
