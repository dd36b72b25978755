//! `ValidatingAdmissionPolicy`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use kubewright_api::status::Status;
use serde_json::{Value, json};

use super::compiled::{Binding, Expression, Policy, Validation};
use super::{BUDGET, Policies, namespace_object, params, unconverted};
use crate::admission::asked::{Asked, Variables};
use crate::admission::conditions::{Judged, Outcome};
use crate::admission::deciding::deciding;
use crate::admission::matching::{Seen, configures_admission};
use crate::admission::metrics::{Enforcement, ErrorType, Half, POLICY};
use crate::admission::{Admission, AdmissionAttributes, AdmissionMetrics};
use crate::authz::Authorizer;
use crate::cel::{Budget, Value as Cel};
use crate::objects::Objects;

/// Longest message that an expression may make, in bytes.
const MESSAGE_BYTES_MAX: usize = 5 * 1024;
/// Longest value of an annotation, in bytes.
const ANNOTATION_BYTES_MAX: usize = 10 * 1024;

/// The plugin.
pub struct ValidatingPolicies {
    policies: Arc<Policies>,
    objects: Arc<dyn Objects>,
    authorizer: Arc<dyn Authorizer>,
    metrics: AdmissionMetrics,
}

impl fmt::Debug for ValidatingPolicies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ValidatingPolicies")
    }
}

/// Why a rule was not kept.
struct Denial {
    message: String,
    reason: String,
    /// How long it took to find out.
    took: Duration,
}

impl Denial {
    /// It could not be found out.
    fn fault(message: impl Into<String>) -> Self {
        Self { message: message.into(), reason: String::new(), took: Duration::ZERO }
    }

    fn after(mut self, started: Instant) -> Self {
        self.took = started.elapsed();
        self
    }
}

/// A denial that refuses the request.
struct Refusal {
    policy: String,
    binding: Option<String>,
    denial: Denial,
}

/// What a policy said with one set of parameters.
#[derive(Default)]
struct Judgement {
    /// By the number of the rule.
    denials: Vec<(usize, Denial)>,
    /// What could not be found out, where that is ignored.
    ignored: Vec<Denial>,
    /// How the conditions were judged, and how long that took.
    judged: Option<(Judged, Duration)>,
    annotations: Vec<(String, String)>,
    /// An annotation that can't be told, where failures count.
    broken_annotations: Vec<Denial>,
}

impl ValidatingPolicies {
    /// Enforces the policies among these objects; expressions may ask that authorizer.
    #[must_use]
    pub fn new(objects: Arc<dyn Objects>, authorizer: Arc<dyn Authorizer>) -> Self {
        let policies =
            Policies::observing(&*objects, "validatingadmissionpolicies", "validatingadmissionpolicybindings");
        Self { policies, objects, authorizer, metrics: AdmissionMetrics::default() }
    }

    /// Measures into these metrics.
    #[must_use]
    pub fn measured(mut self, metrics: AdmissionMetrics) -> Self {
        self.metrics = metrics;
        self
    }

    fn evaluate(policy: &Policy, asked: &Asked, authorizer: &Arc<dyn Authorizer>) -> Judgement {
        let with = Variables::over(&policy.variables, asked.variables(Some(authorizer)));
        let without = Variables::over(&policy.variables, asked.variables(None));
        let mut judgement = Judgement::default();
        let started = Instant::now();
        let judged = policy.conditions.judge_with(&with);
        let (matches, fault) = match &judged.outcome {
            Outcome::Matches => (true, None),
            Outcome::Skips => (false, None),
            Outcome::Fails(why) => (false, Some((0, Denial::fault(why.as_str()).after(started)))),
        };
        judgement.judged = (!policy.conditions.is_empty()).then(|| (judged, started.elapsed()));
        judgement.denials.extend(fault);
        if !matches {
            return judgement;
        }
        let mut budget = Budget::new(BUDGET);
        for (at, validation) in policy.validations.iter().enumerate() {
            let started = Instant::now();
            match run(&validation.expression, &with, &mut budget) {
                Ok(Cel::Bool(true)) => {}
                Ok(_) => {
                    let message = message(validation, &without, &mut budget);
                    let (reason, took) = (validation.reason.clone(), started.elapsed());
                    judgement.denials.push((at, Denial { message, reason, took }));
                }
                Err(why) if policy.ignores_failures => judgement.ignored.push(Denial::fault(why).after(started)),
                Err(why) => judgement.denials.push((at, Denial::fault(why).after(started))),
            }
        }
        let mut budget = Budget::new(BUDGET);
        for (key, expression) in &policy.annotations {
            let started = Instant::now();
            let mut broken = |why: String| judgement.broken_annotations.push(Denial::fault(why).after(started));
            match run(expression, &without, &mut budget) {
                Ok(Cel::String(text)) if !text.trim().is_empty() => {
                    judgement.annotations.push((key.clone(), cut(text.trim(), ANNOTATION_BYTES_MAX)));
                }
                Ok(Cel::String(_) | Cel::Null) => {}
                Ok(other) => broken(format!(
                    "valueExpression '{}' resulted in unsupported return type: {}. Return type must be either string \
                     or null.",
                    expression.source,
                    other.type_name()
                )),
                Err(_) if policy.ignores_failures => {}
                Err(why) => broken(why),
            }
        }
        judgement
    }

