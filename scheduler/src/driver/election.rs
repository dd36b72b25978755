//! One scheduler at a time, by a Lease that the leader renews.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Clock;
use super::api::{CallError, call};
use crate::object::Time;

/// Who may lead, and how long for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderElection {
    /// The Lease's namespace.
    pub namespace: String,
    /// The Lease's name.
    pub name: String,
    /// This candidate, by a name that no other has.
    pub identity: String,
    /// For how long others take an unrenewed lead for granted.
    pub lease_duration: Duration,
    /// For how long the leader tries to renew before it gives up.
    pub renew_deadline: Duration,
    /// How long between tries.
    pub retry_period: Duration,
}

impl LeaderElection {
    /// Upstream's Lease and times: 15 s, 10 s and 2 s.
    #[must_use]
    pub fn new(identity: impl Into<String>) -> Self {
        Self {
            namespace: "kube-system".into(),
            name: "kube-scheduler".into(),
            identity: identity.into(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }
}

/// A candidate. How long something took is measured by a clock that nobody sets: the wall clock is told others only.
pub(super) struct Candidate {
    client: Client,
    clock: Arc<dyn Clock>,
    election: LeaderElection,
    /// The Lease as last seen, and when it was seen to change.
    seen: Option<(Value, Instant)>,
    /// When the try began by which this candidate last got or renewed the lead.
    renewed: Instant,
}

/// What a try to lead came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tried {
    /// The Lease is ours.
    Leads,
    /// Another has it.
    Follows,
    /// Nobody knows.
    Failed,
}

impl Candidate {
    pub(super) fn new(client: Client, clock: Arc<dyn Clock>, election: LeaderElection) -> Self {
        Self { client, clock, election, seen: None, renewed: now() }
    }

    /// Waits until this candidate leads; false if it was told to stop.
    pub(super) async fn acquire(&mut self, stop: &CancellationToken) -> bool {
        loop {
            let most = self.election.renew_deadline;
            let tried = tokio::select! {
                () = stop.cancelled() => return false,
                tried = self.try_lead(most) => tried,
            };
            if tried == Tried::Leads {
                return true;
            }
            tokio::select! {
                () = stop.cancelled() => return false,
                () = tokio::time::sleep(self.election.retry_period) => {}
            }
        }
    }

    /// Renews the lead until it is lost, or until told to stop; then gives it up.
    pub(super) async fn keep(&mut self, stop: &CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return self.release().await,
                () = tokio::time::sleep(self.election.retry_period) => {}
            }
            let left = self.election.renew_deadline.saturating_sub(self.renewed.elapsed());
            let tried = self.try_lead(left).await;
            let late = self.renewed.elapsed() >= self.election.renew_deadline;
            if tried == Tried::Follows || (tried == Tried::Failed && late) {
                return;
            }
        }
    }

    fn path(&self) -> String {
        format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", self.election.namespace)
    }

    /// Tries to get or renew the lead. A try that takes too long leads to nothing: others may have waited long enough.
    async fn try_lead(&mut self, most: Duration) -> Tried {
        let begun = now();
        match tokio::time::timeout(most, self.try_lead_once()).await {
            Ok(Ok(true)) => {
                self.renewed = begun;
                Tried::Leads
            }
            Ok(Ok(false)) => Tried::Follows,
            Ok(Err(error)) => {
                tracing::debug!(error = error.message, "the lease could not be taken or renewed");
                Tried::Failed
            }
            Err(_) => {
                tracing::debug!("the lease could not be taken or renewed in time");
                Tried::Failed
            }
        }
    }

    async fn try_lead_once(&mut self) -> Result<bool, CallError> {
        let time = self.clock.now();
        let path = format!("{}/{}", self.path(), self.election.name);
        let lease = match call(&self.client, http::Method::GET, &path, "application/json", &Value::Null).await {
            Ok(lease) => lease,
            Err(error) if error.code == CallError::NOT_FOUND => {
                let lease = self.lease(None, time);
                let made = call(&self.client, http::Method::POST, &self.path(), "application/json", &lease).await?;
                self.seen = Some((made, now()));
                return Ok(true);
            }
            Err(error) => return Err(error),
        };
        if self.seen.as_ref().is_none_or(|(seen, _)| seen["spec"] != lease["spec"]) {
            self.seen = Some((lease.clone(), now()));
        }
        let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default();
        let unchanged_for = self.seen.as_ref().map_or(Duration::ZERO, |(_, at)| at.elapsed());
        let taken = !holder.is_empty() && unchanged_for < self.election.lease_duration;
        if holder != self.election.identity && taken {
            return Ok(false);
        }
        let renewed = self.lease(Some(&lease), time);
        let written = call(&self.client, http::Method::PUT, &path, "application/json", &renewed).await?;
        self.seen = Some((written, now()));
        Ok(true)
    }

    /// The Lease with us as holder.
    fn lease(&self, old: Option<&Value>, time: Time) -> Value {
        let micro = format!("{time:.6}");
        let mut lease = old.cloned().unwrap_or_else(|| {
            json!({
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": self.election.name, "namespace": self.election.namespace},
                "spec": {"leaseTransitions": 0},
            })
        });
        let ours = lease["spec"]["holderIdentity"] == json!(self.election.identity);
        if !ours {
            let transitions = lease["spec"]["leaseTransitions"].as_i64().unwrap_or(0);
            lease["spec"]["leaseTransitions"] = json!(transitions + i64::from(old.is_some()));
            lease["spec"]["acquireTime"] = json!(micro);
        }
        lease["spec"]["holderIdentity"] = json!(self.election.identity);
        lease["spec"]["leaseDurationSeconds"] = json!(self.election.lease_duration.as_secs());
        lease["spec"]["renewTime"] = json!(micro);
        lease
    }

    /// Gives the lead up, so that the next need not wait.
    async fn release(&mut self) {
        let Some((mut lease, _)) = self.seen.take() else { return };
        if lease["spec"]["holderIdentity"] != json!(self.election.identity) {
            return;
        }
        let path = format!("{}/{}", self.path(), self.election.name);
        lease["spec"]["holderIdentity"] = json!("");
        lease["spec"]["leaseDurationSeconds"] = json!(1);
        let call = call(&self.client, http::Method::PUT, &path, "application/json", &lease);
        match tokio::time::timeout(self.election.renew_deadline, call).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::debug!(error = error.message, "the lease could not be given up"),
            Err(_) => tracing::debug!("the lease could not be given up in time"),
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "elapsed time is measured by tokio's clock, which tests can stop")]
fn now() -> Instant {
    Instant::now()
}
