//! What upstream refuses in a workload beyond what its types say.

use super::{Churn, CreatePods, Operation};

impl Operation {
    /// What upstream checks when it reads a file.
    pub(super) fn check(&self) -> Result<(), String> {
        match self {
            Self::CreateNodes(op) => counted(op.count, &op.count_param),
            Self::CreateNamespaces(op) => counted(op.count, &op.count_param),
            Self::CreatePods(op) => op.check(),
            Self::CreatePodSets(op) => counted(op.count, &op.count_param).and_then(|()| op.create_pods_op.0.check()),
            Self::CreateResourceClaims(op) => counted(op.count, &op.count_param)
                .and_then(|()| given("namespace", &op.namespace))
                .and_then(|()| given("templatePath", &op.template_path)),
            Self::CreateResourceDriver(op) => counted(op.max_claims_per_node, &op.max_claims_per_node_param)
                .and_then(|()| given("driverName", &op.driver_name))
                .and_then(|()| given("nodes", &op.nodes)),
            Self::CreateAny(op) => given("templatePath", &op.template_path),
            Self::UpdateAny(op) => given("templatePath", &op.template_path)
                .and_then(|()| at_least_0("updatePerSecond", op.update_per_second)),
            Self::DeletePods(op) => at_least_0("deletePodsPerSecond", op.delete_pods_per_second),
            Self::Churn(op) => op.check(),
            Self::Barrier(op) => match op.stage_requirement.as_str() {
                "" | "Scheduled" | "Attempted" => Ok(()),
                other => Err(format!("stageRequirement must be Scheduled or Attempted, not {other:?}")),
            },
            Self::StartCollectingMetrics(op) if op.namespaces.is_empty() => Err("namespaces must be given".to_owned()),
            Self::StartCollectingMetrics(_)
            | Self::StopCollectingMetrics(_)
            | Self::Sleep(_)
            | Self::AllocResourceClaims(_) => Ok(()),
        }
    }
}

impl CreatePods {
    fn check(&self) -> Result<(), String> {
        counted(self.count, &self.count_param)?;
        if self.skip_wait_to_completion && self.collect_metrics {
            return Err("collectMetrics and skipWaitToCompletion cannot both be true".to_owned());
        }
        if self.skip_wait_to_completion && self.steady_state {
            return Err("skipWaitToCompletion and steadyState cannot both be true".to_owned());
        }
        Ok(())
    }
}

impl Churn {
    fn check(&self) -> Result<(), String> {
        if !["create", "recreate"].contains(&self.mode.as_str()) {
            return Err(format!("mode must be create or recreate, not {:?}", self.mode));
        }
        at_least_0("number", self.number)?;
        if self.mode == "recreate" && self.number == 0 {
            return Err("number must be above 0 when mode is recreate".to_owned());
        }
        if self.template_paths.is_empty() {
            return Err("templatePaths must name a file".to_owned());
        }
        Ok(())
    }
}

fn counted(count: Option<i64>, param: &str) -> Result<(), String> {
    match (count, param.strip_prefix('$')) {
        (_, Some(name)) if !name.is_empty() => Ok(()),
        (Some(count), None) if count > 0 && param.is_empty() => Ok(()),
        _ => {
            Err(format!("count must be above 0, or its parameter begin with $ (count {count:?}, parameter {param:?})"))
        }
    }
}

fn given(field: &str, value: &str) -> Result<(), String> {
    if value.is_empty() { Err(format!("{field} must be given")) } else { Ok(()) }
}

fn at_least_0(field: &str, value: i64) -> Result<(), String> {
    if value < 0 { Err(format!("{field} must be at least 0, not {value}")) } else { Ok(()) }
}
