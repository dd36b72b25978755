//! Volumes of plugins that Kubernetes once had in its own tree, seen as the CSI drivers see them that serve them now.

use std::collections::BTreeSet;

use kubewright_api::selector::{Operator, Requirement};
use serde_json::Value;

use super::{Labels, Name, NodeSelector, NodeSelectorTerm};

/// A plugin that was in the tree, and the driver in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InTreePlugin {
    /// What it is called.
    pub name: &'static str,
    /// The driver.
    pub driver: &'static str,
    /// The field of a volume that is its own.
    field: &'static str,
    /// The label by which the driver's nodes tell their zones; empty if they don't.
    zone: &'static str,
}

const EBS: InTreePlugin = plugin("aws-ebs", "ebs.csi.aws.com", "awsElasticBlockStore", "topology.ebs.csi.aws.com/zone");
const GCE: InTreePlugin = plugin("gce-pd", "pd.csi.storage.gke.io", "gcePersistentDisk", "topology.gke.io/zone");
const AZURE: InTreePlugin = plugin("azure-disk", "disk.csi.azure.com", "azureDisk", "");
const CINDER: InTreePlugin =
    plugin("cinder", "cinder.csi.openstack.org", "cinder", "topology.cinder.csi.openstack.org/zone");
const PORTWORX: InTreePlugin = plugin("portworx-volume", "pxd.portworx.com", "portworxVolume", "");
const ALL: [InTreePlugin; 5] = [EBS, GCE, AZURE, CINDER, PORTWORX];
/// Those that have a driver, too, but whose volumes the scheduler never takes for the driver's.
const OTHERS: [&str; 2] = ["azure-file", "vsphere-volume"];
const PREFIX: &str = "kubernetes.io/";

const fn plugin(name: &'static str, driver: &'static str, field: &'static str, zone: &'static str) -> InTreePlugin {
    InTreePlugin { name, driver, field, zone }
}

/// A volume as its driver sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Translated {
    /// The driver's handle.
    pub handle: Name,
    /// From which nodes it can be reached; `None` for all.
    pub nodes: Option<NodeSelector>,
}

/// A volume of a plugin that was in the tree.
#[derive(Clone, Debug, PartialEq)]
pub struct InTreeVolume {
    /// The plugin.
    pub plugin: InTreePlugin,
    /// The volume as the plugin's driver sees it, or why it cannot.
    pub translated: Result<Translated, String>,
}

impl InTreePlugin {
    /// Finds one by the name of its provisioner. `Some(None)` stands for one whose volumes are never taken for a
    /// driver's.
    #[must_use]
    pub fn of_provisioner(provisioner: &str) -> Option<Option<Self>> {
        let name = provisioner.strip_prefix(PREFIX)?;
        let found = ALL.into_iter().find(|own| own.name == name);
        (found.is_some() || OTHERS.contains(&name)).then_some(found)
    }

    /// Whether it is among the plugins that a node has given up, as the node's CSI drivers tell.
    #[must_use]
    pub fn is_migrated(self, migrated: &str) -> bool {
        migrated.split(',').any(|own| own.strip_prefix(PREFIX) == Some(self.name))
    }

    /// The plugin and driver's handle of a volume that a pod gives inline.
    pub(super) fn inline(volume: &Value) -> Option<(Self, Name)> {
        let plugin = ALL.into_iter().find(|own| volume[own.field].is_object())?;
        Some((plugin, plugin.handle(&volume[plugin.field], &Labels::default()).ok()?.into()))
    }

    /// The volume that a PersistentVolume's spec and labels describe.
    pub(super) fn volume(spec: &Value, labels: &Labels, nodes: Option<&NodeSelector>) -> Option<Box<InTreeVolume>> {
        let plugin = ALL.into_iter().find(|own| spec[own.field].is_object())?;
        let translated = plugin.handle(&spec[plugin.field], labels).map(|handle| Translated {
            handle: handle.into(),
            nodes: if plugin.zone.is_empty() { nodes.cloned() } else { in_zones(plugin.zone, labels, nodes) },
        });
        Some(Box::new(InTreeVolume { plugin, translated }))
    }

