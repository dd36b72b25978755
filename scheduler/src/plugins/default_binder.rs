//! Binds pods through the API.

use std::sync::Arc;

use crate::framework::{Action, BindOutcome, BindPlugin, CycleState, Plugin, Status};
use crate::object::{Name, PodInfo};

/// Binds a pod by posting a Binding.
#[derive(Clone, Copy, Debug, Default)]
pub struct DefaultBinder;

impl Plugin for DefaultBinder {
    fn name(&self) -> &'static str {
        "DefaultBinder"
    }

    fn bind(self: Arc<Self>) -> Option<Arc<dyn BindPlugin>> {
        Some(self)
    }
}

impl BindPlugin for DefaultBinder {
    fn bind(&self, _: &CycleState, pod: &Arc<PodInfo>, node: &Name) -> Result<BindOutcome, Status> {
        Ok(BindOutcome::Do(Action::Bind { pod: pod.clone(), node: node.clone() }))
    }
}
