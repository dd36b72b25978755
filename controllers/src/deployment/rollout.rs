//! Moves pods from old replica sets to the newest one.

use super::reconcile::{Observed, Work};
use super::revision::{by_age, revision};
use super::scale::{
    DESIRED_REPLICAS, MAX_REPLICAS, is_rolling, max_surge, max_unavailable, new_set_size, number, share,
};
use super::status;

/// One step of a rolling update: grow the newest set if there is room, else shrink old ones if enough is available.
pub(super) fn rolling(work: &mut Work<'_>) {
    if work.find_new_set(true) {
        let scaled = grow_new(work) || shrink_old(work);
        if !scaled && status::is_complete(work.deployment, &work.deployment.status) {
            remove_old_sets(work);
        }
    }
    status::report_rollout(work);
}

/// One step of a rollout that first ends all old pods.
pub(super) fn recreate(work: &mut Work<'_>, observed: &Observed<'_>) {
    work.find_new_set(false);
    let mut scaled = false;
    for at in work.old() {
        scaled |= work.scale_set(at, 0, false);
    }
    if !scaled && !old_pods_running(work, observed) && work.find_new_set(true) {
        if let Some(new) = work.new {
            work.scale_set(new, work.deployment.spec.replicas, false);
        }
        if status::is_complete(work.deployment, &work.deployment.status) {
            remove_old_sets(work);
        }
    }
    status::report_rollout(work);
}

fn old_pods_running(work: &Work<'_>, observed: &Observed<'_>) -> bool {
    if work.old().iter().any(|at| work.sets[*at].status.replicas > 0) {
        return true;
    }
    let new = work.new_set().map(|set| set.metadata.uid.as_str());
    let ours = |uid: &&String| work.sets.iter().any(|set| set.metadata.uid == **uid);
    let old = observed.pods.iter().filter(|(uid, _)| Some(uid.as_str()) != new && ours(uid));
    old.flat_map(|(_, pods)| pods).any(|pod| !pod.finished())
}

fn grow_new(work: &mut Work<'_>) -> bool {
    let (Some(at), wanted) = (work.new, work.deployment.spec.replicas) else { return false };
    let current = work.sets[at].spec.replicas;
    if current == wanted {
        return false;
    }
    let size = if current > wanted { wanted } else { new_set_size(work.deployment, current, work.total()) };
    work.scale_set(at, size, false)
}

fn shrink_old(work: &mut Work<'_>) -> bool {
    let mut old: Vec<usize> = work.old().into_iter().filter(|at| work.sets[*at].spec.replicas > 0).collect();
    let Some(new) = work.new_set() else { return false };
    let least = work.deployment.spec.replicas - max_unavailable(work.deployment);
    let not_yet_available = new.spec.replicas - new.status.available_replicas;
    let most_down = work.total() - least - not_yet_available;
    if old.is_empty() || most_down <= 0 {
        return false;
    }
    old.sort_by(|a, b| by_age(&work.sets[*a], &work.sets[*b]));
    // Pods that aren't available serve nobody: they go first, or they could hold the rollout up for ever.
    let mut down = 0;
    for at in &old {
        let set = &work.sets[*at];
        let unhealthy = set.spec.replicas - set.status.available_replicas;
        let by = unhealthy.min(most_down - down);
        if by > 0 {
            let to = set.spec.replicas - by;
            work.scale_set(*at, to, false);
            down += by;
        }
    }
    let available: i32 = work.sets.iter().map(|set| set.status.available_replicas).sum();
    let mut spare = available - least;
    for at in &old {
        let size = work.sets[*at].spec.replicas;
        let by = size.min(spare);
        if by > 0 {
            work.scale_set(*at, size - by, false);
            spare -= by;
            down += by;
        }
    }
    down > 0
}

/// Brings the sets to the deployment's size without moving pods from one template to another.
pub(super) fn scale(work: &mut Work<'_>) {
    let wanted = work.deployment.spec.replicas;
    let active: Vec<usize> = (0..work.sets.len()).filter(|at| work.sets[*at].spec.replicas > 0).collect();
    let only = match active[..] {
        [only] => Some(only),
        [] => work.new.or_else(|| work.old().into_iter().max_by(|a, b| by_age(&work.sets[*a], &work.sets[*b]))),
        _ => None,
    };
    if let Some(only) = only {
        work.scale_set(only, wanted, false);
        // The size may be right while the annotations still tell of another: that must not look like scaling for ever.
        if work.sets[only].spec.replicas > 0 && number(&work.sets[only], DESIRED_REPLICAS) != Some(wanted) {
            work.scale_set(only, wanted, true);
        }
        return;
    }
    let saturated = work.new_set().is_some_and(|new| {
        new.spec.replicas == wanted
            && number(new, DESIRED_REPLICAS) == Some(wanted)
            && new.status.available_replicas == wanted
    });
    if saturated {
        let new = work.new;
        for at in active.into_iter().filter(|at| Some(*at) != new) {
            work.scale_set(at, 0, false);
        }
    } else if is_rolling(work.deployment) {
        scale_proportionally(work, active);
    } else {
        // Recreating has no proportions: the newest set gets all, old ones end.
        for at in active {
            let to = if Some(at) == work.new { wanted } else { 0 };
            work.scale_set(at, to, true);
        }
    }
}

fn scale_proportionally(work: &mut Work<'_>, mut active: Vec<usize>) {
    let wanted = work.deployment.spec.replicas;
    let allowed = if wanted > 0 { wanted + max_surge(work.deployment) } else { 0 };
    let to_add = allowed - active.iter().map(|at| work.sets[*at].spec.replicas).sum::<i32>();
    active.sort_by(|a, b| {
        let (a, b) = (&work.sets[*a], &work.sets[*b]);
        // Of equal sizes, newer ones grow first and older ones shrink first.
        let age = if to_add > 0 { by_age(b, a) } else { by_age(a, b) };
        b.spec.replicas.cmp(&a.spec.replicas).then(age)
    });
    let sizes: Vec<_> =
        active.iter().map(|at| (work.sets[*at].spec.replicas, number(&work.sets[*at], MAX_REPLICAS))).collect();
    for (at, size) in active.into_iter().zip(share(work.deployment, &sizes, to_add)) {
        work.scale_set(at, size, true);
    }
}

/// Removes old sets beyond the deployment's history limit, the oldest revisions first.
pub(super) fn remove_old_sets(work: &mut Work<'_>) {
    let Some(limit) = work.deployment.spec.revision_history_limit.filter(|limit| *limit != i32::MAX) else { return };
    let mut old: Vec<usize> = work.old().into_iter().filter(|at| !work.sets[*at].metadata.deleting()).collect();
    let surplus = old.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
    old.sort_by(|a, b| {
        let (a, b) = (&work.sets[*a], &work.sets[*b]);
        revision(a).cmp(&revision(b)).then_with(|| by_age(a, b))
    });
    for at in old.into_iter().take(surplus) {
        let set = &work.sets[at];
        let empty = set.status.replicas == 0 && set.spec.replicas == 0;
        if empty && set.metadata.generation <= set.status.observed_generation {
            work.remove_set(at);
        }
    }
}
