//! The loop itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::answers::Answers;
use super::api::{self, Caller};
use super::binding::{Done, Recall, bind_with};
use super::event::Note;
use super::extender::{Extenders, FullNodes};
use super::informer::Change;
use super::meter::{Meter, call_type};
use super::{Clock, DriverError, Progress};
use crate::framework::{Action, Answer, Preemption, Status};
use crate::object::{PodInfo, Time};
use crate::schedule::{Consultation, Failure, Outcome, Placement, Scheduler};

/// How many pods are placed before the loop looks at what else happened.
const BATCH: usize = 16;
/// How many changes and finished calls are looked at before pods are placed again.
const NEWS_MAX: usize = 512;
/// How long calls under way may take to end when the driver is told to stop.
const GRACE: Duration = Duration::from_secs(5);

/// What a call under way is for.
pub(super) enum Work {
    /// With a way to call the pod back, if that is possible for a while.
    Bind(Box<Placement>, Option<Arc<Recall>>),
    Preempt(Preemption),
    Status,
}

/// A call under way: what for, what it is called, and since when.
pub(super) struct Call {
    work: Work,
    kind: &'static str,
    since: Time,
}

pub(super) struct Running {
    pub(super) client: Client,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) scheduler: Scheduler,
    pub(super) progress: watch::Sender<Progress>,
    pub(super) notes: mpsc::Sender<Note>,
    pub(super) calls: JoinSet<Done>,
    pub(super) work: HashMap<Id, Call>,
    pub(super) calls_max: usize,
    pub(super) unsynced: usize,
    pub(super) meter: Meter,
    pub(super) extenders: Extenders,
    pub(super) full_nodes: Arc<FullNodes>,
    /// The one decision that waits for extenders, if any does.
    pub(super) asking: JoinSet<(Box<Consultation>, Answer)>,
}

