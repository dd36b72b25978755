//! What happens to a simulated cluster.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::object::{Name, Node, PodInfo};

/// Nodes, pods that come and go, and nodes that fail.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SimWorkload {
    /// The nodes that are there from the beginning.
    pub nodes: Vec<Arc<Node>>,
    /// What arrives.
    pub jobs: Vec<SimJob>,
    /// Which nodes fail.
    pub outages: Vec<Outage>,
}

/// Equal pods that arrive together.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SimJob {
    /// Its name; its pods are called after it.
    pub name: String,
    /// When it arrives.
    pub at: Duration,
    /// How long each pod runs once it has a node; for ever, if it isn't said.
    pub duration: Option<Duration>,
    /// How many pods it has.
    pub replicas: usize,
    /// Whose it is.
    pub owner: String,
    /// What its pods are like.
    pub pod: Arc<PodInfo>,
}

/// A node that fails. Its pods are lost, and arrive anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// Which.
    pub node: Name,
    /// When.
    pub at: Duration,
    /// For how long; for ever, if it isn't said.
    pub duration: Option<Duration>,
}

/// What is wrong with a workload file, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("row {row}, column {column:?}: {problem}")]
#[non_exhaustive]
pub struct WorkloadError {
    /// The row, counted from 1 with the heading if there is one.
    pub row: usize,
    /// The column, or the field.
    pub column: String,
    /// What is wrong.
    pub problem: String,
}

const COLUMNS: [&str; 13] = [
    "kind", "name", "at", "duration", "cpu", "memory", "pods", "replicas", "priority", "owner", "labels", "selector",
    "spread",
];

impl SimWorkload {
    /// Reads rows separated by commas: `kind` (`node`, `pod` or `outage`), `name`, `at` and `duration` in seconds, `cpu` and
    /// `memory` as Kubernetes writes quantities, `pods` that a node has room for, `replicas`, `priority`, `owner`, `labels`
    /// and `selector` as `key=value;key=value`, and `spread`, a label of nodes over whose values pods are spread. Columns
    /// may be left out, except `kind` and `name`.
    ///
    /// # Errors
    /// A column isn't known, or a cell isn't what its column holds.
    pub fn read_csv(text: &str) -> Result<Self, WorkloadError> {
        let mut lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim_end()));
        let heading: Vec<&str> =
            lines.next().map(|(_, line)| line.split(',').map(str::trim).collect()).unwrap_or_default();
        for column in &heading {
            if !COLUMNS.contains(column) {
                return Err(wrong(1, column, format!("no such column; there are {}", COLUMNS.join(", "))));
            }
        }
        for needed in ["kind", "name"] {
            if !heading.contains(&needed) {
                return Err(wrong(1, needed, "missing".to_owned()));
            }
        }
        let mut workload = Self::default();
        for (number, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            let cells: Vec<&str> = line.split(',').map(str::trim).collect();
            if cells.len() > heading.len() {
                return Err(wrong(number, &format!("{}", heading.len() + 1), "more cells than columns".to_owned()));
            }
            workload.row(&Row { number, heading: &heading, cells: &cells })?;
        }
        Ok(workload)
    }

    fn row(&mut self, row: &Row<'_>) -> Result<(), WorkloadError> {
        let replicas = row.whole("replicas")?.unwrap_or(1);
        let (at, duration) = (row.seconds("at")?.unwrap_or_default(), row.seconds("duration")?);
        match row.text("kind") {
            "node" => {
                for replica in 0..replicas {
                    let name = numbered(row.needed("name")?, replica, replicas);
                    let body = json!({
                        "metadata": {"name": name, "uid": name, "labels": row.labels("labels", &[("kubernetes.io/hostname", &name)])?},
                        "status": {"allocatable": {"cpu": row.quantity("cpu", "32")?, "memory": row.quantity("memory", "64Gi")?,
                            "pods": row.quantity("pods", "110")?}},
                    });
                    self.nodes.push(Arc::new(read(&body, row.number, "node")?));
                }
            }
            "pod" => {
                let labels = row.labels("labels", &[("job", row.needed("name")?)])?;
                let mut spec = json!({
                    "priority": row.integer("priority")?.unwrap_or(0),
                    "nodeSelector": row.labels("selector", &[])?,
                    "containers": [{"name": "c", "resources": {"requests":
                        {"cpu": row.quantity("cpu", "100m")?, "memory": row.quantity("memory", "128Mi")?}}}],
                });
                let spread = row.text("spread");
                if !spread.is_empty() {
                    spec["topologySpreadConstraints"] = json!([{"maxSkew": 1, "topologyKey": spread,
                        "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {"matchLabels": {"job": row.text("name")}}}]);
                }
                let body = json!({"metadata": {"namespace": "default", "labels": labels}, "spec": spec});
                self.jobs.push(SimJob {
                    name: row.needed("name")?.to_owned(),
                    at,
                    duration,
                    replicas,
                    owner: row.text("owner").to_owned(),
                    pod: Arc::new(read(&body, row.number, "pod")?),
                });
            }
            "outage" => self.outages.push(Outage { node: row.needed("name")?.into(), at, duration }),
            other => return Err(wrong(row.number, "kind", format!("{other:?} is neither node, pod nor outage"))),
        }
        Ok(())
    }

    /// Reads a JSON object from each line: `{"node": Node, "replicas": 3}`, `{"pod": Pod, "at": 0, "duration": 60,
    /// "replicas": 10, "owner": "team"}` or `{"outage": "node", "at": 5, "duration": 60}`, where `Node` and `Pod` are
    /// Kubernetes' own, so that everything that the scheduler looks at can be said.
    ///
    /// # Errors
    /// A line isn't one of these.
    pub fn read_jsonl(text: &str) -> Result<Self, WorkloadError> {
        let mut workload = Self::default();
        for (number, line) in text.lines().enumerate().map(|(at, line)| (at + 1, line.trim())) {
            if line.is_empty() {
                continue;
            }
            let value: Value = serde_json::from_str(line).map_err(|error| wrong(number, "", error.to_string()))?;
            workload.object(number, &value)?;
        }
        Ok(workload)
    }

    fn object(&mut self, row: usize, value: &Value) -> Result<(), WorkloadError> {
        let seconds = |field: &str| match &value[field] {
            Value::Null => Ok(None),
            number => number
                .as_f64()
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
                .map(Some)
                .ok_or_else(|| wrong(row, field, format!("{number} is not a number of seconds"))),
        };
        let (at, duration) = (seconds("at")?.unwrap_or_default(), seconds("duration")?);
        let replicas = match &value["replicas"] {
            Value::Null => 1,
            number => number
                .as_u64()
                .and_then(|n| usize::try_from(n).ok())
                .ok_or_else(|| wrong(row, "replicas", format!("{number} is not a whole number")))?,
        };
        let known = ["node", "pod", "outage", "at", "duration", "replicas", "owner"];
        if let Some(other) =
            value.as_object().and_then(|fields| fields.keys().find(|key| !known.contains(&key.as_str())))
        {
            return Err(wrong(row, other, format!("no such field; there are {}", known.join(", "))));
        }
        if value["node"].is_object() {
            let base = value["node"]["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            if base.is_empty() {
                return Err(wrong(row, "node.metadata.name", "missing".to_owned()));
            }
            for replica in 0..replicas {
                let name = numbered(&base, replica, replicas);
                let mut body = value["node"].clone();
                body["metadata"]["name"] = json!(name);
                body["metadata"]["labels"]["kubernetes.io/hostname"] = json!(name);
                self.nodes.push(Arc::new(read(&body, row, "node")?));
            }
        } else if value["pod"].is_object() {
            let pod: PodInfo = read(&value["pod"], row, "pod")?;
            if pod.name.is_empty() {
                return Err(wrong(row, "pod.metadata.name", "missing".to_owned()));
            }
            let owner = value["owner"].as_str().unwrap_or_default().to_owned();
            self.jobs.push(SimJob { name: pod.name.to_string(), at, duration, replicas, owner, pod: Arc::new(pod) });
        } else if let Some(node) = value["outage"].as_str() {
            self.outages.push(Outage { node: node.into(), at, duration });
        } else {
            return Err(wrong(row, "node", "a line has a node, a pod or an outage".to_owned()));
        }
        Ok(())
    }
}

/// The name itself if there is one of it, numbers behind it if there are several.
fn numbered(name: &str, replica: usize, replicas: usize) -> String {
    if replicas == 1 { name.to_owned() } else { format!("{name}-{replica}") }
}

fn wrong(row: usize, column: &str, problem: String) -> WorkloadError {
    WorkloadError { row, column: column.to_owned(), problem }
}

fn read<T: serde::de::DeserializeOwned>(body: &Value, row: usize, column: &str) -> Result<T, WorkloadError> {
    T::deserialize(body).map_err(|error| wrong(row, column, error.to_string()))
}

struct Row<'a> {
    number: usize,
    heading: &'a [&'a str],
    cells: &'a [&'a str],
}