    /// Holds a request to one policy; gives what refuses it.
    async fn judge(
        &self,
        a: &AdmissionAttributes<'_>,
        policy: &Policy,
        bindings: &[Arc<Binding>],
    ) -> Result<Vec<Refusal>, Status> {
        let mut refusals = Vec::new();
        let unusable = |what: &str, why: &str, binding: Option<&Binding>| {
            (!policy.ignores_failures).then(|| Refusal {
                policy: policy.name.clone(),
                binding: binding.map(|binding| binding.name.clone()),
                denial: Denial::fault(format!("failed to configure {what}: {why}")),
            })
        };
        let seen = match &policy.matcher {
            Ok(matcher) => matcher.matches(a, &*self.objects).await.map_err(|status| status.message),
            Err(why) => Err(why.clone()),
        };
        let seen = match seen {
            Ok(Some(seen)) => seen,
            Ok(None) => return Ok(refusals),
            Err(why) => {
                refusals.extend(unusable("policy", &why, None));
                return Ok(refusals);
            }
        };
        let mut annotations: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for binding in bindings {
            match self.sets(a, policy, binding).await {
                Ok(sets) => {
                    for params in sets {
                        let judgement = match self.judge_set(a, policy, &seen, params).await? {
                            Ok(judgement) => judgement,
                            Err(why) => {
                                refusals.extend(unusable("binding", &why, Some(binding)));
                                continue;
                            }
                        };
                        self.measure(a, policy, binding, &judgement);
                        for (key, value) in judgement.annotations {
                            let values = annotations.entry(key).or_default();
                            if !values.contains(&value) {
                                values.push(value);
                            }
                        }
                        let named = |denial| Refusal {
                            policy: policy.name.clone(),
                            binding: Some(binding.name.clone()),
                            denial,
                        };
                        for (at, denial) in judgement.denials {
                            if self.act(a, binding, at, &denial) {
                                refusals.push(named(denial));
                            }
                        }
                        refusals.extend(judgement.broken_annotations.into_iter().map(named));
                    }
                }
                Err(why) => refusals.extend(unusable("binding", &why, Some(binding))),
            }
        }
        for (key, values) in annotations {
            a.warnings.annotate(format!("{}/{key}", policy.name), values.join(", "));
        }
        Ok(refusals)
    }

    fn measure(&self, a: &AdmissionAttributes<'_>, policy: &Policy, binding: &Binding, judgement: &Judgement) {
        let metrics = self.metrics.policies();
        let observe = |denial: &Denial, enforcement| {
            metrics.validated(&policy.name, &binding.name, ErrorType::of(&denial.message), enforcement, denial.took);
        };
        if let Some((judged, took)) = &judgement.judged {
            metrics.judged((POLICY, &policy.name), Half::Validating, a.operation, judged, *took);
        }
        judgement.ignored.iter().for_each(|denial| observe(denial, Enforcement::Allow));
        judgement.broken_annotations.iter().for_each(|denial| observe(denial, Enforcement::Deny));
        for (_, denial) in &judgement.denials {
            for action in &binding.actions {
                match action.as_str() {
                    "Deny" => observe(denial, Enforcement::Deny),
                    "Warn" => observe(denial, Enforcement::Warn),
                    "Audit" => observe(denial, Enforcement::Audit),
                    _ => {}
                }
            }
        }
    }

    /// The sets of parameters to judge with; none if the binding isn't for the request.
    async fn sets(
        &self,
        a: &AdmissionAttributes<'_>,
        policy: &Policy,
        binding: &Binding,
    ) -> Result<Vec<Option<Value>>, String> {
        match &binding.matcher {
            Some(Err(why)) => return Err(why.clone()),
            Some(Ok(matcher)) => {
                let meant = matcher.matches(a, &*self.objects).await.map_err(|status| status.message)?;
                if meant.is_none() {
                    return Ok(Vec::new());
                }
            }
            None => {}
        }
        params::collect(policy, binding, a, &*self.objects).await
    }

