//! `MutatingAdmissionWebhook` and `ValidatingAdmissionWebhook`: others are asked about writes, as objects of the API say.

mod call;
mod hook;
pub(in crate::admission) mod review;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use kubewright_api::status::Status;
use serde_json::json;

use self::call::{Caller, Failure, failed_closed};
use self::hook::{Hook, Hooks};
use super::asked::Asked;
use super::conditions::Outcome;
use super::deciding::deciding;
use super::matching::{Seen, configures_admission};
use super::metrics::{Half, WEBHOOK};
use super::{Admission, AdmissionAttributes, AdmissionMetrics};
use crate::authz::Authorizer;
use crate::environment::Environment;
use crate::objects::Objects;
use crate::patch::apply_operations;
use crate::remote::{Credentials, Remote};

/// What both sorts of webhooks need.
#[derive(Clone)]
struct Shared {
    hooks: Arc<Hooks>,
    caller: Caller,
    authorizer: Arc<dyn Authorizer>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("hooks", &self.hooks).finish_non_exhaustive()
    }
}

impl Shared {
    fn new(
        resource: &'static str,
        objects: Arc<dyn Objects>,
        authorizer: Arc<dyn Authorizer>,
        environment: Arc<dyn Environment>,
        remote: Arc<dyn Remote>,
    ) -> Self {
        let hooks = Hooks::observing(&*objects, resource);
        Self {
            hooks,
            caller: Caller {
                objects,
                environment,
                remote,
                turn: Arc::default(),
                metrics: AdmissionMetrics::default(),
                credentials: Credentials::default(),
            },
            authorizer,
        }
    }

    /// Whether the webhook is to be called, and in which version it sees the objects.
    async fn seen(&self, hook: &Hook, a: &AdmissionAttributes<'_>, half: Half) -> Result<Option<Seen>, Status> {
        let Some(seen) = hook.matcher.matches(a, &*self.caller.objects).await? else { return Ok(None) };
        if hook.conditions.is_empty() {
            return Ok(Some(seen));
        }
        let asked = Asked::new(a, &seen, None, None, &*self.caller.objects).await?;
        let started = Instant::now();
        let judged = deciding(&self.authorizer, |authorizer| hook.conditions.judge(&asked, authorizer)).await;
        let policies = self.caller.metrics.policies();
        policies.judged((WEBHOOK, &hook.name), half, a.operation, &judged, started.elapsed());
        match judged.outcome {
            Outcome::Matches => Ok(Some(seen)),
            Outcome::Skips => Ok(None),
            Outcome::Fails(why) => Err(Status::forbidden(a.group, a.resource, a.name, &why)),
        }
    }
}

/// Asks webhooks what to change.
#[derive(Debug)]
pub struct MutatingWebhooks {
    shared: Shared,
}

impl MutatingWebhooks {
    /// Asks those that the `MutatingWebhookConfiguration`s among these objects describe.
    #[must_use]
    pub fn new(
        objects: Arc<dyn Objects>,
        authorizer: Arc<dyn Authorizer>,
        environment: Arc<dyn Environment>,
        remote: Arc<dyn Remote>,
    ) -> Self {
        Self { shared: Shared::new("mutatingwebhookconfigurations", objects, authorizer, environment, remote) }
    }

    /// Measures calls into these metrics.
    #[must_use]
    pub fn measured(mut self, metrics: AdmissionMetrics) -> Self {
        self.shared.caller.metrics = metrics;
        self
    }

    /// Shows these to webhooks (default: nothing).
    #[must_use]
    pub fn with_credentials(mut self, credentials: Credentials) -> Self {
        self.shared.caller.credentials = credentials;
        self
    }

    async fn ask(&self, at: usize, hook: &Hook, a: &mut AdmissionAttributes<'_>) -> Result<(), Status> {
        let Some(seen) = self.shared.seen(hook, a, Half::Mutating).await? else { return Ok(()) };
        // The second time only those are asked that want it, and that were asked the first time.
        if !a.reinvocation.asks(Self::NAME, &hook.id) {
            return Ok(());
        }
        let round = a.reinvocation.round();
        let outcome = self.shared.caller.call(hook, a, &seen, true).await;
        let mut changed = false;
        let outcome = match outcome {
            Ok(verdict) if !verdict.allowed => Err(Failure::Refused(review::refusal(&hook.name, verdict.status))),
            Ok(verdict) => match verdict.patch() {
                // The webhook was called and agreed: whatever its failure policy is, it is not for others to undo that.
                Err(why) => Err(Failure::Refused(Status::internal(why))),
                Ok(None) => Ok(()),
                Ok(Some(patch)) => match apply(hook, a, &seen, &patch, &*self.shared.caller.objects).await {
                    Ok(now) => {
                        changed = now;
                        let note = json!({"configuration": hook.configuration, "webhook": hook.name, "patch": patch,
                            "patchType": "JSONPatch"});
                        let key = format!("patch.webhook.admission.k8s.io/round_{round}_index_{at}");
                        a.warnings.annotate(key, note.to_string());
                        Ok(())
                    }
                    Err(status) => Err(Failure::Refused(status)),
                },
            },
            Err(failure) => Err(failure),
        };
        let note = json!({"configuration": hook.configuration, "webhook": hook.name, "mutated": changed});
        a.warnings.annotate(format!("mutation.webhook.admission.k8s.io/round_{round}_index_{at}"), note.to_string());
        a.reinvocation.asked(Self::NAME, &hook.id, changed, hook.reinvoke);
        match outcome {
            Ok(()) => Ok(()),
            Err(Failure::Refused(status)) => Err(status),
            Err(Failure::Call { why, .. }) if hook.ignores_failures => {
                tracing::warn!(webhook = hook.name, why, "failed calling a webhook, failing open");
                let key = format!("failed-open.mutating.webhook.admission.k8s.io/round_{round}_index_{at}");
                a.warnings.annotate(key, hook.name.clone());
                Ok(())
            }
            Err(Failure::Call { why, .. }) => Err(failed_closed(hook, &why)),
        }
    }

