//! Which objects belong to an owner: adopting what matches and nobody manages, letting go of what no longer matches.

use std::sync::Arc;

use kubewright_api::selector::LabelSelector;
use serde_json::json;

use crate::objects::{Labels, Object, OwnerReference};
use crate::plan::Action;

/// What belongs to an owner, and what must be done to make it so.
#[derive(Debug)]
pub(crate) struct Claim<K> {
    /// What belongs to it, the adopted included.
    pub(crate) owned: Vec<Arc<K>>,
    /// Adoptions and releases.
    pub(crate) actions: Vec<Action>,
}

/// Whether a selector, if there is one, selects these labels; one that selects everything adopts nothing.
pub(crate) fn selects(selector: Option<&LabelSelector>, labels: &Labels) -> bool {
    selector.is_some_and(|selector| !selector.is_everything() && selector.matches(labels))
}

/// Claims candidates for an owner: those that it manages, and those of its namespace that nobody manages.
///
/// An owner that is being deleted neither adopts nor lets go; nor is anything adopted that is being deleted itself.
/// An adopted object also gets these finalizers.
pub(crate) fn claim<K: Object, O: Object>(
    owner: &O,
    selector: &LabelSelector,
    candidates: Vec<Arc<K>>,
    finalizers: &[&str],
) -> Claim<K> {
    let owner_meta = owner.meta();
    let (mut owned, mut actions) = (Vec::new(), Vec::new());
    for candidate in candidates {
        let meta = candidate.meta();
        let matches = selector.matches(&meta.labels);
        match meta.controller() {
            Some(controller) if controller.uid == owner_meta.uid => {
                if matches {
                    owned.push(candidate);
                } else if !owner_meta.deleting() {
                    let others: Vec<_> =
                        meta.owner_references.iter().filter(|other| other.uid != owner_meta.uid).collect();
                    actions.push(Action::patch(
                        candidate.as_ref(),
                        "",
                        json!({"metadata": {"ownerReferences": others}}),
                    ));
                }
            }
            Some(_) => {}
            None if !matches || owner_meta.deleting() || meta.deleting() => {}
            None => {
                let ours = OwnerReference::to_controller(O::KIND, owner_meta);
                let others = meta.owner_references.iter().filter(|other| other.uid != owner_meta.uid);
                let references: Vec<_> = others.chain([&ours]).collect();
                let mut body = json!({"metadata": {"ownerReferences": references}});
                if finalizers.iter().any(|wanted| !meta.finalizers.iter().any(|held| held == wanted)) {
                    let missing =
                        finalizers.iter().filter(|wanted| !meta.finalizers.iter().any(|held| held == *wanted));
                    let all: Vec<&str> = meta.finalizers.iter().map(String::as_str).chain(missing.copied()).collect();
                    body["metadata"]["finalizers"] = json!(all);
                }
                actions.push(Action::patch(candidate.as_ref(), "", body));
                owned.push(candidate);
            }
        }
    }
    Claim { owned, actions }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::{Meta, Pod, ReplicaSet, Time};

    fn pod(label: &str, controller: Option<&str>, deleting: bool) -> Arc<Pod> {
        let owner = |uid: &str| OwnerReference { uid: uid.into(), controller: true, ..OwnerReference::default() };
        let metadata = Meta {
            labels: Labels::from_iter([("app", label)]),
            owner_references: controller.map(owner).into_iter().collect(),
            deletion_timestamp: deleting.then(Time::default),
            ..Meta::default()
        };
        Arc::new(Pod { metadata, ..Pod::default() })
    }

    #[test]
    fn adopts_and_releases_as_upstream() {
        let selector = LabelSelector::from_pairs([("app", "a")]);
        for (owner_deleting, candidate, owned, patches) in [
            (false, pod("a", Some("me"), false), 1, 0),
            (false, pod("b", Some("me"), false), 0, 1),
            (true, pod("b", Some("me"), false), 0, 0),
            (false, pod("a", None, false), 1, 1),
            (false, pod("b", None, false), 0, 0),
            (false, pod("a", None, true), 0, 0),
            (true, pod("a", None, false), 0, 0),
            (false, pod("a", Some("other"), false), 0, 0),
        ] {
            let mut owner = ReplicaSet::default();
            owner.metadata.uid = "me".into();
            owner.metadata.deletion_timestamp = owner_deleting.then(Time::default);
            let claim = claim(&owner, &selector, vec![candidate.clone()], &[]);
            assert_eq!((claim.owned.len(), claim.actions.len()), (owned, patches), "{owner_deleting} {candidate:?}");
        }
    }
}
