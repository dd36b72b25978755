//! The service proxy: follows Services and EndpointSlices through `kube::Client` and keeps a data plane up to date.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{Stream, StreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::rules::{self, EndpointSlice, Meta, Node, RuleTable, Service, ServiceSpec};
use crate::{Error, ServiceNetwork};

/// After a change, wait so long for more of them before applying.
const BATCH: Duration = Duration::from_millis(20);
/// Try refused frontends again after so long.
const RETRY: Duration = Duration::from_secs(15);
/// Services of other proxies, and headless ones, are not watched.
const SERVICE_SELECTOR: &str = "!service.kubernetes.io/service-proxy-name,!service.kubernetes.io/headless";

/// Keeps a data plane equal to what a cluster's services say.
pub struct ServiceProxy<N> {
    client: kube::Client,
    network: N,
    node: Node,
    synced: watch::Sender<u64>,
}

impl<N: ServiceNetwork> ServiceProxy<N> {
    /// A proxy for `node`, which carries the services of the cluster that `client` talks to.
    pub fn new(client: kube::Client, network: N, node: Node) -> Self {
        Self { client, network, node, synced: watch::Sender::new(0) }
    }

    /// Counts how often a table has been applied; more than 0 means that the first one has.
    #[must_use]
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.synced.subscribe()
    }

    /// Runs until `shutdown`, then clears the data plane.
    ///
    /// # Errors
    /// What the data plane answers when it can't be cleared.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        shutdown.run_until_cancelled(self.follow()).await;
        self.network.clear().await
    }

    async fn follow(&self) {
        let config = watcher::Config::default().labels(SERVICE_SELECTOR);
        let mut services = Cache::<WatchedService>::new(watch_all(&self.client, config.clone()));
        let mut slices = Cache::<WatchedSlice>::new(watch_all(&self.client, config));
        let mut due: Option<Instant> = None;
        loop {
            let changed = tokio::select! {
                changed = services.next() => changed,
                changed = slices.next() => changed,
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    let table = self.compile(&services, &slices);
                    due = self.apply(&table).await;
                    false
                }
            };
            if changed && services.complete && slices.complete {
                let soon = Instant::now() + BATCH;
                due = Some(due.map_or(soon, |due| due.min(soon)));
            }
        }
    }

    fn compile(&self, services: &Cache<WatchedService>, slices: &Cache<WatchedSlice>) -> RuleTable {
        let services: Vec<Service> = services.objects.values().cloned().collect();
        let slices: Vec<EndpointSlice> = slices.objects.values().cloned().collect();
        rules::compile(&services, &slices, &self.node)
    }

    /// Applies the table; gives when to try again.
    async fn apply(&self, table: &RuleTable) -> Option<Instant> {
        match self.network.apply(table).await {
            Ok(applied) => {
                tracing::debug!(changed = applied.changed, refused = applied.refused.len(), "applied");
                self.synced.send_modify(|count| *count += 1);
                (!applied.refused.is_empty()).then(|| Instant::now() + RETRY)
            }
            Err(error) => {
                tracing::warn!(%error, "cannot apply the service table");
                Some(Instant::now() + RETRY)
            }
        }
    }
}

/// What is watched, reduced to what is kept.
trait Watched: kube::Resource<DynamicType = ()> + DeserializeOwned + Clone + std::fmt::Debug + Send + 'static {
    type Kept: Send;
    fn keep(self) -> Self::Kept;
}

fn watch_all<K: Watched>(
    client: &kube::Client,
    config: watcher::Config,
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send + use<K> {
    watcher::watcher(Api::<K>::all(client.clone()), config).default_backoff()
}

/// The informer's copy of one kind.
struct Cache<K: Watched> {
    stream: futures::stream::BoxStream<'static, watcher::Result<Event<K>>>,
    objects: BTreeMap<(String, String), K::Kept>,
    relisted: BTreeMap<(String, String), K::Kept>,
    complete: bool,
}

impl<K: Watched> Cache<K> {
    fn new(stream: impl Stream<Item = watcher::Result<Event<K>>> + Send + 'static) -> Self {
        Self { stream: stream.boxed(), objects: BTreeMap::new(), relisted: BTreeMap::new(), complete: false }
    }

    /// Takes the next event in; tells whether the copy changed. Safe to drop at any moment.
    async fn next(&mut self) -> bool {
        let event = match self.stream.next().await {
            Some(Ok(event)) => event,
            Some(Err(error)) => {
                tracing::debug!(%error, "watch broke; it is taken up again");
                return false;
            }
            // The watcher's stream never ends; if it did, there would be nothing left to wait for.
            None => std::future::pending().await,
        };
        match event {
            Event::Init => self.relisted.clear(),
            Event::InitApply(object) => drop(self.relisted.insert(key(object.meta()), object.keep())),
            Event::InitDone => {
                self.objects = std::mem::take(&mut self.relisted);
                self.complete = true;
                return true;
            }
            Event::Apply(object) => {
                self.objects.insert(key(object.meta()), object.keep());
                return true;
            }
            Event::Delete(object) => return self.objects.remove(&key(object.meta())).is_some(),
        }
        false
    }
}

fn key(meta: &ObjectMeta) -> (String, String) {
    (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

fn kept_meta(meta: ObjectMeta) -> Meta {
    Meta {
        namespace: meta.namespace.unwrap_or_default(),
        name: meta.name.unwrap_or_default(),
        labels: meta.labels.unwrap_or_default(),
    }
}

#[derive(Clone, Debug, Deserialize)]
struct WatchedService {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: ServiceSpec,
}

impl Watched for WatchedService {
    type Kept = Service;

    fn keep(self) -> Service {
        Service { metadata: kept_meta(self.metadata), spec: self.spec }
    }
}

#[derive(Clone, Debug, Deserialize)]
struct WatchedSlice {
    metadata: ObjectMeta,
    #[serde(flatten)]
    slice: SliceBody,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SliceBody {
    #[serde(default)]
    address_type: String,
    #[serde(default)]
    endpoints: Option<Vec<rules::Endpoint>>,
    #[serde(default)]
    ports: Option<Vec<rules::EndpointPort>>,
}

impl Watched for WatchedSlice {
    type Kept = EndpointSlice;

    fn keep(self) -> EndpointSlice {
        EndpointSlice {
            metadata: kept_meta(self.metadata),
            address_type: self.slice.address_type,
            endpoints: self.slice.endpoints.unwrap_or_default(),
            ports: self.slice.ports.unwrap_or_default(),
        }
    }
}

macro_rules! resource {
    ($type:ty, $api:ty) => {
        impl kube::Resource for $type {
            type DynamicType = ();
            type Scope = <$api as kube::Resource>::Scope;

            fn kind(at: &()) -> std::borrow::Cow<'_, str> {
                <$api as kube::Resource>::kind(at)
            }

            fn group(at: &()) -> std::borrow::Cow<'_, str> {
                <$api as kube::Resource>::group(at)
            }

            fn version(at: &()) -> std::borrow::Cow<'_, str> {
                <$api as kube::Resource>::version(at)
            }

            fn plural(at: &()) -> std::borrow::Cow<'_, str> {
                <$api as kube::Resource>::plural(at)
            }

            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

resource!(WatchedService, k8s_openapi::api::core::v1::Service);
resource!(WatchedSlice, k8s_openapi::api::discovery::v1::EndpointSlice);
