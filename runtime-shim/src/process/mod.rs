//! Containers as plain processes on the host.
//!
//! For machines without a container runtime and for users without privileges: nothing is isolated, every container
//! sees the host's files, network and processes, and there are no images but one.
//!
//! - **Images.** `kubewright.dev/hello` is built in (see [`hello`]). Under any other name, the container's `command` runs
//!   from the host's file system, and a container without a command is refused.
//! - **Processes.** Each container has a supervisor: a small process that is this program again (see [`dispatch`]). It is
//!   the subreaper of all that the container starts, so nothing gets away from it, whatever group, session or parent it
//!   takes. The container's life is that of its first process; when that ends, the rest is killed. When the supervisor
//!   itself is killed, the runtime finds the rest by their environment.
//! - **When the hosting process ends**, by `kill -9` even, the supervisors see their sockets end and kill their
//!   containers. Containers are not adopted by the next runtime: it finds them exited (code 137 or their own) and their
//!   sandboxes not ready, and whoever wants them makes the next attempt.
//! - **Files.** Each container has a directory of its own, which is where it starts unless `working_dir` says otherwise.
//!   Where mount namespaces can be made (as root, or with user namespaces) its mounts are at their paths, over the
//!   host's files ([`MountMode::Namespace`]). Elsewhere they are symbolic links at their paths below its directory, and
//!   read-only ones are not enforced ([`MountMode::Symlinks`]). `$KUBEWRIGHT_ROOT/<container_path>` is right in both.
//! - **Addresses.** The caller gives each pod an address of the host (a loopback address, say), which the container
//!   should listen on: `KUBEWRIGHT_POD_IP`.
//! - **Environment.** Besides the container's own: `PATH`, `HOME`, `HOSTNAME`, `POD_NAME`, `POD_NAMESPACE`, `NODE_NAME`,
//!   `TERM` (with a terminal), all of which the container may set otherwise; and `KUBEWRIGHT_ROOT`,
//!   `KUBEWRIGHT_POD_IP`, `KUBEWRIGHT_CONTAINER_ID`, `KUBEWRIGHT_STATE_DIR`.
//! - **Users.** As root, the container's user and groups are taken. Otherwise it is this process's user; a container
//!   that asks for another one gets it only in name, where user namespaces work, and is refused where not.
//! - **Not there**: limits on CPU and memory, capabilities, seccomp, AppArmor, `privileged`, `readonly_rootfs`, sysctls,
//!   host ports. They are accepted and do nothing.

mod config;
mod container;
mod create;
mod disk;
mod dispatch;
pub mod hello;
mod link;
mod output;
mod procfs;
mod protocol;
mod pty;
mod recover;
mod runtime;
mod services;
mod start;
mod stats;
mod streams;
mod supervisor;

pub use self::{
    config::{HelperCommand, MountMode, MountPreference, ProcessConfig},
    dispatch::dispatch,
    runtime::ProcessRuntime,
};
