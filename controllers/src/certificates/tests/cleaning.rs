//! When requests are removed.

use super::super::cleaner::reconcile;
use super::super::{API_SERVER_CLIENT, Request, Terms};
use super::*;
use crate::plan::Action;
use std::time::Duration;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;

/// A request of that age, with conditions of those ages.
fn csr(age: i64, conditions: &[(&str, i64)], certificate: &str) -> CertificateSigningRequest {
    let mut csr = CertificateSigningRequest::default();
    csr.metadata.uid = "u".into();
    csr.metadata.creation_timestamp = Some(now().plus_seconds(-age));
    csr.status.conditions = conditions.iter().map(|(kind, age)| condition(kind, now().plus_seconds(-age))).collect();
    csr.status.certificate = certificate.into();
    csr
}

/// A certificate that ends so many seconds from now.
fn certificate(left: i64) -> String {
    let request = Request::from_base64(&Asked::node("system:node:a").csr(API_SERVER_CLIENT, &[]).spec.request).unwrap();
    let terms = Terms { duration: Duration::from_secs(3600), usages: &[], identity: "u" };
    STANDARD.encode(authority().sign(&request, terms, now().plus_seconds(left - HOUR)).unwrap())
}

#[test]
fn requests_go_when_their_time_is_over() {
    let (good, ended) = (certificate(HOUR), certificate(-1));
    for (csr, goes) in [
        (csr(23 * HOUR, &[], ""), false),
        (csr(24 * HOUR, &[], ""), false),
        (csr(24 * HOUR + 1, &[], ""), true),
        (csr(HOUR, &[("Approved", 59 * MINUTE)], &good), false),
        (csr(HOUR, &[("Approved", 61 * MINUTE)], &good), true),
        (csr(HOUR, &[("Approved", 10 * MINUTE)], &ended), true),
        (csr(48 * HOUR, &[("Approved", 23 * HOUR)], ""), false),
        (csr(48 * HOUR, &[("Approved", 25 * HOUR)], ""), true),
        (csr(48 * HOUR, &[("Denied", 59 * MINUTE)], ""), false),
        (csr(48 * HOUR, &[("Denied", 61 * MINUTE)], ""), true),
        (csr(48 * HOUR, &[("Approved", 2 * HOUR), ("Failed", 59 * MINUTE)], ""), false),
        (csr(48 * HOUR, &[("Approved", 2 * HOUR), ("Failed", 61 * MINUTE)], ""), true),
        // Neither pending nor decided by anybody that counts.
        (csr(480 * HOUR, &[("Example", 480 * HOUR)], ""), false),
        (csr(480 * HOUR, &[("Example", 480 * HOUR)], &ended), false),
        // What stands in for a certificate ends never.
        (csr(HOUR, &[("Approved", 59 * MINUTE)], "aQ=="), false),
    ] {
        let plan = reconcile(&csr, now());
        assert_eq!(matches!(plan.actions.as_slice(), [Action::Delete(_)]), goes, "{csr:?}");
    }
}

#[test]
fn it_looks_again_when_the_time_is_over() {
    let waiting = csr(23 * HOUR, &[], "");
    let plan = reconcile(&waiting, now());
    assert_eq!(plan.requeue_after, Some(Duration::from_secs(3601)));
    assert!(!reconcile(&waiting, now() + plan.requeue_after.unwrap()).is_settled());
    assert_eq!(reconcile(&csr(HOUR, &[("Example", 0)], ""), now()).requeue_after, None);
}
