//! Conveniences over any store.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{
    Compare, Entry, Error, Key, KeyRange, Op, OpResult, Page, RangeOptions, ReadOptions, Revision, Store, Txn,
};

/// How a conditional write ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conditional {
    /// The condition held and the write happened: the entry written, or the one deleted.
    Done(Arc<Entry>, Revision),
    /// It did not hold and nothing changed: what is there instead, at which revision of the store.
    Conflict(Option<Arc<Entry>>, Revision),
}

impl Conditional {
    /// The entry, if the write happened.
    pub fn done(self) -> Option<Arc<Entry>> {
        match self {
            Self::Done(entry, _) => Some(entry),
            Self::Conflict(..) => None,
        }
    }
}

/// What is convenient, made of what [`Store`] requires. Every store has it; nobody implements it.
#[async_trait]
pub trait StoreExt: Store {
    /// Reads the newest version of a key.
    ///
    /// # Errors
    /// As [`Store::get`].
    async fn read(&self, key: impl Into<Key> + Send) -> Result<Option<Arc<Entry>>, Error> {
        self.get(&key.into(), ReadOptions::latest()).await
    }

    /// Reads everything under a prefix, newest, in one page.
    ///
    /// # Errors
    /// As [`Store::range`].
    async fn read_prefix(&self, prefix: impl Into<Key> + Send) -> Result<Page, Error> {
        self.range(KeyRange::prefix(prefix), RangeOptions::latest()).await
    }

    /// Counts the keys of a range.
    ///
    /// # Errors
    /// As [`Store::range`].
    async fn count(&self, range: KeyRange) -> Result<u64, Error> {
        let page = self.range(range, RangeOptions::latest().count_only()).await?;
        Ok(page.count.unwrap_or_default())
    }

    /// Writes a key, whatever is there, and answers the version written.
    ///
    /// # Errors
    /// As [`Store::commit`].
    async fn put(&self, key: impl Into<Key> + Send, value: impl Into<Bytes> + Send) -> Result<Arc<Entry>, Error> {
        let txn = Txn::new().then(Op::put(key, value));
        match self.commit(txn).await?.results.into_iter().next() {
            Some(OpResult::Put { entry, .. }) => Ok(entry),
            _ => Err(Error::unavailable("the store answered no entry for a put")),
        }
    }

    /// Deletes a key, whatever is there, and answers what was.
    ///
    /// # Errors
    /// As [`Store::commit`].
    async fn delete(&self, key: impl Into<Key> + Send) -> Result<Option<Arc<Entry>>, Error> {
        let committed = self.commit(Txn::new().then(Op::delete(key))).await?;
        Ok(committed.entry().cloned())
    }

    /// Writes a key that must not be there yet.
    ///
    /// # Errors
    /// As [`Store::commit`].
    async fn create(&self, key: impl Into<Key> + Send, value: impl Into<Bytes> + Send) -> Result<Conditional, Error> {
        self.update_if(key, Revision::ZERO, value).await
    }

    /// Writes a key whose newest version must be of `expected`.
    ///
    /// # Errors
    /// As [`Store::commit`].
    async fn update_if(
        &self,
        key: impl Into<Key> + Send,
        expected: Revision,
        value: impl Into<Bytes> + Send,
    ) -> Result<Conditional, Error> {
        let key = key.into();
        let op = Op::put(key.clone(), value);
        conditional(self, key, expected, op).await
    }

    /// Deletes a key whose newest version must be of `expected`.
    ///
    /// # Errors
    /// As [`Store::commit`].
    async fn delete_if(&self, key: impl Into<Key> + Send, expected: Revision) -> Result<Conditional, Error> {
        let key = key.into();
        let op = Op::delete(key.clone());
        conditional(self, key, expected, op).await
    }
}

impl<T: Store + ?Sized> StoreExt for T {}

async fn conditional<S: Store + ?Sized>(store: &S, key: Key, expected: Revision, op: Op) -> Result<Conditional, Error> {
    let txn = Txn::new().when(Compare::mod_revision(key.clone(), expected)).then(op).otherwise(Op::get(key));
    let committed = store.commit(txn).await?;
    let entry = committed.entry().cloned();
    match (committed.succeeded, entry) {
        (true, Some(entry)) => Ok(Conditional::Done(entry, committed.revision)),
        (_, entry) => Ok(Conditional::Conflict(entry, committed.revision)),
    }
}
