//! Which pods are behind a service, and on which ports.

use crate::manager::Setup;
use crate::objects::{EndpointPort, Object, ObjectKey, Pod, Service, ServicePort, TargetPort};

/// The number of a pod's port that a service's port leads to; `None` if the pod has no port of that name.
pub(crate) fn find_port(pod: &Pod, port: &ServicePort) -> Option<i32> {
    let protocol = |text: &str| if text.is_empty() { "TCP".to_owned() } else { text.to_owned() };
    match &port.target_port {
        None | Some(TargetPort::Number(0)) => Some(port.port),
        Some(TargetPort::Number(number)) => Some(*number),
        Some(TargetPort::Name(name)) => {
            let same = |candidate: &&crate::objects::ContainerPort| {
                candidate.name == *name && protocol(&candidate.protocol) == protocol(&port.protocol)
            };
            pod.spec.ports.iter().find(same).map(|found| found.container_port)
        }
    }
}

/// The ports on which a pod serves a service.
pub(crate) fn ports_of(pod: &Pod, service: &Service) -> Vec<EndpointPort> {
    let resolve = |port: &ServicePort| {
        Some(EndpointPort {
            name: port.name.clone(),
            protocol: if port.protocol.is_empty() { "TCP".to_owned() } else { port.protocol.clone() },
            port: Some(find_port(pod, port)?),
            app_protocol: port.app_protocol.clone(),
        })
    };
    service.spec.ports.iter().filter_map(resolve).collect()
}

/// Whether a pod may be an endpoint: it has an address and has not ended.
pub(crate) fn may_serve(pod: &Pod, terminating_too: bool) -> bool {
    !pod.finished() && !pod.status.pod_ip.is_empty() && (terminating_too || !pod.metadata.deleting())
}

/// The host name that a pod has under a service.
pub(crate) fn hostname(pod: &Pod, service: &Service) -> Option<String> {
    let own = !pod.spec.hostname.is_empty() && pod.spec.subdomain == service.metadata.name;
    own.then(|| pod.spec.hostname.clone())
}

/// All addresses of a pod.
pub(crate) fn addresses(pod: &Pod) -> impl Iterator<Item = &str> {
    let main = pod.status.pod_ips.is_empty().then_some(pod.status.pod_ip.as_str());
    pod.status.pod_ips.iter().map(|ip| ip.ip.as_str()).chain(main).filter(|ip| !ip.is_empty())
}

/// Reconciles services when a pod behind them changes in a way that endpoints show.
pub(crate) fn wake_services(setup: &Setup<'_>) {
    let services = setup.cache::<Service>();
    setup.on::<Pod>(move |change, queue| {
        if let (Some(old), Some(new)) = (&change.old, &change.new)
            && looks_the_same(old, new)
        {
            return;
        }
        let Some(pod) = change.latest() else { return };
        for service in services.in_namespace(&pod.metadata.namespace) {
            let selected = |pod: &Pod| selects(&service, pod);
            if change.states().any(|pod| selected(pod)) {
                queue.add(ObjectKey::new(&service.meta().namespace, &service.meta().name));
            }
        }
    });
}

/// Whether a service selects a pod.
pub(crate) fn selects(service: &Service, pod: &Pod) -> bool {
    service.spec.selector.as_ref().is_some_and(|selector| {
        !selector.is_empty() && selector.iter().all(|(key, value)| pod.metadata.labels.get(key) == Some(value))
    })
}

fn looks_the_same(old: &Pod, new: &Pod) -> bool {
    old.metadata.labels == new.metadata.labels
        && old.metadata.uid == new.metadata.uid
        && old.metadata.deleting() == new.metadata.deleting()
        && old.ready() == new.ready()
        && old.finished() == new.finished()
        && old.spec.node_name == new.spec.node_name
        && old.status.pod_ip == new.status.pod_ip
        && old.status.pod_ips == new.status.pod_ips
}
