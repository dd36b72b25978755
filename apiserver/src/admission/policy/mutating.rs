//! `MutatingAdmissionPolicy`.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use kubewright_api::schema;
use kubewright_api::status::Status;
use serde_json::Value;

use super::compiled::{Binding, Expression, Mutation, Policy};
use super::{BUDGET, Policies, namespace_object, params};
use crate::admission::conditions::{Asked, Outcome, Variables};
use crate::admission::deciding::deciding;
use crate::admission::matching::{Seen, configures_admission};
use crate::admission::{Admission, AdmissionAttributes};
use crate::authz::Authorizer;
use crate::cel::{Budget, Value as Cel};
use crate::objects::Objects;
use crate::patch;

/// The plugin.
pub struct MutatingPolicies {
    policies: Arc<Policies>,
    objects: Arc<dyn Objects>,
    authorizer: Arc<dyn Authorizer>,
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
        Self { policies, objects, authorizer }
    }

    /// Applies one policy by one binding.
    async fn apply(&self, a: &mut AdmissionAttributes<'_>, policy: &Policy, binding: &Binding) -> Result<(), String> {
        let matcher = policy.matcher.as_ref().map_err(|why| format!("failed to configure policy: {why}"))?;
        let configure = |why: String| format!("failed to configure binding: {why}");
        let seen = matcher.matches(a, &*self.objects).await.map_err(|status| configure(status.message))?;
        let Some(seen) = seen else { return Ok(()) };
        if let Some(own) = &binding.matcher {
            let own = own.as_ref().map_err(|why| configure(why.clone()))?;
            if own.matches(a, &*self.objects).await.map_err(|status| configure(status.message))?.is_none() {
                return Ok(());
            }
        }
        for params in params::collect(policy, binding, a, &*self.objects).map_err(configure)? {
            let of = |params: &Value| {
                let meta = &params["metadata"];
                format!(
                    "{}/{}",
                    meta["namespace"].as_str().unwrap_or_default(),
                    meta["name"].as_str().unwrap_or_default()
                )
            };
            let id = format!("{}|{}|{}", policy.name, binding.name, params.as_ref().map(of).unwrap_or_default());
            let namespace = namespace_object(a, &*self.objects).await.map_err(|status| status.message)?;
            let mut asked = Asked::new(a, &seen, namespace, params);
            let judge = |authorizer: &Arc<dyn Authorizer>| {
                let variables = Variables::over(&policy.variables, asked.variables(Some(authorizer)));
                policy.conditions.judge_with(&variables)
            };
            match deciding(&self.authorizer, judge).await {
                Outcome::Matches => {}
                Outcome::Skips => continue,
                Outcome::Fails(why) => return Err(why),
            }
            if !a.reinvocation.asks(Self::NAME, &id) {
                continue;
            }
            let changed = if a.object.is_null() { false } else { self.change(a, policy, &seen, &mut asked).await? };
            a.reinvocation.asked(Self::NAME, &id, changed, policy.reinvoke);
        }
        Ok(())
    }

    /// Makes a policy's changes; says whether there were any.
    async fn change(
        &self,
        a: &mut AdmissionAttributes<'_>,
        policy: &Policy,
        seen: &Seen,
        asked: &mut Asked,
    ) -> Result<bool, String> {
        let before = a.object.clone();
        for mutation in &policy.mutations {
            let (Mutation::Apply(expression) | Mutation::Patch(expression)) = mutation;
            let evaluate = |authorizer: &Arc<dyn Authorizer>| Self::evaluate(policy, expression, asked, authorizer);
            let given = deciding(&self.authorizer, evaluate).await?;
            let changed = match mutation {
                Mutation::Apply(_) => applied(asked.object(), given, seen)?,
                Mutation::Patch(_) => match patched(asked.object(), given)? {
                    Some(changed) => changed,
                    // A test in the patch failed: nothing is to be done.
                    None => continue,
                },
            };
            let mut object = seen.convert_back(a, changed);
            a.complete(&mut object).map_err(|status| status.message)?;
            a.object = object;
            asked.set_object(seen.convert(a, &a.object));
        }
        Ok(a.object != before)
    }

    fn evaluate(
        policy: &Policy,
        expression: &Expression,
        asked: &Asked,
        authorizer: &Arc<dyn Authorizer>,
    ) -> Result<Value, String> {
        let variables = Variables::over(&policy.variables, asked.variables(Some(authorizer)));
        let program = expression.program.as_ref().map_err(Clone::clone)?;
        let given = program.eval(&variables, &mut Budget::new(BUDGET));
        let given: Cel<'_> = given
            .map_err(|error| format!("expression '{}' resulted in error: {}", expression.source, error.message))?;
        given.to_json().ok_or_else(|| format!("expression '{}' gave nothing that JSON could hold", expression.source))
    }
}

/// The object with what the expression gave applied to it.
fn applied(object: &Value, config: Value, seen: &Seen) -> Result<Value, String> {
    if !config.is_object() {
        return Err("type mismatch: ApplyConfiguration expression must give an Object".into());
    }
    let ty = schema::of_kind(&seen.group, &seen.version, &seen.kind);
    patch::apply::merged(object, &config, ty).map_err(|atomics| {
        format!(
            "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {atomics}"
        )
    })
}

/// The object with what the expression gave applied as a JSON patch; `None` if a test in it fails.
fn patched(object: &Value, operations: Value) -> Result<Option<Value>, String> {
    let patch: json_patch::Patch = serde_json::from_value(operations).map_err(|error| {
        format!("type mismatch: JSONPatchType.expression should evaluate to array of JSONPatch: {error}")
    })?;
    let mut changed = object.clone();
    match json_patch::patch(&mut changed, &patch) {
        Ok(()) => Ok(Some(changed)),
        Err(error) if matches!(error.kind, json_patch::PatchErrorKind::TestFailed) => Ok(None),
        Err(error) => Err(format!("JSON Patch: {error}")),
    }
}

#[async_trait]
impl Admission for MutatingPolicies {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn handles(&self, a: &AdmissionAttributes<'_>) -> bool {
        !self.policies.is_empty() && !configures_admission(a)
    }

    async fn admit(&self, a: &mut AdmissionAttributes<'_>) -> Result<(), Status> {
        a.reinvocation.begin(Self::NAME, &a.object);
        let mut refusals = Vec::new();
        for (policy, bindings) in self.policies.bound() {
            for binding in &bindings {
                if let Err(why) = self.apply(a, &policy, binding).await
                    && !policy.ignores_failures
                {
                    let by = format!("policy '{}' with binding '{}'", policy.name, binding.name);
                    refusals.push(format!("{by} denied request: {why}"));
                }
            }
        }
        a.reinvocation.end(Self::NAME, &a.object);
        let Some(first) = refusals.first() else { return Ok(()) };
        let mut status = a.forbidden("admission request denied by policy");
        status.message.clone_from(first);
        status.reason = "Invalid".into();
        Err(refusals.into_iter().fold(status, |status, message| status.with_cause("", message, "")))
    }
}
