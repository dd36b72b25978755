//! Which objects which nodes have to do with, kept current as pods and volumes come and go.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Value, json};

use super::{Referenced, references};

const MIRROR_POD: &str = "kubernetes.io/config.mirror";

type Id = (String, String);

#[derive(Debug)]
struct Pod {
    node: String,
    refers: BTreeSet<(Referenced, String)>,
}

#[derive(Debug)]
struct Volume {
    claim: Id,
    secrets: Vec<Id>,
}

/// The relations.
#[derive(Debug, Default)]
pub(super) struct Graph {
    pods: HashMap<Id, Pod>,
    /// How many pods of which nodes refer to an object.
    referring: HashMap<(Referenced, Id), HashMap<String, usize>>,
    volumes: HashMap<String, Volume>,
    /// Which volumes bring a secret along.
    secret_volumes: HashMap<Id, BTreeSet<String>>,
    attachments: HashMap<String, String>,
    slices: HashMap<String, String>,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

impl Graph {
    pub(super) fn set_pod(&mut self, namespace: &str, name: &str, object: Option<&Value>) {
        let id = (namespace.to_owned(), name.to_owned());
        if let Some(old) = self.pods.remove(&id) {
            for (what, name) in old.refers {
                let key = (what, (namespace.to_owned(), name));
                let Some(nodes) = self.referring.get_mut(&key) else { continue };
                if let Some(count) = nodes.get_mut(&old.node) {
                    *count -= 1;
                    if *count == 0 {
                        nodes.remove(&old.node);
                    }
                }
                if nodes.is_empty() {
                    self.referring.remove(&key);
                }
            }
        }
        let Some(object) = object else { return };
        let node = text(&object["spec"]["nodeName"]);
        if node.is_empty() {
            return;
        }
        // A kubelet makes mirror pods itself: they must not open anything to it.
        let mirror = object["metadata"]["annotations"].get(MIRROR_POD).is_some();
        let refers = if mirror { BTreeSet::new() } else { references(object) };
        for (what, name) in &refers {
            let key = (*what, (namespace.to_owned(), name.clone()));
            *self.referring.entry(key).or_default().entry(node.clone()).or_default() += 1;
        }
        self.pods.insert(id, Pod { node, refers });
    }

    pub(super) fn set_volume(&mut self, _: &str, name: &str, object: Option<&Value>) {
        if let Some(old) = self.volumes.remove(name) {
            for secret in old.secrets {
                if let Some(volumes) = self.secret_volumes.get_mut(&secret) {
                    volumes.remove(name);
                    if volumes.is_empty() {
                        self.secret_volumes.remove(&secret);
                    }
                }
            }
        }
        let Some(object) = object else { return };
        let spec = &object["spec"];
        let claim = (text(&spec["claimRef"]["namespace"]), text(&spec["claimRef"]["name"]));
        if claim.1.is_empty() {
            return;
        }
        let csi = &spec["csi"];
        let references = [
            &csi["nodePublishSecretRef"],
            &csi["nodeStageSecretRef"],
            &csi["nodeExpandSecretRef"],
            &spec["cephfs"]["secretRef"],
            &spec["cinder"]["secretRef"],
            &spec["flexVolume"]["secretRef"],
            &spec["iscsi"]["secretRef"],
            &spec["rbd"]["secretRef"],
            &spec["scaleIO"]["secretRef"],
            &spec["storageos"]["secretRef"],
        ];
        // This one names its secret in a way of its own.
        let file = &spec["azureFile"];
        let file = json!({"name": file["secretName"], "namespace": file["secretNamespace"]});
        let secrets: Vec<Id> = references
            .into_iter()
            .chain([&file])
            .filter(|reference| reference["name"].is_string())
            .map(|reference| {
                // A reference without namespace means the claim's.
                let namespace = reference["namespace"].as_str().filter(|namespace| !namespace.is_empty());
                (namespace.unwrap_or(&claim.0).to_owned(), text(&reference["name"]))
            })
            .collect();
        for secret in &secrets {
            self.secret_volumes.entry(secret.clone()).or_default().insert(name.to_owned());
        }
        self.volumes.insert(name.to_owned(), Volume { claim, secrets });
    }

    pub(super) fn set_attachment(&mut self, _: &str, name: &str, object: Option<&Value>) {
        match object {
            Some(object) => self.attachments.insert(name.to_owned(), text(&object["spec"]["nodeName"])),
            None => self.attachments.remove(name),
        };
    }

    pub(super) fn set_slice(&mut self, _: &str, name: &str, object: Option<&Value>) {
        match object {
            Some(object) => self.slices.insert(name.to_owned(), text(&object["spec"]["nodeName"])),
            None => self.slices.remove(name),
        };
    }

    /// Whether a node has to do with an object.
    pub(super) fn relates(&self, node: &str, what: Referenced, namespace: &str, name: &str) -> bool {
        let id = (namespace.to_owned(), name.to_owned());
        let same = |found: Option<&String>| found.is_some_and(|found| found == node);
        match what {
            Referenced::Pod => self.pods.get(&id).is_some_and(|pod| pod.node == node),
            Referenced::Attachment => same(self.attachments.get(name)),
            Referenced::Slice => same(self.slices.get(name)),
            Referenced::Volume => {
                self.volumes.get(name).is_some_and(|volume| self.refers(node, Referenced::Claim, &volume.claim))
            }
            Referenced::Secret => {
                let brought = self.secret_volumes.get(&id).into_iter().flatten();
                self.refers(node, what, &id)
                    || brought
                        .filter_map(|volume| self.volumes.get(volume))
                        .any(|volume| self.refers(node, Referenced::Claim, &volume.claim))
            }
            _ => self.refers(node, what, &id),
        }
    }

    fn refers(&self, node: &str, what: Referenced, id: &Id) -> bool {
        self.referring.get(&(what, id.clone())).is_some_and(|nodes| nodes.contains_key(node))
    }
}
