//! What each signer takes and refuses.

use super::super::rules::check;
use super::super::{API_SERVER_CLIENT, API_SERVER_CLIENT_KUBELET, KUBELET_SERVING, LEGACY_UNKNOWN, Request};
use super::Asked;

const CLIENT: &[&str] = &["client auth", "digital signature", "key encipherment"];
const SERVER: &[&str] = &["digital signature", "key encipherment", "server auth"];

/// What the signer says; nothing if it signs.
fn verdict(signer: &str, asked: &Asked, usages: &[&str]) -> String {
    let request = Request::from_pem(asked.pem().as_bytes()).unwrap();
    let usages: Vec<String> = usages.iter().map(ToString::to_string).collect();
    check(signer, &request, &usages).err().map(|refusal| refusal.to_string()).unwrap_or_default()
}

#[test]
fn client_certificates_are_for_clients() {
    let anybody = Asked { common_names: vec!["jane"], organizations: vec!["a", "b"], ..Asked::default() };
    for (usages, expected) in [
        (CLIENT, ""),
        (&["client auth"], ""),
        (&["digital signature", "client auth"], ""),
        (&["digital signature"], "missing required usage for client certificate: client auth"),
        (&[], "missing required usage for client certificate: client auth"),
        (&["client auth", "server auth"], "invalid usage for client certificate: server auth"),
        (&["cert sign", "client auth"], "invalid usage for client certificate: cert sign"),
    ] {
        assert_eq!(verdict(API_SERVER_CLIENT, &anybody, usages), expected, "{usages:?}");
    }
}

#[test]
fn kubelets_are_nodes_without_hosts_as_clients() {
    let node = Asked::node("system:node:a");
    let group = |organizations: &[&'static str]| Asked { organizations: organizations.to_vec(), ..node.clone() };
    let not_nodes = "subject organization is not system:nodes";
    let not_a_node = "subject common name does not begin with system:node:";
    let usages = "usages did not match [client auth digital signature key encipherment]";
    for (asked, asked_usages, expected) in [
        (node.clone(), CLIENT, ""),
        (node.clone(), &["client auth", "digital signature"][..], ""),
        (node.clone(), &["client auth"], usages),
        (node.clone(), &["client auth", "key encipherment"], usages),
        (node.clone(), SERVER, usages),
        (node.clone(), &["client auth", "digital signature", "key encipherment", "server auth"], usages),
        (group(&[]), CLIENT, not_nodes),
        (group(&["other"]), CLIENT, not_nodes),
        (group(&["system:nodes", "system:masters"]), CLIENT, not_nodes),
        (group(&["system:masters", "system:nodes"]), CLIENT, not_nodes),
        (Asked::node("a"), CLIENT, not_a_node),
        (Asked::node("system:Node:a"), CLIENT, not_a_node),
        (Asked { common_names: vec![], ..node.clone() }, CLIENT, not_a_node),
        // The last name counts, as it does when the certificate is used.
        (Asked { common_names: vec!["system:node:a", "admin"], ..node.clone() }, CLIENT, not_a_node),
        (Asked { common_names: vec!["admin", "system:node:a"], ..node.clone() }, CLIENT, ""),
        (node.clone().dns("a.example"), CLIENT, "DNS subjectAltNames are not allowed"),
        (node.clone().name(1, b"a@example"), CLIENT, "Email subjectAltNames are not allowed"),
        (node.clone().name(7, &[10, 0, 0, 1]), CLIENT, "IP subjectAltNames are not allowed"),
        (node.clone().name(6, b"spiffe://a"), CLIENT, "URI subjectAltNames are not allowed"),
    ] {
        assert_eq!(verdict(API_SERVER_CLIENT_KUBELET, &asked, asked_usages), expected);
    }
}

#[test]
fn kubelets_serve_under_some_host() {
    let node = Asked::node("system:node:a").dns("a.example");
    let address = Asked::node("system:node:a").name(7, &[10, 0, 0, 1]);
    let usages = "usages did not match [digital signature key encipherment server auth]";
    for (asked, asked_usages, expected) in [
        (node.clone(), SERVER, ""),
        (address, SERVER, ""),
        (node.clone(), &["digital signature", "server auth"][..], ""),
        (node.clone(), &["server auth"], usages),
        (node.clone(), CLIENT, usages),
        (Asked::node("system:node:a"), SERVER, "DNS or IP subjectAltName is required"),
        (Asked::node("system:node:a").name(6, b"x://a"), SERVER, "DNS or IP subjectAltName is required"),
        (node.clone().name(1, b"a@example"), SERVER, "Email subjectAltNames are not allowed"),
        (node.clone().name(6, b"spiffe://a"), SERVER, "URI subjectAltNames are not allowed"),
        (Asked::node("a").dns("a"), SERVER, "subject common name does not begin with system:node:"),
        (Asked { organizations: vec![], ..node.clone() }, SERVER, "subject organization is not system:nodes"),
    ] {
        assert_eq!(verdict(KUBELET_SERVING, &asked, asked_usages), expected);
    }
}

#[test]
fn the_old_signer_takes_anything_and_others_are_not_ours() {
    assert_eq!(verdict(LEGACY_UNKNOWN, &Asked::default(), &["any"]), "");
    assert_eq!(verdict("example.com/a", &Asked::default(), &[]), "unrecognized signerName: \"example.com/a\"");
}
