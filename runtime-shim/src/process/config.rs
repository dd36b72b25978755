use std::{ffi::OsString, path::PathBuf};

/// A program that calls [`dispatch`](super::dispatch()), and the arguments before those that `dispatch` looks for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HelperCommand {
    /// The program.
    pub program: PathBuf,
    /// Arguments before the helper's own. `dispatch` looks at the first argument it is given, so a program that has
    /// these must skip them.
    pub arguments: Vec<OsString>,
}

impl HelperCommand {
    /// A program without further arguments.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), arguments: Vec::new() }
    }

    /// This program again, even if its file was replaced meanwhile.
    #[must_use]
    pub fn this_program() -> Self {
        Self::new("/proc/self/exe")
    }
}

/// How a container sees its mounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MountMode {
    /// At their paths, in a mount namespace of the container's own.
    Namespace,
    /// As symbolic links below the container's directory.
    Symlinks,
}

/// Which [`MountMode`] is wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MountPreference {
    /// Namespaces where they work, found by trying; symbolic links elsewhere.
    #[default]
    Auto,
    /// Namespaces, or no runtime.
    Namespace,
    /// Symbolic links.
    Symlinks,
}

/// How a [`ProcessRuntime`](super::ProcessRuntime) works.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ProcessConfig {
    /// A directory for this runtime alone; made where needed. What it finds there of an earlier one it cleans up.
    pub state_dir: PathBuf,
    /// The helper; by default this program, whose `main` then has to call [`dispatch`](super::dispatch()).
    pub helper: HelperCommand,
    /// The node's name, told to the containers.
    pub node_name: String,
    /// How containers see their mounts.
    pub mounts: MountPreference,
    /// How many events a slow reader may be behind before it has to list again.
    pub events_max: usize,
}

impl ProcessConfig {
    /// A runtime in this directory.
    #[must_use]
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self {
            state_dir: state_dir.into(),
            helper: HelperCommand::this_program(),
            node_name: String::new(),
            mounts: MountPreference::Auto,
            events_max: 1024,
        }
    }
}
