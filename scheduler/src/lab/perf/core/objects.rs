//! Objects as the core takes them.

use std::sync::Arc;

use serde_json::Value;

use super::{CoreCluster, Tracked};
use crate::lab::perf::Object;
use crate::object::{Budget, Name, Namespace, Node, PodInfo, Workload, WorkloadKind};
use crate::schedule::StorageChange::{self, PutClaim, PutClass, PutCsiDriver, PutCsiNode, PutVolume};

impl CoreCluster<'_> {
    pub(super) fn create_one(&mut self, object: &Object) -> Result<(), String> {
        let now = self.now();
        let wrong = |error: serde_json::Error| format!("{} {}: {error}", object.kind(), object.name());
        match object.kind() {
            "Pod" => {
                let pod = self.pod_of(object).map_err(wrong)?;
                let tracked = self.pods.get(&pod.uid);
                let (scheduled, attempted) = tracked.map_or((false, false), |pod| (pod.scheduled, pod.attempted));
                let (namespace, labels) = (pod.namespace.clone(), pod.labels.clone());
                self.pods.insert(pod.uid.clone(), Tracked { namespace, labels, scheduled, attempted });
                self.scheduler.put_pod(pod, now);
            }
            "Node" => self.scheduler.put_node(read::<Node>(&object.body).map_err(wrong)?, now),
            "Namespace" => self.scheduler.put_namespace(read::<Namespace>(&object.body).map_err(wrong)?, now),
            "Service" => {
                let service = Workload::read(WorkloadKind::Service, &object.body).map_err(wrong)?;
                self.scheduler.put_workload(WorkloadKind::Service, service);
            }
            "PodDisruptionBudget" => self.scheduler.put_budget(read::<Budget>(&object.body).map_err(wrong)?),
            "PersistentVolumeClaim" => self.change(PutClaim(read(&object.body).map_err(wrong)?)),
            "PersistentVolume" => self.change(PutVolume(read(&object.body).map_err(wrong)?)),
            "StorageClass" => self.change(PutClass(read(&object.body).map_err(wrong)?)),
            "CSINode" => self.change(PutCsiNode(read(&object.body).map_err(wrong)?)),
            "CSIDriver" => self.change(PutCsiDriver(read(&object.body).map_err(wrong)?)),
            other => return Err(format!("the core alone knows no {other}; use the API")),
        }
        Ok(())
    }

    fn change(&mut self, change: StorageChange) {
        let now = self.now();
        self.scheduler.change_storage(change, now);
    }

    /// The pod of an object; pods with equal specs share them. One that has a node keeps it.
    fn pod_of(&mut self, object: &Object) -> Result<Arc<PodInfo>, serde_json::Error> {
        let mut body = object.body.clone();
        let uid = Name::from(format!("{}/{}", object.namespace, object.name()));
        body["metadata"]["uid"] = Value::from(uid.as_str());
        if body["spec"]["schedulerName"].is_null() {
            body["spec"]["schedulerName"] = Value::from("default-scheduler");
        }
        requests_from_limits(&mut body["spec"]);
        // Affinity terms without namespaces mean the pod's own.
        let key = format!("{} {}", object.namespace, body["spec"]);
        let mut pod: PodInfo = read(&body)?;
        pod.spec = self.specs.entry(key).or_insert_with(|| pod.spec.clone()).clone();
        if let Some(known) = self.scheduler.cache().pod(&uid) {
            pod.node_name = known.node_name.clone();
        }
        Ok(Arc::new(pod))
    }

    pub(super) fn name(&mut self, object: &mut Object) {
        if object.body["metadata"]["name"].as_str().is_none() {
            let name = format!("{}{:06}", object.name(), self.names);
            self.names += 1;
            object.body["metadata"]["name"] = Value::from(name);
        }
    }

    pub(super) fn remove_object(&mut self, object: &Object) {
        let (namespace, name) = (Name::from(object.namespace.as_str()), Name::from(object.name()));
        let now = self.now();
        match object.kind() {
            "Pod" => self.delete(&Name::from(format!("{namespace}/{name}"))),
            "Node" => self.scheduler.remove_node(&name, now),
            "Service" => self.scheduler.remove_workload(WorkloadKind::Service, &namespace, &name),
            _ => {}
        }
    }
}

fn read<T: serde::de::DeserializeOwned>(body: &Value) -> Result<T, serde_json::Error> {
    T::deserialize(body)
}

/// What is limited is asked for, as the API server has it.
fn requests_from_limits(spec: &mut Value) {
    for list in ["containers", "initContainers"] {
        for container in spec[list].as_array_mut().into_iter().flatten() {
            let Some(limits) = container["resources"]["limits"].as_object().cloned() else { continue };
            for (name, amount) in limits {
                if container["resources"]["requests"][&name].is_null() {
                    container["resources"]["requests"][&name] = amount;
                }
            }
        }
    }
    for list in ["containers", "initContainers"] {
        if spec[list].is_null()
            && let Value::Object(fields) = spec
        {
            fields.remove(list);
        }
    }
}
