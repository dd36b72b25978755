//! Whether an object must go, given what became of its owners.

use super::graph::Item;
use super::{FOREGROUND, ORPHAN};
use crate::objects::OwnerReference;
use crate::plan::Propagation;

/// What became of an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// It is there.
    Present,
    /// It is there but waits for its dependents to go.
    Waiting,
    /// It is gone.
    Absent,
}

/// What must be done with an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Nothing.
    Keep,
    /// It loses these owners but keeps others.
    DropOwners(Vec<String>),
    /// It goes.
    Delete(Propagation),
    /// It goes, but may no longer hold up its owners: they wait for one another in a circle.
    UnblockAndDelete,
}

/// What must be done with an object whose owners are so. `dependents_wait` tells whether one of its dependents waits
/// for dependents itself, `has_dependents` whether it has any.
#[must_use]
pub fn decide(item: &Item, owners: &[(OwnerReference, Owner)], has_dependents: bool, dependents_wait: bool) -> Verdict {
    if item.deleting || owners.is_empty() {
        return Verdict::Keep;
    }
    let lost =
        || owners.iter().filter(|(_, owner)| *owner != Owner::Present).map(|(reference, _)| reference.uid.clone());
    if owners.iter().any(|(_, owner)| *owner == Owner::Present) {
        let lost: Vec<String> = lost().collect();
        return if lost.is_empty() { Verdict::Keep } else { Verdict::DropOwners(lost) };
    }
    if has_dependents && owners.iter().any(|(_, owner)| *owner == Owner::Waiting) {
        return if dependents_wait { Verdict::UnblockAndDelete } else { Verdict::Delete(Propagation::Foreground) };
    }
    let has = |name: &str| item.finalizers.iter().any(|finalizer| finalizer == name);
    Verdict::Delete(match () {
        () if has(ORPHAN) => Propagation::Orphan,
        () if has(FOREGROUND) => Propagation::Foreground,
        () => Propagation::Background,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decides_as_upstream() {
        use Owner::{Absent, Present, Waiting};
        let check = |owners: &[Owner], has_dependents, dependents_wait, expected: Verdict| {
            let named = owners
                .iter()
                .enumerate()
                .map(|(n, owner)| (OwnerReference { uid: n.to_string(), ..OwnerReference::default() }, *owner));
            let owners: Vec<_> = named.collect();
            assert_eq!(decide(&Item::default(), &owners, has_dependents, dependents_wait), expected, "{owners:?}");
        };
        check(&[], false, false, Verdict::Keep);
        check(&[Present], true, false, Verdict::Keep);
        check(&[Present, Absent, Waiting], true, false, Verdict::DropOwners(vec!["1".into(), "2".into()]));
        check(&[Absent], true, false, Verdict::Delete(Propagation::Background));
        check(&[Absent, Waiting], false, false, Verdict::Delete(Propagation::Background));
        check(&[Absent, Waiting], true, false, Verdict::Delete(Propagation::Foreground));
        check(&[Waiting], true, true, Verdict::UnblockAndDelete);
        let orphaning = Item { finalizers: vec![ORPHAN.into()], ..Item::default() };
        let absent = [(OwnerReference::default(), Absent)];
        assert_eq!(decide(&orphaning, &absent, true, false), Verdict::Delete(Propagation::Orphan));
        let deleting = Item { deleting: true, ..Item::default() };
        assert_eq!(decide(&deleting, &absent, true, false), Verdict::Keep);
    }
}
