//! Names of drivers, pools and attributes of devices.

use kubewright_api::field::{FieldError, FieldErrors};
use kubewright_api::names;

use crate::kinds::read::Field;

/// How many bytes the name of an attribute or a capacity may have after its domain.
const ID_BYTES_MAX: usize = 32;

fn domain_faults(field: &Field<'_>, text: &str, errors: &mut FieldErrors) {
    if text.len() > 63 {
        field.too_long(errors, 63);
    }
    for fault in names::dns1123_subdomain(&text.to_lowercase()) {
        field.invalid_value(errors, text, fault);
    }
}

/// A pool's name: subdomains with slashes between.
pub(super) fn pool(name: &Field<'_>, errors: &mut FieldErrors) {
    if !name.require(errors) {
        return;
    }
    if name.text().len() > 253 {
        name.too_long(errors, 253);
    }
    for part in name.text().split('/') {
        for fault in names::dns1123_subdomain(part) {
            name.invalid_value(errors, part, fault);
        }
    }
}

/// The name of an attribute or a capacity, its domain before it or not. Faults are told of the field.
pub(super) fn qualified(field: &Field<'_>, name: &str, errors: &mut FieldErrors) {
    match name.split('/').collect::<Vec<_>>()[..] {
        [id] => identifier(field, id, errors),
        [domain, id] => {
            if domain.is_empty() {
                field.invalid_value(errors, "", "the domain must not be empty");
            } else {
                domain_faults(field, domain, errors);
            }
            if id.is_empty() {
                field.invalid_value(errors, "", "the name must not be empty");
            } else {
                identifier(field, id, errors);
            }
        }
        // Upstream looks no closer at names with more slashes.
        _ => {}
    }
}

/// The name of an attribute with its domain before it.
pub(super) fn fully_qualified(field: &Field<'_>, errors: &mut FieldErrors) {
    qualified(field, field.text(), errors);
    if !field.text().contains('/') {
        field.invalid(errors, "a fully qualified name must be a domain and a name separated by a slash");
    }
}

fn identifier(field: &Field<'_>, id: &str, errors: &mut FieldErrors) {
    if id.len() > ID_BYTES_MAX {
        field.too_long(errors, ID_BYTES_MAX);
    }
    let good = id.starts_with(|first: char| first == '_' || first.is_ascii_alphabetic())
        && id.chars().all(|c| c == '_' || c.is_ascii_alphanumeric());
    if !good {
        let rule = "a valid C identifier must start with alphabetic character or '_', followed by a string of \
                    alphanumeric characters or '_'";
        let fault = names::pattern_fault(rule, "[A-Za-z_][A-Za-z0-9_]*", &["my_name", "MY_NAME", "MyName"]);
        field.invalid_value(errors, id, fault);
    }
}

/// A UUID in its normal form.
pub(super) fn uuid(field: &Field<'_>, errors: &mut FieldErrors) {
    let text = field.text();
    let fault = uuid_fault(text);
    if let Some(fault) = fault {
        field.invalid(errors, format!("error validating uid: {fault}"));
    } else if text.len() != 36 || text != text.to_lowercase() {
        let why = "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase \
                   hexadecimal characters";
        field.invalid(errors, why);
    }
}

/// What is wrong with a UUID in any of the forms that are in use.
fn uuid_fault(text: &str) -> Option<String> {
    const FORM: &str = "invalid UUID format";
    let inner = match text.len() {
        36 => text,
        32 => return (!text.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| FORM.into()),
        38 => match text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
            Some(inner) => inner,
            None => return Some("invalid bracketed UUID format".into()),
        },
        45 => match text.split_at_checked(9) {
            Some((lead, inner)) if lead.eq_ignore_ascii_case("urn:uuid:") => inner,
            Some((lead, _)) => return Some(format!("invalid urn prefix: {lead:?}")),
            None => return Some(FORM.into()),
        },
        length => return Some(format!("invalid UUID length: {length}")),
    };
    let dash = |at| [8, 13, 18, 23].contains(&at);
    let good =
        inner.bytes().enumerate().all(|(at, byte)| if dash(at) { byte == b'-' } else { byte.is_ascii_hexdigit() });
    (!good).then(|| FORM.into())
}

/// A node's name; faults are told of the field.
pub(super) fn node(field: &Field<'_>, errors: &mut FieldErrors) {
    field.check(errors, names::dns1123_subdomain);
}

/// A fault of several fields of which only some may be set.
pub(super) fn several_set(field: &Field<'_>, set: &[&str], why: &str, errors: &mut FieldErrors) {
    errors.push(FieldError::invalid(&field.path(), format!("{{{}}}", set.join(", ")), why));
}