impl<'a> Row<'a> {
    fn text(&self, column: &str) -> &'a str {
        let at = self.heading.iter().position(|own| *own == column);
        at.and_then(|at| self.cells.get(at)).copied().unwrap_or_default()
    }

    fn needed(&self, column: &str) -> Result<&'a str, WorkloadError> {
        let text = self.text(column);
        if text.is_empty() { Err(wrong(self.number, column, "missing".to_owned())) } else { Ok(text) }
    }

    fn integer(&self, column: &str) -> Result<Option<i64>, WorkloadError> {
        let text = self.text(column);
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|_| wrong(self.number, column, format!("{text:?} is not a whole number")))
    }

    fn whole(&self, column: &str) -> Result<Option<usize>, WorkloadError> {
        let number = self.integer(column)?;
        let below = |number| wrong(self.number, column, format!("{number} is below 0"));
        number.map(|number| usize::try_from(number).map_err(|_| below(number))).transpose()
    }

    fn seconds(&self, column: &str) -> Result<Option<Duration>, WorkloadError> {
        let text = self.text(column);
        if text.is_empty() {
            return Ok(None);
        }
        let seconds = text.parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        seconds.map(Some).ok_or_else(|| wrong(self.number, column, format!("{text:?} is not a number of seconds")))
    }

    fn quantity(&self, column: &str, default: &'a str) -> Result<&'a str, WorkloadError> {
        let text = self.text(column);
        if text.is_empty() {
            return Ok(default);
        }
        match text.parse::<kubewright_api::quantity::Quantity>() {
            Ok(_) => Ok(text),
            Err(error) => Err(wrong(self.number, column, format!("{text:?} is not a quantity: {error}"))),
        }
    }

    fn labels(&self, column: &str, more: &[(&str, &str)]) -> Result<Value, WorkloadError> {
        let mut labels = serde_json::Map::new();
        for (key, value) in more {
            labels.insert((*key).to_owned(), json!(value));
        }
        for pair in self.text(column).split(';').filter(|pair| !pair.is_empty()) {
            let problem = || wrong(self.number, column, format!("{pair:?} is not key=value"));
            let (key, value) = pair.split_once('=').ok_or_else(problem)?;
            labels.insert(key.to_owned(), json!(value));
        }
        Ok(Value::Object(labels))
    }
}
