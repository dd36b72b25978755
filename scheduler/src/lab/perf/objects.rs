//! The objects that operations create.

use kubewright_api::resources::{Resource, of_kind};
use serde_json::{Map, Value, json};

use super::template::fill;
use super::{CreateNodes, PerfError};

/// An object to be created or updated, as its JSON.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object {
    /// Where; empty for an object without a namespace.
    pub namespace: String,
    /// What.
    pub body: Value,
}

impl Object {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.body["kind"].as_str().unwrap_or_default()
    }

    /// The resource that it is one of, if that is built in.
    #[must_use]
    pub fn resource(&self) -> Option<&'static Resource> {
        let api_version = self.body["apiVersion"].as_str().unwrap_or_default();
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        of_kind(group, version, self.kind())
    }

    /// Whether it is one of those that live in namespaces.
    #[must_use]
    pub fn has_namespace(&self) -> bool {
        self.resource().is_some_and(Resource::namespaced)
    }

    /// Its name, or how it begins if it is to be generated.
    #[must_use]
    pub fn name(&self) -> &str {
        let metadata = &self.body["metadata"];
        metadata["name"].as_str().or_else(|| metadata["generateName"].as_str()).unwrap_or_default()
    }
}

/// A template and where it is from.
#[derive(Clone, Debug)]
pub(super) struct Template {
    path: String,
    text: String,
    /// The object, where all are the same.
    same: Option<Value>,
}

impl Template {
    pub(super) fn new(path: &str, text: String) -> Result<Self, PerfError> {
        let mut template = Self { path: path.to_owned(), text, same: None };
        if !template.text.contains("{{") {
            template.same = Some(template.parse(&template.text)?);
        }
        Ok(template)
    }

    /// The object of an index, out of so many.
    pub(super) fn object(&self, namespace: &str, index: usize, count: usize) -> Result<Object, PerfError> {
        let mut body = match &self.same {
            Some(same) => same.clone(),
            None => self.parse(&fill(&self.text, index, count).map_err(|problem| self.wrong(problem))?)?,
        };
        if !namespace.is_empty() {
            metadata(&mut body).insert("namespace".to_owned(), json!(namespace));
        }
        Ok(Object { namespace: namespace.to_owned(), body })
    }

    fn parse(&self, text: &str) -> Result<Value, PerfError> {
        let mut body: Value = serde_yaml_ng::from_str(text).map_err(|error| self.wrong(error.to_string()))?;
        if !body.is_object() || body["kind"].as_str().is_none() {
            return Err(self.wrong("not an object with a kind".to_owned()));
        }
        // Some of upstream's files name the version before this one, whose objects look the same.
        match (body["apiVersion"].as_str(), body["kind"].as_str()) {
            (Some("resource.k8s.io/v1alpha3"), Some("DeviceTaintRule")) => {
                body["apiVersion"] = json!("resource.k8s.io/v1beta2");
            }
            (Some("resource.k8s.io/v1beta2"), Some(kind)) if kind != "DeviceTaintRule" => {
                body["apiVersion"] = json!("resource.k8s.io/v1");
            }
            _ => {}
        }
        Ok(body)
    }

    fn wrong(&self, problem: String) -> PerfError {
        PerfError::Template { path: self.path.clone(), problem }
    }
}

pub(super) fn metadata(body: &mut Value) -> &mut Map<String, Value> {
    if !body["metadata"].is_object() {
        body["metadata"] = json!({});
    }
    match &mut body["metadata"] {
        Value::Object(metadata) => metadata,
        _ => unreachable!("it was made an object above"),
    }
}

/// The pod that is created where no template is given.
pub(super) fn base_pod() -> Template {
    let text = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "pod-"},
        "spec": {"containers": [{"name": "pause", "image": "registry.k8s.io/pause:3.10.1",
            "ports": [{"containerPort": 80}],
            "resources": {"limits": {"cpu": "100m", "memory": "500Mi"}, "requests": {"cpu": "100m", "memory": "500Mi"}}}]},
    });
    Template { path: "the default pod".to_owned(), text: text.to_string(), same: Some(text) }
}

fn base_node() -> Template {
    let resources = json!({"pods": "110", "cpu": "4", "memory": "32Gi"});
    let text = json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"generateName": "node-"}, "spec": {},
        "status": {"capacity": resources, "allocatable": resources, "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}]},
    });
    Template { path: "the default node".to_owned(), text: text.to_string(), same: Some(text) }
}

pub(super) fn namespace(name: &str, template: Option<&Template>) -> Result<Object, PerfError> {
    let mut object = match template {
        Some(template) => template.object("", 0, 1)?,
        None => Object { body: json!({"apiVersion": "v1", "kind": "Namespace"}), ..Object::default() },
    };
    metadata(&mut object.body).insert("name".to_owned(), json!(name));
    Ok(object)
}

