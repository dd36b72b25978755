//! Whom a webhook's `clientConfig` means.

use base64::Engine;
use http::Uri;
use serde_json::Value;

use super::{Target, of_service};
use crate::objects::Objects;

/// Whom to call, and the URL that messages show.
///
/// # Errors
/// It names neither a URL nor a Service that there is, or its authorities cannot be read.
pub(crate) fn of_client_config(client: &Value, objects: &dyn Objects, turn: usize) -> Result<(Target, String), String> {
    let authorities = match client["caBundle"].as_str().filter(|bundle| !bundle.is_empty()) {
        None => None,
        Some(bundle) => {
            let decoded = base64::engine::general_purpose::STANDARD.decode(bundle);
            let pem = decoded.ok().and_then(|pem| String::from_utf8(pem).ok());
            Some(pem.ok_or("unable to load root certificates: the bundle is no PEM")?.into())
        }
    };
    if let Some(url) = client["url"].as_str() {
        let parsed: Uri = url.parse().map_err(|error| format!("Unparsable URL: {error}"))?;
        let mut target = Target::new(parsed);
        target.authorities = authorities;
        return Ok((target, url.to_owned()));
    }
    let service = &client["service"];
    let (Some(name), Some(namespace)) = (service["name"].as_str(), service["namespace"].as_str()) else {
        return Err("webhook configuration must have either service or URL".into());
    };
    let port = service["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(443);
    let path = service["path"].as_str().unwrap_or("/");
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let url = format!("https://{name}.{namespace}.svc:{port}{path}");
    let mut target = Target::new(url.parse().map_err(|error| format!("Unparsable URL: {error}"))?);
    target.connect = Some(of_service(objects, namespace, name, port, turn)?);
    target.authorities = authorities;
    Ok((target, url))
}
