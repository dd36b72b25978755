//! A webhook that answers out of this test.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::remote::{Kubeconfig, RemoteError, Target};
use crate::request::User;

struct Clock(AtomicI64);

impl Environment for Clock {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.0.load(Ordering::Relaxed)).unwrap()
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        bytes.fill(0);
    }
}

/// Answers with these statuses in turn, the last one for ever; keeps what it was asked.
struct Hook {
    answers: Mutex<Vec<(u16, Value)>>,
    asked: Mutex<Vec<Value>>,
}

#[async_trait]
impl Remote for Hook {
    async fn send(&self, _: &Target, request: Request<Bytes>) -> Result<Response<Bytes>, RemoteError> {
        assert_eq!(request.headers()["authorization"], "Bearer t");
        self.asked.lock().unwrap().push(serde_json::from_slice(request.body()).unwrap());
        let (code, status) = {
            let mut answers = self.answers.lock().unwrap();
            if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() }
        };
        if code == 0 {
            std::future::pending::<()>().await;
        }
        let body = json!({"status": status}).to_string();
        Ok(Response::builder().status(code).body(body.into()).unwrap())
    }
}

struct Test {
    hook: Arc<Hook>,
    clock: Arc<Clock>,
    webhook: AuthorizationWebhook,
}

fn test(answers: &[(u16, Value)], failure_policy: FailurePolicy, conditions: &[&str]) -> Test {
    let kubeconfig = "{current-context: c, contexts: [{name: c, context: {cluster: k, user: u}}], clusters: [{name: k, \
                      cluster: {server: 'https://hook.test/'}}], users: [{name: u, user: {token: t}}]}";
    let mut compiled = MatchConditions::default();
    conditions.iter().for_each(|condition| compiled.add(condition).unwrap());
    let config = AuthorizationWebhookConfig {
        name: "hook".into(),
        kubeconfig: Kubeconfig::parse(kubeconfig, Path::new("/")).unwrap(),
        v1beta1: false,
        authorized_ttl: SignedDuration::from_secs(300),
        unauthorized_ttl: SignedDuration::from_secs(30),
        timeout: Duration::from_secs(3),
        failure_policy,
        conditions: compiled,
    };
    let hook = Arc::new(Hook { answers: Mutex::new(answers.to_vec()), asked: Mutex::default() });
    let clock = Arc::new(Clock(AtomicI64::new(0)));
    let (remote, environment) = (Arc::clone(&hook) as _, Arc::clone(&clock) as _);
    Test { hook, clock, webhook: AuthorizationWebhook::new(config, remote, environment, AuthzMetrics::default()) }
}

fn list_pods() -> Attributes {
    Attributes {
        user: User {
            name: "ann".into(),
            groups: vec!["dev".into()],
            extra: BTreeMap::from([("a.test/b".into(), vec!["c".into()])]),
            ..User::default()
        },
        verb: "list".into(),
        version: "v1".into(),
        namespace: "web".into(),
        resource: "pods".into(),
        is_resource_request: true,
        label_selector: "tier in (front,edge),!canary".into(),
        field_selector: "spec.nodeName=n1".into(),
        ..Attributes::default()
    }
}

impl Test {
    async fn decide(&self) -> Decision {
        self.webhook.authorize(&list_pods()).await
    }

    fn asked(&self) -> usize {
        self.hook.asked.lock().unwrap().len()
    }
}

