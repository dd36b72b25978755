//! How many objects there are and how large the store is, under upstream's names.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock, Weak};

use kubewright_store::Store;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};

use super::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResourceLabels {
    resource: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClusterLabels {
    storage_cluster_id: &'static str,
}

/// The metrics of what is stored. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct StorageMetrics {
    registry: Arc<OnceLock<Weak<Registry>>>,
    bytes: Family<ClusterLabels, Gauge<f64, AtomicU64>>,
}

impl fmt::Debug for StorageMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StorageMetrics")
    }
}

impl StorageMetrics {
    /// Metrics that this registry of metrics shows.
    pub(crate) fn new(metrics: &mut prometheus_client::registry::Registry) -> Self {
        let this = Self::default();
        metrics.register("apiserver_storage_size_bytes", "Size of the store in bytes", this.bytes.clone());
        metrics.register_collector(Box::new(this.clone()));
        this
    }

    /// Tells of the objects in there too.
    pub(crate) fn follow(&self, registry: &Arc<Registry>) {
        let _ = self.registry.set(Arc::downgrade(registry));
    }

    /// Asks the store how large it is.
    #[allow(clippy::cast_precision_loss, reason = "sizes need no last byte")]
    pub(crate) async fn measure(&self, store: &dyn Store) {
        let Ok(status) = store.status().await else { return };
        let bytes = if status.disk_bytes > 0 { status.disk_bytes } else { status.bytes + status.history_bytes };
        self.bytes.get_or_create(&ClusterLabels { storage_cluster_id: "etcd-0" }).set(bytes as f64);
    }
}

impl Collector for StorageMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(registry) = self.registry.get().and_then(Weak::upgrade) else { return Ok(()) };
        let help = "Number of stored objects at the time of the last check, by resource";
        let mut family = encoder.encode_descriptor("apiserver_storage_objects", help, None, MetricType::Gauge)?;
        for (_, storage) in registry.resources.storages() {
            let (group, plural) = (&storage.info.group, &storage.info.plural);
            let resource = if group.is_empty() { plural.to_string() } else { format!("{plural}.{group}") };
            let objects = i64::try_from(storage.cache.extent().objects).unwrap_or(i64::MAX);
            ConstGauge::new(objects).encode(family.encode_family(&ResourceLabels { resource })?)?;
        }
        Ok(())
    }
}
