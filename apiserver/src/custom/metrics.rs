//! How long rules of custom resources take, under upstream's names. As there it is the process that is measured, for schemas
//! are compiled by whoever reads a definition.

use std::sync::LazyLock;
use std::time::Instant;

use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::metrics::Named;

/// Upper bounds in seconds, those that Prometheus' own libraries have.
const SECONDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

static COMPILATION: LazyLock<Histogram> = LazyLock::new(|| Histogram::new(SECONDS));
static EVALUATION: LazyLock<Histogram> = LazyLock::new(|| Histogram::new(SECONDS));

/// Shows them in this registry.
pub(crate) fn show_metrics(registry: &mut Registry) {
    let mut named = Named::new(registry, "apiserver_cel_");
    named.one("compilation_duration_seconds", "How long expressions took to compile", COMPILATION.clone());
    named.one("evaluation_duration_seconds", "How long expressions took to run", EVALUATION.clone());
}

/// The rules of a schema were compiled, begun then.
pub(super) fn compiled(since: Instant) {
    COMPILATION.observe(since.elapsed().as_secs_f64());
}

/// The rules of a schema were run on an object, begun then.
pub(super) fn evaluated(since: Instant) {
    EVALUATION.observe(since.elapsed().as_secs_f64());
}
