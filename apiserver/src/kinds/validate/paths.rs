//! Paths inside volumes and on hosts, modes of files, ports by number or name.

use kubewright_api::field::FieldErrors;
use kubewright_api::names;

use crate::kinds::read::Field;

/// No `..` among its parts.
pub(crate) fn no_backsteps(field: &Field<'_>, errors: &mut FieldErrors) {
    if has_backsteps(field.text()) {
        field.invalid(errors, "must not contain '..'");
    }
}

/// Whether `..` is among the parts of a path.
pub(crate) fn has_backsteps(path: &str) -> bool {
    path.split('/').any(|part| part == "..")
}

/// A relative path that stays below where it starts.
pub(crate) fn descending(field: &Field<'_>, errors: &mut FieldErrors) {
    if field.text().starts_with('/') {
        field.invalid(errors, "must be a relative path");
    }
    no_backsteps(field, errors);
}

/// A descending path whose name isn't reserved.
pub(crate) fn descending_not_reserved(field: &Field<'_>, errors: &mut FieldErrors) {
    descending(field, errors);
    let text = field.text();
    if text.starts_with("..") && !text.starts_with("../") {
        field.invalid(errors, "must not start with '..'");
    }
}

/// Permission bits of a file, if they are given.
pub(crate) fn file_mode(field: &Field<'_>, errors: &mut FieldErrors) {
    if field.opt_int().is_some_and(|mode| !(0..=0o777).contains(&mode)) {
        field.invalid(errors, "must be a number between 0 and 0777 (octal), both inclusive");
    }
}

/// A port as number or as name.
pub(crate) fn port_number_or_name(field: &Field<'_>, errors: &mut FieldErrors) {
    match field.opt_text() {
        Some(name) => {
            for fault in port_name(name) {
                field.invalid(errors, fault);
            }
        }
        None => port_number(field, errors),
    }
}

fn port_name(name: &str) -> Vec<String> {
    names::port_name(name)
}

/// A port's number.
pub(crate) fn port_number(field: &Field<'_>, errors: &mut FieldErrors) {
    for fault in names::port_number(field.int()) {
        field.invalid_value(errors, field.int(), fault);
    }
}

/// TCP, UDP or SCTP.
pub(crate) fn protocol(field: &Field<'_>, errors: &mut FieldErrors) {
    field.one_of(errors, &["SCTP", "TCP", "UDP"]);
}
