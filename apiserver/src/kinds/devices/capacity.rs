//! How much of a shared device a request may take.

use kubewright_api::field::{FieldError, FieldErrors};
use kubewright_api::quantity::Quantity;

use crate::kinds::read::Field;
use crate::kinds::validate::lists::bounded_set;

/// How many values a policy may list.
const VALUES_MAX: usize = 10;

/// One capacity of a device. Only devices that may be allocated several times have a policy for requests.
pub(super) fn capacity(capacity: &Field<'_>, shared: bool, errors: &mut FieldErrors) {
    let policy = capacity.field("requestPolicy");
    if !policy.is_set() {
        return;
    }
    if !shared {
        policy.forbidden(errors, "allowMultipleAllocations must be true");
        return;
    }
    let (values, range, default) = (policy.field("validValues"), policy.field("validRange"), policy.field("default"));
    let most = capacity.field("value").quantity().unwrap_or_default();
    match (values.is_empty(), range.is_set(), default.quantity()) {
        (false, true, _) => {
            let why = "exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the \
                       same time";
            policy.forbidden(errors, why);
        }
        (false, false, None) => default.required(errors, "required when validValues is defined"),
        (false, false, Some(default)) => valid_values(&values, default, most, errors),
        (true, true, None) => default.required(errors, "required when validRange is defined"),
        (true, true, Some(default)) => valid_range(&range, default, most, errors),
        (true, false, _) => {}
    }
}

fn valid_values(values: &Field<'_>, default: Quantity, most: Quantity, errors: &mut FieldErrors) {
    let quantities: Vec<Quantity> = values.items().map(|value| value.quantity().unwrap_or_default()).collect();
    for (at, pair) in quantities.windows(2).enumerate() {
        if pair[0] > pair[1] {
            let place = values.path().index(at + 1);
            errors.push(FieldError::invalid(&place, pair[1].to_string(), "values must be sorted in ascending order"));
        }
    }
    let whole = |value: &Field<'_>| value.quantity().unwrap_or_default().value().to_string().into();
    bounded_set(values, VALUES_MAX, whole, errors, |value, errors| {
        let quantity = value.quantity().unwrap_or_default();
        if quantity > most {
            let why = format!("option is larger than capacity value: {most}");
            value.invalid_value(errors, quantity.to_string(), why);
        }
    });
    if quantities.len() > VALUES_MAX || !quantities.contains(&default) {
        let why = "default value is not valid according to the requestPolicy";
        values.invalid_value(errors, default.to_string(), why);
    }
}

fn valid_range(range: &Field<'_>, default: Quantity, most: Quantity, errors: &mut FieldErrors) {
    let (min, max, step) = (range.field("min"), range.field("max"), range.field("step"));
    let Some(low) = min.quantity() else {
        min.required(errors, "required when validRange is defined");
        return;
    };
    let mut fault = |field: &Field<'_>, value: Quantity, why: String| {
        field.invalid_value(errors, value.to_string(), why);
    };
    if low > most {
        fault(&min, low, format!("min is larger than capacity value: {most}"));
    }
    if default < low {
        fault(&min, default, format!("default is less than min: {low}"));
    }
    let high = max.quantity();
    if let Some(high) = high {
        if low > high {
            fault(&max, low, format!("min is larger than max: {high}"));
        }
        if high > most {
            fault(&max, high, format!("max is larger than capacity value: {most}"));
        }
        if default > high {
            fault(&max, default, format!("default is more than max: {high}"));
        }
    }
    let Some(by) = step.quantity() else { return };
    if low + by > most {
        fault(&step, by, format!("one step {} is larger than capacity value: {most}", low + by));
    }
    for value in [Some(default), high].into_iter().flatten() {
        // Upstream divides by the step without asking whether it is zero.
        let fits = (value.value() - low.value()).checked_rem(by.value()).is_some_and(|rest| rest == 0);
        if !fits {
            fault(&step, value, format!("value is not a multiple of a given step ({by}) from ({low})"));
        }
    }
}
