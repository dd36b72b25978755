//! The scheduling framework: what a plugin is, and how a profile runs its plugins.
//!
//! The extension points are upstream's, and so is the order in which they run: PreEnqueue and QueueSort in the queue;
//! PreFilter, Filter, PostFilter, PreScore, Score, Reserve and Permit in the scheduling cycle; PreBind, Bind and
//! PostBind in the binding cycle. A plugin never does IO: what must be done to the cluster it returns as [`Action`]s.

mod action;
mod caught;
mod diagnosis;
mod event;
mod extender;
mod extension_point;
mod kept;
mod observer;
mod plugin;
mod post_filter;
mod profile;
mod profile_binding;
mod profile_builder;
mod profile_scoring;
mod score;
mod state;
mod status;
mod tally;

pub use action::{Action, PodConditionUpdate, Preemption};
pub(crate) use caught::{caught, panicked};
pub use diagnosis::{Diagnosis, FitError, NodeStatuses};
pub(crate) use event::lifts_gate;
pub use event::{ActionType, ClusterEvent, EventResource, Hint, HintFn, Interest, Object, node_changes, pod_changes};
pub(crate) use extender::EXTENDER;
pub use extender::{Answer, EXTENDER_SCORE_MAX, Extender, Filtered, Preempted, Question};
pub use extension_point::ExtensionPoint;
pub use kept::Kept;
pub(crate) use observer::Watch;
pub use observer::{Observer, QueueCause, Seen};
pub use plugin::{
    BindOutcome, BindPlugin, FilterPlugin, Flow, NodeSubset, PermitOutcome, PermitPlugin, Plugin, PluginRef,
    PostBindPlugin, PreBindPlugin, PreEnqueuePlugin, PreFilterOutcome, PreFilterPlugin, PreScorePlugin,
    QueueSortPlugin, ReservePlugin, ScorePlugin,
};
pub use post_filter::{Candidate, PostFilterContext, PostFilterOutcome, PostFilterPlugin};
pub use profile::Profile;
pub(crate) use profile_binding::Permission;
pub use profile_builder::{ProfileBuilder, ProfileError};
pub use score::{NodeScore, PluginScore, normalize_to_max};
pub use state::CycleState;
pub use status::{Code, Status};
pub use tally::{FilterTally, ScoreTally};

/// The best score a plugin may give a node; the worst is 0.
pub const SCORE_MAX: i64 = 100;
