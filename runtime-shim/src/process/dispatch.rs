//! The helper: this crate's code in a process of its own.

use std::{ffi::OsString, io, path::PathBuf, process::ExitCode};

use super::{hello, supervisor};

/// The first argument by which a program knows that it is to be the helper.
pub(super) const ARGUMENT: &str = "kubewright-container-helper";
/// The helper's exit code when mount namespaces work.
pub(super) const NAMESPACES_WORK: u8 = 64;
/// The helper's exit code when they do not.
pub(super) const NAMESPACES_FAIL: u8 = 65;

/// Becomes the helper of a [`ProcessRuntime`](super::ProcessRuntime) if the arguments say so: the supervisor of a
/// container, or the built-in `hello` server. Returns `None` if they do not, and otherwise, when the helper is done, the
/// code to exit with.
///
/// Call it first thing in `main`, with [`std::env::args_os`], before any thread is started: so not within
/// `#[tokio::main]`.
///
/// ```
/// use std::process::ExitCode;
///
/// fn main() -> ExitCode {
///     if let Some(code) = kubewright_runtime_shim::process::dispatch(std::env::args_os()) {
///         return code;
///     }
///     // The program itself.
///     ExitCode::SUCCESS
/// }
/// ```
pub fn dispatch(arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut arguments = arguments.into_iter().skip(1);
    if arguments.next()? != ARGUMENT {
        return None;
    }
    let task = arguments.next().unwrap_or_default();
    let rest: Vec<OsString> = arguments.collect();
    Some(match task.to_str() {
        Some("supervise") => supervise(),
        Some("hello") => hello::main(),
        Some("probe") => probe(rest),
        _ => fail(format!("unknown task {}", task.display())),
    })
}

fn supervise() -> ExitCode {
    supervisor::main().map_or_else(fail, |()| ExitCode::SUCCESS)
}

/// The arguments are a directory to work in, and `user` for a user namespace too.
fn probe(arguments: Vec<OsString>) -> ExitCode {
    let Some((scratch, rest)) = arguments.split_first() else { return fail("no directory to probe in") };
    match supervisor::probe(&PathBuf::from(scratch), rest.iter().any(|argument| argument == "user")) {
        Ok(()) => ExitCode::from(NAMESPACES_WORK),
        Err(error) => {
            complain(error);
            ExitCode::from(NAMESPACES_FAIL)
        }
    }
}

fn fail(error: impl std::fmt::Display) -> ExitCode {
    complain(error);
    ExitCode::FAILURE
}

/// The helper is a program, so it may say what is wrong.
fn complain(error: impl std::fmt::Display) {
    let _ = io::Write::write_fmt(&mut io::stderr(), format_args!("container helper: {error}\n"));
}
