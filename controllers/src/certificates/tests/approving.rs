//! Which requests are approved without anybody looking at them.

use super::super::approver::{approve, ways};
use super::super::{API_SERVER_CLIENT, API_SERVER_CLIENT_KUBELET};
use super::*;
use crate::plan::Action;

const CLIENT: &[&str] = &["client auth", "digital signature", "key encipherment"];

fn rights(csr: &CertificateSigningRequest) -> Vec<&'static str> {
    ways(csr).iter().map(|way| way.subresource).collect()
}

#[test]
fn only_kubelets_client_certificates_may_be() {
    let node = Asked::node("system:node:a");
    let mut own = node.csr(API_SERVER_CLIENT_KUBELET, CLIENT);
    assert_eq!(rights(&own), ["nodeclient"], "somebody asks for a node");
    own.spec.username = "system:node:a".into();
    assert_eq!(rights(&own), ["selfnodeclient", "nodeclient"], "a node asks for itself");
    own.spec.username = "system:node:b".into();
    assert_eq!(rights(&own), ["nodeclient"], "a node asks for another");
    for kind in ["Approved", "Denied"] {
        let mut decided = own.clone();
        decided.status.conditions.push(condition(kind, now()));
        assert!(rights(&decided).is_empty(), "{kind}");
    }
    let mut issued = own.clone();
    issued.status.certificate = "aQ==".into();
    assert!(rights(&issued).is_empty());
    for csr in [
        node.csr(API_SERVER_CLIENT, CLIENT),
        node.csr(API_SERVER_CLIENT_KUBELET, &["digital signature", "server auth"]),
        node.clone().dns("a").csr(API_SERVER_CLIENT_KUBELET, CLIENT),
        Asked::node("admin").csr(API_SERVER_CLIENT_KUBELET, CLIENT),
        Asked { organizations: vec!["system:masters"], ..node.clone() }.csr(API_SERVER_CLIENT_KUBELET, CLIENT),
        Asked { organizations: vec!["system:nodes", "system:masters"], ..node }.csr(API_SERVER_CLIENT_KUBELET, CLIENT),
    ] {
        assert!(rights(&csr).is_empty());
    }
}

#[test]
fn approval_is_a_condition_among_the_others() {
    let mut csr = Asked::node("system:node:a").csr(API_SERVER_CLIENT_KUBELET, CLIENT);
    csr.status.conditions.push(condition("Example", now()));
    let mut plan = approve(&csr, ways(&csr)[0], now());
    let Some(Action::Patch(patch)) = plan.actions.pop() else { panic!("a patch") };
    assert_eq!((patch.subresource, &patch.body["metadata"]["resourceVersion"]), ("approval", &"7".into()));
    let conditions = &patch.body["status"]["conditions"];
    assert_eq!(conditions[0]["type"], "Example");
    assert_eq!((&conditions[1]["type"], &conditions[1]["reason"]), (&"Approved".into(), &"AutoApproved".into()));
    let message = "Auto approving kubelet client certificate after SubjectAccessReview.";
    assert_eq!(conditions[1]["message"], message);
}
