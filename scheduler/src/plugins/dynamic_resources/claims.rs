//! Which claims a pod has, and what they ask for, made ready.

use std::sync::Arc;

use super::super::device_selector::Selectors;
use super::allocate::Prepared;
use crate::cache::Objects;
use crate::framework::Status;
use crate::object::{DeviceClaim, DeviceClass, DeviceRequest, Name, PodDevices, PodInfo};

/// The claim's name; nothing if none is needed.
pub(super) fn claim_name(pod: &PodInfo, devices: &PodDevices) -> Result<Option<(Name, bool)>, Status> {
    if !devices.resource_claim_name.is_empty() {
        return Ok(Some((devices.resource_claim_name.clone(), false)));
    }
    match pod.made_claims.iter().find(|(name, _)| *name == devices.name) {
        Some((_, claim)) if claim.is_empty() => Ok(None),
        Some((_, claim)) => Ok(Some((claim.clone(), true))),
        None => {
            let message = format!("pod \"{}/{}\": ResourceClaim not created yet", pod.namespace, pod.name);
            Err(Status::unresolvable(message))
        }
    }
}

pub(super) fn claims_of(pod: &PodInfo, objects: &Objects) -> Result<Vec<Arc<DeviceClaim>>, Status> {
    let mut claims = Vec::new();
    for devices in &pod.spec.devices {
        let Some((name, made)) = claim_name(pod, devices)? else { continue };
        let space = &pod.namespace;
        let missing = || Status::unresolvable(format!("could not find v1.ResourceClaim \"{space}/{name}\""));
        let claim = objects.devices.claim(space, &name).ok_or_else(missing)?;
        if claim.deleting {
            return Err(Status::unresolvable(format!("resourceclaim \"{name}\" is being deleted")));
        }
        if made && claim.owner_pod != pod.uid {
            let pod = &pod.name;
            return Err(Status::unresolvable(format!(
                "ResourceClaim {space}/{name} was not created for Pod {space}/{pod} (Pod is not owner)"
            )));
        }
        claims.push(claim.clone());
    }
    Ok(claims)
}

pub(super) fn prepare(claim: &Arc<DeviceClaim>, objects: &Objects, compiled: &Selectors) -> Result<Prepared, Status> {
    let class_of = |request: &DeviceRequest| -> Result<Arc<DeviceClass>, Status> {
        if request.class.is_empty() {
            return Err(Status::error(format!("request {}: unsupported request type", request.name)));
        }
        let missing = || {
            let (request, class) = (&request.name, &request.class);
            Status::unresolvable(format!("request {request}: device class {class} does not exist"))
        };
        objects.devices.class(&request.class).cloned().ok_or_else(missing)
    };
    let ready = |(request, class): (&DeviceRequest, &Arc<DeviceClass>)| {
        let all = class.selectors.iter().chain(&request.selectors).enumerate();
        all.map(|(number, text)| {
            compiled.get(text).map_err(|error| {
                let (space, name) = (&claim.namespace, &claim.name);
                Status::error(format!("claim {space}/{name}: selector #{number}: CEL compile error: {error}"))
            })
        })
        .collect()
    };
    let (mut selectors, mut classes) = (Vec::new(), Vec::new());
    for alternatives in &claim.requests {
        let own: Vec<Arc<DeviceClass>> = alternatives.iter().map(class_of).collect::<Result<_, _>>()?;
        selectors.push(alternatives.iter().zip(&own).map(ready).collect::<Result<Vec<_>, _>>()?);
        classes.push(own);
    }
    Ok(Prepared { claim: claim.clone(), selectors: selectors.into(), classes: classes.into() })
}