    fn handle(self, source: &Value, labels: &Labels) -> Result<String, String> {
        let text = |field: &str| source[field].as_str().unwrap_or_default().to_owned();
        match self {
            EBS => ebs_id(&text("volumeID")),
            GCE => gce_id(&text("pdName"), labels),
            AZURE => match source["kind"].as_str() {
                Some(kind) if !kind.eq_ignore_ascii_case("managed") => {
                    Err(format!("kind({kind}) is not supported in csi migration"))
                }
                _ => Ok(text("diskURI")),
            },
            _ => Ok(text("volumeID")),
        }
    }
}

/// `vol-1` out of `aws://zone/vol-1`.
fn ebs_id(id: &str) -> Result<String, String> {
    let Some(rest) = id.strip_prefix("aws://") else { return Ok(id.to_owned()) };
    let path = rest.split_once('/').map_or("", |(_, path)| path).trim_matches('/');
    if path.starts_with("vol-") && !path.contains('/') {
        return Ok(path.to_owned());
    }
    Err(format!("failed to translate Kubernetes ID to EBS Volume ID Invalid format for AWS volume ({id})"))
}

fn gce_id(disk: &str, labels: &Labels) -> Result<String, String> {
    const UNKNOWN: &str = "UNSPECIFIED";
    let label = |key: &str| labels.get(key).map(Name::as_str).filter(|zones| !zones.is_empty());
    let zones = label(BETA_ZONE).or_else(|| label(ZONE)).unwrap_or_default();
    if !zones.contains("__") {
        let zone = if zones.is_empty() { UNKNOWN } else { zones };
        return Ok(format!("projects/{UNKNOWN}/zones/{zone}/disks/{disk}"));
    }
    let mut regions = BTreeSet::new();
    for zone in zones.split("__") {
        let parts: Vec<&str> = zone.split('-').collect();
        let [locale, region, _] = parts[..] else {
            let expected = "zone in unexpected format, expected: {locale}-{region}-{zone}";
            return Err(format!("failed to get region from zones: {expected}, got: {zone}"));
        };
        regions.insert(format!("{locale}-{region}"));
    }
    match regions.pop_first().filter(|_| regions.is_empty()) {
        Some(region) => Ok(format!("projects/{UNKNOWN}/regions/{region}/disks/{disk}")),
        None => Err("failed to get region from zones: multiple or no regions gotten from zones".to_owned()),
    }
}

const ZONE: &str = "topology.kubernetes.io/zone";
const REGION: &str = "topology.kubernetes.io/region";
const BETA_ZONE: &str = "failure-domain.beta.kubernetes.io/zone";
const BETA_REGION: &str = "failure-domain.beta.kubernetes.io/region";

/// The nodes in a volume's zones, told by the driver's label.
fn in_zones(label: &str, labels: &Labels, nodes: Option<&NodeSelector>) -> Option<NodeSelector> {
    let terms = nodes.map_or(&[][..], |nodes| &nodes.node_selector_terms);
    let required = |key: &str| terms.iter().flat_map(|term| &term.match_expressions).any(|r| r.key == key);
    let beta =
        !required(ZONE) && (required(BETA_ZONE) || (labels.get(ZONE).is_none() && labels.get(BETA_ZONE).is_some()));
    let zone = if beta { BETA_ZONE } else { ZONE };
    let mut terms = terms.to_vec();
    let has_values = |r: &Requirement, key: &str| r.key == key && !r.values.is_empty();
    if terms.iter().flat_map(|term| &term.match_expressions).any(|r| has_values(r, zone)) {
        rename(&mut terms, zone, label);
    } else if let Some(zones) = labels.get(zone) {
        let zones: BTreeSet<String> =
            zones.split("__").map(|zone| zone.trim().to_owned()).filter(|zone| !zone.is_empty()).collect();
        if let Ok(requirement) = Requirement::new(label.to_owned(), Operator::In, zones.into_iter().collect()) {
            if terms.is_empty() {
                terms.push(NodeSelectorTerm::default());
            }
            for term in &mut terms {
                term.match_expressions.push(requirement.clone());
            }
        }
    }
    if beta {
        rename(&mut terms, BETA_REGION, REGION);
    }
    (nodes.is_some() || !terms.is_empty()).then_some(NodeSelector { node_selector_terms: terms })
}

