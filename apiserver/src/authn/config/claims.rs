//! What claims mean: rules they must keep, and the user that they become.

use kubewright_api::field::{FieldError, FieldErrors, Path};
use kubewright_api::names;

use super::file;
use crate::cel::{Env, Program, Type};

/// A rule that must hold, and what is said where it doesn't.
#[derive(Debug)]
pub(in crate::authn) struct Rule {
    pub(in crate::authn) expression: String,
    pub(in crate::authn) message: String,
    pub(in crate::authn) program: Program,
}

/// Where a part of the user comes from.
#[derive(Debug)]
pub(in crate::authn) enum Mapping {
    /// A claim, with something put before it.
    Claim { claim: String, prefix: String },
    /// What an expression over all claims gives.
    Expression(Program),
}

/// Where the user comes from.
#[derive(Debug, Default)]
pub(in crate::authn) struct ClaimMappings {
    pub(in crate::authn) username: Option<Mapping>,
    pub(in crate::authn) groups: Option<Mapping>,
    pub(in crate::authn) uid: Option<Mapping>,
    /// Key, expression and program.
    pub(in crate::authn) extra: Vec<(String, String, Program)>,
}

fn claims_env() -> Env {
    Env::new().with("claims", Type::map(Type::Dyn))
}

fn user_env() -> Env {
    let texts = Type::list(Type::String);
    let user = Type::object(
        "kubernetes.UserInfo",
        [("username", Type::String), ("uid", Type::String), ("groups", texts.clone()), ("extra", Type::map(texts))],
    );
    Env::new().with("user", user)
}

/// Compiles an expression; one that must be a truth value has to be known as such.
fn compile(text: &str, env: &Env, truth: bool, path: &Path, faults: &mut FieldErrors) -> Option<Program> {
    let why = match Program::compile(text, env) {
        Ok(program) if truth && *program.result() != Type::Bool => "must evaluate to bool".to_owned(),
        Ok(program) => return Some(program),
        Err(error) => format!("compilation failed: {error}"),
    };
    faults.push(FieldError::invalid(path, text, why));
    None
}

/// Claims that are required with a value, and rules.
pub(super) fn claim_rules(
    rules: &[file::ClaimRule],
    path: &Path,
    faults: &mut FieldErrors,
) -> (Vec<(String, String)>, Vec<Rule>) {
    let (mut required, mut compiled) = (Vec::<(String, String)>::new(), Vec::<Rule>::new());
    let mut seen = Vec::new();
    for (at, rule) in rules.iter().enumerate() {
        let path = path.index(at);
        match (rule.claim.as_str(), rule.expression.as_str()) {
            ("", "") => faults.push(FieldError::required(&path, "claim or expression is required")),
            (claim, "") => {
                if !rule.message.is_empty() {
                    let why = "may not be specified when claim is set";
                    faults.push(FieldError::invalid(&path.child("message"), rule.message.as_str(), why));
                }
                if required.iter().any(|(known, _)| known == claim) {
                    faults.push(FieldError::duplicate(&path.child("claim"), claim));
                }
                required.push((claim.to_owned(), rule.required_value.clone()));
            }
            ("", expression) => {
                if !rule.required_value.is_empty() {
                    let why = "may not be specified when expression is set";
                    faults.push(FieldError::invalid(&path.child("requiredValue"), rule.required_value.as_str(), why));
                }
                compiled.extend(one_rule(expression, &rule.message, &claims_env(), &path, &mut seen, faults));
            }
            (claim, _) => faults.push(FieldError::invalid(&path, claim, "claim and expression can't both be set")),
        }
    }
    (required, compiled)
}

fn one_rule<'a>(
    expression: &'a str,
    message: &str,
    env: &Env,
    path: &Path,
    seen: &mut Vec<&'a str>,
    faults: &mut FieldErrors,
) -> Option<Rule> {
    let path = path.child("expression");
    if seen.contains(&expression) {
        faults.push(FieldError::duplicate(&path, expression));
        return None;
    }
    seen.push(expression);
    let program = compile(expression, env, true, &path, faults)?;
    Some(Rule { expression: expression.to_owned(), message: message.to_owned(), program })
}

/// Rules of the user that came of the claims.
pub(super) fn user_rules(rules: &[file::UserRule], path: &Path, faults: &mut FieldErrors) -> Vec<Rule> {
    let (mut compiled, mut seen) = (Vec::new(), Vec::new());
    for (at, rule) in rules.iter().enumerate() {
        let path = path.index(at);
        if rule.expression.is_empty() {
            faults.push(FieldError::required(&path.child("expression"), ""));
            continue;
        }
        compiled.extend(one_rule(&rule.expression, &rule.message, &user_env(), &path, &mut seen, faults));
    }
    compiled
}

