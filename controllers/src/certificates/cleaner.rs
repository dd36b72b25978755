//! Removes signing requests that nobody needs any more.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use x509_parser::pem::Pem;

use crate::Error;
use crate::cache::Cache;
use crate::manager::{Config, Context, Controller, Made, Setup};
use crate::objects::{CertificateSigningRequest, ObjectKey, Time};
use crate::plan::Plan;

const HOUR: i64 = 3600;
/// How long requests are kept after they were signed, denied or given up.
const DECIDED: i64 = HOUR;
/// How long they are kept while somebody still has to decide or to sign.
const WAITING: i64 = 24 * HOUR;

struct Cleaner {
    requests: Arc<Cache<CertificateSigningRequest>>,
}

pub(crate) fn make(setup: &Setup<'_>, _: &Config) -> Result<Option<Made>, Error> {
    setup.reconcile_each::<CertificateSigningRequest>();
    Ok(Some(Made::controller(Cleaner { requests: setup.cache() })))
}

impl Controller for Cleaner {
    fn reconcile(&self, key: &ObjectKey, context: &Context) -> Plan {
        self.requests.get(key).map_or_else(Plan::nothing, |request| reconcile(&request, context.now))
    }
}

/// Removes a request whose time is over, or tells when that will be.
#[must_use]
pub fn reconcile(csr: &CertificateSigningRequest, now: Time) -> Plan {
    let mut plan = Plan::nothing();
    match deadline(csr) {
        Some(deadline) if deadline < now => plan.delete(csr, None),
        // A second later, for it is kept until its time is over.
        Some(deadline) => plan.look_again(deadline.plus_seconds(1).since(now)),
        None => {}
    }
    plan
}

/// When the request's time is over.
fn deadline(csr: &CertificateSigningRequest) -> Option<Time> {
    if csr.status.conditions.is_empty() {
        return csr.metadata.creation_timestamp.map(|created| created.plus_seconds(WAITING));
    }
    let since = |kind: &'static str, seconds: i64| {
        let times = csr.status.conditions.iter().filter(move |condition| condition.kind == kind);
        times.filter_map(move |condition| condition.last_update_time.map(|at| at.plus_seconds(seconds))).min()
    };
    let approved = since("Approved", if csr.issued() { DECIDED } else { WAITING });
    let ended = csr.condition("Approved").and_then(|_| certificate_end(&csr.status.certificate));
    [since("Denied", DECIDED), since("Failed", DECIDED), approved, ended].into_iter().flatten().min()
}

/// When the certificate ends.
fn certificate_end(certificate: &str) -> Option<Time> {
    let pem = STANDARD.decode(certificate).ok()?;
    let block = Pem::iter_from_buffer(&pem).next()?.ok()?;
    let parsed = block.parse_x509().ok()?;
    Some(Time::from_seconds(parsed.validity().not_after.timestamp()))
}
