//! Changes that the server makes on its own account: no strategy, no admission.

use kubewright_api::status::Status;
use kubewright_store::{Compare, Op, Put, ReadOptions, Txn};
use serde_json::Value;

use super::call::Written;
use super::storage::Storage;
use super::{Registry, errors};
use crate::object::codec;

impl Registry {
    /// Changes an object in place, again and again until nobody else changes it at the same time.
    pub(crate) async fn modify(
        &self,
        storage: &Storage,
        namespace: &str,
        name: &str,
        dry_run: bool,
        change: &(dyn Fn(&mut Value) -> Result<(), Status> + Send + Sync),
    ) -> Result<Written, Status> {
        let key = storage.key_of(namespace, name);
        let mut entry = self.store.get(&key, ReadOptions::latest()).await.map_err(errors::of_store)?;
        loop {
            let Some(current) = entry else {
                return Err(Status::not_found(&storage.info.group, &storage.info.plural, name));
            };
            let mut object = storage.decode(&current)?;
            change(&mut object)?;
            if dry_run {
                return Ok(Written::imagined(object));
            }
            let stored = bytes::Bytes::from(codec::encode(&object));
            if stored == current.value {
                return Written::of_entry(storage, &current);
            }
            let put = Put::new(key.clone(), stored.clone()).lease(current.lease);
            let txn = Txn::new()
                .when(Compare::mod_revision(key.clone(), current.mod_revision))
                .then(Op::Put(put))
                .otherwise(Op::get(key.clone()));
            let committed = self.store.commit(txn).await.map_err(errors::of_store)?;
            if committed.succeeded {
                let revision = committed.revision.get();
                self.settle(storage, revision).await?;
                return Ok(Written::stored(storage, object, &stored, revision));
            }
            entry = committed.entry().cloned();
        }
    }
}
