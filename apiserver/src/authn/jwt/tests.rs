//! Tokens of an issuer that answers out of this test: what is believed, and what is not.

mod keys;

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use bytes::Bytes;
use http::{Request, Response};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::authn::token::SigningKey;
use crate::remote::{RemoteError, Target};

const NOW: i64 = 1_000_000;

/// A clock that the test moves.
struct Clock(AtomicI64);

impl Environment for Clock {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.0.load(Ordering::Relaxed)).unwrap()
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        bytes.fill(0);
    }
}

/// An issuer: its keys can be changed, and it can be away.
#[derive(Default)]
struct IssuerSite {
    keys: Mutex<Vec<Value>>,
    away: std::sync::atomic::AtomicBool,
    /// It takes what is asked and never answers.
    hangs: std::sync::atomic::AtomicBool,
    fetches: AtomicUsize,
    /// The token that carries distributed claims, and the `Authorization` header that it was asked for with.
    claims: Mutex<(String, String)>,
}

#[async_trait]
impl Remote for IssuerSite {
    async fn send(&self, target: &Target, request: Request<Bytes>) -> Result<Response<Bytes>, RemoteError> {
        if self.away.load(Ordering::Relaxed) {
            return Err(RemoteError::unreachable("connection refused"));
        }
        if self.hangs.load(Ordering::Relaxed) {
            return std::future::pending().await;
        }
        assert_eq!(target.url.scheme_str(), Some("https"));
        let body = match request.uri().path() {
            "/.well-known/openid-configuration" => {
                let issuer = format!("https://{}", target.url.host().unwrap());
                json!({"issuer": issuer, "jwks_uri": format!("{issuer}/keys")})
            }
            "/keys" => {
                self.fetches.fetch_add(1, Ordering::Relaxed);
                json!({"keys": *self.keys.lock().unwrap()})
            }
            "/claims" => {
                let mut claims = self.claims.lock().unwrap();
                let header = request.headers().get("authorization").and_then(|value| value.to_str().ok());
                claims.1 = header.unwrap_or_default().to_owned();
                return Ok(Response::new(claims.0.clone().into()));
            }
            _ => return Ok(Response::builder().status(404).body(Bytes::new()).unwrap()),
        };
        Ok(Response::new(body.to_string().into()))
    }
}

struct Test {
    site: Arc<IssuerSite>,
    clock: Arc<Clock>,
    key: SigningKey,
    authentication: StructuredAuthentication,
}

fn config(mappings: &str) -> AuthenticationConfig {
    let text = format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n\
         - issuer: {{url: 'https://id.test', audiences: [a, b], audienceMatchPolicy: MatchAny}}\n  {mappings}\n"
    );
    AuthenticationConfig::parse(&text).unwrap()
}

const BY_CLAIMS: &str = "claimMappings: {username: {claim: sub, prefix: 'x:'}, groups: {claim: roles, prefix: 'g:'}}";

fn test(mappings: &str) -> Test {
    let key = SigningKey::generate().unwrap();
    let site = Arc::new(IssuerSite { keys: Mutex::new(vec![key.verifying_key().jwk()]), ..IssuerSite::default() });
    let clock = Arc::new(Clock(AtomicI64::new(NOW)));
    let authentication =
        StructuredAuthentication::new(config(mappings), Arc::clone(&site) as _, Arc::clone(&clock) as _);
    Test { site, clock, key, authentication }
}

fn claims() -> Value {
    json!({"iss": "https://id.test", "aud": "a", "sub": "ann", "exp": NOW + 60, "roles": ["dev"], "jti": "7"})
}

/// A token signed with that key, under a header that names that algorithm.
fn token(key: &SigningKey, algorithm: &str, claims: &Value) -> String {
    let header = json!({"alg": algorithm, "kid": key.verifying_key().id()});
    let message = format!("{}.{}", B64.encode(header.to_string()), B64.encode(claims.to_string()));
    let signature = key.sign_message(message.as_bytes()).unwrap();
    format!("{message}.{}", B64.encode(signature))
}

impl Test {
    async fn ask(&self, claims: &Value) -> Result<Option<User>, String> {
        self.ask_token(&token(&self.key, "ES256", claims)).await
    }