    async fn judge_set(
        &self,
        a: &AdmissionAttributes<'_>,
        policy: &Policy,
        seen: &Seen,
        params: Option<Value>,
    ) -> Result<Result<Judgement, String>, Status> {
        let namespace = namespace_object(a, &*self.objects).await?;
        let asked = match Asked::new(a, seen, namespace, params, &*self.objects).await {
            Ok(asked) => asked,
            Err(status) => return Ok(Err(unconverted(&status))),
        };
        Ok(Ok(deciding(&self.authorizer, |authorizer| Self::evaluate(policy, &asked, authorizer)).await))
    }

    /// Does what the binding asks for; says whether that is a refusal.
    fn act(&self, a: &AdmissionAttributes<'_>, binding: &Binding, at: usize, denial: &Denial) -> bool {
        let (policy, name) = (&binding.policy, &binding.name);
        let mut denied = false;
        for action in &binding.actions {
            match action.as_str() {
                "Deny" => denied = true,
                "Warn" => a.warnings.add(format!(
                    "Validation failed for ValidatingAdmissionPolicy '{policy}' with binding '{name}': {}",
                    denial.message
                )),
                "Audit" => {
                    let failure = json!([{
                        "message": denial.message, "policy": policy, "binding": name, "expressionIndex": at,
                        "validationActions": binding.actions,
                    }]);
                    a.warnings.annotate("validation.policy.admission.k8s.io/validation_failure", failure.to_string());
                }
                _ => {}
            }
        }
        denied
    }
}

fn run<'a>(expression: &Expression, variables: &[(&str, Cel<'a>)], budget: &mut Budget) -> Result<Cel<'a>, String> {
    let program = expression.program.as_ref().map_err(Clone::clone)?;
    let result = program.eval(variables, budget);
    result.map_err(|error| format!("expression '{}' resulted in error: {}", expression.source, error.message))
}

/// What to say of a rule that was not kept.
fn message(validation: &Validation, variables: &[(&str, Cel<'_>)], budget: &mut Budget) -> String {
    let made = validation.message_expression.as_ref().and_then(|expression| run(expression, variables, budget).ok());
    if let Some(Cel::String(text)) = made {
        let text = text.trim();
        if !text.is_empty() && text.len() <= MESSAGE_BYTES_MAX && !text.contains('\n') {
            return text.to_owned();
        }
    }
    match validation.message.as_str() {
        "" => format!("failed expression: {}", validation.expression.source),
        message => message.to_owned(),
    }
}

fn cut(text: &str, bytes_max: usize) -> String {
    let end = (0..=text.len().min(bytes_max)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text[..end].to_owned()
}

fn refuse(a: &AdmissionAttributes<'_>, refusal: Refusal) -> Status {
    let Refusal { policy, binding, denial } = refusal;
    let by = binding.map_or_else(String::new, |binding| format!(" with binding '{binding}'"));
    let message = format!("ValidatingAdmissionPolicy '{policy}'{by} denied request: {}", denial.message);
    let mut status = a.forbidden(&message).with_cause("", message, "");
    let (reason, code) = match denial.reason.as_str() {
        "Forbidden" => ("Forbidden", 403),
        "Unauthorized" => ("Unauthorized", 401),
        "RequestEntityTooLarge" => ("RequestEntityTooLarge", 413),
        _ => ("Invalid", 422),
    };
    status.reason = reason.into();
    status.code = code;
    status
}

#[async_trait]
impl Admission for ValidatingPolicies {
    fn name(&self) -> &'static str {
        "ValidatingAdmissionPolicy"
    }

    fn handles(&self, a: &AdmissionAttributes<'_>) -> bool {
        !configures_admission(a) && !self.policies.is_empty(&*self.objects, a)
    }

    async fn validate(&self, a: &AdmissionAttributes<'_>) -> Result<(), Status> {
        self.policies.ready(&*self.objects, a)?;
        let mut first = None;
        for (policy, bindings) in self.policies.bound().iter() {
            let refusals = self.judge(a, policy, bindings).await?;
            first = first.or_else(|| refusals.into_iter().next());
        }
        first.map_or(Ok(()), |refusal| Err(refuse(a, refusal)))
    }
}
