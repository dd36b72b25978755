use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError, RwLock};

use kubewright_proxy::PodNetwork;
use kubewright_runtime_shim::{PodAddressing, Runtime};
use tokio::sync::Semaphore;

use super::Pods;
use crate::clock::Clock;
use crate::config::KubeletConfig;
use crate::decide::NodeView;
use crate::events::Recorder;
use crate::objects::Service;
use crate::probe::Prober;
use crate::references::ObjectCache;

/// What everything of one kubelet shares.
pub(crate) struct Context {
    pub(crate) config: KubeletConfig,
    pub(crate) client: kube::Client,
    pub(crate) runtime: Arc<dyn Runtime>,
    /// What stands before `://` in container ids.
    pub(crate) runtime_name: String,
    pub(crate) addressing: PodAddressing,
    pub(crate) network: Option<Arc<dyn PodNetwork>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) recorder: Recorder,
    pub(crate) objects: ObjectCache,
    pub(crate) prober: Arc<dyn Prober>,
    /// Turns for pulling images.
    pub(crate) pulls: Semaphore,
    /// Turns for reporting to the API.
    pub(crate) api_turns: Semaphore,
    pub(crate) pods: Pods,
    /// The API's list of pods was seen: from then on what is in no list is in nobody's interest.
    pub(crate) pods_listed: AtomicBool,
    pub(crate) node_view: RwLock<NodeView>,
    pub(crate) service_list: RwLock<Arc<Vec<Service>>>,
}

impl Context {
    /// The node as pods see it.
    pub(crate) fn view(&self) -> NodeView {
        self.node_view.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_view(&self, view: NodeView) {
        *self.node_view.write().unwrap_or_else(PoisonError::into_inner) = view;
    }

    /// The cluster's services.
    pub(crate) fn services(&self) -> Arc<Vec<Service>> {
        self.service_list.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_services(&self, services: Vec<Service>) {
        *self.service_list.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(services);
    }
}
