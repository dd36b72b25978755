//! Keeps the endpoints object of each service, the older form of endpoint slices.

mod reconcile;

pub use reconcile::reconcile;

use std::sync::Arc;

use crate::Error;
use crate::cache::Cache;
use crate::endpoints_of::{selects, wake_services};
use crate::manager::{Config, Context, Controller, Made, Setup};
use crate::objects::{Endpoints, ObjectKey, Pod, Service};
use crate::plan::Plan;

struct EndpointsController {
    services: Arc<Cache<Service>>,
    endpoints: Arc<Cache<Endpoints>>,
    pods: Arc<Cache<Pod>>,
}

pub(crate) fn make(setup: &Setup<'_>, _: &Config) -> Result<Option<Made>, Error> {
    setup.reconcile_each::<Service>();
    setup.reconcile_each::<Endpoints>();
    wake_services(setup);
    let (services, endpoints, pods) = (setup.cache(), setup.cache(), setup.cache());
    Ok(Some(Made::controller(EndpointsController { services, endpoints, pods })))
}

impl Controller for EndpointsController {
    fn reconcile(&self, key: &ObjectKey, _: &Context) -> Plan {
        let endpoints = self.endpoints.get(key);
        let Some(service) = self.services.get(key) else { return reconcile::without_service(endpoints.as_deref()) };
        let pods = self.pods.in_namespace(&key.namespace);
        let pods: Vec<_> = pods.into_iter().filter(|pod| selects(&service, pod)).collect();
        reconcile(&service, &pods, endpoints.as_deref())
    }
}