impl Running {
    pub(super) async fn run(
        &mut self,
        mut changes: mpsc::Receiver<Change>,
        leads: &mut watch::Receiver<Option<bool>>,
        stop: &CancellationToken,
    ) -> Result<(), DriverError> {
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut news = Vec::new();
        let mut electing = true;
        loop {
            let leading = *leads.borrow_and_update();
            if leading == Some(false) {
                return Err(DriverError::LostLease);
            }
            let active = self.unsynced == 0 && leading == Some(true);
            self.progress.send_if_modified(|progress| {
                let before = *progress;
                progress.synced = self.unsynced == 0;
                progress.leading = leading == Some(true);
                before != *progress
            });
            let busy = active && self.schedule_some();
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                Some(done) = self.calls.join_next_with_id() => self.on_done(done),
                Some(answered) = self.asking.join_next() => self.on_answer(answered),
                count = changes.recv_many(&mut news, NEWS_MAX) => {
                    if count == 0 {
                        return Ok(());
                    }
                }
                _ = tick.tick() => {
                    self.scheduler.tick(self.clock.now());
                    self.meter.stands(&self.scheduler, self.work.values().map(|call| &call.kind));
                }
                changed = leads.changed(), if electing => electing = changed.is_ok(),
                () = tokio::task::yield_now(), if busy => {}
            }
            while news.len() < NEWS_MAX
                && let Ok(change) = changes.try_recv()
            {
                news.push(change);
            }
            news.drain(..).for_each(|change| self.on_change(change));
            for _ in 0..NEWS_MAX {
                let Some(done) = self.calls.try_join_next_with_id() else { break };
                self.on_done(done);
            }
        }
    }

    /// Waits for the calls under way, but not for ever, and not when another leads by now.
    pub(super) async fn finish(mut self, mut leads: watch::Receiver<Option<bool>>) {
        self.asking.shutdown().await;
        let lost = async {
            if leads.wait_for(|leads| *leads == Some(false)).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            () = lost => {}
            () = tokio::time::sleep(GRACE) => {}
            () = async { while self.calls.join_next().await.is_some() {} } => {}
        }
        self.calls.shutdown().await;
    }

    /// Places some pods; tells whether there may be more to place at once.
    fn schedule_some(&mut self) -> bool {
        let now = self.clock.now();
        for outcome in self.scheduler.take_permitted(now) {
            self.on_outcome(outcome);
        }
        for _ in 0..BATCH {
            if self.calls.len() >= self.calls_max || !self.asking.is_empty() {
                return false;
            }
            let start = self.clock.now();
            let Some(outcome) = self.scheduler.schedule_one(now) else { return false };
            self.meter.decided(&outcome, start, self.clock.now());
            self.on_outcome(outcome);
        }
        true
    }

    fn on_outcome(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Placed(placement) => match self.scheduler.binding(&placement) {
                Ok(actions) => self.bind(placement, actions),
                Err(status) => {
                    let failure = self.scheduler.binding_failed(*placement, status, self.clock.now());
                    self.on_failure(failure);
                }
            },
            Outcome::Failed(failure) => self.on_failure(*failure),
            Outcome::Skipped { pod, message: Some(text) } => {
                self.note(Note { pod, related: None, warning: true, reason: FAILED, action: "Scheduling", text });
            }
            Outcome::Group(tried) => {
                self.meter.group_tried(&tried);
                tried.actions.into_iter().for_each(|action| self.act(action));
            }
            Outcome::Consult(consultation) => self.ask(consultation),
            Outcome::Waiting(_) | Outcome::Skipped { .. } => {}
        }
    }

    /// Asks extenders; until they answer no other pod is tried.
    fn ask(&mut self, consultation: Box<Consultation>) {
        let (extenders, client, nodes) = (self.extenders.clone(), self.client.clone(), self.full_nodes.clone());
        self.asking.spawn(async move {
            let answer = extenders.ask(&client, &consultation.pod, &consultation.question, &nodes).await;
            (consultation, answer)
        });
    }

    fn on_answer(&mut self, answered: Result<(Box<Consultation>, Answer), JoinError>) {
        let (consultation, answer) = match answered {
            Ok(answered) => answered,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => return,
        };
        let outcome = self.scheduler.answer(*consultation, answer, self.clock.now());
        self.on_outcome(outcome);
    }

    fn bind(&mut self, placement: Box<Placement>, actions: Vec<Action>) {
        let kind = call_type(&actions);
        if actions.iter().any(|action| matches!(action, Action::AwaitDevices { .. })) {
            let text = format!("waiting for binding conditions for device on node {}", placement.node());
            let (pod, reason) = (placement.pod.clone(), "BindingConditionsPending");
            self.note(Note { pod, related: None, warning: false, reason, action: "Scheduling", text });
        }
        let caller = self.caller();
        let profile = placement.pod.spec.scheduler_name.clone();
        let recall = (actions.len() > 1).then(Arc::<Recall>::default);
        let own = recall.clone();
        let handle = self.calls.spawn(async move { bind_with(&caller, &profile, actions, own.as_deref()).await });
        self.under_way(handle.id(), Work::Bind(placement, recall), kind);
    }

    fn caller(&self) -> Caller {
        Caller {
            client: self.client.clone(),
            clock: self.clock.clone(),
            extenders: self.extenders.clone(),
            metrics: self.meter.metrics().clone(),
        }
    }

    fn under_way(&mut self, id: Id, work: Work, kind: &'static str) {
        let since = self.clock.now();
        self.work.insert(id, Call { work, kind, since });
    }

    fn on_failure(&mut self, failure: Failure) {
        let now = self.clock.now();
        self.meter.failed(&failure, now, now);
        let Failure { pod, reason, message, actions, .. } = failure;
        tracing::debug!(object.ref = %pod.name, object.reason = reason, message, "a pod was not placed");
        self.progress.send_modify(|progress| progress.failed += 1);
        self.note(Note { pod, related: None, warning: true, reason: FAILED, action: "Scheduling", text: message });
        for action in actions {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        let (client, clock) = (self.client.clone(), self.clock.clone());
        let kind = call_type(std::slice::from_ref(&action));
        match action {
            Action::Preempt(preemption) => {
                let notes = self.notes.clone();
                let victims = self.call_back_victims(&preemption);
                let task = Preemption { victims, ..preemption.clone() };
                let handle = self.calls.spawn(async move {
                    let tell = |victim: &PodInfo| drop(notes.try_send(preempted(&task, victim, "")));
                    api::preempt(&client, &task, clock.now(), tell).await.into()
                });
                self.meter.preempts(&preemption);
                self.under_way(handle.id(), Work::Preempt(preemption), kind);
            }
            other => {
                let caller = self.caller();
                let handle = self.calls.spawn(async move { api::carry_out(&caller, other).await.into() });
                self.under_way(handle.id(), Work::Status, kind);
            }
        }
    }

    /// Victims that are not bound yet need not be deleted: they go back to the queue. Gives the others.
    fn call_back_victims(&mut self, preemption: &Preemption) -> Vec<Arc<PodInfo>> {
        let now = self.clock.now();
        let mut others = Vec::new();
        for victim in &preemption.victims {
            let recalled = if let Some(failure) = self.scheduler.preempt_waiting(&victim.uid, now) {
                self.on_failure(failure);
                true
            } else {
                self.work.values().any(|call| match &call.work {
                    Work::Bind(placement, Some(recall)) if placement.pod.uid == victim.uid => recall.call_back(),
                    _ => false,
                })
            };
            if recalled {
                self.note(preempted(preemption, victim, " (in kube-scheduler memory)."));
            } else {
                others.push(victim.clone());
            }
        }
        others
    }

    fn on_done(&mut self, done: Result<(Id, Done), JoinError>) {
        let (id, result, answers) = match done {
            Ok((id, Done { result, answers })) => (id, result.map_err(|error| error.message), answers),
            Err(error) => (error.id(), Err(error.to_string()), Answers::default()),
        };
        let now = self.clock.now();
        let Some(Call { work, kind, since }) = self.work.remove(&id) else { return };
        self.meter.called(kind, result.is_ok(), since, now);
        match (work, result) {
            (Work::Bind(placement, _), Ok(())) => {
                self.meter.bound(&placement, since, now);
                self.scheduler.bound(&placement, now);
                self.progress.send_modify(|progress| progress.bound += 1);
                let pod = placement.pod.clone();
                let text = format!("Successfully assigned {}/{} to {}", pod.namespace, pod.name, pod.node_name);
                let reason = "Scheduled";
                self.note(Note { pod, related: None, warning: false, reason, action: "Binding", text });
            }
            (Work::Bind(placement, _), Err(message)) => {
                self.on_answers(answers);
                let failure = self.scheduler.binding_failed(*placement, Status::error(message), now);
                self.on_failure(failure);
            }
            (Work::Preempt(preemption), result) => {
                let result = result.map_err(Status::error);
                self.scheduler.preempted(&preemption.preemptor, &preemption.victims, result, now);
            }
            (Work::Status, Err(message)) => tracing::debug!(message, "a pod's status could not be updated"),
            (Work::Status, Ok(())) => {}
        }
    }

    fn note(&self, note: Note) {
        if self.notes.try_send(note).is_err() {
            tracing::debug!("an event was dropped: too many wait to be written");
        }
    }
}

const FAILED: &str = "FailedScheduling";

fn preempted(preemption: &Preemption, victim: &PodInfo, how: &str) -> Note {
    Note {
        pod: Arc::new(victim.clone()),
        related: Some(preemption.preemptor.clone()),
        warning: false,
        reason: "Preempted",
        action: "Preempting",
        text: match &preemption.group {
            Some(group) => format!("Preempted by podgroup {group} on node {}{how}", preemption.node),
            None => format!("Preempted by pod {} on node {}{how}", preemption.preemptor.uid, preemption.node),
        },
    }
}
