//! Extended resources that a node does not list but a class of devices stands behind: how many devices there are.

use std::sync::Arc;

use super::Resource;
use crate::cache::{Devices, NodeInfo};
use crate::object::{DeviceClass, DeviceSlice, PodInfo};
use crate::plugins::device_selector::{Selectors, Verdicts};

/// Counts devices.
#[derive(Clone, Debug, Default)]
pub(super) struct DeviceCounter {
    selectors: Arc<Selectors>,
}

impl DeviceCounter {
    /// Whether a pod asks for devices by any of those resources.
    pub(super) fn concerns<'a>(
        mut resources: impl Iterator<Item = &'a Resource>,
        pod: &PodInfo,
        devices: &Devices,
    ) -> bool {
        !pod.spec.device_asks.is_empty() && resources.any(|resource| class_behind(resource, devices).is_some())
    }

    /// How many devices of the class behind a resource a node can use, and how many of them somebody has. Nothing if there
    /// are none, or if it cannot be said.
    pub(super) fn count(&self, resource: &Resource, node: &NodeInfo, devices: &Devices) -> Option<(i64, i64)> {
        let class = class_behind(resource, devices)?;
        let (mut there, mut given) = (0, 0);
        for slice in devices.slices_reaching(&node.node) {
            let verdicts = self.verdicts(class, slice)?;
            let in_use = devices.in_use_of(&slice.driver, &slice.pool);
            let usable = slice.devices.iter().enumerate().filter(|(_, device)| slice.offers(device, &node.node));
            for (at, device) in usable {
                if !is_selected(&verdicts, at)? {
                    continue;
                }
                there += 1;
                let has = in_use.is_some_and(|pool| pool.has(&device.name) || pool.shared(&device.name).is_some());
                given += i64::from(has);
            }
        }
        (there > 0).then_some((there, given))
    }

    fn verdicts(&self, class: &DeviceClass, slice: &Arc<DeviceSlice>) -> Option<Vec<Verdicts>> {
        class.selectors.iter().map(|text| Some(self.selectors.get(text).ok()?.verdicts(slice))).collect()
    }
}

/// Whether all expressions select a device; nothing if one of them cannot be asked about it.
fn is_selected(verdicts: &[Verdicts], at: usize) -> Option<bool> {
    for verdict in verdicts {
        match &verdict[at] {
            Ok(true) => {}
            Ok(false) => return Some(false),
            Err(_) => return None,
        }
    }
    Some(true)
}

fn class_behind<'a>(resource: &Resource, devices: &'a Devices) -> Option<&'a Arc<DeviceClass>> {
    match resource {
        Resource::Scalar(name) => devices.class_behind(name),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cache::Snapshot;
    use crate::framework::{CycleState, ScorePlugin};
    use crate::object::{DeviceAllocation, DeviceId, GivenDevice};
    use crate::plugins::{BalancedAllocation, NodeResourcesFit, NodeResourcesFitArgs, ResourceWeight};
    use crate::testing::{node, pod, snapshot};

    const GPU: &str = "example.com/gpu";

    /// Two nodes with four devices of the class and one of another kind each; on the first, some are taken.
    fn world(taken: usize) -> Snapshot {
        let plain = |name: &str| node(name).capacity(&[("pods", "110")]);
        let mut snapshot = snapshot([plain("a"), plain("b")], []);
        let devices = &mut snapshot.objects_mut().devices;
        let selectors = json!([{"cel": {"expression": "device.attributes['d'].kind == 'gpu'"}}]);
        let class = json!({"metadata": {"name": "c"}, "spec": {"extendedResourceName": GPU, "selectors": selectors}});
        devices.put_class(serde_json::from_value(class).unwrap());
        for node in ["a", "b"] {
            let device = |n: usize| json!({"name": n.to_string(), "attributes": {"kind": {"string": if n < 4 { "gpu" } else { "nic" }}}});
            let all: Vec<_> = (0..5).map(device).collect();
            let slice = json!({"metadata": {"name": node}, "spec": {"driver": "d", "nodeName": node, "devices": all,
                "pool": {"name": node, "resourceSliceCount": 1}}});
            devices.put_slice(serde_json::from_value(slice).unwrap());
        }
        let given = |n: usize| GivenDevice {
            id: DeviceId { driver: "d".into(), pool: "a".into(), device: n.to_string().into() },
            ..GivenDevice::default()
        };
        let devices = (0..taken).map(given).collect();
        let allocation = DeviceAllocation { devices, ..DeviceAllocation::default() };
        snapshot.objects_mut().devices.pend(&"x".into(), Arc::new(allocation));
        snapshot
    }

    fn scores(plugin: &impl ScorePlugin, snapshot: &Snapshot) -> [i64; 2] {
        let asks = pod("p").requests(&[(GPU, "1")]).build();
        assert!(!plugin.is_node_local(&asks, snapshot));
        assert!(plugin.is_node_local(&pod("q").requests(&[("cpu", "1")]).build(), snapshot));
        ["a", "b"].map(|name| plugin.score(&CycleState::new(), &asks, snapshot.node(name).unwrap(), snapshot).unwrap())
    }

    #[test]
    fn devices_behind_a_resource_count_as_it() {
        let weight = |name: &str| ResourceWeight { name: name.to_owned(), weight: 1 };
        let fit =
            |resources| NodeResourcesFit::new(NodeResourcesFitArgs { resources, ..NodeResourcesFitArgs::default() });
        // On a two of four are taken, and this pod's is the third.
        assert_eq!(scores(&fit(vec![weight(GPU)]), &world(2)), [25, 75]);
        assert_eq!(scores(&fit(vec![weight("cpu"), weight(GPU)]), &world(3)), [0, 75]);
        assert_eq!(scores(&BalancedAllocation::new(&[weight(GPU), weight("cpu")]), &world(2)), [75, 75]);
    }

    #[test]
    fn what_cannot_be_asked_about_does_not_count() {
        let weights = vec![ResourceWeight { name: GPU.to_owned(), weight: 1 }];
        let plugin =
            NodeResourcesFit::new(NodeResourcesFitArgs { resources: weights, ..NodeResourcesFitArgs::default() });
        let mut snapshot = world(0);
        let odd = json!({"metadata": {"name": "a"}, "spec": {"driver": "d", "nodeName": "a",
            "pool": {"name": "a", "resourceSliceCount": 1}, "devices": [{"name": "0"}]}});
        snapshot.objects_mut().devices.put_slice(serde_json::from_value(odd).unwrap());
        assert_eq!(scores(&plugin, &snapshot), [0, 75]);
    }
}
