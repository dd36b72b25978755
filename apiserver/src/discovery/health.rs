//! `/livez`, `/readyz`, `/healthz`: whether the server lives, and whether it takes requests.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::uri::InvalidUri;
use http::{HeaderValue, Request, Response, StatusCode, header};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use crate::body::{self, Body};
use crate::layers::info_of;
use crate::metrics::{Count, Named};
use crate::remote::{Remote, Target};
use crate::request::{RequestInfo, query_pairs};
use crate::server::Endpoint;

/// One thing that must be well.
#[async_trait]
pub trait Check: Send + Sync + 'static {
    /// Its name, such as `etcd`.
    fn name(&self) -> &str;

    /// Whether it is well; the error is for the log, clients only hear the name.
    async fn check(&self) -> Result<(), String>;
}

/// Whether another server's `/healthz` says that it is well.
pub struct RemoteHealth {
    name: String,
    target: Target,
    remote: Arc<dyn Remote>,
}

impl RemoteHealth {
    /// Asks at that URL, such as `https://127.0.0.1:10259/healthz`, whatever certificate it shows.
    ///
    /// # Errors
    /// That is no URL.
    pub fn new(name: &str, url: &str, remote: Arc<dyn Remote>) -> Result<Self, InvalidUri> {
        let mut target = Target::new(url.parse()?);
        target.insecure = true;
        Ok(Self { name: name.to_owned(), target, remote })
    }
}

#[async_trait]
impl Check for RemoteHealth {
    fn name(&self) -> &str {
        &self.name
    }

    async fn check(&self) -> Result<(), String> {
        let url = &self.target.url;
        let request = Request::get(url.path()).body(Bytes::new()).map_err(|error| error.to_string())?;
        let answer = self.remote.send(&self.target, request).await;
        let answer = answer.map_err(|error| format!("Get \"{url}\": {error}"))?;
        if answer.status().is_success() {
            return Ok(());
        }
        Err(String::from_utf8_lossy(answer.body()).into_owned())
    }
}

/// Answers health requests.
#[derive(Clone)]
pub struct Health {
    checks: Arc<[Arc<dyn Check>]>,
    draining: CancellationToken,
    metrics: HealthMetrics,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CheckLabels {
    name: String,
    r#type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    name: String,
    r#type: &'static str,
    status: &'static str,
}

/// What came of checks, under upstream's names. Clones share it.
#[derive(Clone, Default)]
pub struct HealthMetrics {
    current: Family<CheckLabels, Count>,
    outcomes: Family<OutcomeLabels, Counter>,
}

impl fmt::Debug for HealthMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HealthMetrics")
    }
}

impl HealthMetrics {
    /// Metrics that this registry shows.
    pub fn new(registry: &mut Registry) -> Self {
        let mut named = Named::new(registry, "kubernetes_");
        Self {
            current: named.counts("healthcheck", "The last outcome of each check"),
            outcomes: named.counters("healthchecks", "Outcomes of all checks"),
        }
    }

