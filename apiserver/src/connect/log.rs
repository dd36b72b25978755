//! `pods/log`: checks the options, then streams from the kubelet.

use http::{Request, Response, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use kubewright_api::field::{FieldError, FieldErrors, Path};
use kubewright_api::status::Status;
use serde_json::Value;

use super::pod::{self, Query};
use super::tunnels::Place;
use super::{DialNode, NodeAddress, upgrade};
use crate::body::{Body, BoxError};
use crate::request::query_pairs;

pub(super) async fn stream(
    dial: &dyn DialNode,
    node: &NodeAddress,
    pod: &Value,
    query: Option<&str>,
    place: &Place,
) -> Result<Response<Body>, Status> {
    let path = path(pod, query)?;
    let answer = upgrade::send(dial, node, &path, Request::new(Empty::<Bytes>::new()), place).await?;
    if !answer.status().is_success() {
        return Err(upgrade::refusal(answer).await);
    }
    let body = answer.into_body().map_err(|error| Box::new(error) as BoxError).boxed_unsync();
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/plain"));
    Ok(response)
}

/// The kubelet's path, or what is wrong with the options.
fn path(pod: &Value, query: Option<&str>) -> Result<String, Status> {
    let mut container = String::new();
    let mut kept = Query::default();
    let mut faults = FieldErrors::new();
    let mut since = Vec::new();
    for (key, value) in query_pairs(query.unwrap_or_default()) {
        match key.as_str() {
            "container" => container = value,
            "follow" | "previous" | "timestamps" => {
                if matches!(value.as_str(), "" | "true" | "1") {
                    kept.push(&key, "true");
                }
            }
            "tailLines" | "limitBytes" | "sinceSeconds" => {
                let least = i64::from(key != "tailLines");
                check_number(&key, &value, least, &mut faults);
                kept.push(&key, &value);
            }
            "sinceTime" => {
                if value.parse::<jiff::Timestamp>().is_err() {
                    faults.push(FieldError::invalid(&Path::new(&key), value.as_str(), "must be an RFC 3339 time"));
                }
                kept.push(&key, &value);
            }
            "stream" => kept.push(&key, &value),
            _ => {}
        }
        if key.starts_with("since") {
            since.push(key);
        }
    }
    if since.len() > 1 {
        let rule = "at most one of `sinceTime` or `sinceSeconds` may be specified";
        faults.push(FieldError::forbidden(&Path::root(), rule));
    }
    if !faults.is_empty() {
        return Err(Status::invalid("", "PodLogOptions", "", &faults));
    }
    let container = pod::container(pod, &container)?;
    let text = |field: &str| pod["metadata"][field].as_str().unwrap_or_default();
    Ok(format!("/containerLogs/{}/{}/{container}{kept}", text("namespace"), text("name")))
}

fn check_number(key: &str, value: &str, least: i64, faults: &mut FieldErrors) {
    let path = Path::new(key);
    match value.parse::<i64>() {
        Ok(number) if number >= least => {}
        Ok(number) => {
            faults.push(FieldError::invalid(&path, number, format!("must be greater than or equal to {least}")))
        }
        Err(_) => faults.push(FieldError::type_invalid(&path, value, "must be a whole number")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod() -> Value {
        json!({"metadata": {"namespace": "n", "name": "p"}, "spec": {"containers": [{"name": "a"}]}})
    }

    #[test]
    fn options_are_passed_on() {
        let path = path(&pod(), Some("follow=true&tailLines=5&previous=false&timestamps=true")).unwrap();
        assert_eq!(path, "/containerLogs/n/p/a?follow=true&tailLines=5&timestamps=true");
    }

    #[test]
    fn bad_options_are_refused() {
        for bad in ["tailLines=-1", "sinceSeconds=0", "limitBytes=x", "sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z"] {
            assert_eq!(path(&pod(), Some(bad)).unwrap_err().code, 422, "{bad}");
        }
        assert_eq!(path(&pod(), Some("container=z")).unwrap_err().code, 400);
    }
}
