//! `MutatingAdmissionPolicy`.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use kubewright_api::schema;
use kubewright_api::status::Status;
use serde_json::Value;

use super::compiled::{Binding, Mutation, Policy};
use super::{BUDGET, Policies, namespace_object, params, unconverted};
use crate::admission::asked::{Asked, Variables};
use crate::admission::conditions::Outcome;
use crate::admission::deciding::deciding;
use crate::admission::matching::{Seen, configures_admission};
use crate::admission::metrics::{ErrorType, Half, POLICY};
use crate::admission::{Admission, AdmissionAttributes, AdmissionMetrics};
use crate::authz::Authorizer;
use crate::cel::{Budget, Key, Value as Cel};
use crate::objects::Objects;
use crate::patch;

/// The plugin.
pub struct MutatingPolicies {
    policies: Arc<Policies>,
    objects: Arc<dyn Objects>,
    authorizer: Arc<dyn Authorizer>,
    metrics: AdmissionMetrics,
}

impl fmt::Debug for MutatingPolicies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MutatingPolicies")
    }
}

impl MutatingPolicies {
    const NAME: &'static str = "MutatingAdmissionPolicy";

    /// Applies the policies among these objects; expressions may ask that authorizer.
    #[must_use]
    pub fn new(objects: Arc<dyn Objects>, authorizer: Arc<dyn Authorizer>) -> Self {
        let policies = Policies::observing(&*objects, "mutatingadmissionpolicies", "mutatingadmissionpolicybindings");
        Self { policies, objects, authorizer, metrics: AdmissionMetrics::default() }
    }

