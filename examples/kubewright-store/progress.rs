//! How far long work is.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Tells on standard error how far something is: on one line of a terminal, elsewhere now and then on a new one.
/// What is done within a moment is not talked about.
pub(crate) struct Progress {
    what: String,
    begun: Instant,
    told: Option<Instant>,
    is_terminal: bool,
}

impl Progress {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        Self { what: what.into(), begun: Instant::now(), told: None, is_terminal }
    }

    /// So many bytes are done, of about so many.
    pub(crate) fn bytes(&mut self, done: u64, total: u64) {
        let percent = done.saturating_mul(100).checked_div(total).unwrap_or(100).min(100);
        let rate = done as f64 / 1e6 / self.begun.elapsed().as_secs_f64().max(1e-6);
        self.tell(|| format!("{percent:3} % ({:.0} MB, {rate:.0} MB/s)", done as f64 / 1e6));
    }

    /// Does the work, saying now and then that it goes on.
    pub(crate) async fn while_it_takes<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            if let Ok(done) = tokio::time::timeout(Duration::from_millis(500), work.as_mut()).await {
                return done;
            }
            let seconds = self.begun.elapsed().as_secs();
            self.tell(|| format!("{seconds} s"));
        }
    }

    pub(crate) fn tell(&mut self, text: impl FnOnce() -> String) {
        let pause = Duration::from_millis(if self.is_terminal { 200 } else { 5000 });
        if self.told.unwrap_or(self.begun).elapsed() < pause {
            return;
        }
        self.told = Some(Instant::now());
        let text = format!("{}: {}", self.what, text());
        if self.is_terminal {
            eprint!("\r\x1b[2K{text}");
            // A terminal that went away is no reason to stop.
            drop(std::io::stderr().flush());
        } else {
            eprintln!("{text}");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_terminal && self.told.is_some() {
            eprint!("\r\x1b[2K");
        }
    }
}
