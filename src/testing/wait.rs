//! Waits for what controllers bring about.

use std::fmt::Debug;
use std::time::Duration;

use futures::{StreamExt, pin_mut};
use kube::Api;
use kube::runtime::{WatchStreamExt, watcher};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Error;

/// How long a condition may take to come true unless a test says otherwise.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Watches one object until it is as wanted; `None` stands for an object that is not there.
pub(super) async fn until<K>(
    api: Api<K>,
    name: &str,
    limit: Duration,
    wanted: impl Fn(Option<&K>) -> bool,
) -> Result<Option<K>, Error>
where
    K: kube::Resource<DynamicType: Default> + Clone + Debug + Serialize + DeserializeOwned + Send + 'static,
{
    let mut last = None;
    let look = async {
        let changes = watcher::watch_object(api, name).default_backoff();
        pin_mut!(changes);
        while let Some(change) = changes.next().await {
            // What breaks off is taken up again: tests that inject faults wait too.
            let Ok(found) = change else { continue };
            if wanted(found.as_ref()) {
                return found;
            }
            last = found;
        }
        None
    };
    let found = tokio::time::timeout(limit, look).await;
    found.map_err(|_| {
        let what = format!("{} {name:?}", K::kind(&K::DynamicType::default()));
        let last = last.and_then(|object| serde_json::to_string(&object).ok());
        Error::Timeout { what, limit, last: last.unwrap_or_else(|| "absent".to_owned()) }
    })
}