    /// Measures into these metrics.
    #[must_use]
    pub fn measured(mut self, metrics: AdmissionMetrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// What is to be done, told by the object as it came; and what stands in the way.
    async fn collect(&self, a: &AdmissionAttributes<'_>) -> (Vec<Invocation>, Vec<Fault>) {
        let (mut invocations, mut faults) = (Vec::new(), Vec::new());
        for (policy, bindings) in self.policies.bound().iter() {
            let seen = match &policy.matcher {
                Ok(matcher) => matcher.matches(a, &*self.objects).await.map_err(|status| status.message),
                Err(why) => Err(why.clone()),
            };
            let seen = match seen {
                Ok(Some(seen)) => seen,
                Ok(None) => continue,
                Err(why) => {
                    faults.push(Fault::configuration(policy, None, &why));
                    continue;
                }
            };
            for binding in bindings {
                match self.sets(a, policy, binding).await {
                    Ok(sets) => invocations.extend(sets.into_iter().map(|params| Invocation {
                        policy: Arc::clone(policy),
                        binding: Arc::clone(binding),
                        seen: seen.clone(),
                        params,
                    })),
                    Err(why) => faults.push(Fault::configuration(policy, Some(binding), &why)),
                }
            }
        }
        (invocations, faults)
    }

    /// The sets of parameters to apply a policy with; none if the binding isn't for the request.
    async fn sets(
        &self,
        a: &AdmissionAttributes<'_>,
        policy: &Policy,
        binding: &Binding,
    ) -> Result<Vec<Option<Value>>, String> {
        if let Some(own) = &binding.matcher {
            let own = own.as_ref().map_err(Clone::clone)?;
            if own.matches(a, &*self.objects).await.map_err(|status| status.message)?.is_none() {
                return Ok(Vec::new());
            }
        }
        params::collect(policy, binding, a, &*self.objects).await
    }

    /// Applies one policy by one binding with one set of parameters.
    async fn apply(
        &self,
        a: &mut AdmissionAttributes<'_>,
        invocation: Invocation,
        namespace: Option<Value>,
        faults: &mut Vec<Fault>,
    ) {
        let Invocation { policy, binding, seen, params } = invocation;
        let of = |params: &Value| {
            let text = |field: &str| params["metadata"][field].as_str().unwrap_or_default().to_owned();
            format!("{}/{}", text("namespace"), text("name"))
        };
        let id = format!("{}|{}|{}", policy.name, binding.name, params.as_ref().map(of).unwrap_or_default());
        let mut asked = match Asked::new(a, &seen, namespace, params, &*self.objects).await {
            Ok(asked) => asked,
            Err(status) => {
                return faults.push(Fault::configuration(&policy, Some(&binding), &unconverted(&status)));
            }
        };
        if !policy.conditions.is_empty() {
            let judge = |authorizer: &Arc<dyn Authorizer>| {
                let variables = Variables::over(&policy.variables, asked.variables(Some(authorizer)));
                policy.conditions.judge_with(&variables)
            };
            let started = Instant::now();
            let judged = deciding(&self.authorizer, judge).await;
            let metrics = self.metrics.policies();
            metrics.judged((POLICY, &policy.name), Half::Mutating, a.operation, &judged, started.elapsed());
            match judged.outcome {
                Outcome::Matches => {}
                Outcome::Skips => return,
                Outcome::Fails(why) => return faults.push(Fault::of(&policy, &binding, why)),
            }
        }
        if !a.reinvocation.asks(Self::NAME, &id) {
            return;
        }
        let before = a.object.clone();
        for mutation in policy.mutations.iter().filter(|_| !before.is_null()) {
            let started = Instant::now();
            let outcome = self.mutate(a, &policy, mutation, &seen, &mut asked).await;
            let error = outcome.as_ref().err().map_or(ErrorType::None, |why| ErrorType::of(why));
            self.metrics.policies().mutated(&policy.name, &binding.name, error, started.elapsed());
            if let Err(why) = outcome {
                faults.push(Fault::of(&policy, &binding, why));
            }
        }
        a.reinvocation.asked(Self::NAME, &id, a.object != before, policy.reinvoke);
    }

    /// Makes one of a policy's changes.
    async fn mutate(
        &self,
        a: &mut AdmissionAttributes<'_>,
        policy: &Policy,
        mutation: &Mutation,
        seen: &Seen,
        asked: &mut Asked,
    ) -> Result<(), String> {
        let evaluate = |authorizer: &Arc<dyn Authorizer>| Self::evaluate(policy, mutation, asked, authorizer);
        let given = deciding(&self.authorizer, evaluate).await?;
        let changed = match mutation {
            Mutation::Apply(_) => applied(asked.object(), given, seen)?,
            Mutation::Patch(_) => match patched(asked.object(), given)? {
                Some(changed) => changed,
                // A test in the patch failed: nothing is to be done.
                None => return Ok(()),
            },
        };
        let back = seen.convert_back(a, changed, &*self.objects).await;
        let mut object = back.map_err(|status| unconverted(&status))?;
        a.complete(&mut object).map_err(|status| status.message)?;
        a.object = object;
        let now = seen.convert(a, &a.object, &*self.objects).await;
        asked.set_object(now.map_err(|status| unconverted(&status))?);
        Ok(())
    }

    fn evaluate(
        policy: &Policy,
        mutation: &Mutation,
        asked: &Asked,
        authorizer: &Arc<dyn Authorizer>,
    ) -> Result<Value, String> {
        let (Mutation::Apply(expression) | Mutation::Patch(expression)) = mutation;
        let variables = Variables::over(&policy.variables, asked.variables(Some(authorizer)));
        let program = expression.program.as_ref().map_err(Clone::clone)?;
        let given = program.eval(&variables, &mut Budget::new(BUDGET));
        let given = given
            .map_err(|error| format!("expression '{}' resulted in error: {}", expression.source, error.message))?;
        // Where the type could not be told before.
        match (mutation, &given) {
            (Mutation::Apply(_), Cel::Object(name, _)) if **name == *"Object" => {
                given.check_names().map_err(|why| format!("type mismatch: {why}"))?;
            }
            (Mutation::Apply(_), other) => {
                let ty = other.type_name();
                return Err(format!("unsupported return type from ApplyConfiguration expression: {ty}"));
            }
            (Mutation::Patch(_), Cel::List(operations)) => {
                for operation in operations.iter() {
                    check_operation(operation)?;
                }
            }
            (Mutation::Patch(_), _) => {
                return Err("type mismatch: JSONPatchType.expression should evaluate to array".into());
            }
        }
        given.to_json().ok_or_else(|| format!("expression '{}' gave nothing that JSON could hold", expression.source))
    }
}

/// An operation must be made as one, and what it adds named as what it is.
fn check_operation(operation: &Cel<'_>) -> Result<(), String> {
    let Cel::Object(name, fields) = operation else {
        let ty = operation.type_name();
        let wanted = "JSONPatchType.expression should evaluate to array of JSONPatch";
        return Err(format!("type mismatch: {wanted}, got element of {ty}"));
    };
    if **name != *"JSONPatch" {
        return Err(format!(
            "type mismatch: JSONPatchType.expression should evaluate to array of JSONPatch, got {name}"
        ));
    }
    let value = fields.iter().find(|(key, _)| matches!(key, Key::String(key) if key == "value"));
    value.map_or(Ok(()), |(_, value)| value.check_names()).map_err(|why| format!("type mismatch: {why}"))
}

/// One thing to do.
struct Invocation {
    policy: Arc<Policy>,
    binding: Arc<Binding>,
    seen: Seen,
    params: Option<Value>,
}

/// Why something could not be done.
struct Fault {
    message: String,
    /// Upstream gives a reason for what went wrong with the object, and none for what is wrong with the policy.
    reason: Option<&'static str>,
    ignored: bool,
}

impl Fault {
    fn configuration(policy: &Policy, binding: Option<&Binding>, why: &str) -> Self {
        let message = match binding {
            None => format!("policy {:?} denied request: failed to configure policy: {why}", policy.name),
            Some(binding) => {
                let by = format!("policy '{}' with binding '{}'", policy.name, binding.name);
                format!("{by} denied request: failed to configure binding: {why}")
            }
        };
        Self { message, reason: None, ignored: policy.ignores_failures }
    }

