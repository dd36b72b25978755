//! A progress bar on standard error, if that is a terminal.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

pub(crate) struct Progress {
    total: usize,
    done: AtomicUsize,
    start: Instant,
    shown: bool,
}

impl Progress {
    pub(crate) fn new(total: usize) -> Self {
        Self { total, done: AtomicUsize::new(0), start: Instant::now(), shown: std::io::stderr().is_terminal() }
    }

    /// One more is done; `what` is said beside the bar.
    pub(crate) fn step(&self, what: &str) {
        const WIDTH: usize = 30;
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        if !self.shown {
            return;
        }
        let full = WIDTH * done / self.total.max(1);
        let bar: String = (0..WIDTH).map(|at| if at < full { '█' } else { '░' }).collect();
        let elapsed = self.start.elapsed().as_secs();
        let left = elapsed * (self.total - done.min(self.total)) as u64 / done as u64;
        let end = if done == self.total { "\n" } else { "" };
        let mut err = std::io::stderr().lock();
        let _ = write!(err, "\r\x1b[K{bar} {done}/{} {elapsed} s, {left} s left  {what}{end}", self.total);
        let _ = err.flush();
    }
}
