//! Names of certificate signers.

use kubewright_api::field::FieldErrors;
use kubewright_api::names;

use crate::kinds::read::Field;

/// `domain/path`, as signers of certificates are called.
pub(crate) fn signer_name(field: &Field<'_>, errors: &mut FieldErrors) {
    if !field.require(errors) {
        return;
    }
    let Some((domain, path)) = field.text().split_once('/').filter(|(_, path)| !path.contains('/')) else {
        let why = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        field.invalid(errors, why);
        return;
    };
    if domain.len() > 253 {
        field.too_long(errors, 253);
    }
    first_bad_label(field, domain, names::dns1123_label, errors);
    if domain.split('.').count() < 2 {
        let why = "should be a domain with at least two segments separated by dots";
        field.invalid_value(errors, domain, why);
    }
    first_bad_label(field, path, names::dns1123_subdomain, errors);
    if path.len() > 317 {
        field.too_long(errors, 317);
    }
}

fn first_bad_label(field: &Field<'_>, text: &str, rule: fn(&str) -> Vec<String>, errors: &mut FieldErrors) {
    let bad = text.split('.').map(|label| (label, rule(label))).find(|(_, faults)| !faults.is_empty());
    if let Some((label, faults)) = bad {
        for fault in faults {
            field.invalid_value(errors, text, format!("validating label {label:?}: {fault}"));
        }
    }
}