    async fn ask_token(&self, token: &str) -> Result<Option<User>, String> {
        let found = self.authentication.authenticate_token(token, &["api".into()]).await;
        found.map(|found| found.map(|(user, _)| user)).map_err(|error| error.reason)
    }

    async fn refuses(&self, change: Value, why: &str) {
        let mut claims = claims();
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let error = self.ask(&claims).await.unwrap_err();
        assert!(error.contains(why), "{error}");
    }
}

#[tokio::test]
async fn claims_become_a_user() {
    let test = test(BY_CLAIMS);
    let user = test.ask(&claims()).await.unwrap().unwrap();
    assert_eq!((user.name.as_str(), user.groups.as_slice()), ("x:ann", &["g:dev".to_owned()][..]));
    assert_eq!(user.extra["authentication.kubernetes.io/credential-id"], ["JTI=7"]);
    test.refuses(json!({"sub": 7}), "parse username claims \"sub\"").await;
    test.refuses(json!({"roles": [7]}), "parse groups claim \"roles\"").await;
    let mut one = claims();
    one["roles"] = "ops".into();
    assert_eq!(test.ask(&one).await.unwrap().unwrap().groups, ["g:ops"]);
    // All that took one fetch of the keys.
    assert_eq!(test.site.fetches.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn expressions_and_rules_decide() {
    let test = test(
        "claimValidationRules: [{expression: 'claims.exp - claims.nbf <= 120.0', message: 'lives too long'}, \
           {claim: hd, requiredValue: corp}]\n  \
         claimMappings: {username: {expression: 'claims.sub + \":\" + claims.hd'}, \
           groups: {expression: 'claims.roles.map(r, \"g:\" + r)'}, uid: {claim: oid}, \
           extra: [{key: id.test/tier, valueExpression: 'claims.?tier.orValue(\"\")'}, \
             {key: id.test/app, valueExpression: claims.app__dot__io.name}]}\n  \
         userValidationRules: [{expression: \"!user.username.startsWith('system:')\", message: 'reserved name'}]",
    );
    let good = json!({"hd": "corp", "nbf": NOW, "oid": "u", "tier": "gold", "app.io": {"name": "cli"}});
    let with = |change: Value| {
        let mut all = claims();
        for part in [&good, &change] {
            for (name, value) in part.as_object().unwrap() {
                all[name] = value.clone();
            }
        }
        all
    };
    let user = test.ask(&with(json!({}))).await.unwrap().unwrap();
    assert_eq!((user.name.as_str(), user.uid.as_str()), ("ann:corp", "u"));
    assert_eq!(
        (user.extra["id.test/tier"].as_slice(), user.extra["id.test/app"].as_slice()),
        (&["gold".to_owned()][..], &["cli".to_owned()][..])
    );
    assert!(!test.ask(&with(json!({"tier": ""}))).await.unwrap().unwrap().extra.contains_key("id.test/tier"));
    for (change, why) in [
        (json!({"hd": "other"}), "required claim hd value does not match. Got = other, want = corp"),
        (json!({"exp": NOW + 600}), "failed: lives too long"),
        (json!({"sub": "system:admin"}), "failed: reserved name"),
        (json!({"roles": [1]}), "error evaluating group claim expression"),
        (json!({"sub": 1}), "error evaluating username claim expression"),
    ] {
        let error = test.ask(&with(change)).await.unwrap_err();
        assert!(error.contains(why), "{error}");
    }
}

#[tokio::test]
async fn tokens_for_others_and_out_of_time_are_refused() {
    let test = test(BY_CLAIMS);
    test.refuses(json!({"aud": "c"}), "expected audience in [\"a\", \"b\"] got [\"c\"]").await;
    test.refuses(json!({"exp": NOW - 1}), "token is expired").await;
    test.refuses(json!({"exp": null}), "claim \"exp\"").await;
    test.refuses(json!({"exp": "soon"}), "is no number").await;
    test.refuses(json!({"nbf": NOW + 301}), "before the nbf").await;
    let mut many = claims();
    many["aud"] = json!(["c", "b"]);
    assert!(test.ask(&many).await.unwrap().is_some());
    // Someone else's token is not ours to judge.
    let mut other = claims();
    other["iss"] = "https://other.test".into();
    assert_eq!(test.ask(&other).await, Ok(None));
    for text in ["", "a", "a.b", "a.b.c", "....", "e30.e30.e30"] {
        assert_eq!(test.ask_token(text).await, Ok(None), "{text}");
    }
}

#[tokio::test]
async fn what_no_key_of_the_issuer_signed_is_refused() {
    let test = test(BY_CLAIMS);
    let stranger = SigningKey::generate().unwrap();
    assert!(test.ask_token(&token(&stranger, "ES256", &claims())).await.unwrap_err().contains("failed to verify"));
    for algorithm in ["none", "HS256", "ES256K", ""] {
        let error = test.ask_token(&token(&test.key, algorithm, &claims())).await.unwrap_err();
        assert!(error.contains("unsupported algorithm"), "{error}");
    }
    // The right key under the name of another algorithm.
    for algorithm in ["RS256", "ES384", "PS512"] {
        assert!(
            test.ask_token(&token(&test.key, algorithm, &claims())).await.unwrap_err().contains("failed to verify")
        );
    }
    let sound = token(&test.key, "ES256", &claims());
    let (message, signature) = sound.rsplit_once('.').unwrap();
    let (header, _) = message.split_once('.').unwrap();
    let mut forged = claims();
    forged["sub"] = "root".into();
    let forged = format!("{header}.{}.{signature}", B64.encode(forged.to_string()));
    assert!(test.ask_token(&forged).await.unwrap_err().contains("failed to verify"));
}

#[tokio::test]
async fn a_file_is_followed_and_a_bad_one_changes_nothing() {
    let test = test(BY_CLAIMS);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("authn.yaml");
    let text = |prefix: &str| {
        format!(
            "{{apiVersion: apiserver.config.k8s.io/v1, kind: AuthenticationConfiguration, jwt: [{{issuer: {{url: \
             'https://id.test', audiences: [a]}}, claimMappings: {{username: {{claim: sub, prefix: '{prefix}'}}}}}}]}}"
        )
    };
    std::fs::write(&path, text("one:")).unwrap();
    let (remote, clock) = (Arc::clone(&test.site) as Arc<dyn Remote>, Arc::clone(&test.clock));
    let followed = StructuredAuthentication::from_file(path.clone(), remote, clock as _).await.unwrap();
    let sound = token(&test.key, "ES256", &claims());
    let name = || async {
        followed.authenticate_token(&sound, &["api".into()]).await.unwrap().map(|(user, _)| user.name).unwrap()
    };
    assert_eq!((name().await.as_str(), followed.reload().await), ("one:ann", Ok(false)));
    std::fs::write(&path, text("two:")).unwrap();
    assert_eq!((followed.reload().await, name().await.as_str()), (Ok(true), "two:ann"));
    std::fs::write(&path, "nonsense").unwrap();
    assert!(followed.reload().await.is_err());
    // Told once.
    assert_eq!((followed.reload().await, name().await.as_str()), (Ok(false), "two:ann"));
    // An issuer that can't be reached does not take over, and is tried again.
    test.site.away.store(true, Ordering::Relaxed);
    std::fs::write(&path, text("three:")).unwrap();
    for _ in 0..2 {
        assert!(followed.reload().await.unwrap_err().problem.contains("is not healthy"));
        assert_eq!(name().await, "two:ann");
    }
    test.site.away.store(false, Ordering::Relaxed);
    assert_eq!((followed.reload().await, name().await.as_str()), (Ok(true), "three:ann"));
    // Who may come without credentials is not for a reload to say.
    std::fs::write(&path, text("four:").replace("jwt:", "anonymous: {enabled: true}, jwt:")).unwrap();
    assert!(followed.reload().await.unwrap_err().problem.contains("changed from initial configuration file"));
    followed.disallow(&["https://mine.test".into()]).unwrap();
    std::fs::write(&path, text("five:").replace("id.test", "mine.test")).unwrap();
    assert!(followed.reload().await.unwrap_err().problem.contains("must not overlap with disallowed issuers"));
}

#[tokio::test]
async fn groups_that_are_elsewhere_are_fetched_there() {
    let test = test(BY_CLAIMS);
    let mut mine = claims();
    mine.as_object_mut().unwrap().remove("roles");
    mine["_claim_names"] = json!({"roles": "there"});
    mine["_claim_sources"] = json!({"there": {"endpoint": "https://other.test/claims", "access_token": "secret"}});
    let there = json!({"iss": "https://third.test", "aud": "b", "exp": NOW + 60, "roles": ["far", "away"]});
    test.site.claims.lock().unwrap().0 = token(&test.key, "ES256", &there);
    let user = test.ask(&mine).await.unwrap().unwrap();
    assert_eq!(user.groups, ["g:far", "g:away"]);
    assert_eq!(test.site.claims.lock().unwrap().1, "Bearer secret");

    // What the token itself says counts.
    let mut both = mine.clone();
    both["roles"] = json!(["near"]);
    assert_eq!(test.ask(&both).await.unwrap().unwrap().groups, ["g:near"]);
    // Other claims are not looked for elsewhere.
    let mut other = mine.clone();
    other["_claim_names"] = json!({"more": "there"});
    assert_eq!(test.ask(&other).await.unwrap().unwrap().groups, Vec::<String>::new());

    for (field, value, why) in [
        ("_claim_names", json!("roles"), "error parsing distributed claim names"),
        ("_claim_names", json!({"roles": "nowhere"}), "contained a source nowhere missing in _claims_sources"),
        ("_claim_sources", json!([]), "could not parse claim sources"),
        ("_claim_sources", json!({"there": {"endpoint": "http://other.test/claims"}}), "must be a https URL"),
        ("_claim_sources", json!({"there": {"endpoint": "https://other.test/nowhere"}}), "404 Not Found"),
    ] {
        let mut wrong = mine.clone();
        wrong[field] = value;
        let error = test.ask(&wrong).await.unwrap_err();
        assert!(error.contains("could not expand distributed claims") && error.contains(why), "{error}");
    }
    let stranger = SigningKey::generate().unwrap();
    for (key, change, why) in [
        (&stranger, json!({}), "failed to verify"),
        (&test.key, json!({"aud": "c"}), "expected audience"),
        (&test.key, json!({"exp": NOW - 1}), "token is expired"),
        (&test.key, json!({"iss": "http://third.test"}), "it must be a https URL"),
        (&test.key, json!({"roles": null}), "parse groups"),
    ] {
        let mut claims = there.clone();
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        test.site.claims.lock().unwrap().0 = token(key, "ES256", &claims);
        match test.ask(&mine).await {
            Err(error) => assert!(error.contains(why), "{error}"),
            // A claim that is there and null stands for no groups.
            Ok(user) => assert!(why == "parse groups" && user.unwrap().groups.is_empty()),
        }
    }
    test.site.claims.lock().unwrap().0 = "nonsense".into();
    assert!(test.ask(&mine).await.unwrap_err().contains("malformed jwt"));
}

#[tokio::test]
async fn tokens_and_keys_are_measured() {
    let test = test(BY_CLAIMS);
    let mut registry = prometheus_client::registry::Registry::default();
    test.authentication.measure(JwtMetrics::new(&mut registry), ReloadMetrics::new(&mut registry, "authentication"));
    test.ask(&claims()).await.unwrap();
    assert!(test.ask(&json!({"iss": "https://id.test"})).await.is_err());
    let text = crate::metrics::render(&registry, |_| true);
    for line in [
        "apiserver_authentication_jwt_authenticator_latency_seconds_count{result=\"success\",jwt_issuer_hash=\"sha256:",
        "apiserver_authentication_jwt_authenticator_latency_seconds_count{result=\"failure\",jwt_issuer_hash=\"sha256:",
        "apiserver_authentication_jwt_authenticator_jwks_fetch_last_timestamp_seconds{result=\"success\",\
         jwt_issuer_hash=\"sha256:",
        "apiserver_authentication_jwt_authenticator_jwks_fetch_last_key_set_info{jwt_issuer_hash=\"sha256:",
    ] {
        assert!(text.lines().any(|found| found.starts_with(line)), "{line}\n{text}");
    }
    assert!(!text.contains("id.test"));
}
