//! Pods of higher priority first, then those that wait longer.

use std::sync::Arc;

use crate::framework::{Plugin, QueueSortPlugin};
use crate::queue::QueuedPod;

/// Orders the queue by priority, then by time.
#[derive(Clone, Copy, Debug, Default)]
pub struct PrioritySort;

impl Plugin for PrioritySort {
    fn name(&self) -> &'static str {
        "PrioritySort"
    }

    fn queue_sort(self: Arc<Self>) -> Option<Arc<dyn QueueSortPlugin>> {
        Some(self)
    }
}

impl QueueSortPlugin for PrioritySort {
    fn less(&self, a: &QueuedPod, b: &QueuedPod) -> bool {
        let (first, second) = (a.pod.spec.priority, b.pod.spec.priority);
        first > second || (first == second && a.timestamp < b.timestamp)
    }
}
