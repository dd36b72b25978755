//! All that binding a pod takes.

use std::sync::atomic::{AtomicU8, Ordering};

use tokio_util::sync::CancellationToken;

use super::answers::Answers;
use super::api::{CallError, Caller, bind, carry_out};
use super::{devices, volumes};
use crate::framework::Action;

/// How calls ended, and what the API server answered that is news for the core.
pub(super) struct Done {
    pub(super) result: Result<(), CallError>,
    pub(super) answers: Answers,
}

impl From<Result<(), CallError>> for Done {
    fn from(result: Result<(), CallError>) -> Self {
        Self { result, answers: Answers::default() }
    }
}

const OPEN: u8 = 0;
const BINDS: u8 = 1;
const RECALLED: u8 = 2;

/// A pod that is being bound can be called back until its binding itself is on its way.
#[derive(Debug, Default)]
pub(super) struct Recall {
    state: AtomicU8,
    token: CancellationToken,
}

impl Recall {
    /// Calls the pod back; tells whether that was still possible.
    pub(super) fn call_back(&self) -> bool {
        match self.state.compare_exchange(OPEN, RECALLED, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {
                self.token.cancel();
                true
            }
            Err(state) => state == RECALLED,
        }
    }

    fn begin(&self) -> bool {
        self.state.compare_exchange(OPEN, BINDS, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn is_called_back(&self) -> bool {
        self.token.is_cancelled()
    }
}

/// Does all that binding a pod takes, one after the other. If something fails, the pod's claims to devices are given back.
pub(super) async fn bind_with(caller: &Caller, profile: &str, actions: Vec<Action>, recall: Option<&Recall>) -> Done {
    let mut claims = devices::Held::default();
    let mut answers = Answers::default();
    let mut since = caller.clock.now();
    for action in actions {
        let binds = matches!(action, Action::Bind { .. } | Action::BindThrough { .. });
        if binds {
            since = caller.took("PreBind", profile, true, since);
        }
        let recalled = recall.is_some_and(|recall| if binds { !recall.begin() } else { recall.is_called_back() });
        let result = match recalled {
            true => Err(preempted()),
            false => carry_out_one(caller, action, &mut claims, &mut answers, recall).await,
        };
        if binds || result.is_err() {
            caller.took(if binds { "Bind" } else { "PreBind" }, profile, result.is_ok(), since);
        }
        if result.is_err() {
            claims.give_back(caller, &mut answers).await;
            return Done { result, answers };
        }
    }
    Done { result: Ok(()), answers }
}

fn preempted() -> CallError {
    CallError { code: 410, message: "preempted by DefaultPreemption".to_owned() }
}

async fn carry_out_one(
    caller: &Caller,
    action: Action,
    claims: &mut devices::Held,
    answers: &mut Answers,
    recall: Option<&Recall>,
) -> Result<(), CallError> {
    let Caller { client, extenders, .. } = caller;
    match action {
        Action::BindThrough { extender, pod, node, otherwise } => {
            match (extenders.bind(extender, &pod, &node).await, otherwise.as_deref()) {
                (Err(message), Some(Action::Bind { pod, node })) => {
                    tracing::info!(extender, message, "an extender that can be ignored did not bind a pod");
                    bind(client, pod, node).await
                }
                (result, _) => result.map_err(|message| CallError { code: 0, message }),
            }
        }
        Action::Bind { pod, node } => bind(client, &pod, &node).await,
        Action::KeepVolume { volume, claim } => volumes::keep(client, &volume, &claim, answers).await,
        Action::SelectNode { claim, node } => volumes::select_node(client, &claim, &node, answers).await,
        Action::AwaitClaims { claims, node, timeout } => {
            unless_recalled(recall, volumes::await_claims(client, &claims, &node, timeout)).await
        }
        Action::ReserveDevices { claim, allocation, pod } => {
            claims.reserve(caller, &claim, allocation.as_deref(), &pod, answers).await
        }
        Action::MakeDeviceClaim { devices, allocation, pod } => claims.make(caller, &devices, &allocation, &pod).await,
        Action::AwaitDevices { claims: named, extended, pod, timeout, .. } => {
            unless_recalled(recall, claims.await_ready(caller, &named, extended, &pod, timeout)).await
        }
        other => carry_out(caller, other).await,
    }
}

/// Only waiting is cut short: what is being written should be known.
async fn unless_recalled(
    recall: Option<&Recall>,
    wait: impl Future<Output = Result<(), CallError>>,
) -> Result<(), CallError> {
    let Some(recall) = recall else { return wait.await };
    recall.token.run_until_cancelled(wait).await.unwrap_or_else(|| Err(preempted()))
}