fn rename(terms: &mut [NodeSelectorTerm], from: &str, to: &str) {
    for requirement in terms.iter_mut().flat_map(|term| &mut term.match_expressions) {
        if requirement.key == from {
            requirement.key = to.to_owned();
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn handle(volume: &Value, labels: &[(&str, &str)], expected: Result<&str, &str>) {
        let labels: Labels = labels.iter().copied().collect();
        let found = InTreePlugin::volume(volume, &labels, None).expect("one of those plugins").translated;
        let found = found.map(|own| own.handle.to_string());
        assert_eq!(found.as_deref().map_err(String::as_str), expected);
    }

    #[test]
    fn handles_are_the_drivers() {
        let ebs = |id: &str| json!({"awsElasticBlockStore": {"volumeID": id}});
        handle(&ebs("vol-1"), &[], Ok("vol-1"));
        handle(&ebs("aws://us-east-1a/vol-1"), &[], Ok("vol-1"));
        handle(&ebs("aws:///vol-1"), &[], Ok("vol-1"));
        let why = "failed to translate Kubernetes ID to EBS Volume ID Invalid format for AWS volume (aws://z/x)";
        handle(&ebs("aws://z/x"), &[], Err(why));
        let gce = json!({"gcePersistentDisk": {"pdName": "d"}});
        handle(&gce, &[], Ok("projects/UNSPECIFIED/zones/UNSPECIFIED/disks/d"));
        handle(&gce, &[(ZONE, "a-b-c")], Ok("projects/UNSPECIFIED/zones/a-b-c/disks/d"));
        handle(&gce, &[(BETA_ZONE, "a-b-c__a-b-d")], Ok("projects/UNSPECIFIED/regions/a-b/disks/d"));
        let why = "zone in unexpected format, expected: {locale}-{region}-{zone}, got: x";
        handle(&gce, &[(ZONE, "x__y")], Err(&format!("failed to get region from zones: {why}")));
        handle(&json!({"azureDisk": {"diskURI": "/d", "kind": "Managed"}}), &[], Ok("/d"));
        let why = "kind(Dedicated) is not supported in csi migration";
        handle(&json!({"azureDisk": {"diskURI": "/d", "kind": "Dedicated"}}), &[], Err(why));
        handle(&json!({"cinder": {"volumeID": "c"}}), &[], Ok("c"));
        handle(&json!({"portworxVolume": {"volumeID": "p"}}), &[], Ok("p"));
        assert!(InTreePlugin::volume(&json!({"nfs": {}}), &Labels::default(), None).is_none());
    }

    #[track_caller]
    fn zones(labels: &[(&str, &str)], nodes: Value, expected: Value) {
        let labels: Labels = labels.iter().copied().collect();
        let read = |value: Value| serde_json::from_value::<Option<NodeSelector>>(value).unwrap();
        assert_eq!(in_zones("csi", &labels, read(nodes).as_ref()), read(expected));
    }

    #[test]
    fn zones_are_told_by_the_drivers_label() {
        let terms = |expressions: Value| json!({"nodeSelectorTerms": [{"matchExpressions": expressions}]});
        let is_in = |key: &str, values: &[&str]| json!({"key": key, "operator": "In", "values": values});
        zones(&[], Value::Null, Value::Null);
        zones(&[(ZONE, "b__ a")], Value::Null, terms(json!([is_in("csi", &["a", "b"])])));
        zones(&[(ZONE, "x")], terms(json!([is_in(ZONE, &["a"])])), terms(json!([is_in("csi", &["a"])])));
        let both = terms(json!([is_in("host", &["h"]), is_in("csi", &["a"])]));
        zones(&[(BETA_ZONE, "a")], terms(json!([is_in("host", &["h"])])), both);
        let old = terms(json!([is_in(BETA_ZONE, &["a"]), is_in(BETA_REGION, &["r"])]));
        zones(&[], old, terms(json!([is_in("csi", &["a"]), is_in(REGION, &["r"])])));
    }

    #[test]
    fn plugins_are_known_by_their_provisioners() {
        assert_eq!(InTreePlugin::of_provisioner("kubernetes.io/aws-ebs"), Some(Some(EBS)));
        assert_eq!(InTreePlugin::of_provisioner("kubernetes.io/vsphere-volume"), Some(None));
        assert_eq!(InTreePlugin::of_provisioner("kubernetes.io/no-provisioner"), None);
        assert_eq!(InTreePlugin::of_provisioner("ebs.csi.aws.com"), None);
        assert!(GCE.is_migrated("kubernetes.io/aws-ebs,kubernetes.io/gce-pd"));
        assert!(!CINDER.is_migrated("kubernetes.io/aws-ebs") && !EBS.is_migrated(""));
    }
}
