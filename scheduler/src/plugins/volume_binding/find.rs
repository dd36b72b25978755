//! Volumes for claims, as seen from a node.

use std::sync::Arc;

use super::VolumeBinding;
use crate::cache::Objects;
use crate::framework::{Code, Status};
use crate::object::{Claim, Node, StorageClass, Volume};

/// Which volume each waiting claim gets, and for which ones must be made.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    pub(super) bindings: Vec<(Arc<Volume>, Arc<Claim>)>,
    pub(super) provisions: Vec<Arc<Claim>>,
}

/// Whether the bound claims' volumes can be reached from the node, and what the waiting ones get there.
pub(super) fn find(
    bound: &[Arc<Claim>],
    waiting: &[Arc<Claim>],
    node: &Node,
    objects: &Objects,
) -> Result<Found, Status> {
    let mut reasons = Vec::new();
    match check_bound(bound, node, objects).map_err(Status::error)? {
        Bound::Reachable => {}
        Bound::Unreachable => reasons.push(VolumeBinding::REASON_NODE.into()),
        Bound::Gone => reasons.push(VolumeBinding::REASON_GONE.into()),
    }
    let gone = reasons.iter().position(|reason| *reason == VolumeBinding::REASON_GONE);
    match find_waiting(waiting, node, objects)? {
        Ok(found) if reasons.is_empty() => return Ok(found),
        Ok(_) => {}
        // A missing volume is told last.
        Err(reason) => reasons.insert(gone.unwrap_or(reasons.len()), reason.into()),
    }
    Err(Status::with_reasons(Code::UnschedulableAndUnresolvable, reasons))
}

enum Bound {
    Reachable,
    Unreachable,
    Gone,
}

fn check_bound(bound: &[Arc<Claim>], node: &Node, objects: &Objects) -> Result<Bound, String> {
    let migrated = objects.storage.csi_node(&node.name).map_or("", |own| own.migrated.as_str());
    for claim in bound {
        let Some(volume) = objects.storage.volume(&claim.volume_name) else { return Ok(Bound::Gone) };
        if !volume.is_reachable_through_csi(node, migrated)? {
            return Ok(Bound::Unreachable);
        }
    }
    Ok(Bound::Reachable)
}

type Unmet = &'static str;

fn find_waiting(waiting: &[Arc<Claim>], node: &Node, objects: &Objects) -> Result<Result<Found, Unmet>, Status> {
    let mut found = Found::default();
    let mut open = Vec::new();
    for claim in waiting {
        match objects.storage.selected_node(claim) {
            Some(selected) if *selected != node.name => return Ok(Err(VolumeBinding::REASON_BIND)),
            Some(_) => found.provisions.push(claim.clone()),
            None => open.push(claim.clone()),
        }
    }
    // The smallest first, so that it doesn't take the volume that only a larger one needs.
    open.sort_by_key(|claim| claim.size.unwrap_or(0));
    for claim in open {
        match matching(&claim, node, objects, &found.bindings) {
            Some(volume) => found.bindings.push((volume, claim)),
            None => found.provisions.push(claim),
        }
    }
    for claim in &found.provisions {
        if let Err(reason) = check_provision(claim, node, objects)? {
            return Ok(Err(reason));
        }
    }
    Ok(Ok(found))
}

/// The volume that is kept for the claim, or else the smallest that will do.
fn matching(claim: &Claim, node: &Node, objects: &Objects, taken: &[(Arc<Volume>, Arc<Claim>)]) -> Option<Arc<Volume>> {
    let mut best: Option<&Arc<Volume>> = None;
    for volume in objects.storage.volumes_of(&claim.class) {
        let own = volume.is_for(claim) || objects.storage.is_kept_for(&volume.name, claim);
        if taken.iter().any(|(other, _)| other.name == volume.name)
            || (volume.claim.is_some() && !volume.is_for(claim))
            || objects.storage.is_kept_from(&volume.name, claim)
            || volume.size < claim.size.unwrap_or(0)
            || volume.block != claim.block
            || volume.attributes_class != claim.attributes_class
            || volume.deleting
        {
            continue;
        }
        let reachable = volume.is_reachable_from(node);
        if own {
            return reachable.then(|| volume.clone());
        }
        let selected = claim.selector.as_ref().is_none_or(|selector| selector.matches(&volume.labels));
        let mountable = claim.access_modes.iter().all(|mode| volume.access_modes.contains(mode));
        if volume.available && selected && reachable && mountable && best.is_none_or(|best| volume.size < best.size) {
            best = Some(volume);
        }
    }
    best.cloned()
}

fn check_provision(claim: &Claim, node: &Node, objects: &Objects) -> Result<Result<(), Unmet>, Status> {
    if claim.class.is_empty() {
        return Err(Status::error(format!("no class for claim \"{}/{}\"", claim.namespace, claim.name)));
    }
    let missing = || Status::error(format!("failed to find storage class \"{}\"", claim.class));
    let class = objects.storage.class(&claim.class).ok_or_else(missing)?;
    if !class.provisions() || !class.reaches(&node.labels) {
        return Ok(Err(VolumeBinding::REASON_BIND));
    }
    Ok(if has_room(claim, class, node, objects) { Ok(()) } else { Err(VolumeBinding::REASON_SPACE) })
}

/// Whether there is room for a new volume. Drivers that don't tell are trusted.
fn has_room(claim: &Claim, class: &StorageClass, node: &Node, objects: &Objects) -> bool {
    let Some(size) = claim.size else { return true };
    if !objects.storage.csi_driver(&class.provisioner).is_some_and(|driver| driver.storage_capacity) {
        return true;
    }
    objects.storage.capacities().any(|capacity| {
        capacity.class == class.name
            && capacity.volume_size_max.is_some_and(|most| most >= size)
            && capacity.nodes.as_ref().is_some_and(|nodes| nodes.matches(&node.labels))
    })
}
