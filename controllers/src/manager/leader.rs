//! Leader election by a `Lease`: of several managers one works, the others wait.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Clock;
use crate::Error;
use crate::api::{Api, decode, object_path};
use crate::objects::{Lease, ObjectKey, Time, kinds};

/// How the leader is elected.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LeaderElection {
    /// Who we are: different for each manager.
    pub identity: String,
    /// The lease's namespace.
    pub namespace: String,
    /// The lease's name.
    pub name: String,
    /// For how long others wait after the leader's last sign of life.
    pub lease_duration: Duration,
    /// For how long the leader may fail to renew before it gives up.
    pub renew_deadline: Duration,
    /// How often everyone tries.
    pub retry_period: Duration,
}

impl LeaderElection {
    /// Election by the lease `kube-system/kube-controller-manager`, with upstream's periods (15 s, 10 s, 2 s).
    pub fn new(identity: impl Into<String>) -> Self {
        Self {
            identity: identity.into(),
            namespace: "kube-system".to_owned(),
            name: "kube-controller-manager".to_owned(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }

    fn key(&self) -> ObjectKey {
        ObjectKey::new(&self.namespace, &self.name)
    }
}

/// What we saw of the lease, and when by our own clock: the holder's clock may differ.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sight {
    lease: Lease,
    changed: Instant,
}

/// What to do about the lease.
#[derive(Debug, PartialEq)]
enum Move {
    /// Someone else holds it.
    Wait,
    /// Write it, by this patch of its specification.
    Claim(Value),
}

/// Decides what to do about a lease last seen to change at `sight.changed`.
fn decide(election: &LeaderElection, sight: &Sight, at: Instant, time: Time) -> Move {
    let spec = &sight.lease.spec;
    let renewed = json!({
        "holderIdentity": election.identity,
        "leaseDurationSeconds": election.lease_duration.as_secs(),
        "renewTime": time.to_micro_string(),
    });
    if spec.holder_identity == election.identity {
        return Move::Claim(renewed);
    }
    let expired = at.duration_since(sight.changed) >= election.lease_duration;
    if !spec.holder_identity.is_empty() && !expired {
        return Move::Wait;
    }
    let mut claim = renewed;
    claim["acquireTime"] = json!(time.to_micro_string());
    claim["leaseTransitions"] = json!(spec.lease_transitions + 1);
    Move::Claim(claim)
}

/// A lease that we hold.
pub(super) struct Lead {
    election: LeaderElection,
    sight: Sight,
}

/// Waits until we hold the lease; `None` if cancelled before.
pub(super) async fn acquire(
    api: &Api,
    election: LeaderElection,
    clock: &Clock,
    cancel: &CancellationToken,
) -> Option<Lead> {
    let attempt = async {
        let mut sight = None;
        loop {
            match claim(api, &election, clock, &mut sight).await {
                Ok(true) => break,
                Ok(false) => {}
                Err(error) => tracing::debug!(%error, "cannot claim the leader's lease"),
            }
            tokio::time::sleep(election.retry_period).await;
        }
        sight
    };
    let sight = cancel.run_until_cancelled(attempt).await??;
    tracing::info!(identity = election.identity, "became the leader");
    Some(Lead { election, sight })
}

/// One attempt to get or renew the lease.
async fn claim(api: &Api, election: &LeaderElection, clock: &Clock, sight: &mut Option<Sight>) -> Result<bool, Error> {
    let path = kinds::LEASE.path(&election.namespace);
    let key = election.key();
    let lease: Lease = match api.get(&object_path(&path, &key, ""), "application/json").await {
        Ok(lease) => lease,
        Err(Error::NotFound { .. }) => {
            let time = clock().to_micro_string();
            let spec = json!({"holderIdentity": election.identity, "acquireTime": time, "renewTime": time,
                "leaseDurationSeconds": election.lease_duration.as_secs(), "leaseTransitions": 0});
            let object = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": {"name": election.name, "namespace": election.namespace}, "spec": spec});
            let created = decode(&api.create(kinds::LEASE, &election.namespace, &object).await?)?;
            *sight = Some(Sight { lease: created, changed: Instant::now() });
            return Ok(true);
        }
        Err(error) => return Err(error),
    };
    let seen = match sight.take() {
        Some(seen) if seen.lease.spec == lease.spec => Sight { lease, ..seen },
        _ => Sight { lease, changed: Instant::now() },
    };
    let version = seen.lease.metadata.resource_version.clone();
    let decision = decide(election, &seen, Instant::now(), clock());
    *sight = Some(seen);
    let Move::Claim(spec) = decision else { return Ok(false) };
    let body = json!({"metadata": {"resourceVersion": version}, "spec": spec});
    let written = decode(&api.patch(kinds::LEASE, &key, "", &body).await?)?;
    *sight = Some(Sight { lease: written, changed: Instant::now() });
    Ok(true)
}

impl Lead {
    /// Renews until cancelled, then lets go; cancels if it can't renew in time.
    pub(super) async fn keep(self, api: &Api, clock: &Clock, cancel: CancellationToken) {
        let Self { election, sight } = self;
        let mut sight = Some(sight);
        let mut renewed = Instant::now();
        while cancel.run_until_cancelled(tokio::time::sleep(election.retry_period)).await.is_some() {
            let left = election.renew_deadline.saturating_sub(renewed.elapsed());
            match tokio::time::timeout(left, claim(api, &election, clock, &mut sight)).await {
                Ok(Ok(true)) => renewed = Instant::now(),
                Ok(Ok(false)) => break,
                Ok(Err(error)) => tracing::warn!(%error, "cannot renew the leader's lease"),
                Err(_) => {}
            }
            if renewed.elapsed() >= election.renew_deadline {
                break;
            }
        }
        if !cancel.is_cancelled() {
            tracing::warn!(identity = election.identity, "lost leadership");
            cancel.cancel();
            return;
        }
        let Some(seen) = sight else { return };
        // Letting go lets the next leader start at once instead of waiting for the lease to expire.
        let body = json!({"metadata": {"resourceVersion": seen.lease.metadata.resource_version},
            "spec": {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": clock().to_micro_string()}});
        let key = election.key();
        let release = api.patch(kinds::LEASE, &key, "", &body);
        _ = tokio::time::timeout(Duration::from_secs(1), release).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lease_changes_hands_only_when_it_expired_by_our_clock() {
        let election = LeaderElection::new("me");
        let start = Instant::now();
        let mut lease = Lease::default();
        lease.spec.holder_identity = "other".into();
        lease.spec.lease_transitions = 3;
        let sight = Sight { lease, changed: start };
        let time = Time::from_seconds(1_000);
        assert_eq!(decide(&election, &sight, start + Duration::from_secs(14), time), Move::Wait);
        let Move::Claim(claim) = decide(&election, &sight, start + Duration::from_secs(15), time) else {
            panic!("it expired")
        };
        assert_eq!((&claim["holderIdentity"], &claim["leaseTransitions"]), (&json!("me"), &json!(4)));
        let mut ours = sight;
        ours.lease.spec.holder_identity = "me".into();
        let Move::Claim(renewal) = decide(&election, &ours, start, time) else { panic!("it is ours") };
        assert!(renewal.get("leaseTransitions").is_none());
    }
}
