//! What is allowed in a Service but hardly meant.

use serde_json::Value;

use crate::kinds::read::Field;
use crate::kinds::validate::addresses::{cidr_warnings, ip_warning};

/// The warnings for a Service.
pub(super) fn warnings(service: &Value, _: Option<&Value>) -> Vec<String> {
    let service = Field::of(service);
    let spec = service.field("spec");
    let mut warnings = Vec::new();
    if service.at("metadata.annotations").key("service.kubernetes.io/topology-aware-hints").is_set() {
        let (old, new) = ("service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode");
        warnings.push(format!("annotation {old} is deprecated, please use {new} instead"));
    }
    let external_name = spec.field("type").text() == "ExternalName";
    let cluster_ip = spec.field("clusterIP");
    let headless = spec.field("type").text() == "ClusterIP" && cluster_ip.text() == "None";
    if !cluster_ip.is_empty() && cluster_ip.text() != "None" {
        warnings.extend(spec.field("clusterIPs").items().filter_map(|address| ip_warning(&address)));
    }
    let external = spec.field("externalIPs");
    if headless {
        let ignored = [
            ("spec.loadBalancerIP", !spec.field("loadBalancerIP").is_empty()),
            ("spec.externalIPs", !external.is_empty()),
            ("spec.SessionAffinity", spec.field("sessionAffinity").text() != "None"),
        ];
        let ignored = ignored.into_iter().filter(|(_, is_set)| *is_set);
        warnings.extend(ignored.map(|(name, _)| format!("{name} is ignored for headless services")));
    }
    warnings.extend(external.items().filter_map(|address| ip_warning(&address)));
    if !external.is_empty() && !headless && !external_name {
        warnings.push("spec.externalIPs is deprecated and may no longer be implemented in some clusters".into());
    }
    let balancer = spec.field("loadBalancerIP");
    warnings.extend((!balancer.is_empty()).then(|| ip_warning(&balancer)).flatten());
    warnings.extend(spec.field("loadBalancerSourceRanges").items().flat_map(|block| cidr_warnings(&block)));
    if external_name && !external.is_empty() {
        warnings.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".into());
    }
    if !external_name && !spec.field("externalName").is_empty() {
        warnings.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".into());
    }
    if spec.field("trafficDistribution").text() == "PreferClose" {
        warnings.push("spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"".into());
    }
    warnings
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_oddity_is_told() {
        let check = |spec: Value, expected: &[&str]| {
            assert_eq!(warnings(&json!({"spec": spec}), None), expected, "{spec}");
        };
        check(json!({"type": "ClusterIP", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"]}), &[]);
        check(
            json!({"type": "ClusterIP", "clusterIP": "None", "sessionAffinity": "ClientIP", "externalIPs": ["1.2.3.4"]}),
            &[
                "spec.externalIPs is ignored for headless services",
                "spec.SessionAffinity is ignored for headless services",
            ],
        );
        check(
            json!({"clusterIP": "2001:DB8::1", "clusterIPs": ["2001:DB8::1"], "loadBalancerIP": "010.0.0.1"}),
            &[
                "spec.clusterIPs[0]: IPv6 address \"2001:DB8::1\" should be in RFC 5952 canonical format (\"2001:db8::1\")",
                "spec.loadBalancerIP: non-standard IP address \"010.0.0.1\" is invalid: use \"10.0.0.1\"",
            ],
        );
        check(
            json!({"type": "LoadBalancer", "loadBalancerSourceRanges": ["10.1.2.3/8", "010.0.0.0/8", "2001:DB8::/32"]}),
            &[
                "spec.loadBalancerSourceRanges[0]: CIDR value \"10.1.2.3/8\" is ambiguous in this context (should be \
                 \"10.0.0.0/8\" or \"10.1.2.3/32\"?)",
                "spec.loadBalancerSourceRanges[1]: non-standard CIDR value \"010.0.0.0/8\" is invalid: use \"10.0.0.0/8\"",
                "spec.loadBalancerSourceRanges[2]: IPv6 CIDR value \"2001:DB8::/32\" should be in RFC 5952 canonical \
                 format (\"2001:db8::/32\")",
            ],
        );
    }
}
