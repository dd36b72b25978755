//! What the command prints: one line a stage, with the time since the start.

use std::time::Instant;

/// Prints stages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stages {
    start: Instant,
}

impl Stages {
    pub(crate) fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Something is ready.
    pub(crate) fn ready(&self, what: &str, detail: &str) {
        self.line("✓", what, detail);
    }

    /// Something goes on.
    pub(crate) fn note(&self, what: &str, detail: &str) {
        self.line("·", what, detail);
    }

    /// Something failed.
    pub(crate) fn failed(&self, what: &str, detail: &str) {
        self.line("✗", what, detail);
    }

    fn line(&self, mark: &str, what: &str, detail: &str) {
        println!("{:>7} ms  {mark} {what:<14} {detail}", self.start.elapsed().as_millis());
    }
}
