//! What every runtime has to do, as tests.
//!
//! A runtime's own test file makes a [`Subject`], a fresh runtime with what the suite needs to know of it, and names the
//! function that does so:
//!
//! ```
//! # #[cfg(feature = "sim")]
//! mod conformance {
//!     use std::sync::Arc;
//!
//!     use kubewright_runtime_shim::{conformance::Subject, sim::SimRuntime};
//!
//!     async fn subject() -> Subject {
//!         Subject::new(Arc::new(SimRuntime::default()), "busybox", std::env::temp_dir())
//!     }
//!
//!     kubewright_runtime_shim::conformance_tests!(subject);
//! }
//! ```
//!
//! Containers in the suite run `sh -c` with the words `echo`, `sleep`, `cat`, `trap` and `exit` alone; more only where a
//! capability says so. What only some runtimes can do is a field of [`Capabilities`], never a question of which
//! runtime it is.

mod containers;
mod images;
mod logs;
mod pod;
mod sandboxes;
mod stats;
mod streams;

use std::{any::Any, fmt, net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

pub use self::{containers::*, images::*, logs::*, sandboxes::*, stats::*, streams::*};
use crate::Runtime;

/// What only some runtimes can do. The default is all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// Runs real programs: a program that is not there cannot be started, files and variables can be looked at.
    pub programs: bool,
    /// Knows which images it has, and refuses others.
    pub images: bool,
    /// Can fetch images.
    pub pull: bool,
    /// Can give a command a terminal.
    pub terminals: bool,
}

impl Default for Capabilities {
    fn default() -> Self {
        Self { programs: true, images: true, pull: true, terminals: true }
    }
}

/// A fresh runtime to try out.
#[non_exhaustive]
pub struct Subject {
    /// The runtime. It may hold pods of others, but none named by the suite.
    pub runtime: Arc<dyn Runtime>,
    /// An image that is there, and has `sh`.
    pub image: String,
    /// A directory for this test alone: for logs and volumes.
    pub directory: PathBuf,
    /// What it can do.
    pub capabilities: Capabilities,
    /// An address for pods, where the runtime wants the caller to bring one.
    pub pod_ip: Option<IpAddr>,
    /// The port on which an image with an HTTP server answers, and its name.
    pub server: Option<(String, u16)>,
    /// Dropped at the end of the test.
    pub guard: Option<Box<dyn Any + Send>>,
}

impl Subject {
    /// A runtime that can do everything.
    #[must_use]
    pub fn new(runtime: Arc<dyn Runtime>, image: impl Into<String>, directory: impl Into<PathBuf>) -> Self {
        Self {
            runtime,
            image: image.into(),
            directory: directory.into(),
            capabilities: Capabilities::default(),
            pod_ip: None,
            server: None,
            guard: None,
        }
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject").field("image", &self.image).field("capabilities", &self.capabilities).finish()
    }
}

/// How long the suite waits for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs one case on a fresh subject; what the macro's tests call.
#[doc(hidden)]
pub fn run<F, C>(subject: impl FnOnce() -> F, case: impl FnOnce(Subject) -> C)
where
    F: Future<Output = Subject>,
    C: Future<Output = ()>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a tokio runtime").block_on(async { case(subject().await).await });
}

/// Makes one `#[test]` of each case of the suite, each on a subject of its own from the named async function.
#[macro_export]
macro_rules! conformance_tests {
    ($subject:expr) => {
        $crate::conformance_tests! { @cases $subject;
            a_sandbox_is_ready_then_stopped_then_gone
            a_second_sandbox_of_an_attempt_is_refused
            sandboxes_are_found_by_what_they_are
            what_is_not_there_can_be_stopped_and_removed
            a_stopped_sandbox_has_nothing_running
            a_removed_sandbox_leaves_no_containers
            a_container_runs_to_its_end
            an_exit_code_is_told
            a_container_starts_once
            a_container_that_is_there_is_not_made_again
            the_next_attempt_is_another_container
            a_container_needs_a_ready_sandbox
            a_program_that_is_not_there_is_a_start_error
            a_stop_asks_first
            a_stop_kills_in_the_end
            a_stop_without_time_kills_at_once
            a_container_that_does_not_run_can_be_stopped
            a_running_container_can_be_removed
            containers_are_found_by_what_they_are
            a_status_tells_what_was_asked_for
            a_container_has_its_environment_and_directory
            a_container_sees_its_volumes
            many_containers_at_once
            an_image_that_is_there_is_found
            an_image_that_is_not_there_is_refused
            logs_tell_output_from_error
            logs_can_be_rotated
            a_pod_without_logs_runs
            exec_sync_gives_output_and_code
            exec_sync_ends_at_its_timeout
            exec_in_what_does_not_run_is_refused
            exec_copies_input_to_output
            exec_tells_the_exit_code
            exec_with_a_terminal
            attach_gives_output_and_takes_input
            a_port_of_a_pod_is_reached
            stats_are_about_the_right_things
            events_tell_a_life_in_order
            a_runtime_says_what_it_is
        }
    };
    (@cases $subject:expr; $($case:ident)*) => {
        $(
            #[test]
            fn $case() {
                $crate::conformance::run($subject, $crate::conformance::$case);
            }
        )*
    };
}
