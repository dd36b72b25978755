//! What kubelets may do, case by case.

use serde_json::json;

use super::*;

fn authorizer() -> NodeAuthorizer {
    let authorizer = NodeAuthorizer::default();
    {
        let mut graph = authorizer.graph.write().unwrap();
        for (pod, node) in [("p0", "node0"), ("p1", "node1")] {
            let object = json!({
                "metadata": {"namespace": "ns", "name": pod},
                "spec": {
                    "nodeName": node,
                    "serviceAccountName": format!("account-{pod}"),
                    "imagePullSecrets": [{"name": format!("pull-{pod}")}],
                    "containers": [{"env": [{"valueFrom": {"configMapKeyRef": {"name": format!("env-{pod}")}}}]}],
                    "volumes": [
                        {"secret": {"secretName": "shared"}},
                        {"name": "claim", "persistentVolumeClaim": {"claimName": format!("claim-{pod}")}},
                        {"name": "eph", "ephemeral": {}},
                    ],
                    "resourceClaims": [
                        {"name": "one", "resourceClaimName": format!("device-{pod}")},
                        {"name": "two", "resourceClaimTemplateName": format!("template-{pod}")},
                    ],
                },
                "status": {
                    "resourceClaimStatuses": [{"name": "two", "resourceClaimName": format!("made-{pod}")}],
                    "extendedResourceClaimStatus": {"resourceClaimName": format!("extended-{pod}")},
                },
            });
            graph.set_pod("ns", pod, Some(&object));
            graph.set_slice("", &format!("slice-{node}"), Some(&json!({"spec": {"nodeName": node}})));
        }
        for (volume, claim, mut source) in [
            (
                "pv0",
                "claim-p0",
                json!({"csi": {
                    "nodePublishSecretRef": {"namespace": "ns", "name": "volume-secret"},
                    "nodeStageSecretRef": {"namespace": "other", "name": "stage-secret"},
                    "controllerPublishSecretRef": {"namespace": "ns", "name": "controller-secret"},
                    "controllerExpandSecretRef": {"namespace": "ns", "name": "expander-secret"},
                }}),
            ),
            ("pv1", "claim-p1", json!({"csi": {"nodePublishSecretRef": {"namespace": "ns", "name": "other-secret"}}})),
            ("pv2", "p0-eph", json!({"azureFile": {"secretName": "file-secret"}})),
            ("pv3", "p0-eph", json!({"azureFile": {"secretName": "far-secret", "secretNamespace": "far"}})),
            ("pv4", "p0-eph", json!({"rbd": {"secretRef": {"name": "rbd-secret"}}})),
            ("pv5", "p0-eph", json!({"cinder": {"secretRef": {"namespace": "far", "name": "cinder-secret"}}})),
        ] {
            source["claimRef"] = json!({"namespace": "ns", "name": claim});
            graph.set_volume("", volume, Some(&json!({"spec": source})));
        }
        graph.set_attachment("", "va0", Some(&json!({"spec": {"nodeName": "node0"}})));
        graph.set_attachment("", "va1", Some(&json!({"spec": {"nodeName": "node1"}})));
    }
    authorizer
}

/// `verb group/resource[/subresource] namespace name [field selector]`, `-` for what there isn't.
fn attributes(text: &str) -> Attributes {
    let words: Vec<&str> = text.split(' ').map(|word| if word == "-" { "" } else { word }).collect();
    let mut resource = words[1].split('/');
    let group = resource.next().unwrap_or_default().replace("core", "");
    Attributes {
        user: User::new("system:node:node0", &["system:nodes"]),
        verb: words[0].into(),
        group,
        resource: resource.next().unwrap_or_default().into(),
        subresource: resource.next().unwrap_or_default().into(),
        namespace: words[2].into(),
        name: words[3].into(),
        field_selector: words.get(4).copied().unwrap_or_default().into(),
        is_resource_request: true,
        ..Attributes::default()
    }
}

