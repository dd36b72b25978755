//! Extended resources with a class of devices behind them: the claim that is made for a pod that asks for them.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::device_selector::Selectors;
use super::allocate::Prepared;
use super::claims::prepare;
use crate::cache::{Devices, NodeInfo, Objects, extended_uid};
use crate::framework::Status;
use crate::object::{
    DeviceAsk, DeviceClaim, DeviceClass, DeviceRequest, ExtendedDevices, Name, PodInfo, RequestMapping,
};

/// What a pod asks for by extended resources.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Extended {
    /// A claim is to be made on whatever node gives devices.
    Open,
    /// A claim that an earlier attempt left behind; it must go first.
    Stale(Arc<DeviceClaim>),
}

/// Whether a pod asks for extended resources with a class of devices behind them.
pub(super) fn asks_for_devices(pod: &PodInfo, devices: &Devices) -> bool {
    pod.spec.device_asks.iter().any(|ask| devices.class_behind(&ask.resource).is_some())
}

/// What a pod asks for by extended resources, if anything.
pub(super) fn extended(pod: &PodInfo, devices: &Devices) -> Option<Extended> {
    asks_for_devices(pod, devices).then(|| match devices.extended_claim(&pod.uid) {
        Some(claim) => Extended::Stale(claim.clone()),
        None => Extended::Open,
    })
}

/// The claim that a pod needs on a node, and which containers use which of its requests; nothing if the node offers
/// everything itself.
///
/// # Errors
/// The node lacks a resource that no class stands behind, or a class cannot be asked for.
pub(super) fn claim_on(
    pod: &PodInfo,
    node: &NodeInfo,
    objects: &Objects,
    compiled: &Selectors,
) -> Result<Option<(Prepared, ExtendedDevices)>, Status> {
    let mut wanted: Vec<(&Name, &Arc<DeviceClass>)> = Vec::new();
    let names: BTreeSet<&Name> = pod.spec.device_asks.iter().map(|ask| &ask.resource).collect();
    for resource in names.into_iter().filter(|name| pod.spec.requests.scalar(name) > 0) {
        let offered = node.node.allocatable.find(resource);
        match objects.devices.class_behind(resource) {
            Some(class) if offered.unwrap_or(0) == 0 => wanted.push((resource, class)),
            None if offered.is_none() => return Err(Status::unresolvable("cannot fit resource")),
            _ => {}
        }
    }
    if wanted.is_empty() {
        return Ok(None);
    }
    let (requests, mappings) = requests(&pod.spec.device_asks, &wanted);
    let claim = DeviceClaim {
        namespace: pod.namespace.clone(),
        name: "<extended-resources>".into(),
        uid: extended_uid(&pod.uid),
        owner_pod: pod.uid.clone(),
        extended: true,
        requests: requests.iter().cloned().map(|request| vec![request]).collect(),
        ..DeviceClaim::default()
    };
    let prepared = prepare(&Arc::new(claim), objects, compiled)?;
    Ok(Some((prepared, ExtendedDevices { requests, mappings })))
}

