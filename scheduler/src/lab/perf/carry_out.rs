//! Carries out a workload, step by step.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

use super::objects::{self, Template};
use super::{Churning, Cluster, Deleting, Updating, Which};
use super::{CreatePods, Object, Operation, PerfError, TestCase, Throughput, Workload};

/// Reads a file that a case names, relative to where the case is from.
pub type Files<'a> = dyn Fn(&str) -> Result<String, String> + 'a;

/// What was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Measurement {
    /// The case, the workload and what was measured.
    pub name: String,
    /// How fast pods were scheduled.
    pub throughput: Throughput,
    /// What upstream's average must reach on its machines; 0 if that isn't said.
    pub threshold: f64,
}

/// Carries out a workload.
///
/// # Errors
/// A template can't be read, or the cluster fails; says in which operation.
pub fn carry_out(
    case: &TestCase,
    workload: &Workload,
    files: &Files<'_>,
    cluster: &mut dyn Cluster,
) -> Result<Vec<Measurement>, PerfError> {
    let mut run = Run {
        case,
        workload,
        files,
        cluster,
        namespaces: BTreeSet::new(),
        waiting: BTreeMap::new(),
        nodes: Vec::new(),
        collecting: None,
        measured: Vec::new(),
    };
    for (number, operation) in case.workload_template.iter().enumerate() {
        run.operation(number, operation).map_err(|problem| match problem {
            Problem::Known(error) => error,
            Problem::Cluster(problem) => PerfError::Cluster { operation: number, problem },
        })?;
    }
    Ok(run.measured)
}

struct Run<'a> {
    case: &'a TestCase,
    workload: &'a Workload,
    files: &'a Files<'a>,
    cluster: &'a mut dyn Cluster,
    /// Those that are known to exist.
    namespaces: BTreeSet<String>,
    /// How many pods of a namespace were created and not waited for.
    waiting: BTreeMap<String, usize>,
    nodes: Vec<String>,
    collecting: Option<String>,
    measured: Vec<Measurement>,
}

enum Problem {
    Known(PerfError),
    Cluster(String),
}

impl From<PerfError> for Problem {
    fn from(error: PerfError) -> Self {
        Self::Known(error)
    }
}

impl From<String> for Problem {
    fn from(problem: String) -> Self {
        Self::Cluster(problem)
    }
}

