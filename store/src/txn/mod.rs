//! Transactions: compare, then read and write, as one revision.

mod compare;

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;

use crate::{Entry, Error, Key, KeyRange, LeaseId, Page, RangeOptions, Revision};

pub use self::compare::{Compare, CompareOp, CompareTarget};

/// How deep transactions may lie in one another.
pub(crate) const DEPTH_MAX: usize = 16;

/// Compares, and what to do if all of them hold or not.
///
/// ```
/// use kubewright_store::{Compare, Op, Revision, Txn};
///
/// // Replace the value if nobody else has; otherwise answer what is there now.
/// let txn = Txn::new()
///     .when(Compare::mod_revision("config", Revision(7)))
///     .then(Op::put("config", "new"))
///     .otherwise(Op::get("config"));
/// assert!(!txn.is_read_only());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Txn {
    /// All must hold for `success` to run. An empty list holds.
    pub compares: Vec<Compare>,
    /// Run in order if every compare holds.
    pub success: Vec<Op>,
    /// Run in order if one does not.
    pub failure: Vec<Op>,
}

impl Txn {
    /// A transaction that does nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a compare.
    #[must_use]
    pub fn when(mut self, compare: Compare) -> Self {
        self.compares.push(compare);
        self
    }

    /// Adds an operation to run if every compare holds.
    #[must_use]
    pub fn then(mut self, op: Op) -> Self {
        self.success.push(op);
        self
    }

    /// Adds an operation to run if a compare does not hold.
    #[must_use]
    pub fn otherwise(mut self, op: Op) -> Self {
        self.failure.push(op);
        self
    }

    /// Whether neither branch can write.
    pub fn is_read_only(&self) -> bool {
        self.ops().all(Op::is_read_only)
    }

    /// The bytes of all keys and values in it.
    pub fn size(&self) -> usize {
        let compares: usize = self.compares.iter().map(Compare::size).sum();
        compares + self.ops().map(Op::size).sum::<usize>()
    }

    /// Checks what can be checked without the store: no empty key, no key put twice or both put and
    /// deleted in one branch.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`].
    pub fn validate(&self) -> Result<(), Error> {
        self.check_keys(DEPTH_MAX)?;
        for ops in [&self.success, &self.failure] {
            // Of one operation, nothing can be in another's way.
            if ops.len() > 1 || ops.iter().any(|op| matches!(op, Op::Txn(_))) {
                Changes::of(ops)?;
            }
        }
        Ok(())
    }

    fn check_keys(&self, depth: usize) -> Result<(), Error> {
        if depth == 0 {
            return Err(Error::invalid("too many transactions within one another"));
        }
        for compare in &self.compares {
            if compare.range.start().is_empty() && compare.range.as_exact().is_some() {
                return Err(Error::invalid("key is not provided"));
            }
        }
        for op in self.ops() {
            if op.has_empty_key() {
                return Err(Error::invalid("key is not provided"));
            }
            if let Op::Txn(inner) = op {
                inner.check_keys(depth - 1)?;
            }
        }
        Ok(())
    }

    /// The branch that runs.
    pub(crate) fn branch(&self, succeeded: bool) -> &[Op] {
        if succeeded { &self.success } else { &self.failure }
    }

    /// The longest list in it, where those of transactions inside count on top, as in etcd.
    pub(crate) fn ops_max(&self) -> usize {
        let inside = self.ops().map(|op| if let Op::Txn(inner) = op { inner.ops_max() } else { 0 });
        let own = self.compares.len().max(self.success.len()).max(self.failure.len());
        own + inside.max().unwrap_or_default()
    }

    fn ops(&self) -> impl Iterator<Item = &Op> {
        self.success.iter().chain(&self.failure)
    }
}

/// What a list of operations may put and delete, whichever branches run: no key twice.
#[derive(Default)]
struct Changes<'a> {
    puts: HashSet<&'a Key>,
    deletes: Vec<&'a Op>,
}

impl<'a> Changes<'a> {
    fn of(ops: &'a [Op]) -> Result<Self, Error> {
        let is_delete = |op: &&Op| matches!(op, Op::Delete(_) | Op::DeleteRange(_));
        let mut all = Self { puts: HashSet::new(), deletes: ops.iter().filter(is_delete).collect() };
        for op in ops {
            let Op::Txn(inner) = op else { continue };
            let (then, otherwise) = (Self::of(&inner.success)?, Self::of(&inner.failure)?);
            // Only one of the two branches runs, so that they may put the same key.
            for key in then.puts.union(&otherwise.puts) {
                all.put(key)?;
            }
            all.deletes.extend(then.deletes);
            all.deletes.extend(otherwise.deletes);
        }
        for op in ops {
            if let Op::Put(put) = op {
                all.put(&put.key)?;
            }
        }
        Ok(all)
    }

    fn put(&mut self, key: &'a Key) -> Result<(), Error> {
        let is_deleted = self.deletes.iter().any(|op| match op {
            Op::Delete(deleted) => deleted == key,
            Op::DeleteRange(range) => range.contains(key),
            _ => false,
        });
        if is_deleted || !self.puts.insert(key) {
            return Err(Error::invalid("duplicate key given in txn request"));
        }
        Ok(())
    }
}