#[test]
fn kubelets_see_what_their_pods_refer_to() {
    let authorizer = authorizer();
    for (request, allowed) in [
        ("get core/secrets ns shared", true),
        ("get core/secrets ns pull-p0", true),
        ("get core/secrets ns pull-p1", false),
        ("watch core/secrets ns pull-p0", true),
        ("list core/secrets ns -", false),
        ("list core/secrets - pull-p0", false),
        ("update core/secrets ns pull-p0", false),
        ("get core/secrets other pull-p0", false),
        ("get core/secrets ns volume-secret", true),
        ("get core/secrets ns other-secret", false),
        ("get core/secrets other stage-secret", true),
        ("get core/secrets ns controller-secret", false),
        ("get core/secrets ns expander-secret", false),
        ("get core/secrets ns file-secret", true),
        ("get core/secrets far far-secret", true),
        ("get core/secrets ns far-secret", false),
        ("get core/secrets ns rbd-secret", true),
        ("get core/secrets far cinder-secret", true),
        ("list core/secrets ns pull-p0", true),
        ("watch core/secrets ns -", false),
        ("get core/secrets/status ns pull-p0", false),
        ("get resource.k8s.io/resourceclaims ns device-p0", true),
        ("get resource.k8s.io/resourceclaims ns device-p1", false),
        ("get resource.k8s.io/resourceclaims ns made-p0", true),
        ("get resource.k8s.io/resourceclaims ns made-p1", false),
        ("get resource.k8s.io/resourceclaims ns template-p0", false),
        ("get resource.k8s.io/resourceclaims ns extended-p0", true),
        ("list resource.k8s.io/resourceclaims ns device-p0", false),
        ("get resource.k8s.io/resourceclaims/status ns device-p0", false),
        ("get core/persistentvolumes/status - pv0", false),
        ("list core/persistentvolumes - -", false),
        ("update core/persistentvolumeclaims/status ns claim-p0", true),
        ("patch core/persistentvolumeclaims/status ns claim-p1", false),
        ("patch core/persistentvolumeclaims ns claim-p0", false),
        ("get storage.k8s.io/volumeattachments/status - va0", false),
        ("update core/serviceaccounts/token ns account-p0", false),
        ("create core/serviceaccounts ns account-p0", false),
        ("create core/serviceaccounts/token ns -", false),
        ("get core/serviceaccounts ns account-p1", false),
        ("list core/serviceaccounts ns account-p0", false),
        ("watch core/serviceaccounts ns account-p0", false),
        ("create certificates.k8s.io/podcertificaterequests ns a", false),
        ("get certificates.k8s.io/podcertificaterequests ns a", false),
        ("get core/configmaps ns env-p0", true),
        ("get core/configmaps ns env-p1", false),
        ("get core/persistentvolumeclaims ns claim-p0", true),
        ("get core/persistentvolumeclaims ns p0-eph", true),
        ("get core/persistentvolumeclaims ns claim-p1", false),
        ("list core/persistentvolumeclaims ns claim-p0", false),
        ("patch core/persistentvolumeclaims/status ns claim-p0", true),
        ("get core/persistentvolumeclaims/status ns claim-p0", false),
        ("get core/persistentvolumes - pv0", true),
        ("get core/persistentvolumes - pv1", false),
        ("get storage.k8s.io/volumeattachments - va0", true),
        ("get storage.k8s.io/volumeattachments - va1", false),
        ("get core/serviceaccounts ns account-p0", true),
        ("create core/serviceaccounts/token ns account-p0", true),
        ("create core/serviceaccounts/token ns account-p1", false),
        ("create core/serviceaccounts ns -", false),
    ] {
        assert_eq!(authorizer.decide(&attributes(request)).is_allowed(), allowed, "{request}");
    }
}

