//! What the plugins about volumes have in common.

use std::sync::Arc;

use crate::cache::Objects;
use crate::framework::{Object, Status};
use crate::object::{Claim, Name, PodInfo, StorageClass, VolumeSource};

/// The names of the claims that a pod names itself.
pub(super) fn named_claims(pod: &PodInfo) -> impl Iterator<Item = &Name> {
    pod.spec.volumes.iter().filter_map(|volume| match volume {
        VolumeSource::Claim(name) => Some(name),
        _ => None,
    })
}

/// The names of all claims behind a pod's volumes, and whether each was made for this pod.
pub(super) fn all_claims(pod: &PodInfo) -> impl Iterator<Item = (Name, bool)> + '_ {
    pod.spec
        .volumes
        .iter()
        .filter_map(|volume| Some((pod.claim_name(volume)?, matches!(volume, VolumeSource::Ephemeral(_)))))
}

/// Whether a pod has any claims.
pub(super) fn has_claims(pod: &PodInfo) -> bool {
    pod.spec.volumes.iter().any(|volume| matches!(volume, VolumeSource::Claim(_) | VolumeSource::Ephemeral(_)))
}

pub(super) fn claim_not_found(name: &str) -> String {
    format!("persistentvolumeclaim \"{name}\" not found")
}

pub(super) fn class_of(objects: &Objects, name: &Name) -> Result<Arc<StorageClass>, Status> {
    let missing = || Status::unresolvable(format!("storageclass.storage.k8s.io \"{name}\" not found"));
    objects.storage.class(name).cloned().ok_or_else(missing)
}

/// A claim that was made for a pod must be its own.
pub(super) fn check_owner(pod: &PodInfo, claim: &Claim) -> Result<(), String> {
    if claim.owner_pod == pod.uid {
        return Ok(());
    }
    let (own, theirs) = (&claim.name, &pod.name);
    let space = &pod.namespace;
    Err(format!("PVC {space}/{own} was not created for pod {space}/{theirs} (pod is not owner)"))
}

/// Whether an event is about one of a pod's claims.
pub(super) fn is_about_claim_of(pod: &PodInfo, object: &Object, with_ephemeral: bool) -> bool {
    let Object::Claim(_, Some(claim)) = object else { return true };
    claim.namespace == pod.namespace
        && all_claims(pod).any(|(name, ephemeral)| name == claim.name && (with_ephemeral || !ephemeral))
}