#[tokio::test]
async fn a_review_is_posted_and_its_answer_remembered() {
    let yes = json!({"allowed": true, "reason": "friend"});
    let test = test(&[(201, yes), (201, json!({"allowed": false}))], FailurePolicy::Deny, &[]);
    assert_eq!(test.decide().await, Decision::Allow("friend".into()));
    let expected = json!({
        "user": "ann", "groups": ["dev"], "extra": {"a.test/b": ["c"]},
        "resourceAttributes": {
            "namespace": "web", "verb": "list", "version": "v1", "resource": "pods",
            "fieldSelector": {"requirements": [{"key": "spec.nodeName", "operator": "In", "values": ["n1"]}]},
            "labelSelector": {"requirements": [
                {"key": "canary", "operator": "DoesNotExist"},
                {"key": "tier", "operator": "In", "values": ["edge", "front"]},
            ]},
        },
    });
    {
        let asked = test.hook.asked.lock().unwrap();
        assert_eq!((&asked[0]["spec"], &asked[0]["apiVersion"]), (&expected, &json!("authorization.k8s.io/v1")));
    }
    test.clock.0.store(299, Ordering::Relaxed);
    assert_eq!((test.decide().await.is_allowed(), test.asked()), (true, 1));
    test.clock.0.store(300, Ordering::Relaxed);
    assert_eq!((test.decide().await, test.asked()), (Decision::NoOpinion(String::new()), 2));
    // A no is forgotten sooner.
    test.clock.0.store(329, Ordering::Relaxed);
    test.decide().await;
    assert_eq!(test.asked(), 2);
    test.clock.0.store(330, Ordering::Relaxed);
    test.decide().await;
    assert_eq!(test.asked(), 3);
}

#[tokio::test]
async fn who_says_both_says_no() {
    let both = json!({"allowed": true, "denied": true, "reason": "r"});
    assert_eq!(test(&[(200, both)], FailurePolicy::NoOpinion, &[]).decide().await, Decision::Deny("r".into()));
}

#[tokio::test(start_paused = true)]
async fn failures_are_tried_again_and_then_the_policy_decides() {
    let passing =
        test(&[(500, json!({})), (429, json!({})), (200, json!({"allowed": true}))], FailurePolicy::Deny, &[]);
    assert_eq!((passing.decide().await.is_allowed(), passing.asked()), (true, 3));
    for (code, tries) in [(500, 5), (403, 1), (0, 1)] {
        let closed = test(&[(code, json!({}))], FailurePolicy::Deny, &[]);
        assert_eq!((closed.decide().await, closed.asked()), (Decision::Deny(String::new()), tries), "{code}");
        let open = test(&[(code, json!({}))], FailurePolicy::NoOpinion, &[]);
        assert_eq!(open.decide().await, Decision::NoOpinion(String::new()));
        // Nothing is remembered of a failure.
        open.decide().await;
        assert_eq!(open.asked(), 2 * tries);
    }
}

/// Can't be worked out for a request about a resource.
const FAILS: &str = "request.nonResourceAttributes.path == '/x'";

#[tokio::test]
async fn conditions_say_when_it_is_asked() {
    let yes = [(200, json!({"allowed": true}))];
    let decide = |policy, conditions: &'static [&'static str]| {
        let test = test(&yes, policy, conditions);
        async move { (test.decide().await, test.asked()) }
    };
    let allowed = Decision::Allow(String::new());
    let no_opinion = Decision::NoOpinion(String::new());
    let holds: &[&str] = &[
        "request.resourceAttributes.namespace == 'web' && request.resourceAttributes.subresource == ''",
        "'dev' in request.groups && !has(request.nonResourceAttributes)",
        "request.resourceAttributes.labelSelector.requirements.exists(r, r.key == 'tier' && r.values == ['edge', 'front'])",
    ];
    assert_eq!(decide(FailurePolicy::Deny, holds).await, (allowed, 1));
    assert_eq!(decide(FailurePolicy::Deny, &["request.user == 'bob'"]).await, (no_opinion.clone(), 0));
    assert_eq!(decide(FailurePolicy::Deny, &[FAILS]).await, (Decision::Deny(String::new()), 0));
    assert_eq!(decide(FailurePolicy::NoOpinion, &[FAILS]).await, (no_opinion.clone(), 0));
    // What is false decides, whatever fails beside it.
    assert_eq!(decide(FailurePolicy::Deny, &[FAILS, "false"]).await.0, no_opinion);
}
