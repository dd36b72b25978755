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
    /// When the attempt began that got it.
    since: Instant,
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
            let begun = Instant::now();
            // What takes longer comes to nothing: others may have waited long enough to claim the lease in turn.
            let claimed = tokio::time::timeout(election.renew_deadline, claim(api, &election, clock, &mut sight)).await;
            match claimed {
                Ok(Ok(true)) => return sight.map(|sight| (sight, begun)),
                Ok(Ok(false)) => {}
                Ok(Err(error)) => tracing::debug!(%error, "cannot claim the leader's lease"),
                Err(_) => tracing::debug!("cannot claim the leader's lease in time"),
            }
            tokio::time::sleep(election.retry_period).await;
        }
    };
    let (sight, since) = cancel.run_until_cancelled(attempt).await??;
    tracing::info!(identity = election.identity, "became the leader");
    Some(Lead { election, sight, since })
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
    /// Renews until all has `ended`, then lets go; cancels what is done as the leader if it can't renew in time.
    pub(super) async fn keep(self, api: &Api, clock: &Clock, cancel: CancellationToken, ended: CancellationToken) {
        let Self { election, sight, since } = self;
        let mut sight = Some(sight);
        let mut renewed = since;
        while ended.run_until_cancelled(tokio::time::sleep(election.retry_period)).await.is_some() {
            let begun = Instant::now();
            let left = election.renew_deadline.saturating_sub(begun.duration_since(renewed));
            match tokio::time::timeout(left, claim(api, &election, clock, &mut sight)).await {
                Ok(Ok(true)) => renewed = begun,
                Ok(Ok(false)) => break,
                Ok(Err(error)) => tracing::warn!(%error, "cannot renew the leader's lease"),
                Err(_) => {}
            }
            if renewed.elapsed() >= election.renew_deadline {
                break;
            }
        }
        if !ended.is_cancelled() {
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
    use std::convert::Infallible;
    use std::sync::{Arc, Mutex};

    use http::{Method, Request, Response};
    use kube::Client;
    use kube::client::Body;

    use super::*;

    /// A server with one lease; it is made after a while.
    #[derive(Clone, Default)]
    struct Server {
        lease: Arc<Mutex<Option<Value>>>,
        takes: Duration,
        /// Whether it says nothing more once the lease is there.
        falls_silent: bool,
    }

    impl Server {
        async fn answer(self, request: Request<Body>) -> Result<Response<Body>, Infallible> {
            let method = request.method().clone();
            let body = request.into_body().collect_bytes().await.unwrap_or_default();
            let body: Value = serde_json::from_slice(&body).unwrap_or_default();
            let there = self.lease.lock().unwrap().is_some();
            if there && self.falls_silent {
                std::future::pending::<()>().await;
            }
            let (code, told) = match method {
                Method::POST => {
                    tokio::time::sleep(self.takes).await;
                    *self.lease.lock().unwrap() = Some(body.clone());
                    (201, body)
                }
                Method::PATCH => {
                    let mut lease = self.lease.lock().unwrap();
                    let lease = lease.as_mut().unwrap();
                    for (field, value) in body["spec"].as_object().unwrap() {
                        lease["spec"][field] = value.clone();
                    }
                    (200, lease.clone())
                }
                _ => match &*self.lease.lock().unwrap() {
                    Some(lease) => (200, lease.clone()),
                    None => (404, json!({"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound"})),
                },
            };
            let response = Response::builder().status(code).header("content-type", "application/json");
            Ok(response.body(Body::from(told.to_string().into_bytes())).unwrap())
        }

        fn api(&self) -> Api {
            let server = self.clone();
            Api::new(Client::new(tower::service_fn(move |request| server.clone().answer(request)), "default"))
        }

        fn holder(&self) -> Value {
            self.lease.lock().unwrap().as_ref().map(|lease| lease["spec"]["holderIdentity"].clone()).unwrap_or_default()
        }
    }

    fn clock() -> Clock {
        Arc::new(|| Time::from_seconds(1_000))
    }

    #[tokio::test(start_paused = true)]
    async fn the_lead_ends_in_time_counted_from_when_it_was_asked_for() {
        let server = Server { takes: Duration::from_secs(8), falls_silent: true, ..Server::default() };
        let (api, start, cancel) = (server.api(), Instant::now(), CancellationToken::new());
        let lead = acquire(&api, LeaderElection::new("me"), &clock(), &cancel).await.unwrap();
        lead.keep(&api, &clock(), cancel.clone(), CancellationToken::new()).await;
        assert!(cancel.is_cancelled());
        assert!(start.elapsed() <= Duration::from_secs(10), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn the_lead_is_let_go_when_all_has_ended() {
        let (server, cancel, ended) = (Server::default(), CancellationToken::new(), CancellationToken::new());
        let api = server.api();
        let lead = acquire(&api, LeaderElection::new("me"), &clock(), &cancel).await.unwrap();
        cancel.cancel();
        let ends = async {
            tokio::time::sleep(Duration::from_secs(60)).await;
            assert_eq!(server.holder(), json!("me"), "something may still be under way");
            ended.cancel();
        };
        let clock = clock();
        tokio::join!(lead.keep(&api, &clock, cancel.clone(), ended.clone()), ends);
        assert_eq!(server.holder(), json!(""));
    }

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
