//! What a wrapper passes on to the store within.

/// Writes methods of [`Store`](crate::Store) that another store carries out: those named, or all.
///
/// It stands in an `impl Store for …`, beside the methods that the wrapper has itself. The trait requires every method,
/// so the compiler tells which one is in neither place. What is passed on costs nothing: the answer is the other store's
/// own future.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// use kubewright_store::{Committed, Error, Store, Txn, forward_store};
///
/// /// Counts commits.
/// struct Counted<S> {
///     store: S,
///     commits: AtomicU64,
/// }
///
/// #[async_trait::async_trait]
/// impl<S: Store> Store for Counted<S> {
///     forward_store!(|counted| &counted.store; get, range, watch, compact, status);
///     forward_store!(|counted| &counted.store; lease_grant, lease_keep_alive, lease_revoke, lease_status, leases);
///
///     async fn commit(&self, txn: Txn) -> Result<Committed, Error> {
///         self.commits.fetch_add(1, Ordering::Relaxed);
///         self.store.commit(txn).await
///     }
/// }
/// ```
#[macro_export]
macro_rules! forward_store {
    (|$this:ident| $store:expr) => {
        $crate::forward_store!(|$this| $store; get, range, commit, watch, compact, status);
        $crate::forward_store!(|$this| $store; lease_grant, lease_keep_alive, lease_revoke, lease_status, leases);
    };
    (|$this:ident| $store:expr; $($method:ident),+ $(,)?) => {
        $($crate::forward_store!(@$method |$this| $store);)+
    };
    (@get $($to:tt)+) => {
        $crate::forward_store!(
            fn get['life1](key: &'life1 $crate::Key, options: $crate::ReadOptions)
                -> ::std::option::Option<::std::sync::Arc<$crate::Entry>>, $($to)+
        );
    };
    (@range $($to:tt)+) => {
        $crate::forward_store!(
            fn range[](range: $crate::KeyRange, options: $crate::RangeOptions) -> $crate::Page, $($to)+
        );
    };
    (@commit $($to:tt)+) => {
        $crate::forward_store!(fn commit[](txn: $crate::Txn) -> $crate::Committed, $($to)+);
    };
    (@watch $($to:tt)+) => {
        $crate::forward_store!(
            fn watch[](range: $crate::KeyRange, from: $crate::Revision, options: $crate::WatchOptions)
                -> $crate::WatchStream, $($to)+
        );
    };
    (@compact $($to:tt)+) => {
        $crate::forward_store!(fn compact[](through: $crate::Revision) -> (), $($to)+);
    };
    (@lease_grant $($to:tt)+) => {
        $crate::forward_store!(
            fn lease_grant[](id: ::std::option::Option<$crate::LeaseId>, ttl: ::std::time::Duration)
                -> $crate::Lease, $($to)+
        );
    };
    (@lease_keep_alive $($to:tt)+) => {
        $crate::forward_store!(fn lease_keep_alive[](id: $crate::LeaseId) -> $crate::Lease, $($to)+);
    };
    (@lease_revoke $($to:tt)+) => {
        $crate::forward_store!(fn lease_revoke[](id: $crate::LeaseId) -> $crate::Revision, $($to)+);
    };
    (@lease_status $($to:tt)+) => {
        $crate::forward_store!(fn lease_status[](id: $crate::LeaseId) -> $crate::LeaseStatus, $($to)+);
    };
    (@leases $($to:tt)+) => {
        $crate::forward_store!(fn leases[]() -> ::std::vec::Vec<$crate::Lease>, $($to)+);
    };
    (@status $($to:tt)+) => {
        $crate::forward_store!(fn status[]() -> $crate::StoreStatus, $($to)+);
    };
    // As `async_trait` writes a method, which does not look into macros.
    (
        fn $method:ident[$($life:lifetime)?]($($name:ident: $type:ty),*) -> $answer:ty, |$this:ident| $store:expr
    ) => {
        fn $method<'life0, $($life,)? 'async_trait>(
            &'life0 self,
            $($name: $type),*
        ) -> ::std::pin::Pin<::std::boxed::Box<
            dyn ::std::future::Future<Output = ::std::result::Result<$answer, $crate::Error>>
                + ::std::marker::Send
                + 'async_trait,
        >>
        where
            'life0: 'async_trait,
            $($life: 'async_trait,)?
            Self: 'async_trait,
        {
            let $this = self;
            $crate::Store::$method($store, $($name),*)
        }
    };
}
