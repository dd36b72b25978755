//! Expressions that choose devices. They are compiled when they are written, and what may cost too much is refused.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use kubewright_api::field::FieldErrors;

use crate::cel::{Env, Program, Sizes, Type};
use crate::kinds::read::Field;
use crate::kinds::validate::lists::bounded;

/// How many selectors a request or a class may have.
const SELECTORS_MAX: usize = 32;
/// How long an expression may be, in bytes.
const BYTES_MAX: usize = 10 * 1024;
/// What an expression may cost at most.
const COST_MAX: u64 = 1_000_000;

/// The selectors of a request or of a class.
pub(super) fn selectors(list: &Field<'_>, errors: &mut FieldErrors) {
    bounded(list, SELECTORS_MAX, errors, |selector, errors| {
        let cel = selector.field("cel");
        if cel.is_set() { expression(&cel.field("expression"), errors) } else { cel.required(errors, "") }
    });
}

fn expression(field: &Field<'_>, errors: &mut FieldErrors) {
    if field.text().len() > BYTES_MAX {
        field.too_long(errors, BYTES_MAX);
        return;
    }
    match Program::compile(field.text(), &ENVIRONMENT) {
        Err(fault) => field.invalid_value(errors, field.text(), format!("compilation failed: {fault}")),
        Ok(program) if !matches!(program.result(), Type::Bool | Type::Dyn) => {
            let why = format!("must evaluate to bool or the unknown type, not {}", program.result());
            field.invalid_value(errors, field.text(), why);
        }
        Ok(program) if program.estimate(&[("device", &SIZES)]).max > COST_MAX => {
            field.forbidden(errors, "too complex, exceeds cost limit");
        }
        Ok(_) => {}
    }
}

/// What an expression may name: the device.
static ENVIRONMENT: LazyLock<Env> = LazyLock::new(|| {
    let device = Type::object(
        "kubernetes.DRADevice",
        [
            ("driver", Type::String),
            ("allowMultipleAllocations", Type::Bool),
            ("attributes", Type::map(Type::map(Type::Dyn))),
            ("capacity", Type::map(Type::map(Type::Named("kubernetes.Quantity")))),
        ],
    );
    Env::new().with("device", device)
});

/// How large a device gets.
static SIZES: LazyLock<Sizes> = LazyLock::new(|| {
    let plain = |max| Sizes { max, ..Sizes::default() };
    let map = |of: Sizes| Sizes { max: 32, element: Some(Box::new(of)), map: true, fields: BTreeMap::new() };
    let fields = [
        ("driver", plain(63)),
        ("allowMultipleAllocations", plain(1)),
        ("attributes", map(map(plain(64)))),
        ("capacity", map(map(plain(64)))),
    ];
    Sizes { max: 4, fields: fields.map(|(name, sizes)| (name.to_owned(), sizes)).into(), element: None, map: false }
});
