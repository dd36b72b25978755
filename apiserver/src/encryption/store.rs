//! A store that holds the values of some resources encrypted, over any other store.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::{BufMut, Bytes, BytesMut};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use kubewright_store::{
    Committed, Compare, CompareTarget, Entry, Error, Event, Key, KeyRange, Op, OpResult, Page, RangeOptions,
    ReadOptions, Revision, Store, Txn, WatchEvents, WatchOptions, WatchStream, forward_store,
};

use super::Encryption;
use super::provider::Fault;

/// How a value is handed out that can't be opened, with the reason behind it. It is no JSON, so whoever decodes it fails.
const UNREADABLE: &str = "k8s:enc:unreadable: ";

/// Values go in and come out as they are, and are encrypted in the store beneath.
///
/// A value that was sealed otherwise than new ones are is handed out with a space behind it: equal to no value that
/// anyone writes, so that the next write of it is one, even if it changes nothing else.
pub(super) struct EncryptedStore {
    inner: Arc<dyn Store>,
    encryption: Encryption,
}

impl EncryptedStore {
    pub(super) fn new(inner: Arc<dyn Store>, encryption: Encryption) -> Self {
        Self { inner, encryption }
    }

    async fn seal_ops(&self, ops: &mut [Op]) -> Result<(), Error> {
        for op in ops {
            match op {
                Op::Put(put) if !put.keep_value => {
                    put.value = self.encryption.seal(&put.key, &put.value).await.map_err(refused)?;
                }
                Op::Txn(txn) => self.seal_txn(txn).await?,
                _ => {}
            }
        }
        Ok(())
    }

    fn seal_txn<'a>(&'a self, txn: &'a mut Txn) -> BoxFuture<'a, Result<(), Error>> {
        async move {
            self.refuse_comparing(txn)?;
            self.seal_ops(&mut txn.success).await?;
            self.seal_ops(&mut txn.failure).await
        }
        .boxed()
    }

    /// The same value is sealed differently each time, so what is compared would never be equal.
    fn refuse_comparing(&self, txn: &Txn) -> Result<(), Error> {
        let sealed = |compare: &&Compare| {
            matches!(compare.target, CompareTarget::Value(_)) && self.encryption.covers(compare.range.start())
        };
        match txn.compares.iter().find(sealed) {
            None => Ok(()),
            Some(compare) => Err(Error::invalid(format!(
                "encryption: values of {} are encrypted and cannot be compared; compare mod revisions",
                String::from_utf8_lossy(compare.range.start())
            ))),
        }
    }

    fn open_results<'a>(&'a self, results: &'a mut [OpResult]) -> BoxFuture<'a, Result<(), Error>> {
        async move {
            for result in results {
                match result {
                    OpResult::Put { entry, prev } => {
                        open(&self.encryption, entry).await?;
                        if let Some(prev) = prev {
                            open(&self.encryption, prev).await?;
                        }
                    }
                    OpResult::Deleted(entries) => open_all(&self.encryption, entries).await?,
                    OpResult::Got(entry) => open_all(&self.encryption, entry.as_mut_slice()).await?,
                    OpResult::Range(page) => open_all(&self.encryption, &mut page.entries).await?,
                    OpResult::Txn { results, .. } => self.open_results(results).await?,
                    _ => {
                        return Err(Error::unavailable(
                            "encryption: the store answered with what this server does not know",
                        ));
                    }
                }
            }
            Ok(())
        }
        .boxed()
    }
}

fn refused(fault: Fault) -> Error {
    let (Fault::Unreadable(reason) | Fault::Unavailable(reason)) = fault;
    Error::unavailable(format!("encryption: {reason}"))
}

async fn open_all(encryption: &Encryption, entries: &mut [Arc<Entry>]) -> Result<(), Error> {
    for entry in entries {
        open(encryption, entry).await?;
    }
    Ok(())
}

async fn open(encryption: &Encryption, entry: &mut Arc<Entry>) -> Result<(), Error> {
    // Empty where only keys were asked for.
    if entry.value.is_empty() {
        return Ok(());
    }
    let value = match encryption.open(&entry.key, &entry.value).await {
        Ok(None) => return Ok(()),
        Ok(Some(opened)) if opened.stale => {
            let mut value = BytesMut::with_capacity(opened.plain.len() + 1);
            value.put_slice(&opened.plain);
            value.put_u8(b' ');
            value.freeze()
        }
        Ok(Some(opened)) => opened.plain,
        Err(Fault::Unreadable(reason)) => Bytes::from(format!("{UNREADABLE}{reason}")),
        Err(Fault::Unavailable(reason)) => return Err(Error::unavailable(reason)),
    };
    *entry = Arc::new(Entry { value, ..(**entry).clone() });
    Ok(())
}

async fn open_events(encryption: &Encryption, batch: WatchEvents) -> Result<WatchEvents, Error> {
    if !batch.events.iter().any(|event| encryption.covers(&event.entry.key)) {
        return Ok(batch);
    }
    let mut events = Vec::with_capacity(batch.events.len());
    for event in batch.events.iter() {
        let Event { kind, mut entry, mut prev, .. } = event.clone();
        open(encryption, &mut entry).await?;
        open_all(encryption, prev.as_mut_slice()).await?;
        events.push(Event::new(kind, entry, prev));
    }
    Ok(WatchEvents::new(batch.revision, events.into()))
}

/// Why a value can't be opened that was handed out all the same; nothing of one that no provider is configured for.
pub(crate) fn why_unreadable(value: &[u8]) -> Option<String> {
    let reason = value.strip_prefix(UNREADABLE.as_bytes())?;
    Some(String::from_utf8_lossy(reason).into_owned())
}

#[async_trait]
impl Store for EncryptedStore {
    forward_store!(|encrypted| &encrypted.inner; compact, status);
    forward_store!(|encrypted| &encrypted.inner; lease_grant, lease_keep_alive, lease_revoke, lease_status, leases);

    async fn get(&self, key: &Key, options: ReadOptions) -> Result<Option<Arc<Entry>>, Error> {
        let mut entry = self.inner.get(key, options).await?;
        open_all(&self.encryption, entry.as_mut_slice()).await?;
        Ok(entry)
    }

    async fn range(&self, range: KeyRange, options: RangeOptions) -> Result<Page, Error> {
        let mut page = self.inner.range(range, options).await?;
        open_all(&self.encryption, &mut page.entries).await?;
        Ok(page)
    }

    async fn commit(&self, mut txn: Txn) -> Result<Committed, Error> {
        self.seal_txn(&mut txn).await?;
        let mut committed = self.inner.commit(txn).await?;
        self.open_results(&mut committed.results).await?;
        Ok(committed)
    }

    async fn watch(&self, range: KeyRange, from: Revision, options: WatchOptions) -> Result<WatchStream, Error> {
        let stream = self.inner.watch(range, from, options).await?;
        let progress = stream.progress();
        let encryption = self.encryption.clone();
        let opened = stream.then(move |batch| {
            let encryption = encryption.clone();
            async move { open_events(&encryption, batch?).await }
        });
        Ok(WatchStream::new(opened, move || progress.ask()))
    }
}
