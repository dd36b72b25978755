//! What a namespace's conditions say while it is being emptied.

use super::Counts;
use crate::objects::{Condition, Time, condition};

/// What is left in a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remains {
    /// How many objects of each resource, written `pods.` or `deployments.apps`.
    resources: Counts,
    /// How many objects each finalizer holds.
    finalizers: Counts,
    /// Groups and versions that the server could not tell about.
    pub undiscovered: Vec<String>,
    /// What went wrong.
    pub errors: Vec<String>,
}

impl Remains {
    /// Nothing is left, but the server could not tell about these groups and versions.
    #[must_use]
    pub fn without(undiscovered: Vec<String>) -> Self {
        Self { undiscovered, ..Self::default() }
    }

    /// Notes what is left of one resource: each object's finalizers.
    pub fn add(&mut self, resource: String, objects: Vec<Vec<String>>) {
        if !objects.is_empty() {
            self.resources.insert(resource, objects.len());
        }
        for finalizer in objects.into_iter().flatten() {
            *self.finalizers.entry(finalizer).or_default() += 1;
        }
    }

    /// Whether objects are left.
    #[must_use]
    pub fn holds_objects(&self) -> bool {
        !self.resources.is_empty()
    }

    /// Whether nothing is left and nothing went wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.resources.is_empty() && self.undiscovered.is_empty() && self.errors.is_empty()
    }
}

/// The conditions, given what they were.
///
/// Those that tell of trouble appear with the first trouble and stay, as `False`, when it is over.
#[must_use]
pub fn conditions(old: &[Condition], remains: &Remains, now: Time) -> Vec<Condition> {
    let list = |counts: &Counts, between: &str| {
        counts
            .iter()
            .map(|(name, count)| format!("{name}{between}{count} resource instances"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let some = |trouble: bool, reason: &'static str, message: String| trouble.then_some((reason, message));
    let failed = &remains.undiscovered;
    let undiscovered = format!("Discovery failed for some groups, {} failing: {}", failed.len(), failed.join(", "));
    let errors = format!(
        "Failed to delete all resource types, {} remaining: {}",
        remains.errors.len(),
        remains.errors.join(", ")
    );
    let wanted = [
        (
            "NamespaceDeletionDiscoveryFailure",
            some(!failed.is_empty(), "DiscoveryFailed", undiscovered),
            ("ResourcesDiscovered", "All resources successfully discovered"),
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            None,
            ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
        ),
        (
            "NamespaceDeletionContentFailure",
            some(!remains.errors.is_empty(), "ContentDeletionFailed", errors),
            ("ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
        ),
        (
            "NamespaceContentRemaining",
            some(
                !remains.resources.is_empty(),
                "SomeResourcesRemain",
                format!("Some resources are remaining: {}", list(&remains.resources, " has ")),
            ),
            ("ContentRemoved", "All content successfully removed"),
        ),
        (
            "NamespaceFinalizersRemaining",
            some(
                !remains.finalizers.is_empty(),
                "SomeFinalizersRemain",
                format!(
                    "Some content in the namespace has finalizers remaining: {}",
                    list(&remains.finalizers, " in ")
                ),
            ),
            ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
        ),
    ];
    let mut conditions = old.to_vec();
    for (kind, trouble, (ok_reason, ok_message)) in wanted {
        let mut new = match trouble {
            Some((reason, message)) => Condition::new(kind, true, reason, message),
            None => Condition::new(kind, false, ok_reason, ok_message),
        };
        match condition(old, kind) {
            Some(held) if held.status == new.status => new.last_transition_time = held.last_transition_time,
            _ => new.last_transition_time = Some(now.truncated()),
        }
        match conditions.iter_mut().find(|held| held.kind == kind) {
            Some(held) => *held = new,
            None => conditions.push(new),
        }
    }
    conditions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(conditions: &[Condition], kind: &str) -> String {
        condition(conditions, kind).map(|found| format!("{} {}", found.status, found.message)).unwrap()
    }

    #[test]
    fn conditions_tell_what_is_left() {
        let mut remains = Remains::default();
        remains.add("pods.".into(), vec![vec![], vec!["a/b".into()]]);
        remains.add("deployments.apps".into(), vec![vec![]]);
        assert!(!remains.is_empty());
        let first = conditions(&[], &remains, Time::from_seconds(1));
        assert_eq!(
            message(&first, "NamespaceContentRemaining"),
            "True Some resources are remaining: deployments.apps has 1 resource instances, pods. has 2 resource instances"
        );
        assert_eq!(
            message(&first, "NamespaceFinalizersRemaining"),
            "True Some content in the namespace has finalizers remaining: a/b in 1 resource instances"
        );
        assert_eq!(conditions(&first, &remains, Time::from_seconds(2)), first, "nothing new, no new times");
        let done = conditions(&first, &Remains::default(), Time::from_seconds(3));
        assert_eq!(message(&done, "NamespaceContentRemaining"), "False All content successfully removed");
    }
}
