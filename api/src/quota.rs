//! What claims count for in a resource quota: admission holds them to it, and a controller keeps account, by the same rules.

use serde_json::Value;

use crate::quantity::{Format, Quantity};
use crate::requests::{ResourceList, add, raise};

/// What stands between a storage class and what is limited of it.
pub const OF_STORAGE_CLASS: &str = ".storageclass.storage.k8s.io/";
/// What stands behind a device class where its devices are limited.
pub const OF_DEVICE_CLASS: &str = ".deviceclass.resource.k8s.io/devices";

/// As many devices as a claim for all of them may get.
const ALL_DEVICES: i64 = 32;
const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

fn whole(number: i64) -> Quantity {
    Quantity::new(number, Format::DecimalSi)
}

/// What a `PersistentVolumeClaim` uses: of storage, and of what its class has of that and of claims.
///
/// ```
/// use kubewright_api::quota::of_volume_claim;
/// use serde_json::json;
///
/// let claim = json!({"spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "1Gi"}}}});
/// let used = of_volume_claim(&claim);
/// assert_eq!(used["requests.storage"].to_string(), "1Gi");
/// assert_eq!(used["gold.storageclass.storage.k8s.io/persistentvolumeclaims"].to_string(), "1");
/// ```
#[must_use]
pub fn of_volume_claim(claim: &Value) -> ResourceList {
    let asked = match &claim["spec"]["resources"]["requests"]["storage"] {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    };
    let asked: Quantity = asked.unwrap_or(Quantity::ZERO);
    let mut usage = ResourceList::from([("requests.storage".to_owned(), asked)]);
    let noted = claim["metadata"]["annotations"][CLASS_ANNOTATION].as_str();
    let class = noted.or_else(|| claim["spec"]["storageClassName"].as_str());
    if let Some(class) = class.filter(|class| !class.is_empty()) {
        usage.insert(format!("{class}{OF_STORAGE_CLASS}requests.storage"), asked);
        usage.insert(format!("{class}{OF_STORAGE_CLASS}persistentvolumeclaims"), whole(1));
    }
    usage
}

/// What a `ResourceClaim` uses of device classes: where it leaves a choice, the most of each class that it may get.
#[must_use]
pub fn of_resource_claim(claim: &Value) -> ResourceList {
    let mut usage = ResourceList::new();
    for request in claim["spec"]["devices"]["requests"].as_array().into_iter().flatten() {
        let choices = request["firstAvailable"].as_array().filter(|choices| !choices.is_empty());
        let mut most = ResourceList::new();
        for one in choices.into_iter().flatten().chain(request.get("exactly").filter(|_| choices.is_none())) {
            raise(&mut most, &devices(one));
        }
        add(&mut usage, &most);
    }
    usage
}

fn devices(request: &Value) -> ResourceList {
    let Some(class) = request["deviceClassName"].as_str() else { return ResourceList::new() };
    let number = match request["allocationMode"].as_str().unwrap_or("ExactCount") {
        "ExactCount" => request["count"].as_i64().unwrap_or(1),
        "All" => ALL_DEVICES,
        // A mode of another release counts for nothing.
        _ => 0,
    };
    ResourceList::from([(format!("{class}{OF_DEVICE_CLASS}"), whole(number))])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn claims_count_for_their_class() {
        let claim = |class: Value, annotations: Value| {
            of_volume_claim(&json!({"metadata": {"annotations": annotations}, "spec": {"storageClassName": class,
                "resources": {"requests": {"storage": "1Gi"}}}}))
        };
        let names = |used: ResourceList| used.into_keys().collect::<Vec<_>>();
        assert_eq!(names(claim(json!(null), json!({}))), ["requests.storage"]);
        assert_eq!(names(claim(json!(""), json!({}))), ["requests.storage"]);
        let gold = [
            "gold.storageclass.storage.k8s.io/persistentvolumeclaims",
            "gold.storageclass.storage.k8s.io/requests.storage",
            "requests.storage",
        ];
        assert_eq!(names(claim(json!("gold"), json!({}))), gold);
        assert_eq!(names(claim(json!("silver"), json!({CLASS_ANNOTATION: "gold"}))), gold);
    }

    #[test]
    fn devices_count_for_their_class() {
        let claim = |requests: Value| {
            let used = of_resource_claim(&json!({"spec": {"devices": {"requests": requests}}}));
            let short = |name: &str| name.strip_suffix(OF_DEVICE_CLASS).unwrap_or(name).to_owned();
            used.iter().map(|(name, amount)| format!("{}={amount}", short(name))).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(claim(json!([])), "");
        assert_eq!(claim(json!([{"exactly": {"deviceClassName": "a"}}])), "a=1");
        let several = json!([{"exactly": {"deviceClassName": "a", "allocationMode": "ExactCount", "count": 3}},
            {"exactly": {"deviceClassName": "b", "allocationMode": "All"}}, {"exactly": {"deviceClassName": "a"}},
            {"exactly": {"deviceClassName": "c", "allocationMode": "Strange"}}]);
        assert_eq!(claim(several), "a=4 b=32 c=0");
        let choice = json!([{"firstAvailable": [{"deviceClassName": "a", "count": 2}, {"deviceClassName": "a", "count": 5},
            {"deviceClassName": "b"}]}, {"exactly": {"deviceClassName": "a"}}]);
        assert_eq!(claim(choice), "a=6 b=1");
    }
}