/// Nodes, the first of which is the so-manyth of the whole workload, and what says how many volumes they can have.
pub(super) fn nodes(
    op: &CreateNodes,
    template: Option<Template>,
    first: usize,
    count: usize,
) -> Result<Vec<Object>, PerfError> {
    let template = template.unwrap_or_else(base_node);
    let mut objects = Vec::with_capacity(count);
    for index in 0..count {
        let mut node = template.object("", index, count)?;
        let number = first + index;
        let given = node.body["metadata"]["name"].as_str().map(ToOwned::to_owned);
        let name = given.unwrap_or_else(|| format!("{}{number:05}", node.name()));
        metadata(&mut node.body).insert("name".to_owned(), json!(name));
        node.body["metadata"]["labels"]["kubernetes.io/hostname"] = json!(name);
        if node.body["status"]["allocatable"].is_null() {
            node.body["status"]["allocatable"] = node.body["status"]["capacity"].clone();
        }
        if let Some(label) = &op.label_node_prepare_strategy
            && !label.label_values.is_empty()
        {
            let value = &label.label_values[index % label.label_values.len()];
            node.body["metadata"]["labels"][&label.label_key] = json!(value);
        }
        if let Some(label) = &op.unique_node_label_strategy {
            node.body["metadata"]["labels"][&label.label_key] = json!(format!("{number}"));
        }
        let volumes = op.node_allocatable_strategy.as_ref().and_then(|strategy| {
            for (resource, quantity) in &strategy.node_allocatable {
                node.body["status"]["allocatable"][resource] = json!(quantity);
                node.body["status"]["capacity"][resource] = json!(quantity);
            }
            let drivers: Vec<Value> = strategy
                .csi_node_allocatable
                .iter()
                .map(|(driver, limit)| json!({"name": driver, "nodeID": name, "allocatable": {"count": limit.count}}))
                .collect();
            let migrated = strategy.migrated_plugins.join(",");
            let annotations = json!({"storage.alpha.kubernetes.io/migrated-plugins": migrated});
            (!drivers.is_empty()).then(|| Object {
                namespace: String::new(),
                body: json!({"apiVersion": "storage.k8s.io/v1", "kind": "CSINode",
                    "metadata": {"name": name, "annotations": annotations}, "spec": {"drivers": drivers}}),
            })
        });
        objects.push(node);
        objects.extend(volumes);
    }
    Ok(objects)
}

/// A pod with a volume of its own that is bound already, and that volume and its claim before it.
pub(super) fn with_volume(
    mut pod: Object,
    volume: &Template,
    claim: &Template,
    index: usize,
) -> Result<[Object; 3], PerfError> {
    let namespace = pod.namespace.clone();
    let (claim_name, volume_name) = (format!("pvc-{index}"), format!("{namespace}-vol-{index}"));
    let mut claim = claim.object(&namespace, index, 1)?;
    metadata(&mut claim.body).insert("name".to_owned(), json!(claim_name));
    metadata(&mut claim.body).remove("generateName");
    claim.body["metadata"]["annotations"]["pv.kubernetes.io/bind-completed"] = json!("true");
    claim.body["spec"]["volumeName"] = json!(volume_name);
    claim.body["status"] = json!({"phase": "Bound"});
    let mut volume = volume.object("", index, 1)?;
    metadata(&mut volume.body).insert("name".to_owned(), json!(volume_name));
    metadata(&mut volume.body).remove("generateName");
    if volume.body["spec"]["csi"].is_object() {
        volume.body["spec"]["csi"]["volumeHandle"] = json!(volume_name);
    }
    if volume.body["spec"]["awsElasticBlockStore"].is_object() {
        volume.body["spec"]["awsElasticBlockStore"]["volumeID"] = json!(format!("vol-{index}"));
    }
    volume.body["spec"]["claimRef"] =
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": namespace, "name": claim_name});
    volume.body["status"] = json!({"phase": "Bound"});
    pod.body["spec"]["volumes"] = json!([{"name": "vol", "persistentVolumeClaim": {"claimName": claim_name}}]);
    Ok([claim, volume, pod])
}

/// The devices that a driver offers on a node.
pub(super) fn resource_slice(driver: &str, node: &str, devices: usize) -> Object {
    let device = |number: usize| {
        json!({
            "name": format!("instance-{number}"),
            "attributes": {"model": {"string": "A100"}, "family": {"string": "GPU"}, "driverVersion": {"version": "1.2.3"},
                "dra.example.com/numa": {"int": number}},
            "capacity": {"memory": {"value": "1Gi"}},
        })
    };
    let devices: Vec<Value> = (0..devices).map(device).collect();
    let body = json!({
        "apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": {"name": node},
        "spec": {"driver": driver, "nodeName": node, "pool": {"name": node, "generation": 1, "resourceSliceCount": 1},
            "devices": devices},
    });
    Object { namespace: String::new(), body }
}