impl Run<'_> {
    fn operation(&mut self, number: usize, operation: &Operation) -> Result<(), Problem> {
        let workload = self.workload;
        match operation {
            Operation::CreateNodes(op) => {
                let count = workload.count(op.count, &op.count_param)?;
                let template = self.template(op.node_template_path.as_deref())?;
                let objects = objects::nodes(op, template, self.nodes.len(), count)?;
                let is_node = |object: &&Object| object.kind() == "Node";
                self.nodes.extend(objects.iter().filter(is_node).map(|node| node.name().to_owned()));
                self.cluster.create(objects)?;
            }
            Operation::CreateNamespaces(op) => {
                let template = self.template(op.namespace_template_path.as_deref())?;
                for index in 0..workload.count(op.count, &op.count_param)? {
                    self.namespace(&format!("{}-{index}", op.prefix), template.as_ref())?;
                }
            }
            Operation::CreatePods(op) => self.create_pods(number, op)?,
            Operation::CreatePodSets(op) => {
                for index in 0..workload.count(op.count, &op.count_param)? {
                    let namespace = Some(format!("{}-{index}", op.namespace_prefix));
                    let pods = CreatePods { namespace, ..op.create_pods_op.0.clone() };
                    self.create_pods(number, &pods)?;
                }
            }
            Operation::DeletePods(op) => {
                let which = Which { namespace: op.namespace.clone(), labels: op.label_selector.clone() };
                let per_second = usize::try_from(op.delete_pods_per_second).unwrap_or_default();
                self.cluster.delete_pods(Deleting { which, per_second, in_background: op.skip_wait_to_completion })?;
            }
            Operation::Churn(op) => {
                let namespace = op.namespace.clone().unwrap_or_else(|| format!("namespace-{number}"));
                self.namespace(&namespace, None)?;
                let mut objects = Vec::new();
                for path in &op.template_paths {
                    let template = self.read(path)?;
                    let without = template.object("", 0, 1)?;
                    objects.push(if without.has_namespace() { template.object(&namespace, 0, 1)? } else { without });
                }
                let milliseconds = u64::try_from(op.interval_milliseconds).ok().filter(|n| *n > 0).unwrap_or(500);
                self.cluster.churn(Churning {
                    objects,
                    recreate: op.mode == "recreate",
                    number: usize::try_from(op.number).unwrap_or_default(),
                    interval: Duration::from_millis(milliseconds),
                })?;
            }
            Operation::Barrier(op) => self.barrier(op)?,
            Operation::Sleep(op) => self.cluster.sleep(workload.duration(&op.duration, &op.duration_param)?)?,
            Operation::StartCollectingMetrics(op) => {
                let which =
                    |namespace: &String| Which { namespace: namespace.clone(), labels: op.label_selector.clone() };
                self.start_collecting(&op.name, op.namespaces.iter().map(which).collect())?;
            }
            Operation::StopCollectingMetrics(_) => self.stop_collecting()?,
            Operation::CreateAny(op) => {
                let count = workload.count(op.count, &op.count_param)?;
                let objects = self.objects(&op.namespace, &op.template_path, count)?;
                self.cluster.create(objects)?;
            }
            Operation::UpdateAny(op) => {
                let count = workload.count(op.count, &op.count_param)?;
                let objects = self.objects(&op.namespace, &op.template_path, count)?;
                let per_second = usize::try_from(op.update_per_second).unwrap_or_default();
                self.cluster.update(Updating { objects, per_second, subresources: op.subresources.clone() })?;
            }
            Operation::CreateResourceClaims(op) => {
                let count = workload.count(op.count, &op.count_param)?;
                let objects = self.objects(&op.namespace, &op.template_path, count)?;
                self.cluster.create(objects)?;
            }
            Operation::AllocResourceClaims(op) => self.cluster.allocate_claims(&op.namespace)?,
            Operation::CreateResourceDriver(op) => {
                let devices = workload.count(op.max_claims_per_node, &op.max_claims_per_node_param)?;
                let nodes = self.nodes.iter().filter(|node| matches(&op.nodes, node));
                let slices = nodes.map(|node| objects::resource_slice(&op.driver_name, node, devices));
                self.cluster.create(slices.collect())?;
            }
        }
        Ok(())
    }

    fn create_pods(&mut self, number: usize, op: &CreatePods) -> Result<(), Problem> {
        let count = self.workload.count(op.count, &op.count_param)?;
        let namespace = op.namespace.clone().unwrap_or_else(|| format!("namespace-{number}"));
        self.namespace(&namespace, None)?;
        let path = op.pod_template_path.as_ref().or(self.case.default_pod_template_path.as_ref());
        let template = self.template(path.map(String::as_str))?.unwrap_or_else(objects::base_pod);
        let volume = self.template(op.persistent_volume_template_path.as_deref())?;
        let claim = self.template(op.persistent_volume_claim_template_path.as_deref())?;
        let pods = || -> Result<Vec<Object>, PerfError> {
            let mut objects = Vec::with_capacity(count);
            for index in 0..count {
                let pod = template.object(&namespace, index, count)?;
                match (&volume, &claim) {
                    (Some(volume), Some(claim)) => objects.extend(objects::with_volume(pod, volume, claim, index)?),
                    _ => objects.push(pod),
                }
            }
            Ok(objects)
        };
        let which = Which { namespace: namespace.clone(), ..Which::default() };
        let first = pods()?;
        if op.collect_metrics {
            self.start_collecting(&namespace, vec![which.clone()])?;
        }
        self.cluster.create(first)?;
        if op.skip_wait_to_completion {
            *self.waiting.entry(namespace).or_default() += count;
        } else if self.workload.flag(op.steady_state, &op.steady_state_param)? {
            let end = self.cluster.elapsed() + self.workload.duration(&op.duration, &op.duration_param)?;
            while self.cluster.elapsed() < end {
                self.cluster.wait(&which, count, false)?;
                self.cluster.delete_pods(Deleting { which: which.clone(), ..Deleting::default() })?;
                let next = pods()?;
                self.cluster.create(next)?;
            }
        } else {
            self.cluster.wait(&which, count, false)?;
        }
        if op.collect_metrics {
            self.stop_collecting()?;
        }
        Ok(())
    }

    fn barrier(&mut self, op: &super::Barrier) -> Result<(), Problem> {
        let attempted = op.stage_requirement == "Attempted";
        let all = || self.waiting.keys().cloned().collect();
        let namespaces: Vec<String> = if op.namespaces.is_empty() { all() } else { op.namespaces.clone() };
        for namespace in namespaces {
            let count = self.waiting.get(&namespace).copied().unwrap_or_default();
            let which = Which { namespace: namespace.clone(), labels: op.label_selector.clone() };
            self.cluster.wait(&which, count, attempted)?;
            if !attempted {
                self.waiting.remove(&namespace);
            }
        }
        Ok(())
    }

    fn start_collecting(&mut self, name: &str, which: Vec<Which>) -> Result<(), Problem> {
        if self.collecting.is_some() {
            return Err(Problem::Cluster("metrics are collected already".to_owned()));
        }
        self.collecting = Some(name.to_owned());
        self.cluster.start_collecting(which);
        Ok(())
    }

    fn stop_collecting(&mut self) -> Result<(), Problem> {
        let name = self.collecting.take().ok_or_else(|| "no metrics are collected".to_owned())?;
        let throughput = Throughput::of(self.cluster.stop_collecting());
        let threshold = self.workload.threshold.value();
        let name = format!("{}/{}/{name}", self.case.name, self.workload.name);
        self.measured.push(Measurement { name, throughput, threshold });
        Ok(())
    }

    fn namespace(&mut self, name: &str, template: Option<&Template>) -> Result<(), Problem> {
        if name.is_empty() || !self.namespaces.insert(name.to_owned()) {
            return Ok(());
        }
        self.cluster.create(vec![objects::namespace(name, template)?])?;
        Ok(())
    }

    fn objects(&mut self, namespace: &str, path: &str, count: usize) -> Result<Vec<Object>, Problem> {
        self.namespace(namespace, None)?;
        let template = self.read(path)?;
        let objects = (0..count).map(|index| template.object(namespace, index, count));
        Ok(objects.collect::<Result<_, _>>()?)
    }

    fn template(&self, path: Option<&str>) -> Result<Option<Template>, PerfError> {
        path.map(|path| self.read(path)).transpose()
    }

    fn read(&self, path: &str) -> Result<Template, PerfError> {
        let text = (self.files)(path).map_err(|problem| PerfError::Template { path: path.to_owned(), problem })?;
        Template::new(path, text)
    }
}

/// Whether a name is as a pattern of a shell wants it, in which only `*` and `?` are special.
fn matches(pattern: &str, name: &str) -> bool {
    match (pattern.chars().next(), name.chars().next()) {
        (None, None) => true,
        (Some('*'), _) => {
            matches(&pattern[1..], name) || name.chars().next().is_some_and(|c| matches(pattern, &name[c.len_utf8()..]))
        }
        (Some(p), Some(n)) if p == n || p == '?' => matches(&pattern[p.len_utf8()..], &name[n.len_utf8()..]),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_a_shells() {
        for (pattern, name, expected) in [
            ("*", "anything", true),
            ("scheduler-perf-*", "scheduler-perf-00012", true),
            ("scheduler-perf-*", "node-1", false),
            ("n?de", "node", true),
            ("a*c*e", "abcde", true),
            ("a", "ab", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
