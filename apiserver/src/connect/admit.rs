//! What admission says of a connection.

use std::sync::Arc;

use http::Request;
use kubewright_api::status::Status;
use serde_json::{Value, json};

use crate::admission::{self, Admission, AdmissionAttributes, Operation};
use crate::body::Body;
use crate::request::{Context, query_pairs};

/// Asks the plugins about a connection; what they see is its options.
pub(super) fn admit<'a>(
    admission: &'a [Arc<dyn Admission>],
    request: &Request<Body>,
) -> impl Future<Output = Result<(), Status>> + Send + use<'a> {
    // The body of a request may be read by one thread only, so it stays out of what waits.
    let asked = request.extensions().get::<Context>().cloned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    async move {
        let Some(context) = asked else { return Ok(()) };
        ask(admission, &context, &query).await
    }
}

async fn ask(admission: &[Arc<dyn Admission>], context: &Context, query: &str) -> Result<(), Status> {
    let kind = match (context.info.resource.as_str(), context.info.subresource.as_str()) {
        ("pods", "exec") => "PodExecOptions",
        ("pods", "attach") => "PodAttachOptions",
        ("pods", "portforward") => "PodPortForwardOptions",
        ("pods", "proxy") => "PodProxyOptions",
        ("services", "proxy") => "ServiceProxyOptions",
        ("nodes", "proxy") => "NodeProxyOptions",
        _ => return Ok(()),
    };
    let options = options(kind, query);
    let none = json!({});
    let mut attributes = AdmissionAttributes::of_request(context, Operation::Connect, kind, options, None, &none);
    admission::admit(admission, &mut attributes).await?;
    admission::validate(admission, &attributes).await
}

fn options(kind: &str, query: &str) -> Value {
    let mut options = json!({"kind": kind, "apiVersion": "v1"});
    for (key, value) in query_pairs(query) {
        match key.as_str() {
            "stdin" | "stdout" | "stderr" | "tty" => {
                options[key] = matches!(value.as_str(), "" | "true" | "1").into();
            }
            "container" | "path" => options[key] = value.into(),
            "command" | "ports" => {
                let item =
                    if key == "ports" { value.parse::<i64>().map_or(Value::Null, Value::from) } else { value.into() };
                match options[&key].as_array_mut() {
                    Some(list) => list.push(item),
                    None => options[key] = json!([item]),
                }
            }
            _ => {}
        }
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_those_of_the_query() {
        assert_eq!(
            options("PodExecOptions", "command=ls&command=-l&stdin=true&tty=false&container=a"),
            json!({"kind": "PodExecOptions", "apiVersion": "v1", "command": ["ls", "-l"], "stdin": true, "tty": false,
                "container": "a"})
        );
    }
}
