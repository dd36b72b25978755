//! Connections that are passed on: so many at once, ended with the server, and waited for.

use std::sync::Arc;

use kubewright_api::status::Status;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections that are carried at once; more are refused with 429.
const TUNNELS_MAX: usize = 4096;

/// Connections that a server carries through itself. Clones are handles onto the same, and share the limit.
#[derive(Clone, Debug)]
pub struct Tunnels {
    tasks: TaskTracker,
    draining: CancellationToken,
    ended: CancellationToken,
    places: Arc<Semaphore>,
}

impl Tunnels {
    /// Connections whose tasks are among `tasks`, for whoever waits for these. Those that last (streams, watches, upgraded
    /// connections) end once `draining` is cancelled, what is a single answer once `ended` is.
    #[must_use]
    pub fn new(tasks: TaskTracker, draining: CancellationToken, ended: CancellationToken) -> Self {
        Self { tasks, draining, ended, places: Arc::new(Semaphore::new(TUNNELS_MAX)) }
    }

    /// The same with a limit of its own: what fills one leaves the other alone.
    #[must_use]
    pub fn beside(&self) -> Self {
        Self { places: Arc::new(Semaphore::new(TUNNELS_MAX)), ..self.clone() }
    }

    /// A place for one connection. `lasts` if it is no single answer.
    ///
    /// # Errors
    /// 429: all places are taken.
    pub(crate) fn open(&self, lasts: bool) -> Result<Place, Status> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| {
            Status::too_many_requests("too many connections are passed on by this server; close some first", 1)
        })?;
        let until = if lasts { &self.draining } else { &self.ended };
        Ok(Place { tasks: self.tasks.clone(), until: until.clone(), place: Arc::new(place) })
    }
}

/// A place for a connection, which is taken as long as something runs in it.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    tasks: TaskTracker,
    until: CancellationToken,
    place: Arc<OwnedSemaphorePermit>,
}

impl Place {
    /// Runs a part of the connection, until it ends or the server does.
    pub(crate) fn spawn(&self, part: impl Future<Output = ()> + Send + 'static) {
        let (until, place) = (self.until.clone(), Arc::clone(&self.place));
        self.tasks.spawn(async move {
            until.run_until_cancelled(part).await;
            drop(place);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn tunnels() -> (Tunnels, TaskTracker, CancellationToken, CancellationToken) {
        let (tasks, draining, ended) = (TaskTracker::new(), CancellationToken::new(), CancellationToken::new());
        (Tunnels::new(tasks.clone(), draining.clone(), ended.clone()), tasks, draining, ended)
    }

    /// Notes that what held it is over.
    struct Over(Arc<AtomicBool>);

    impl Drop for Over {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[tokio::test]
    async fn what_runs_is_ended_and_waited_for() {
        let (tunnels, tasks, draining, ended) = tunnels();
        let run = |lasts| {
            let over = Arc::new(AtomicBool::new(false));
            let guard = Over(Arc::clone(&over));
            tunnels.open(lasts).unwrap().spawn(async move {
                std::future::pending::<()>().await;
                drop(guard);
            });
            over
        };
        let (stream, answer) = (run(true), run(false));
        draining.cancel();
        while !stream.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
        assert!(!answer.load(Ordering::SeqCst), "an answer under way is finished");
        ended.cancel();
        tasks.close();
        tasks.wait().await;
        assert!(answer.load(Ordering::SeqCst));
    }

    #[tokio::test]
    async fn there_are_so_many_places_until_they_are_given_back() {
        let (tunnels, tasks, draining, _ended) = tunnels();
        for _ in 0..TUNNELS_MAX {
            let place = tunnels.open(true).unwrap();
            // Both directions of one connection take one place.
            place.spawn(std::future::pending());
            place.spawn(std::future::pending());
        }
        assert_eq!(tunnels.clone().open(false).unwrap_err().code, 429);
        assert!(tunnels.beside().open(false).is_ok());
        draining.cancel();
        tasks.close();
        tasks.wait().await;
        assert!(tunnels.open(false).is_ok());
    }
}
