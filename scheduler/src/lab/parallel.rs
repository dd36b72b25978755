//! Several things at a time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Does so many tasks, as many at a time as there are processors; the results are in the tasks' order.
pub(super) fn in_parallel<T: Send>(tasks: usize, work: &(dyn Fn(usize) -> T + Sync)) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let finished: Mutex<Vec<(usize, T)>> = Mutex::new(Vec::with_capacity(tasks));
    let worker = || {
        loop {
            let task = next.fetch_add(1, Ordering::Relaxed);
            if task >= tasks {
                break;
            }
            let result = work(task);
            finished.lock().unwrap_or_else(PoisonError::into_inner).push((task, result));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(tasks);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(worker);
        }
    });
    let mut finished = finished.into_inner().unwrap_or_else(PoisonError::into_inner);
    finished.sort_by_key(|(task, _)| *task);
    finished.into_iter().map(|(_, result)| result).collect()
}