/// The requests for some resources, sorted by name, and who uses which. Containers that are over before others begin use
/// the devices of those; of what they need beyond, the largest request serves all of them in turn.
fn requests(asks: &[DeviceAsk], wanted: &[(&Name, &Arc<DeviceClass>)]) -> (Vec<DeviceRequest>, Vec<RequestMapping>) {
    let (mut requests, mut mappings) = (Vec::new(), Vec::new());
    for (resource, class) in wanted {
        let request = |ask: &DeviceAsk, amount: i64| DeviceRequest {
            name: format!("container-{}-request-{}", ask.place, ask.number).into(),
            class: class.name.clone(),
            count: usize::try_from(amount).ok(),
            ..DeviceRequest::default()
        };
        let mapping = |ask: &DeviceAsk, request: &Name| RequestMapping {
            container: ask.container.clone(),
            resource: ask.resource.clone(),
            request: request.clone(),
        };
        let own = || asks.iter().filter(|ask| ask.resource == **resource);
        let lasting: Vec<(usize, DeviceRequest)> =
            own().filter(|ask| !ask.passes).map(|ask| (ask.place, request(ask, ask.amount))).collect();
        let by_name = own().filter(|ask| !ask.passes).zip(&lasting);
        mappings.extend(by_name.map(|(ask, (_, request))| mapping(ask, &request.name)));
        let mut largest: Option<DeviceRequest> = None;
        let mut own_requests = BTreeSet::new();
        let mut passing = Vec::new();
        for ask in own().filter(|ask| ask.passes) {
            let mut covered = 0;
            for (_, other) in lasting.iter().filter(|(place, _)| *place >= ask.place) {
                if covered >= ask.amount {
                    break;
                }
                covered += i64::try_from(other.count.unwrap_or(0)).unwrap_or(i64::MAX);
                passing.push(mapping(ask, &other.name));
            }
            if covered >= ask.amount {
                continue;
            }
            let extra = request(ask, ask.amount - covered);
            passing.push(mapping(ask, &extra.name));
            own_requests.insert(extra.name.clone());
            if largest.as_ref().is_none_or(|known| known.count < extra.count) {
                largest = Some(extra);
            }
        }
        if let Some(largest) = largest {
            for mapping in passing.iter_mut().filter(|mapping| own_requests.contains(&mapping.request)) {
                mapping.request = largest.name.clone();
            }
            requests.push(largest);
        }
        requests.extend(lasting.into_iter().map(|(_, request)| request));
        mappings.extend(passing);
    }
    requests.sort_by(|a, b| a.name.cmp(&b.name));
    (requests, mappings)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::pod;

    /// Requests and who uses them, for containers that ask for so many: `i` for an init container, `s` for a sidecar, `c`
    /// for one that lasts.
    fn check(containers: &[(&str, &str)], expected: &str) {
        let container = |(name, amount): &(&str, &str)| {
            let mut made = json!({"name": name, "resources": {"requests": {"cpu": "1", "example.com/gpu": amount}}});
            if name.starts_with('s') {
                made["restartPolicy"] = json!("Always");
            }
            made
        };
        let (last, first): (Vec<_>, Vec<_>) = containers.iter().partition(|(name, _)| name.starts_with('c'));
        let made = pod("p")
            .spec("initContainers", first.into_iter().map(container).collect())
            .spec("containers", last.into_iter().map(container).collect())
            .build();
        let class = Arc::new(DeviceClass { name: "gpu".into(), ..DeviceClass::default() });
        let (requests, mappings) = requests(&made.spec.device_asks, &[(&"example.com/gpu".into(), &class)]);
        let requests = requests.iter().map(|own| format!("{}*{}", own.count.unwrap(), own.name));
        let mappings = mappings.iter().map(|own| format!("{}:{}", own.container, own.request));
        let told = requests.chain(mappings).collect::<Vec<_>>().join(" ");
        let short = told.replace("container-", "").replace("-request-1", "");
        assert_eq!(short, expected, "{containers:?}");
    }

    #[test]
    fn containers_that_pass_use_what_later_ones_have() {
        check(&[("c0", "2")], "2*0 c0:0");
        check(&[("c0", "0"), ("c1", "1")], "1*1 c1:1");
        check(&[("c0", "2"), ("c1", "1")], "2*0 1*1 c0:0 c1:1");
        check(&[("i0", "1"), ("c1", "2")], "2*1 c1:1 i0:1");
        check(&[("i0", "3"), ("c1", "2")], "1*0 2*1 c1:1 i0:1 i0:0");
        check(&[("i0", "3"), ("i1", "5"), ("c2", "2")], "3*1 2*2 c2:2 i0:2 i0:1 i1:2 i1:1");
        check(&[("i0", "3"), ("c1", "2"), ("c2", "2")], "2*1 2*2 c1:1 c2:2 i0:1 i0:2");
        check(&[("s0", "1"), ("i1", "2"), ("c2", "1")], "1*0 1*1 1*2 s0:0 c2:2 i1:2 i1:1");
        check(&[("i0", "4")], "4*0 i0:0");
    }
}