pub(super) fn mappings(file: &file::Mappings, rules: &[Rule], path: &Path, faults: &mut FieldErrors) -> ClaimMappings {
    let username = prefixed(&file.username, &path.child("username"), true, faults);
    let groups = prefixed(&file.groups, &path.child("groups"), false, faults);
    let at = path.child("uid");
    let uid = match (file.uid.claim.as_str(), file.uid.expression.as_str()) {
        ("", "") => None,
        (claim, "") => Some(Mapping::Claim { claim: claim.to_owned(), prefix: String::new() }),
        ("", expression) => {
            compile(expression, &claims_env(), false, &at.child("expression"), faults).map(Mapping::Expression)
        }
        _ => {
            faults.push(FieldError::invalid(&at, "", "claim and expression can't both be set"));
            None
        }
    };
    let mappings = ClaimMappings { username, groups, uid, extra: extra(&file.extra, &path.child("extra"), faults) };
    check_email(file, &mappings, rules, path, faults);
    mappings
}

/// Whoever takes an address for a name must look whether the issuer has verified it.
fn check_email(file: &file::Mappings, mappings: &ClaimMappings, rules: &[Rule], path: &Path, faults: &mut FieldErrors) {
    let Some(Mapping::Expression(username)) = &mappings.username else { return };
    let programs = rules.iter().map(|rule| &rule.program).chain(mappings.extra.iter().map(|(.., program)| program));
    let verified = programs.chain([username]).any(|program| program.selects("claims", "email_verified"));
    if username.selects("claims", "email") && !verified {
        let why = "claims.email_verified must be used in claimMappings.username.expression or \
                   claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is \
                   used in claimMappings.username.expression";
        let at = path.child("username").child("expression");
        faults.push(FieldError::invalid(&at, file.username.expression.as_str(), why));
    }
}

fn prefixed(file: &file::Prefixed, path: &Path, required: bool, faults: &mut FieldErrors) -> Option<Mapping> {
    match (file.claim.as_str(), file.expression.as_str()) {
        ("", "") => {
            if required {
                faults.push(FieldError::required(path, "claim or expression is required"));
            }
            None
        }
        (claim, "") => {
            if file.prefix.is_none() {
                let why = "prefix is required when claim is set. It can be set to an empty string to disable prefixing";
                faults.push(FieldError::required(&path.child("prefix"), why));
            }
            Some(Mapping::Claim { claim: claim.to_owned(), prefix: file.prefix.clone().unwrap_or_default() })
        }
        ("", expression) => {
            if let Some(prefix) = &file.prefix {
                let why = "may not be specified when expression is set";
                faults.push(FieldError::invalid(&path.child("prefix"), prefix.as_str(), why));
            }
            compile(expression, &claims_env(), false, &path.child("expression"), faults).map(Mapping::Expression)
        }
        _ => {
            faults.push(FieldError::invalid(path, "", "claim and expression can't both be set"));
            None
        }
    }
}

fn extra(list: &[file::Extra], path: &Path, faults: &mut FieldErrors) -> Vec<(String, String, Program)> {
    let mut compiled = Vec::new();
    for (at, entry) in list.iter().enumerate() {
        let path = path.index(at);
        let (key_path, value_path) = (path.child("key"), path.child("valueExpression"));
        check_extra_key(&entry.key, &key_path, faults);
        if list[..at].iter().any(|earlier| earlier.key == entry.key) {
            faults.push(FieldError::duplicate(&key_path, entry.key.as_str()));
            continue;
        }
        if entry.value_expression.is_empty() {
            faults.push(FieldError::required(&value_path, ""));
            continue;
        }
        if let Some(program) = compile(&entry.value_expression, &claims_env(), false, &value_path, faults) {
            compiled.push((entry.key.clone(), entry.value_expression.clone(), program));
        }
    }
    compiled
}

fn check_extra_key(key: &str, path: &Path, faults: &mut FieldErrors) {
    if key.is_empty() {
        faults.push(FieldError::required(path, ""));
        return;
    }
    let Some((domain, rest)) = key.split_once('/').filter(|(domain, rest)| !domain.is_empty() && !rest.is_empty())
    else {
        let why = "must be a domain-prefixed path (such as \"acme.io/foo\")";
        faults.push(FieldError::invalid(path, key, why));
        return check_lower(key, path, faults);
    };
    for why in names::dns1123_subdomain(domain) {
        faults.push(FieldError::invalid(path, domain, why));
    }
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&byte);
    if !rest.bytes().all(fits) {
        let why = names::pattern_fault("Invalid path", r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+", &[]);
        faults.push(FieldError::invalid(path, rest, why));
    }
    check_lower(key, path, faults);
    let reserved = |of: &str| domain == of || domain.ends_with(&format!(".{of}"));
    if reserved("kubernetes.io") || reserved("k8s.io") {
        let why = "k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use";
        faults.push(FieldError::invalid(path, key, why));
    }
}

fn check_lower(key: &str, path: &Path, faults: &mut FieldErrors) {
    if key != key.to_lowercase() {
        faults.push(FieldError::invalid(path, key, "must be lowercase"));
    }
}
