//! Holds the workspace against the rules of ARCHITECTURE.md: which crate may import which, and what a crate's bare
//! trait pulls in.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Crate folder → our own crates it may depend on in any feature. The root package may import everything.
const ALLOWED: [(&str, &[&str]); 8] = [
    ("api", &[]),
    ("store", &[]),
    ("apiserver", &["api", "store"]),
    ("scheduler", &["api"]),
    ("controllers", &["api"]),
    ("runtime-shim", &["api"]),
    ("proxy", &["api"]),
    ("kubelet", &["api", "runtime-shim", "proxy"]),
];

/// Packages that a crate without any features must not pull in.
const BARE: [(&str, &[&str]); 3] = [
    ("store", &["raft", "tonic", "hyper", "kube", "serde_json"]),
    ("runtime-shim", &["tonic", "nix", "hyper", "kube"]),
    ("proxy", &["kube", "tokio", "hyper", "k8s-openapi"]),
];

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo prints UTF-8")
}

fn metadata() -> Value {
    serde_json::from_str(&cargo(&["metadata", "--no-deps", "--format-version", "1", "--offline"]))
        .expect("metadata is JSON")
}

fn members(metadata: &Value) -> BTreeMap<String, &Value> {
    let packages = metadata["packages"].as_array().expect("metadata lists packages");
    packages
        .iter()
        .map(|package| (package["name"].as_str().expect("a package has a name").to_owned(), package))
        .collect()
}

#[test]
fn components_import_only_what_the_architecture_allows() {
    let metadata = metadata();
    for (name, package) in members(&metadata) {
        let Some(folder) = name.strip_prefix("kubewright-") else { continue };
        let rule = ALLOWED.iter().find(|(crate_name, _)| *crate_name == folder);
        let (_, allowed) =
            rule.unwrap_or_else(|| panic!("{name} is in no room of ARCHITECTURE.md: add it there, then here"));
        for dependency in package["dependencies"].as_array().expect("a package lists dependencies") {
            let imported = dependency["name"].as_str().expect("a dependency has a name");
            let Some(imported) = imported.strip_prefix("kubewright-") else { continue };
            assert!(
                allowed.contains(&imported) || imported == folder,
                "{name} imports kubewright-{imported}, which ARCHITECTURE.md doesn't allow: let them meet through the \
                 Kubernetes API, or move what they share to api/"
            );
        }
    }
}

#[test]
fn every_member_is_ready_to_publish() {
    let metadata = metadata();
    for (name, package) in members(&metadata) {
        for field in ["description", "license", "repository", "readme", "rust_version"] {
            assert!(package[field].is_string(), "{name} has no {field}: others need it to depend on the crate");
        }
        assert!(!package["keywords"].as_array().expect("keywords are a list").is_empty(), "{name} has no keywords");
        let readme = package["readme"].as_str().expect("checked above");
        let manifest = package["manifest_path"].as_str().expect("a package has a manifest");
        let path = std::path::Path::new(manifest).with_file_name(readme);
        assert!(path.is_file(), "{name} names a readme that doesn't exist: {}", path.display());
    }
}

#[test]
fn the_kubernetes_version_is_chosen_once() {
    let metadata = metadata();
    let version_features = |dependency: &Value| {
        let features = dependency["features"].as_array().cloned().unwrap_or_default();
        let versions = features.iter().filter_map(Value::as_str).filter(|feature| feature.starts_with("v1_"));
        versions.map(str::to_owned).collect::<BTreeSet<_>>()
    };
    for (name, package) in members(&metadata) {
        for dependency in package["dependencies"].as_array().expect("a package lists dependencies") {
            if dependency["name"] == "k8s-openapi" {
                let versions = version_features(dependency);
                assert_eq!(versions, ["v1_36".to_owned()].into(), "{name} doesn't take k8s-openapi from the workspace");
            }
        }
    }
}

#[test]
fn a_bare_trait_pulls_in_no_implementation() {
    for (folder, forbidden) in BARE {
        let package = format!("kubewright-{folder}");
        let arguments =
            ["tree", "-p", &package, "--no-default-features", "-e", "normal", "--prefix", "none", "--offline"];
        let tree = cargo(&arguments);
        let names: BTreeSet<&str> = tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
        for unwanted in forbidden {
            assert!(
                !names.contains(unwanted),
                "{package} without features pulls in {unwanted}: put what needs it behind a feature"
            );
        }
    }
}
