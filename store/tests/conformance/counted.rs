//! What a wrapper looks like: it forwards everything.

use std::sync::atomic::{AtomicU64, Ordering};

use kubewright_store::{Store, forward_store};

/// Counts calls.
pub(crate) struct Counted<S> {
    store: S,
    calls: AtomicU64,
}

impl<S> Counted<S> {
    pub(crate) fn new(store: S) -> Self {
        Self { store, calls: AtomicU64::new(0) }
    }

    fn store(&self) -> &S {
        self.calls.fetch_add(1, Ordering::Relaxed);
        &self.store
    }
}

impl<S: Store> Store for Counted<S> {
    forward_store!(|counted| counted.store());
}
