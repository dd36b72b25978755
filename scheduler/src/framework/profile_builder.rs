//! Puts a profile together from plugins.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::plugin::PluginRef;
use super::{ExtensionPoint, Profile, Watch};
use crate::object::Name;

/// A plugin at one extension point.
pub(crate) struct Entry<T: ?Sized> {
    pub(crate) id: u32,
    pub(crate) name: Name,
    pub(crate) weight: i64,
    pub(crate) plugin: Arc<T>,
    pub(super) evaluated: Evaluations,
}

/// How often a plugin was called. Its one caller at a time adds to it, so that it costs next to nothing.
#[derive(Debug, Default)]
pub(crate) struct Evaluations(AtomicU64);

impl Evaluations {
    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl<T: ?Sized> Entry<T> {
    /// Counts a call of the plugin.
    pub(crate) fn count(&self) {
        self.evaluated.0.store(self.evaluated.get() + 1, Ordering::Relaxed);
    }

    /// How often it was called.
    pub(super) fn evaluations(&self) -> (&Name, u64) {
        (&self.name, self.evaluated.get())
    }

    pub(super) const fn bit(&self) -> u64 {
        1 << self.id
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
    pub(super) fn new(name: Name) -> Self {
        Self { name, ..Self::default() }
    }

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
            makes_room_for_gangs: ids.iter().any(|plugin| plugin.makes_room_for_gangs()),
            watch: Watch::default(),
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
                evaluated: Evaluations::default(),
            };
            if entries.iter().any(|own| own.name == entry.name) {
                return Err(ProfileError::Twice(entry.name));
            }
            entries.push(entry);
        }
        Ok(entries)
    }
}
