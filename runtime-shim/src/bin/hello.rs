//! The server of the image `kubewright.dev/hello`, for a static image; and, as any program that hosts a
//! `ProcessRuntime`, the helper of its containers.

use std::process::ExitCode;

use kubewright_runtime_shim::process::{dispatch, hello};

fn main() -> ExitCode {
    dispatch(std::env::args_os()).unwrap_or_else(hello::main)
}
