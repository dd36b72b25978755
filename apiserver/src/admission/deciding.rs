//! Expressions that ask an authorizer which must itself ask others, such as a webhook.
//!
//! Expressions don't wait. One that asks what can't be told at once is given up, the answer is waited for, and it is run
//! again with the answer known: the same question then has its answer at once.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::FutureExt;

use crate::authz::{Attributes, Authorizer, Decision};

/// How many such questions one evaluation may ask; those beyond stay undecided.
const QUESTIONS_MAX: usize = 64;

type Deciding = Pin<Box<dyn Future<Output = Decision> + Send>>;

/// What is known, and what is being asked.
#[derive(Default)]
struct Memory {
    known: Vec<(Attributes, Decision)>,
    asked: Option<(Attributes, Deciding)>,
}

/// An authorizer that answers at once or not at all, and remembers.
struct Remembering {
    inner: Arc<dyn Authorizer>,
    memory: Mutex<Memory>,
}

#[async_trait]
impl Authorizer for Remembering {
    async fn authorize(&self, attributes: &Attributes) -> Decision {
        if let Some(decision) = self.at_once(attributes) {
            return decision;
        }
        // Who asks looks once, and then waits for the answer elsewhere.
        std::future::pending().await
    }
}

impl Remembering {
    fn at_once(&self, attributes: &Attributes) -> Option<Decision> {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, decision)) = memory.known.iter().find(|(known, _)| known == attributes) {
            return Some(decision.clone());
        }
        if memory.asked.is_some() {
            return None;
        }
        let (inner, question) = (Arc::clone(&self.inner), attributes.clone());
        let mut deciding: Deciding = Box::pin(async move { inner.authorize(&question).await });
        match (&mut deciding).now_or_never() {
            Some(decision) => Some(decision),
            None => {
                memory.asked = Some((attributes.clone(), deciding));
                None
            }
        }
    }
}

/// Evaluates something with the authorizer, as often as it takes until all it asks is decided.
pub(super) async fn deciding<T: Send>(
    authorizer: &Arc<dyn Authorizer>,
    evaluate: impl Fn(&Arc<dyn Authorizer>) -> T + Send,
) -> T {
    let remembering = Arc::new(Remembering { inner: Arc::clone(authorizer), memory: Mutex::default() });
    let lent: Arc<dyn Authorizer> = Arc::clone(&remembering) as _;
    let memory = || remembering.memory.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..QUESTIONS_MAX {
        let outcome = evaluate(&lent);
        let asked = memory().asked.take();
        let Some((attributes, deciding)) = asked else { return outcome };
        // What came of the run is void.
        drop(outcome);
        let decision = deciding.await;
        memory().known.push((attributes, decision));
    }
    evaluate(&lent)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::request::User;

    /// Says yes to alice, after a while.
    #[derive(Default)]
    struct Slow(AtomicUsize);

    #[async_trait]
    impl Authorizer for Slow {
        async fn authorize(&self, attributes: &Attributes) -> Decision {
            self.0.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            match attributes.user.name.as_str() {
                "alice" => Decision::Allow(String::new()),
                _ => Decision::NoOpinion(String::new()),
            }
        }
    }

    #[tokio::test]
    async fn what_is_not_decided_at_once_is_waited_for_and_asked_once() {
        let slow = Arc::new(Slow::default());
        let authorizer: Arc<dyn Authorizer> = Arc::clone(&slow) as _;
        let outcome = deciding(&authorizer, |authorizer| {
            let ask = |name: &str| {
                let attributes = Attributes { user: User::new(name, &[]), ..Attributes::default() };
                authorizer.authorize(&attributes).now_or_never().map(|decision| decision.is_allowed())
            };
            [ask("alice"), ask("bob"), ask("alice")]
        });
        assert_eq!(outcome.await, [Some(true), Some(false), Some(true)]);
        assert_eq!(slow.0.load(Ordering::Relaxed), 2);
    }
}