#[test]
fn kubelets_have_their_own_node_lease_and_pods() {
    let authorizer = authorizer();
    for (request, allowed) in [
        ("get core/nodes - node0", true),
        ("get core/nodes - node1", false),
        ("list core/nodes - -", false),
        ("create core/nodes - -", true),
        ("patch core/nodes/status - node0", true),
        ("delete core/nodes - node0", false),
        ("get core/nodes/proxy - node0", false),
        ("get coordination.k8s.io/leases kube-node-lease node0", true),
        ("get coordination.k8s.io/leases kube-node-lease node1", false),
        ("create coordination.k8s.io/leases kube-node-lease -", true),
        ("get coordination.k8s.io/leases kube-system node0", false),
        ("list coordination.k8s.io/leases kube-node-lease -", false),
        ("watch coordination.k8s.io/leases kube-node-lease node0", false),
        ("deletecollection coordination.k8s.io/leases kube-node-lease -", false),
        ("update coordination.k8s.io/leases kube-node-lease node0", true),
        ("patch coordination.k8s.io/leases kube-node-lease node0", true),
        ("delete coordination.k8s.io/leases kube-node-lease node0", true),
        ("update coordination.k8s.io/leases kube-node-lease node1", false),
        ("patch coordination.k8s.io/leases kube-node-lease node1", false),
        ("delete coordination.k8s.io/leases kube-node-lease node1", false),
        ("create coordination.k8s.io/leases kube-system -", false),
        ("get storage.k8s.io/csinodes - node0", true),
        ("create storage.k8s.io/csinodes - -", true),
        ("patch storage.k8s.io/csinodes - node0", true),
        ("delete storage.k8s.io/csinodes - node0", true),
        ("get storage.k8s.io/csinodes - node1", false),
        ("patch storage.k8s.io/csinodes - node1", false),
        ("delete storage.k8s.io/csinodes - node1", false),
        ("list storage.k8s.io/csinodes - -", false),
        ("watch storage.k8s.io/csinodes - -", false),
        ("get storage.k8s.io/csinodes/status - node0", false),
        ("update storage.k8s.io/csinodes - node0", true),
        ("update storage.k8s.io/csinodes - node1", false),
        ("get core/pods ns p0", true),
        ("get core/pods ns p1", false),
        ("list core/pods - - spec.nodeName=node0", true),
        ("list core/pods - - spec.nodeName=node1", false),
        ("list core/pods - -", false),
        ("watch core/pods ns p0", true),
        ("update core/pods ns p0", false),
        ("patch core/pods/status ns p0", true),
        ("create core/pods/eviction ns p1", true),
        ("create core/pods/exec ns p0", false),
        ("list resource.k8s.io/resourceslices - - spec.nodeName=node0", true),
        ("list resource.k8s.io/resourceslices - -", false),
        ("list resource.k8s.io/resourceslices - - spec.nodeName==node0", true),
        ("list resource.k8s.io/resourceslices - - spec.nodeName!=node0", false),
        ("watch resource.k8s.io/resourceslices - - spec.nodeName=node0", true),
        ("watch resource.k8s.io/resourceslices - -", false),
        ("deletecollection resource.k8s.io/resourceslices - - spec.nodeName=node0", true),
        ("deletecollection resource.k8s.io/resourceslices - -", false),
        ("get resource.k8s.io/resourceslices - slice-node0", true),
        ("update resource.k8s.io/resourceslices - slice-node0", true),
        ("patch resource.k8s.io/resourceslices - slice-node0", true),
        ("delete resource.k8s.io/resourceslices - slice-node0", true),
        ("create resource.k8s.io/resourceslices - slice-node0", true),
        ("get resource.k8s.io/resourceslices - slice-node1", false),
        ("update resource.k8s.io/resourceslices - slice-node1", false),
        ("patch resource.k8s.io/resourceslices - slice-node1", false),
        ("delete resource.k8s.io/resourceslices - slice-node1", false),
        ("get resource.k8s.io/resourceslices/status - slice-node0", false),
        ("list core/pods - - spec.nodeName==node0", true),
        ("watch core/pods - - spec.nodeName==node0", true),
        ("watch core/pods - -", false),
        ("list core/pods ns p0", true),
        ("list core/pods ns p1", false),
        ("create core/pods ns -", true),
        ("create core/pods/proxy ns -", false),
        ("delete core/pods ns p0", true),
        ("delete core/pods ns p1", true),
        ("delete core/pods/proxy ns p0", false),
        ("update core/pods/status ns p1", true),
        ("get core/pods/status ns p0", false),
        ("create core/pods/ephemeralcontainers ns p0", false),
        ("list core/nodes - node0", true),
        ("list core/nodes - node1", false),
        ("watch core/nodes - node0", true),
        ("watch core/nodes - -", false),
        ("update core/nodes - node0", true),
        ("update core/nodes - node1", true),
        ("update core/nodes/status - node1", true),
        ("get core/nodes/status - node0", false),
        ("deletecollection core/nodes - -", false),
    ] {
        assert_eq!(authorizer.decide(&attributes(request)).is_allowed(), allowed, "{request}");
    }
}

#[test]
fn only_kubelets_are_kubelets() {
    assert_eq!(node_of(&User::new("system:node:a", &[])), None);
    assert_eq!(node_of(&User::new("alice", &["system:nodes"])), None);
    assert_eq!(node_of(&User::new("system:node:a", &["system:nodes"])), Some("a"));
    let mut nameless = attributes("get core/nodes - node0");
    nameless.user = User::new("system:node:", &["system:nodes"]);
    assert!(!authorizer().decide(&nameless).is_allowed());
}

#[test]
fn what_a_pod_referred_to_is_out_of_sight_once_it_is_gone() {
    let authorizer = authorizer();
    authorizer.graph.write().unwrap().set_pod("ns", "p0", None);
    for request in ["get core/secrets ns shared", "get core/persistentvolumes - pv0", "get core/pods ns p0"] {
        assert!(!authorizer.decide(&attributes(request)).is_allowed(), "{request}");
    }
    let mut other = attributes("get core/secrets ns shared");
    other.user.name = "system:node:node1".into();
    assert!(authorizer.decide(&other).is_allowed());
}
