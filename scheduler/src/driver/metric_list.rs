//! What numbers are called and mean, and the buckets of histograms: all as upstream has them.

/// What a number is about, and for histograms the first bucket, how many there are and how far each is beyond the one
/// before.
pub(super) struct About {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) buckets: Option<(f64, usize, f64)>,
}

const fn plain(name: &'static str, help: &'static str) -> About {
    About { name, help, buckets: None }
}

const fn histogram(name: &'static str, help: &'static str, first: f64, count: usize) -> About {
    About { name, help, buckets: Some((first, count, 2.0)) }
}

/// What takes so little time that it is looked at in finer steps.
const fn fine(name: &'static str, help: &'static str) -> About {
    About { name, help, buckets: Some((0.000_01, 20, 1.5)) }
}

pub(super) const ALL: &[About] = &[
    histogram("async_api_call_execution_duration_seconds", "How long calls to the API server took.", 0.001, 15),
    plain("async_api_call_execution_total", "Calls to the API server, by what they do and how they ended."),
    plain("batch_attempts_total", "Decisions, by whether what was kept for pods of a kind made them."),
    plain("batch_cache_flushed_total", "How often what was kept for pods of a kind was thrown away, by why."),
    plain("cache_size", "How many nodes, pods and assumed pods are in the scheduler's cache."),
    plain("dra_bindingconditions_allocations_total", "Devices that were waited for, by how that ended."),
    histogram("dra_bindingconditions_wait_duration_seconds", "How long devices were waited for.", 0.1, 14),
    histogram("event_handling_duration_seconds", "How long it took to deal with what happened.", 0.000_1, 12),
    histogram(
        "framework_extension_point_duration_seconds",
        "How long all plugins of an extension point took together.",
        0.000_1,
        12,
    ),
    histogram(
        "get_node_hint_duration_seconds",
        "How long it took to decide by what is kept for pods of a kind, or to see that this cannot be done.",
        0.000_01,
        12,
    ),
    plain("goroutines", "How many tasks are at work, by what they do."),
    plain("inflight_events", "How many events are remembered for pods that are being tried."),
    plain("pending_async_api_calls", "How many calls to the API server are under way."),
    plain("pending_pods", "Pods that wait, by queue."),
    histogram("permit_wait_duration_seconds", "How long pods waited for permission.", 0.001, 15),
    plain("plugin_evaluation_total", "How often plugins were called."),
    fine("plugin_execution_duration_seconds", "How long a plugin took at an extension point."),
    plain("pod_scheduled_after_flush_total", "Pods placed after they had waited too long and nothing had happened."),
    histogram("pod_scheduling_attempts", "How many attempts it took to place a pod.", 1.0, 5),
    histogram("pod_scheduling_sli_duration_seconds", "From a pod's first attempt to its binding.", 0.01, 20),
    plain("podgroup_schedule_attempts_total", "Attempts to place pod groups, by how they ended."),
    histogram("podgroup_scheduling_algorithm_duration_seconds", "How long decisions on pod groups took.", 0.001, 15),
    histogram("podgroup_scheduling_attempt_duration_seconds", "How long attempts on pod groups took.", 0.001, 15),
    plain("preemption_attempts_total", "How often room was made for a pod."),
    histogram("preemption_goroutines_duration_seconds", "How long it took to send pods away for another.", 0.01, 20),
    plain("preemption_goroutines_execution_total", "How often pods were sent away, by how that ended."),
    histogram("preemption_victims", "How many pods had to go for another.", 1.0, 7),
    plain("queue_incoming_pods_total", "Pods that came into queues, by why."),
    fine(
        "queueing_hint_execution_duration_seconds",
        "How long a plugin took to say whether an event is news for a pod.",
    ),
    plain("resourceclaim_creates_total", "Claims made for pods that ask for devices as extended resources."),
    plain("schedule_attempts_total", "Attempts to place pods, by how they ended."),
    histogram("scheduling_algorithm_duration_seconds", "How long decisions took.", 0.001, 15),
    histogram("scheduling_attempt_duration_seconds", "How long attempts took, decision and binding.", 0.001, 15),
    histogram(
        "store_schedule_results_duration_seconds",
        "How long it took to find out what is kept for pods of a kind.",
        0.000_01,
        12,
    ),
    plain("unschedulable_pods", "Pods that fit nowhere, by the plugins that say so."),
];

/// Where the buckets of a histogram end.
pub(super) fn bounds(name: &str) -> impl Iterator<Item = f64> + use<> {
    let known = ALL.iter().find(|about| about.name == name).and_then(|about| about.buckets);
    let (first, count, factor) = known.unwrap_or((0.001, 15, 2.0));
    std::iter::successors(Some(first), move |bound| Some(bound * factor)).take(count)
}
