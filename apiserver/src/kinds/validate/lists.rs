//! Lists and maps with a bound: whoever sends too much is told so, and nothing of it is looked at.

use kubewright_api::field::{FieldError, FieldErrors};
use serde_json::Value;

use crate::kinds::read::Field;

/// Whether a list or a map has no more entries than it may.
pub(crate) fn at_most(list: &Field<'_>, items_max: usize, errors: &mut FieldErrors) -> bool {
    let fits = list.len() <= items_max;
    if !fits {
        errors.push(FieldError::too_many(&list.path(), list.len(), items_max));
    }
    fits
}

/// A list of at most so many items, each by a rule.
pub(crate) fn bounded<'a>(
    list: &Field<'a>,
    items_max: usize,
    errors: &mut FieldErrors,
    mut rule: impl FnMut(&Field<'a>, &mut FieldErrors),
) {
    if at_most(list, items_max, errors) {
        list.items().for_each(|item| rule(&item, errors));
    }
}

/// A list of at most so many items, each by a rule and no two with the same key.
pub(crate) fn bounded_set<'a>(
    list: &Field<'a>,
    items_max: usize,
    key: impl Fn(&Field<'a>) -> Value,
    errors: &mut FieldErrors,
    rule: impl FnMut(&Field<'a>, &mut FieldErrors),
) {
    if list.len() > items_max {
        at_most(list, items_max, errors);
        return;
    }
    bounded(list, items_max, errors, rule);
    let mut seen = Vec::with_capacity(list.len());
    for item in list.items() {
        let key = key(&item);
        if seen.contains(&key) {
            errors.push(FieldError::duplicate(&item.path(), key));
        } else {
            seen.push(key);
        }
    }
}
