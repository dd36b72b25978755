//! Rules of a schema: their texts, whether they compile, and what they may cost.

use kubewright_api::field::{FieldError, Path};
use serde_json::{Value, json};

use super::{REASONS, RULE_COST_MAX, Walk};
use crate::cel::Sizes;
use crate::custom::ListType;
use crate::custom::jsonpath::JsonPath;
use crate::custom::rules::Rule;
use crate::custom::structural::Structural;
use crate::custom::types::{Declared, declare};

impl Walk<'_> {
    /// What rules say beside their expressions.
    pub(super) fn rule_texts(&mut self, schema: &Value, path: &Path) {
        for (at, rule) in schema["x-kubernetes-validations"].as_array().into_iter().flatten().enumerate() {
            let at = path.child("x-kubernetes-validations").index(at);
            let text = |name: &str| rule[name].as_str();
            if text("rule").is_none_or(|text| text.trim().is_empty()) {
                self.required(&at.child("rule"), "rule is not specified");
            }
            let message = text("message").filter(|message| !message.is_empty());
            if let Some(message) = message {
                if message.trim().is_empty() {
                    self.invalid(&at.child("message"), &rule["message"], "must be non-empty if specified");
                } else if message.contains('\n') {
                    self.invalid(&at.child("message"), &rule["message"], "must not contain line breaks");
                }
            } else if text("rule").is_some_and(|rule| rule.contains('\n')) && text("messageExpression").is_none() {
                self.required(&at.child("message"), "message must be specified if rule contains line breaks");
            }
            if text("messageExpression").is_some_and(|text| !text.is_empty() && text.trim().is_empty()) {
                let why = "messageExpression must be non-empty if specified";
                self.required(&at.child("messageExpression"), why);
            }
            if let Some(reason) = text("reason").filter(|reason| !reason.is_empty() && !REASONS.contains(reason)) {
                self.errors.push(FieldError::not_supported(&at.child("reason"), reason, &REASONS));
            }
            if let Some(field) = text("fieldPath").filter(|field| !field.is_empty()) {
                let found = JsonPath::parse(field).ok().and_then(|parsed| {
                    let structural = Structural::read(schema);
                    let names = parsed.fields()?.into_iter().map(str::to_owned).collect::<Vec<_>>();
                    let reached = names.iter().try_fold(&structural, |schema, name| schema.field(name));
                    reached.map(drop)
                });
                if found.is_none() || !field.starts_with(['.', '[']) {
                    let why = format!("fieldPath must be a valid path: does not refer to a valid field: {field}");
                    self.invalid(&at.child("fieldPath"), &rule["fieldPath"], &why);
                }
            }
        }
    }

    /// Compiles the rules, and estimates what they cost on the largest object; `count` values of the schema at most.
    pub(super) fn rules(&mut self, schema: &Structural, root: bool, count: Option<u64>, correlated: bool, path: &Path) {
        if !schema.validations.is_empty() {
            let declared = declare(schema, root || schema.embedded);
            for (at, rule) in schema.validations.iter().enumerate() {
                let at = path.child("x-kubernetes-validations").index(at);
                self.rule(rule, &declared, count, correlated, &at);
            }
        }
        let times = |max: u64| count.map(|count| count.saturating_mul(max));
        for (name, property) in &schema.properties {
            self.rules(property, false, count, correlated, &path.child("properties").key(name));
        }
        let declared = declare(schema, false);
        if let Some(additional) = &schema.additional {
            let at = path.child("additionalProperties");
            self.rules(additional, false, times(declared.sizes.max), correlated, &at);
        }
        if let Some(items) = &schema.items {
            let keyed = matches!(schema.list, ListType::Map(_));
            self.rules(items, false, times(declared.sizes.max), correlated && keyed, &path.child("items"));
        }
    }

    fn rule(&mut self, rule: &Value, declared: &Declared, count: Option<u64>, correlated: bool, path: &Path) {
        let compiled = Rule::compile(rule, &declared.ty);
        let sizes: [(&str, &Sizes); 2] = [("self", &declared.sizes), ("oldSelf", &declared.sizes)];
        match &compiled.program {
            Err(why) => self.invalid(&path.child("rule"), rule, why),
            Ok(program) => {
                let cost = program.estimate(&sizes).max.saturating_mul(count.unwrap_or(1));
                if cost > RULE_COST_MAX {
                    let message = over_budget("estimated rule cost", cost, RULE_COST_MAX);
                    self.forbid(&path.child("rule"), &message);
                }
                self.total = self.total.saturating_add(cost);
            }
        }
        match &compiled.message_expression {
            Some(Err(why)) => self.invalid(&path.child("messageExpression"), rule, why),
            Some(Ok(program)) => {
                let cost = program.estimate(&sizes).max.saturating_mul(count.unwrap_or(1));
                if cost > RULE_COST_MAX {
                    let message = over_budget("estimated messageExpression cost", cost, RULE_COST_MAX);
                    self.forbid(&path.child("messageExpression"), &message);
                }
                self.total = self.total.saturating_add(cost);
            }
            None => {}
        }
        if compiled.uses_old && !correlated {
            let why = format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {path}");
            self.invalid(&path.child("rule"), &rule["rule"], &why);
        }
        if compiled.optional_old && compiled.program.is_ok() && !compiled.uses_old {
            let why = "may not be set if oldSelf is not used in rule";
            self.invalid(&path.child("optionalOldSelf"), &json!(true), why);
        }
    }
}

/// How far a cost is over a limit, in upstream's words.
#[allow(clippy::cast_precision_loss, reason = "shown with one digit")]
pub(super) fn over_budget(what: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let hint = "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and \
                strings are declared)";
    if factor > 100.0 {
        return format!("{what} exceeds budget by factor of more than 100x {hint}");
    }
    if factor < 1.5 {
        return format!("{what} exceeds budget by {:.1}% {hint}", (factor - 1.0) * 100.0);
    }
    format!("{what} exceeds budget by factor of {factor:.1}x {hint}")
}
