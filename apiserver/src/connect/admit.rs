//! What admission says of a connection.

use std::sync::Arc;

use kubewright_api::status::Status;
use serde_json::json;

use super::options::Options;
use crate::admission::{self, Admission, AdmissionAttributes, Operation};
use crate::request::Context;

/// Asks the plugins about a connection; what they see is its options.
pub(super) async fn admit(
    admission: &[Arc<dyn Admission>],
    context: &Context,
    options: &Options,
) -> Result<(), Status> {
    let Some(shown) = options.shown(&context.info) else { return Ok(()) };
    let kind = shown["kind"].as_str().unwrap_or_default().to_owned();
    let none = json!({});
    let mut attributes = AdmissionAttributes::of_request(context, Operation::Connect, &kind, shown, None, &none);
    admission::admit(admission, &mut attributes).await?;
    admission::validate(admission, &attributes).await
}