    const NAME: &'static str = "MutatingAdmissionWebhook";
}

/// Applies a webhook's patch; says whether it changed anything.
async fn apply(
    hook: &Hook,
    a: &mut AdmissionAttributes<'_>,
    seen: &Seen,
    patch: &json_patch::Patch,
    objects: &dyn Objects,
) -> Result<bool, Status> {
    if a.object.is_null() {
        let why = "attempted to modify the object, which is not supported for this operation";
        return Err(Status::internal(format!("admission webhook {:?} {why}", hook.name)));
    }
    let before = seen.convert(a, &a.object, objects).await?;
    let mut patched = before.clone();
    apply_operations(&mut patched, patch).map_err(Status::internal)?;
    if patched == before {
        return Ok(false);
    }
    let mut patched = seen.convert_back(a, patched, objects).await?;
    a.complete(&mut patched).map_err(|status| Status::internal(status.message))?;
    let changed = patched != a.object;
    a.object = patched;
    Ok(changed)
}

#[async_trait]
impl Admission for MutatingWebhooks {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn handles(&self, a: &AdmissionAttributes<'_>) -> bool {
        !configures_admission(a) && !self.shared.hooks.is_empty(&*self.shared.caller.objects, a)
    }

    async fn admit(&self, a: &mut AdmissionAttributes<'_>) -> Result<(), Status> {
        self.shared.hooks.ready(&*self.shared.caller.objects, a)?;
        a.reinvocation.begin(Self::NAME, &a.object);
        for (at, hook) in self.shared.hooks.all().iter().enumerate() {
            self.ask(at, hook, a).await?;
        }
        a.reinvocation.end(Self::NAME, &a.object);
        Ok(())
    }
}

/// Asks webhooks whether to let a write in; all at once.
#[derive(Debug)]
pub struct ValidatingWebhooks {
    shared: Shared,
}

impl ValidatingWebhooks {
    /// Asks those that the `ValidatingWebhookConfiguration`s among these objects describe.
    #[must_use]
    pub fn new(
        objects: Arc<dyn Objects>,
        authorizer: Arc<dyn Authorizer>,
        environment: Arc<dyn Environment>,
        remote: Arc<dyn Remote>,
    ) -> Self {
        Self { shared: Shared::new("validatingwebhookconfigurations", objects, authorizer, environment, remote) }
    }

    /// Measures calls into these metrics.
    #[must_use]
    pub fn measured(mut self, metrics: AdmissionMetrics) -> Self {
        self.shared.caller.metrics = metrics;
        self
    }

    /// Shows these to webhooks (default: nothing).
    #[must_use]
    pub fn with_credentials(mut self, credentials: Credentials) -> Self {
        self.shared.caller.credentials = credentials;
        self
    }

    async fn ask(&self, at: usize, hook: &Hook, a: &AdmissionAttributes<'_>, seen: &Seen) -> Result<(), Status> {
        match self.shared.caller.call(hook, a, seen, false).await {
            Ok(verdict) if verdict.allowed => Ok(()),
            Ok(verdict) => Err(review::refusal(&hook.name, verdict.status)),
            Err(Failure::Refused(status)) => Err(status),
            Err(Failure::Call { why, .. }) if hook.ignores_failures => {
                tracing::warn!(webhook = hook.name, why, "failed calling a webhook, failing open");
                let key = format!("failed-open.validating.webhook.admission.k8s.io/round_0_index_{at}");
                a.warnings.annotate(key, hook.name.clone());
                Ok(())
            }
            Err(Failure::Call { why, .. }) => Err(failed_closed(hook, &why)),
        }
    }
}

#[async_trait]
impl Admission for ValidatingWebhooks {
    fn name(&self) -> &'static str {
        "ValidatingAdmissionWebhook"
    }

    fn handles(&self, a: &AdmissionAttributes<'_>) -> bool {
        !configures_admission(a) && !self.shared.hooks.is_empty(&*self.shared.caller.objects, a)
    }

    async fn validate(&self, a: &AdmissionAttributes<'_>) -> Result<(), Status> {
        self.shared.hooks.ready(&*self.shared.caller.objects, a)?;
        let hooks = self.shared.hooks.all();
        let mut meant = Vec::new();
        for hook in hooks.iter() {
            if let Some(seen) = self.shared.seen(hook, a, Half::Validating).await? {
                meant.push((hook, seen));
            }
        }
        let calls = meant.iter().enumerate().map(|(at, (hook, seen))| self.ask(at, hook, a, seen));
        let outcomes: Vec<Result<(), Status>> = futures::future::join_all(calls).await;
        outcomes.into_iter().collect()
    }
}
