//! The user that a token's claims stand for.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::authn::config::{JwtConfig, Mapping, Rule};
use crate::cel::{Budget, Program, Value as Cel};
use crate::request::User;

const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// The user, if the claims keep all rules.
pub(super) fn user_of(config: &JwtConfig, claims: &Map<String, Value>) -> Result<User, String> {
    // One value for all expressions.
    let all = Value::Object(claims.clone());
    let user = User {
        name: username(config, claims, &all)?,
        groups: groups(config, claims, &all)?,
        uid: uid(config, claims, &all)?,
        extra: extra(config, claims, &all)?,
    };
    for (claim, wanted) in &config.required {
        let found = claims.get(claim).ok_or_else(|| format!("required claim {claim} not present in ID token"))?;
        let found = found.as_str().ok_or_else(|| format!("parse claim {claim}: it is no string"))?;
        if found != wanted {
            return Err(format!("required claim {claim} value does not match. Got = {found}, want = {wanted}"));
        }
    }
    check_rules(&config.claim_rules, "claims", Cel::claims(&all))
        .map_err(|why| format!("error evaluating claim validation expression: {why}"))?;
    if !config.user_rules.is_empty() {
        let info = json!({"username": user.name, "uid": user.uid, "groups": user.groups, "extra": user.extra});
        check_rules(&config.user_rules, "user", Cel::claims(&info))
            .map_err(|why| format!("error evaluating user info validation rule: {why}"))?;
    }
    Ok(user)
}

fn run<'a>(program: &Program, all: &'a Value) -> Result<Cel<'a>, String> {
    program.eval(&[("claims", Cel::claims(all))], &mut Budget::per_call()).map_err(|error| error.message)
}

fn check_rules(rules: &[Rule], variable: &str, value: Cel<'_>) -> Result<(), String> {
    for rule in rules {
        let outcome = rule.program.eval(&[(variable, value.clone())], &mut Budget::per_call());
        match outcome {
            Ok(Cel::Bool(true)) => {}
            Ok(Cel::Bool(false)) => {
                return Err(format!("validation expression '{}' failed: {}", rule.expression, rule.message));
            }
            Ok(_) => return Err("validation expression must return a boolean".into()),
            Err(error) => return Err(format!("expression '{}' resulted in error: {}", rule.expression, error.message)),
        }
    }
    Ok(())
}

fn text_claim(claims: &Map<String, Value>, claim: &str) -> Result<String, String> {
    let value = claims.get(claim).ok_or("claim not present")?;
    value.as_str().map(str::to_owned).ok_or_else(|| "the claim is no string".to_owned())
}

fn username(config: &JwtConfig, claims: &Map<String, Value>, all: &Value) -> Result<String, String> {
    match &config.mappings.username {
        Some(Mapping::Claim { claim, prefix }) => {
            let name = text_claim(claims, claim).map_err(|why| format!("parse username claims {claim:?}: {why}"))?;
            if claim == "email" && claims.get("email_verified").is_some_and(|verified| *verified != true) {
                return Err("email not verified".into());
            }
            Ok(format!("{prefix}{name}"))
        }
        Some(Mapping::Expression(program)) => {
            let failed = |why: String| format!("error evaluating username claim expression: {why}");
            match run(program, all).map_err(failed)? {
                Cel::String(name) if name.is_empty() => Err("empty username via CEL expression is not allowed".into()),
                Cel::String(name) => Ok((*name).to_owned()),
                _ => Err(failed("username claim expression must return a string".into())),
            }
        }
        None => Err("no username is mapped".into()),
    }
}

fn groups(config: &JwtConfig, claims: &Map<String, Value>, all: &Value) -> Result<Vec<String>, String> {
    match &config.mappings.groups {
        None => Ok(Vec::new()),
        Some(Mapping::Claim { claim, prefix }) => {
            let malformed = || format!("parse groups claim {claim:?}: it is neither a string nor a list of strings");
            let found = match claims.get(claim) {
                // Upstream takes a claim that is there and null for no groups.
                None | Some(Value::Null) => Vec::new(),
                Some(Value::String(one)) => vec![one.clone()],
                Some(many) => serde_json::from_value(many.clone()).map_err(|_| malformed())?,
            };
            Ok(found.into_iter().map(|group| format!("{prefix}{group}")).collect())
        }
        Some(Mapping::Expression(program)) => {
            let failed = |why: String| format!("error evaluating group claim expression: {why}");
            texts(&run(program, all).map_err(failed)?).map_err(failed)
        }
    }
}

fn uid(config: &JwtConfig, claims: &Map<String, Value>, all: &Value) -> Result<String, String> {
    match &config.mappings.uid {
        None => Ok(String::new()),
        Some(Mapping::Claim { claim, .. }) => {
            text_claim(claims, claim).map_err(|why| format!("parse uid claim {claim:?}: {why}"))
        }
        Some(Mapping::Expression(program)) => {
            let failed = |why: String| format!("error evaluating uid claim expression: {why}");
            match run(program, all).map_err(failed)? {
                Cel::String(uid) => Ok((*uid).to_owned()),
                _ => Err(failed("uid claim expression must return a string".into())),
            }
        }
    }
}

fn extra(
    config: &JwtConfig,
    claims: &Map<String, Value>,
    all: &Value,
) -> Result<BTreeMap<String, Vec<String>>, String> {
    let mut extra = BTreeMap::new();
    if let Some(id) = claims.get("jti").and_then(Value::as_str).filter(|id| !id.is_empty()) {
        extra.insert(CREDENTIAL_ID.to_owned(), vec![format!("JTI={id}")]);
    }
    for (key, expression, program) in &config.mappings.extra {
        let failed = |why: String| format!("error evaluating extra claim expression: {expression}: {why}");
        let values = texts(&run(program, all).map_err(failed)?).map_err(failed)?;
        if !values.is_empty() {
            extra.insert(key.clone(), values);
        }
    }
    Ok(extra)
}

/// A string, a list of strings or null as a list, without what is empty.
fn texts(value: &Cel<'_>) -> Result<Vec<String>, String> {
    let wrong = || "expression must return a string or a list of strings".to_owned();
    let list = match value.to_json() {
        Some(Value::Null) => Vec::new(),
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(many)) => {
            let texts = many.into_iter().map(|value| value.as_str().map(str::to_owned).ok_or_else(wrong));
            texts.collect::<Result<_, _>>()?
        }
        _ => return Err(wrong()),
    };
    Ok(list.into_iter().filter(|text| !text.is_empty()).collect())
}
