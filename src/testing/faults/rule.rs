//! What goes wrong, in which requests, and how often.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kubewright_api::status::Status;
use kubewright_apiserver::request::RequestInfo;

/// Something that goes wrong with requests of the test's clients: what, in which requests, how often.
///
/// Without more it happens once, to the first request it can happen to.
///
/// ```
/// use kubewright::testing::Fault;
///
/// // The next two writes of the status of a Deployment meet someone else's.
/// let conflicts = Fault::conflict().verb("patch").resource("deployments/status").times(2);
/// // One request in ten, drawn from this seed, never gets an answer.
/// let lossy = Fault::lost_answer().probability(0.1, 7);
/// ```
#[derive(Clone, Debug)]
#[must_use = "a fault does nothing until it is given to a cluster"]
pub struct Fault {
    pub(super) effect: Effect,
    verbs: Vec<String>,
    resource: Option<(String, String)>,
    namespace: Option<String>,
    name: Option<String>,
    user: Option<String>,
    often: Often,
}

/// What goes wrong.
#[derive(Clone, Debug)]
pub(super) enum Effect {
    /// The request is answered so and never reaches the server.
    Refuse(Status),
    /// As [`Refuse`](Self::Refuse), in the words of a conflict about the object.
    Conflict,
    /// It is held up.
    Delay(Duration),
    /// It never reaches the server, and there is no answer.
    LostRequest,
    /// It is carried out, but there is no answer.
    LostAnswer,
    /// The watch ends after so many events; with an error event that says so, or just so.
    EndWatch { events: usize, expired: bool },
    /// The list shows what there was when the fault was injected.
    StaleList,
}

#[derive(Clone, Copy, Debug)]
enum Often {
    Times(u64),
    Always,
    Probability { share: f64, seed: u64 },
}

impl Fault {
    const fn new(effect: Effect) -> Self {
        let verbs = Vec::new();
        Self { effect, verbs, resource: None, namespace: None, name: None, user: None, often: Often::Times(1) }
    }

    /// 409: someone else changed the object meanwhile. Happens to updates and patches, unless verbs are named.
    pub fn conflict() -> Self {
        Self::new(Effect::Conflict)
    }

    /// 500: the server broke down over it.
    pub fn internal_error() -> Self {
        Self::status(Status::internal("injected by the test"))
    }

    /// 503: the server can't answer now.
    pub fn unavailable() -> Self {
        Self::status(Status::unavailable("injected by the test"))
    }

    /// 429: too many requests, to be tried again after so many seconds.
    pub fn too_many_requests(retry_after_seconds: u32) -> Self {
        Self::status(Status::too_many_requests("injected by the test", retry_after_seconds))
    }

    /// Any refusal.
    pub fn status(status: Status) -> Self {
        Self::new(Effect::Refuse(status))
    }

    /// The request takes so much longer.
    pub fn delay(by: Duration) -> Self {
        Self::new(Effect::Delay(by))
    }

    /// The connection breaks before the server hears of the request.
    pub fn lost_request() -> Self {
        Self::new(Effect::LostRequest)
    }

    /// The connection breaks after the server did what was asked.
    pub fn lost_answer() -> Self {
        Self::new(Effect::LostAnswer)
    }

    /// A watch breaks off after so many events. Happens to watches only.
    pub fn broken_watch(after_events: usize) -> Self {
        Self::new(Effect::EndWatch { events: after_events, expired: false })
    }

    /// A watch ends after so many events with 410: its resource version is too old, list anew. Happens to watches only.
    pub fn expired_watch(after_events: usize) -> Self {
        Self::new(Effect::EndWatch { events: after_events, expired: true })
    }

    /// A list shows what there was when the fault was injected, as one server of several may that lags. Happens to
    /// lists only.
    pub fn stale_list() -> Self {
        Self::new(Effect::StaleList)
    }

    /// Only to this verb, such as `patch` or `watch`; called again, to that one too.
    pub fn verb(mut self, verb: &str) -> Self {
        self.verbs.push(verb.to_owned());
        self
    }

    /// Only to this resource by its plural name, such as `deployments`; a subresource is named as `deployments/status`,
    /// and is not meant by the resource alone.
    pub fn resource(mut self, resource: &str) -> Self {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        self.resource = Some((resource.to_owned(), subresource.to_owned()));
        self
    }

    /// Only in this namespace.
    pub fn namespace(mut self, namespace: &str) -> Self {
        self.namespace = Some(namespace.to_owned());
        self
    }

