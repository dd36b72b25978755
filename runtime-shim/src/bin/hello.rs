//! The server of the image `kubewright.dev/hello`, for a static image; and, as any program that hosts a
//! `ProcessRuntime`, the helper of its containers.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
use kubewright_runtime_shim::process::{dispatch, hello};

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    dispatch(std::env::args_os()).unwrap_or_else(hello::main)
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    ExitCode::FAILURE
}
