//! The trait.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::{
    Committed, Entry, Error, Key, KeyRange, Lease, LeaseId, LeaseStatus, Page, RangeOptions, ReadOptions, Revision,
    StoreStatus, Txn, WatchOptions, WatchStream,
};

/// A revisioned, watchable key-value store.
///
/// # Promises
///
/// - **Durable before acknowledged.** When a method that writes returns `Ok`, the change outlives
///   whatever the store says it outlives (the process, the machine, a minority of replicas), and every
///   later read and watch sees it. When it returns `Err`, the change did not happen, except for
///   [`Error::Unavailable`], [`Error::Failed`] and [`Error::Closed`]: then it may have.
/// - **Strictly serializable.** Commits happen one after the other, in the order of their revisions, at
///   some moment between call and answer. A commit that changes something takes exactly one revision,
///   the one after the newest; all its changes carry it as `mod_revision`, and a key changes at most
///   once in a revision. A commit that changes nothing takes none.
/// - **Reads are of one revision.** A range never shows half of a commit. Any revision from the
///   compacted one to the newest can be read.
/// - **Watches are complete.** See [`Store::watch`].
/// - **Cancelling is safe.** A future that is dropped before it is done leaves the store sound; the
///   write it stood for may or may not happen.
///
/// The suite in `kubewright_store::conformance` (feature `conformance`) tests all of it against any
/// implementation.
///
/// # Writing a store, or a wrapper
///
/// Every method is required, so that a wrapper cannot forget one: what is convenient lives in
/// [`StoreExt`](crate::StoreExt). What a wrapper only passes on it names in
/// [`forward_store!`](crate::forward_store). Options may grow; pass them on whole. The trait is object
/// safe and implemented for `Arc` and `Box` of every store.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The version of `key` at the revision asked for; `None` if the key is not there.
    ///
    /// # Errors
    /// [`Error::Compacted`] and [`Error::FutureRevision`] for a revision that cannot be read.
    async fn get(&self, key: &Key, options: ReadOptions) -> Result<Option<Arc<Entry>>, Error>;

    /// The entries of a range at one revision, in key order, up to the limit.
    ///
    /// To read a large range in pages, ask for [`KeyRange::after`] the last key of a page at
    /// [`Page::revision`] while [`Page::more`].
    ///
    /// # Errors
    /// [`Error::Compacted`] and [`Error::FutureRevision`] for a revision that cannot be read.
    async fn range(&self, range: KeyRange, options: RangeOptions) -> Result<Page, Error>;

    /// Checks the compares and runs one of the branches, as one step.
    ///
    /// # Errors
    /// Compares that do not hold are no error. [`Error::InvalidRequest`], [`Error::TooLarge`],
    /// [`Error::LeaseNotFound`], [`Error::KeyNotFound`], [`Error::NoSpace`]: nothing was changed.
    async fn commit(&self, txn: Txn) -> Result<Committed, Error>;

    /// Watches a range from revision `from` on, that one included; [`Revision::ZERO`] means: what is
    /// committed after this call. To resume, give the revision after the last one delivered.
    ///
    /// The stream delivers every change of the range exactly once, in revision order, whole revisions
    /// at a time, with no gap; a progress mark at N means that everything up to N was delivered. `from`
    /// may lie in the future: nothing before it is delivered. A watch that is slow costs a bounded
    /// amount of memory: it catches up from history, and ends with an error if that is compacted
    /// before it gets there. It never skips.
    ///
    /// # Errors
    /// [`Error::Compacted`] if `from` is before the compacted revision, here or later in the stream.
    async fn watch(&self, range: KeyRange, from: Revision, options: WatchOptions) -> Result<WatchStream, Error>;

    /// Forgets history: afterwards revisions before `through` can neither be read nor watched from.
    /// What is visible at `through` stays.
    ///
    /// # Errors
    /// [`Error::Compacted`] if `through` is not after the compacted revision,
    /// [`Error::FutureRevision`] if it is after the newest.
    async fn compact(&self, through: Revision) -> Result<(), Error>;

    /// Grants a lease that lives for `ttl` (in whole seconds, rounded up, at least one) unless it is
    /// kept alive. With `id` `None` the store names it.
    ///
    /// After a restart, and for a replicated store after a change of leader, every lease lives for its
    /// full `ttl` again: leases may live longer than they say, never shorter.
    ///
    /// # Errors
    /// [`Error::LeaseExists`]; [`Error::InvalidRequest`] for an `id` of 0 or below.
    async fn lease_grant(&self, id: Option<LeaseId>, ttl: Duration) -> Result<Lease, Error>;

    /// Makes a lease live for its `ttl` from now.
    ///
    /// # Errors
    /// [`Error::LeaseNotFound`], also if it has just expired.
    async fn lease_keep_alive(&self, id: LeaseId) -> Result<Lease, Error>;

    /// Ends a lease now. Its keys are deleted, in one revision.
    ///
    /// # Errors
    /// [`Error::LeaseNotFound`].
    async fn lease_revoke(&self, id: LeaseId) -> Result<Revision, Error>;

    /// What is left of a lease and what hangs on it.
    ///
    /// # Errors
    /// [`Error::LeaseNotFound`].
    async fn lease_status(&self, id: LeaseId) -> Result<LeaseStatus, Error>;

    /// All leases, by name.
    ///
    /// # Errors
    /// Only those that any method may give.
    async fn leases(&self) -> Result<Vec<Lease>, Error>;

    /// What the store says of itself. Answers as long as anything can: also for a store that is full
    /// or has failed.
    ///
    /// # Errors
    /// [`Error::Closed`].
    async fn status(&self) -> Result<StoreStatus, Error>;
}

impl fmt::Debug for dyn Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Store")
    }
}

impl<T: Store + ?Sized> Store for Arc<T> {
    crate::forward_store!(|store| &**store);
}

impl<T: Store + ?Sized> Store for Box<T> {
    crate::forward_store!(|store| &**store);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_can_be_an_object_and_its_futures_cross_threads() {
        fn is_store<T: Store>() {}
        is_store::<Arc<dyn Store>>();
        is_store::<Box<dyn Store>>();
        is_store::<Arc<Box<dyn Store>>>();
        fn is_send<T: Send>(_: T) {}
        fn check(store: &dyn Store) {
            is_send(store.status());
        }
        let _: fn(&'static dyn Store) = check;
    }
}
