//! How large a value one call may make. What a call costs is counted when it is done; by then a result that multiplies
//! its arguments would have taken all memory.

use super::super::EvalError;
use super::super::value::Value;

/// The longest text, in bytes: more than three times the largest request.
const TEXT_MAX: usize = 10 << 20;
/// The longest list.
const LIST_MAX: usize = 1 << 20;

/// Whether a text of that length may be made.
pub(super) fn text(bytes: usize) -> Result<(), EvalError> {
    if bytes <= TEXT_MAX {
        return Ok(());
    }
    Err(EvalError::new(format!("the size of the result would exceed {TEXT_MAX} bytes")))
}

/// Whether a list of that length may be made.
pub(super) fn list(elements: usize) -> Result<(), EvalError> {
    if elements <= LIST_MAX {
        return Ok(());
    }
    Err(EvalError::new(format!("the size of the result would exceed {LIST_MAX} elements")))
}

/// About how long a value is when it is written out.
pub(super) fn written(value: &Value<'_>) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::List(elements) => {
            elements.iter().map(|element| written(element).saturating_add(2)).fold(2, usize::saturating_add)
        }
        Value::Map(entries) => {
            entries.values().map(|value| written(value).saturating_add(8)).fold(2, usize::saturating_add)
        }
        // What came with the request is no longer than the request.
        _ => 32,
    }
}