/// A put: the key gets a new version.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Put {
    /// The key; not empty.
    pub key: Key,
    /// Its new value.
    pub value: Bytes,
    /// The lease with which it is deleted; `None` frees it from the one it had.
    pub lease: Option<LeaseId>,
    /// Keep the value that is there and ignore `value`; the key must exist.
    pub keep_value: bool,
    /// Keep the lease that is there and ignore `lease`; the key must exist.
    pub keep_lease: bool,
}

impl Put {
    /// A put without a lease.
    pub fn new(key: impl Into<Key>, value: impl Into<Bytes>) -> Self {
        Self { key: key.into(), value: value.into(), lease: None, keep_value: false, keep_lease: false }
    }

    /// The same with a lease.
    #[must_use]
    pub const fn lease(mut self, lease: Option<LeaseId>) -> Self {
        self.lease = lease;
        self
    }

    /// The same, keeping the value that is there.
    #[must_use]
    pub const fn keep_value(mut self) -> Self {
        self.keep_value = true;
        self
    }

    /// The same, keeping the lease that is there.
    #[must_use]
    pub const fn keep_lease(mut self) -> Self {
        self.keep_lease = true;
        self
    }
}

/// One step of a transaction. A step sees what the steps before it wrote.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Op {
    /// Write a key.
    Put(Put),
    /// Delete a key; no change if it is not there.
    Delete(Key),
    /// Delete every key of a range.
    DeleteRange(KeyRange),
    /// Read a key.
    Get(Key),
    /// Read a range. `consistency` is ignored: a transaction is linearizable.
    Range(KeyRange, RangeOptions),
    /// A transaction within this one. Its compares are judged before anything is written, like those of the
    /// outer one.
    Txn(Txn),
}

impl Op {
    /// Writes `value` under `key`, without a lease.
    pub fn put(key: impl Into<Key>, value: impl Into<Bytes>) -> Self {
        Self::Put(Put::new(key, value))
    }

    /// Deletes `key`.
    pub fn delete(key: impl Into<Key>) -> Self {
        Self::Delete(key.into())
    }

    /// Reads `key`.
    pub fn get(key: impl Into<Key>) -> Self {
        Self::Get(key.into())
    }

    /// Whether it cannot write.
    pub fn is_read_only(&self) -> bool {
        match self {
            Self::Get(_) | Self::Range(..) => true,
            Self::Put(_) | Self::Delete(_) | Self::DeleteRange(_) => false,
            Self::Txn(inner) => inner.is_read_only(),
        }
    }

    fn has_empty_key(&self) -> bool {
        match self {
            Self::Put(put) => put.key.is_empty(),
            Self::Delete(key) | Self::Get(key) => key.is_empty(),
            Self::DeleteRange(range) | Self::Range(range, _) => range.as_exact().is_some_and(|key| key.is_empty()),
            Self::Txn(_) => false,
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Put(put) => put.key.len() + put.value.len(),
            Self::Delete(key) | Self::Get(key) => key.len(),
            Self::DeleteRange(range) | Self::Range(range, _) => range.start().len(),
            Self::Txn(inner) => inner.size(),
        }
    }
}

/// What an [`Op`] answered, in the same place of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpResult {
    /// Of [`Op::Put`].
    Put {
        /// The version written.
        entry: Arc<Entry>,
        /// The version that was there before.
        prev: Option<Arc<Entry>>,
    },
    /// Of [`Op::Delete`] and [`Op::DeleteRange`]: the versions that were there, in key order. Empty
    /// when there was nothing to delete.
    Deleted(Vec<Arc<Entry>>),
    /// Of [`Op::Get`].
    Got(Option<Arc<Entry>>),
    /// Of [`Op::Range`].
    Range(Page),
    /// Of [`Op::Txn`].
    Txn {
        /// Whether every compare held, so which branch ran.
        succeeded: bool,
        /// One result for each operation of the branch that ran.
        results: Vec<Self>,
    },
}

/// A transaction that was carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Committed {
    /// The store's revision after it: a new one if it changed something, else the newest there was.
    pub revision: Revision,
    /// Whether every compare held, so which branch ran.
    pub succeeded: bool,
    /// One result for each operation of the branch that ran.
    pub results: Vec<OpResult>,
}

impl Committed {
    /// What a store answers.
    pub const fn new(revision: Revision, succeeded: bool, results: Vec<OpResult>) -> Self {
        Self { revision, succeeded, results }
    }

    /// The entry of the first result that has one: what was written, deleted or read.
    pub fn entry(&self) -> Option<&Arc<Entry>> {
        self.results.iter().find_map(|result| match result {
            OpResult::Put { entry, .. } => Some(entry),
            OpResult::Deleted(entries) => entries.first(),
            OpResult::Got(entry) => entry.as_ref(),
            OpResult::Range(page) => page.entries.first(),
            OpResult::Txn { .. } => None,
        })
    }
}