    fn record(&self, path: &str, name: &str, well: bool) {
        let Some(kind) = ["livez", "readyz", "healthz"].into_iter().find(|known| *known == path) else { return };
        self.current.get_or_create(&CheckLabels { name: name.into(), r#type: kind }).set(i64::from(well));
        let status = if well { "success" } else { "error" };
        self.outcomes.get_or_create(&OutcomeLabels { name: name.into(), r#type: kind, status }).inc();
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Health").field(&self.checks.iter().map(|check| check.name()).collect::<Vec<_>>()).finish()
    }
}

impl Health {
    /// Well if all checks pass; ready if, besides, the server doesn't drain.
    #[must_use]
    pub fn new(checks: Vec<Arc<dyn Check>>, draining: CancellationToken) -> Self {
        Self { checks: checks.into(), draining, metrics: HealthMetrics::default() }
    }

    /// Counts outcomes into these metrics.
    #[must_use]
    pub fn measured(mut self, metrics: HealthMetrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// Name and outcome of everything that this path checks.
    async fn outcomes(&self, path: &str) -> Vec<(String, Result<(), String>)> {
        let mut outcomes = vec![("ping".to_owned(), Ok(()))];
        for check in self.checks.iter() {
            outcomes.push((check.name().to_owned(), check.check().await));
        }
        if path == "readyz" {
            let draining = self.draining.is_cancelled();
            let outcome = if draining { Err("process is shutting down".to_owned()) } else { Ok(()) };
            outcomes.push(("shutdown".to_owned(), outcome));
        }
        for (name, outcome) in &outcomes {
            self.metrics.record(path, name, outcome.is_ok());
        }
        outcomes
    }

    async fn root(&self, path: &str, query: &str) -> Response<Body> {
        let pairs = query_pairs(query);
        let mut excluded: BTreeSet<&str> =
            pairs.iter().filter(|(key, _)| key == "exclude").map(|(_, value)| value.as_str()).collect();
        let mut report = String::new();
        let mut failed = Vec::new();
        for (name, outcome) in self.outcomes(path).await {
            if excluded.remove(name.as_str()) {
                report.push_str(&format!("[+]{name} excluded: ok\n"));
                continue;
            }
            match outcome {
                Ok(()) => report.push_str(&format!("[+]{name} ok\n")),
                Err(reason) => {
                    tracing::info!(check = name, reason, "health check failed");
                    report.push_str(&format!("[-]{name} failed: reason withheld\n"));
                    failed.push(name);
                }
            }
        }
        if !excluded.is_empty() {
            let names: Vec<String> = excluded.iter().map(|name| format!("{name:?}")).collect();
            let names = names.join(",");
            report.push_str(&format!("warn: some health checks cannot be excluded: no matches for {names}\n"));
        }
        if !failed.is_empty() {
            return plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{report}{path} check failed\n"));
        }
        if pairs.iter().any(|(key, _)| key == "verbose") {
            return plain(StatusCode::OK, format!("{report}{path} check passed\n"));
        }
        plain(StatusCode::OK, "ok".to_owned())
    }

    async fn single(&self, path: &str, name: &str) -> Response<Body> {
        match self.outcomes(path).await.into_iter().find(|(known, _)| known == name) {
            Some((_, Ok(()))) => plain(StatusCode::OK, "ok".to_owned()),
            Some((_, Err(reason))) => {
                plain(StatusCode::INTERNAL_SERVER_ERROR, format!("internal server error: {reason}\n"))
            }
            None => body::status(&kubewright_api::status::Status::no_such_path()),
        }
    }
}

fn plain(code: StatusCode, text: String) -> Response<Body> {
    let mut response = body::text(code, text);
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[async_trait]
impl Endpoint for Health {
    fn handles(&self, info: &RequestInfo) -> bool {
        matches!(info.path.split('/').nth(1), Some("livez" | "readyz" | "healthz"))
    }

    async fn call(&self, request: Request<Body>) -> Response<Body> {
        let (info, query) = (info_of(&request), request.uri().query().unwrap_or_default());
        match info.path.trim_start_matches('/').split_once('/') {
            None => self.root(info.path.trim_start_matches('/'), query).await,
            Some((root, "")) => self.root(root, query).await,
            Some((root, name)) => self.single(root, name).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    struct Store(bool);

    #[async_trait]
    impl Check for Store {
        fn name(&self) -> &str {
            "etcd"
        }

        async fn check(&self) -> Result<(), String> {
            if self.0 { Ok(()) } else { Err("gone".into()) }
        }
    }

    async fn get(health: &Health, uri: &str) -> (u16, String) {
        let response = health.call(Request::get(uri).body(body::empty()).unwrap()).await;
        let code = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (code, String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn reports_are_upstreams() {
        let draining = CancellationToken::new();
        let health = Health::new(vec![Arc::new(Store(true))], draining.clone());
        assert_eq!(get(&health, "/livez").await, (200, "ok".into()));
        let verbose = "[+]ping ok\n[+]etcd ok\n[+]shutdown ok\nreadyz check passed\n";
        assert_eq!(get(&health, "/readyz?verbose").await, (200, verbose.into()));
        draining.cancel();
        assert_eq!(get(&health, "/readyz").await.0, 500);
        assert_eq!(get(&health, "/livez").await.0, 200);
        assert_eq!(get(&health, "/readyz?exclude=shutdown").await.0, 200);
    }

    #[tokio::test]
    async fn a_failed_check_withholds_its_reason_unless_asked_alone() {
        let health = Health::new(vec![Arc::new(Store(false))], CancellationToken::new());
        let (code, text) = get(&health, "/livez").await;
        assert_eq!((code, text.as_str()), (500, "[+]ping ok\n[-]etcd failed: reason withheld\nlivez check failed\n"));
        assert_eq!(get(&health, "/livez/ping").await.0, 200);
        assert!(get(&health, "/livez/etcd").await.1.contains("gone"));
        assert_eq!(get(&health, "/livez/nonsense").await.0, 404);
    }
}
