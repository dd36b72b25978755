//! A plugin that panics takes nobody else down, also where it has no pod to fail.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{Code, Status};

/// What a panic says.
pub(crate) fn panicked(panic: &(dyn Any + Send)) -> Status {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    Status::new(Code::Error, format!("a plugin panicked: {text}"))
}

/// Calls a plugin where its panic fails no pod: it is written down, and there is no answer.
pub(crate) fn caught<T>(point: &'static str, plugin: &str, run: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(answer) => Some(answer),
        Err(panic) => {
            write_down(point, plugin, &panicked(&*panic));
            None
        }
    }
}

#[cfg(feature = "driver")]
fn write_down(point: &'static str, plugin: &str, status: &Status) {
    tracing::error!(point, plugin, %status, "a plugin panicked");
}

/// Without the driver nobody keeps a log; what the panic itself printed must do.
#[cfg(not(feature = "driver"))]
const fn write_down(_: &'static str, _: &str, _: &Status) {}