    /// Only to the object of this name.
    pub fn named(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Only to requests of this user; see [`TestCluster::client_as`](crate::testing::TestCluster::client_as).
    pub fn user(mut self, user: &str) -> Self {
        self.user = Some(user.to_owned());
        self
    }

    /// So many times, and then no more.
    pub fn times(mut self, times: u64) -> Self {
        self.often = Often::Times(times);
        self
    }

    /// Every time, until it is [lifted](Injected::lift).
    pub fn always(mut self) -> Self {
        self.often = Often::Always;
        self
    }

    /// To this share of requests, from 0 to 1, drawn from this seed: the same seed draws the same.
    pub fn probability(mut self, share: f64, seed: u64) -> Self {
        self.often = Often::Probability { share, seed };
        self
    }

    fn concerns(&self, user: &str, info: &RequestInfo) -> bool {
        let own: &[&str] = match self.effect {
            Effect::Conflict => &["update", "patch"],
            Effect::EndWatch { .. } => &["watch"],
            Effect::StaleList => &["list"],
            _ => &[],
        };
        let verb = info.verb.as_str();
        let verb_fits = if self.verbs.is_empty() {
            own.is_empty() || own.contains(&verb)
        } else {
            self.verbs.iter().any(|v| v == verb)
        };
        let fits = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
        let resource = self.resource.as_ref();
        verb_fits
            && resource.is_none_or(|(name, sub)| *name == info.resource && *sub == info.subresource)
            && fits(&self.namespace, &info.namespace)
            && fits(&self.name, &info.name)
            && fits(&self.user, user)
    }
}

/// A fault that a cluster was given.
#[derive(Clone, Debug)]
pub struct Injected(pub(super) Arc<State>);

#[derive(Debug)]
pub(super) struct State {
    pub(super) fault: Fault,
    /// The store's revision when it was injected.
    pub(super) revision: u64,
    hits: AtomicU64,
    lifted: AtomicBool,
    random: Mutex<u64>,
}

impl State {
    pub(super) fn new(fault: Fault, revision: u64) -> Self {
        let seed = if let Often::Probability { seed, .. } = fault.often { seed } else { 0 };
        Self { fault, revision, hits: AtomicU64::new(0), lifted: AtomicBool::new(false), random: Mutex::new(seed) }
    }

    /// Whether it happens to this request; counts that it does.
    pub(super) fn strikes(&self, user: &str, info: &RequestInfo) -> bool {
        if self.lifted.load(Ordering::Relaxed) || !self.fault.concerns(user, info) {
            return false;
        }
        match self.fault.often {
            Often::Always => _ = self.hits.fetch_add(1, Ordering::Relaxed),
            Often::Times(times) => {
                let next = |hits| (hits < times).then_some(hits + 1);
                return self.hits.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok();
            }
            Often::Probability { share, .. } => {
                if self.draw() >= share {
                    return false;
                }
                self.hits.fetch_add(1, Ordering::Relaxed);
            }
        }
        true
    }

    /// The next number from 0 to 1: SplitMix64, which is the same everywhere.
    fn draw(&self) -> f64 {
        let mut state = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        #[allow(clippy::cast_precision_loss, reason = "53 bits are what a f64 holds")]
        let share = (mixed >> 11) as f64 / (1_u64 << 53) as f64;
        share
    }

    fn is_over(&self) -> bool {
        let spent = matches!(self.fault.often, Often::Times(times) if self.hits.load(Ordering::Relaxed) >= times);
        spent || self.lifted.load(Ordering::Relaxed)
    }
}

impl Injected {
    /// How often it happened.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.0.hits.load(Ordering::Relaxed)
    }

    /// Whether it can't happen again.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.is_over()
    }

    /// Ends it.
    pub fn lift(&self) {
        self.0.lifted.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    fn request(method: Method, target: &str) -> RequestInfo {
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        RequestInfo::parse(&method, path, query)
    }

    #[test]
    fn a_fault_happens_to_what_it_names() {
        let status = "/apis/apps/v1/namespaces/a/deployments/web/status";
        let object = "/apis/apps/v1/namespaces/a/deployments/web";
        let cases = [
            (Fault::conflict(), Method::PATCH, object, true),
            (Fault::conflict(), Method::GET, object, false),
            (Fault::conflict().verb("delete"), Method::DELETE, object, true),
            (Fault::internal_error(), Method::GET, "/version", true),
            (Fault::conflict().resource("deployments"), Method::PUT, status, false),
            (Fault::conflict().resource("deployments/status"), Method::PUT, status, true),
            (Fault::unavailable().named("other"), Method::GET, object, false),
            (Fault::unavailable().namespace("a").named("web"), Method::GET, object, true),
            (Fault::unavailable().user("someone"), Method::GET, object, false),
            (Fault::broken_watch(1), Method::GET, "/api/v1/pods?watch=true", true),
            (Fault::broken_watch(1), Method::GET, "/api/v1/pods", false),
            (Fault::stale_list(), Method::GET, "/api/v1/pods", true),
        ];
        for (fault, method, target, expected) in cases {
            let (state, info) = (State::new(fault.clone(), 0), request(method, target));
            assert_eq!(state.strikes("me", &info), expected, "{fault:?} {target}");
        }
    }

    #[test]
    fn a_fault_happens_as_often_as_it_says() {
        let info = request(Method::GET, "/api/v1/pods");
        let often = |fault: Fault| {
            let state = State::new(fault, 0);
            (0..1000).filter(|_| state.strikes("me", &info)).count()
        };
        assert_eq!(often(Fault::unavailable()), 1);
        assert_eq!(often(Fault::unavailable().times(3)), 3);
        assert_eq!(often(Fault::unavailable().always()), 1000);
        let drawn = often(Fault::unavailable().probability(0.1, 1));
        assert!((50..200).contains(&drawn), "{drawn}");
        assert_eq!(drawn, often(Fault::unavailable().probability(0.1, 1)), "the seed decides");
        let lifted = Injected(Arc::new(State::new(Fault::unavailable().always(), 0)));
        lifted.lift();
        assert!(lifted.is_over() && !lifted.0.strikes("me", &info));
    }
}
