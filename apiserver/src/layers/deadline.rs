//! How long a client is willing to wait: the query parameter `timeout`, as `kubectl --request-timeout` sends it.

use std::time::Duration;

use async_trait::async_trait;
use http::{Request, Response};
use kubewright_api::status::Status;

use super::{Next, Step, info_of, is_long_running};
use crate::body::{self, Body};
use crate::cel::parse_duration;
use crate::request::query_pairs;

/// Refuses what is no length of time. Keeping to it is [`Protect`](super::Protect)'s, which knows when the request came.
#[derive(Clone, Copy, Debug, Default)]
pub struct CheckDeadline;

#[async_trait]
impl Step for CheckDeadline {
    async fn call(&self, request: Request<Body>, next: Next) -> Response<Body> {
        match asked(request.uri().query()) {
            Err(why) if !is_long_running(&info_of(&request)) => {
                let why = format!("invalid timeout specified in the request URL - {why}");
                body::status(&Status::bad_request(why))
            }
            _ => next(request).await,
        }
    }
}

/// How long a request may take, in its extensions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allotted(pub(crate) Duration);

/// How long a request may take: what its client asks for, as far as that is less than what the server allows.
pub(super) fn of(query: Option<&str>, most: Duration) -> Duration {
    // None at all means that the client itself has no limit.
    asked(query).ok().flatten().filter(|asked| !asked.is_zero()).map_or(most, |asked| asked.min(most))
}

/// What a client asks for; the error is Go's.
fn asked(query: Option<&str>) -> Result<Option<Duration>, String> {
    let Some(query) = query.filter(|query| query.contains("timeout=")) else { return Ok(None) };
    let pairs = query_pairs(query);
    let Some((_, text)) = pairs.iter().find(|(key, _)| key == "timeout") else { return Ok(None) };
    if text.is_empty() {
        return Ok(None);
    }
    // One that is over already is as good as none.
    let asked = parse_duration(text).map(|asked| Duration::try_from(asked).unwrap_or_default());
    asked.map(Some).ok_or_else(|| fault(text))
}

/// What Go says of a text that is no duration.
fn fault(text: &str) -> String {
    let is_part_of_number = |c: char| c.is_ascii_digit() || c == '.';
    let digits = text.trim_start_matches(['+', '-']);
    let unit = digits.trim_start_matches(is_part_of_number);
    let unit = &unit[..unit.find(is_part_of_number).unwrap_or(unit.len())];
    match unit {
        _ if digits.starts_with(|c: char| !is_part_of_number(c)) => format!("time: invalid duration {text:?}"),
        "" if !digits.is_empty() => format!("time: missing unit in duration {text:?}"),
        "" | "ns" | "us" | "µs" | "ms" | "s" | "m" | "h" => format!("time: invalid duration {text:?}"),
        unit => format!("time: unknown unit {unit:?} in duration {text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_may_wait_less_than_the_server_allows() {
        let most = Duration::from_secs(60);
        for (query, seconds) in [
            (None, 60.0),
            (Some("a=b"), 60.0),
            (Some("timeout="), 60.0),
            (Some("a=b&timeout=1.5s"), 1.5),
            (Some("timeout=90s"), 60.0),
            (Some("timeout=0"), 60.0),
            (Some("timeout=0s"), 60.0),
            (Some("timeout=-1s"), 60.0),
            (Some("timeout=nonsense"), 60.0),
            (Some("nottimeout=1s"), 60.0),
        ] {
            assert_eq!(of(query, most), Duration::from_secs_f64(seconds), "{query:?}");
        }
    }

    #[tokio::test]
    async fn what_is_no_length_of_time_is_refused_in_gos_words() {
        for (query, expected) in [
            ("timeout=abc", Some(r#"time: invalid duration "abc""#)),
            ("timeout=100", Some(r#"time: missing unit in duration "100""#)),
            ("timeout=5q", Some(r#"time: unknown unit "q" in duration "5q""#)),
            ("timeout=5s", None),
            // A watch lasts as long as its own parameter says.
            ("watch=true&timeout=abc", None),
        ] {
            let next: Next = Box::new(|_| Box::pin(async { Response::new(body::empty()) }));
            let request = Request::get(format!("/api/v1/pods?{query}")).body(body::empty()).unwrap();
            let answer = CheckDeadline.call(request, next).await;
            assert_eq!(answer.status(), if expected.is_some() { 400 } else { 200 }, "{query}");
            if let Some(expected) = expected {
                let bytes = http_body_util::BodyExt::collect(answer.into_body()).await.unwrap().to_bytes();
                let status: Status = serde_json::from_slice(&bytes).unwrap();
                assert_eq!(status.message, format!("invalid timeout specified in the request URL - {expected}"));
            }
        }
    }
}