    fn of(policy: &Policy, binding: &Binding, why: String) -> Self {
        let by = format!("policy '{}' with binding '{}'", policy.name, binding.name);
        Self {
            message: format!("{by} denied request: {why}"),
            reason: Some("Invalid"),
            ignored: policy.ignores_failures,
        }
    }
}

/// The object with what the expression gave applied to it.
fn applied(object: &Value, config: Value, seen: &Seen) -> Result<Value, String> {
    let ty = schema::of_kind(&seen.group, &seen.version, &seen.kind);
    patch::apply::merged(object, &config, ty).map_err(|atomics| {
        format!(
            "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {atomics}"
        )
    })
}

/// The object with what the expression gave applied as a JSON patch; `None` if a test in it fails.
fn patched(object: &Value, operations: Value) -> Result<Option<Value>, String> {
    let operations: json_patch::Patch = serde_json::from_value(operations).map_err(|error| {
        format!("type mismatch: JSONPatchType.expression should evaluate to array of JSONPatch: {error}")
    })?;
    let mut changed = object.clone();
    match patch::apply_operations(&mut changed, &operations) {
        Ok(()) => Ok(Some(changed)),
        Err(error) if error.is_failed_test() => Ok(None),
        Err(error) => Err(format!("JSON Patch: {error}")),
    }
}

#[async_trait]
impl Admission for MutatingPolicies {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn handles(&self, a: &AdmissionAttributes<'_>) -> bool {
        !configures_admission(a) && !self.policies.is_empty(&*self.objects, a)
    }

    async fn admit(&self, a: &mut AdmissionAttributes<'_>) -> Result<(), Status> {
        self.policies.ready(&*self.objects, a)?;
        a.reinvocation.begin(Self::NAME, &a.object);
        let (invocations, mut faults) = self.collect(a).await;
        if !invocations.is_empty() {
            let namespace = namespace_object(a, &*self.objects).await?;
            for invocation in invocations {
                self.apply(a, invocation, namespace.clone(), &mut faults).await;
            }
        }
        a.reinvocation.end(Self::NAME, &a.object);
        faults.retain(|fault| !fault.ignored);
        let Some(first) = faults.first() else { return Ok(()) };
        let mut status = a.forbidden("admission request denied by policy");
        status.message.clone_from(&first.message);
        if let Some(reason) = first.reason {
            status.reason = reason.into();
        }
        Err(faults.into_iter().fold(status, |status, fault| status.with_cause("", fault.message, "")))
    }
}
