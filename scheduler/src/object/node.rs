//! Nodes.

use std::sync::Arc;

use kubewright_api::taint::{Taint, TaintEffect};
use serde::{Deserialize, Deserializer};

use super::{Condition, Labels, Name, Resources, wire};

/// A node as scheduling sees it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    /// Its name.
    pub name: Name,
    /// Its identity.
    pub uid: Name,
    /// Which version of it this is.
    pub resource_version: Name,
    /// Its labels.
    pub labels: Labels,
    /// Whether it is cordoned.
    pub unschedulable: bool,
    /// Its taints.
    pub taints: Arc<[Taint]>,
    /// What pods may have of it.
    pub allocatable: Resources,
    /// Its conditions.
    pub conditions: Arc<[Condition]>,
    /// The images it has, in the order of their names.
    pub images: Arc<[ImageState]>,
    /// The features that its kubelet declares.
    pub declared_features: Arc<[Name]>,
}

/// An image that a node has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageState {
    /// One of its names, normalized.
    pub name: Name,
    /// Bytes.
    pub size: i64,
}

impl Node {
    /// The taints that keep pods away, rather than only discourage them.
    pub fn repelling_taints(&self) -> impl Iterator<Item = &Taint> {
        self.taints.iter().filter(|taint| taint.effect != TaintEffect::PreferNoSchedule)
    }

    /// The size in bytes of an image that it has.
    #[must_use]
    pub fn image_size(&self, name: &Name) -> Option<i64> {
        let at = self.images.binary_search_by(|image| image.name.cmp(name)).ok()?;
        Some(self.images[at].size)
    }

    /// Region and zone in one word, empty if it has neither.
    pub(crate) fn zone_key(&self) -> Name {
        let label = |stable: &str, beta: &str| {
            self.labels.get(beta).or_else(|| self.labels.get(stable)).map_or("", Name::as_str)
        };
        let zone = label("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone");
        let region = label("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region");
        if zone.is_empty() && region.is_empty() { Name::default() } else { format!("{region}:\0:{zone}").into() }
    }
}

impl<'de> Deserialize<'de> for Node {
    /// Reads a `Node`, skipping what scheduling does not look at.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wire::Node { metadata, spec, status } = wire::Node::deserialize(deserializer)?;
        let image = |image: &wire::Image| {
            let size = image.size_bytes;
            let states: Vec<_> =
                image.names.iter().map(|name| ImageState { name: super::normalized_image(name), size }).collect();
            states
        };
        Ok(Self {
            name: metadata.name,
            uid: metadata.uid,
            resource_version: metadata.resource_version,
            labels: metadata.labels,
            unschedulable: spec.unschedulable,
            taints: spec.taints.into(),
            allocatable: Resources::from_map(&status.allocatable),
            conditions: status.conditions.into(),
            images: {
                let mut images: Vec<ImageState> = status.images.iter().flat_map(image).collect();
                images.sort_by(|a, b| a.name.cmp(&b.name));
                images.dedup_by(|a, b| a.name == b.name);
                images.into()
            },
            declared_features: status.declared_features.into(),
        })
    }
}
