//! IP families of a Service on a cluster with one range.

use kubewright_api::field::{FieldError, Path};
use serde_json::{Value, json};

use super::claims;
use super::range::AddressRange;

/// Fills in `ipFamilies` and `ipFamilyPolicy`, or refuses what a cluster with one family can't give.
pub(super) fn default_families(service: &mut Value, range: &AddressRange) -> Result<(), FieldError> {
    let external = service["spec"]["type"] == "ExternalName";
    if external || !service["spec"].is_object() {
        return Ok(());
    }
    let own = range.family();
    let policy = service["spec"]["ipFamilyPolicy"].as_str().map(str::to_owned);
    let selectorless = service["spec"]["selector"].as_object().is_none_or(serde_json::Map::is_empty);
    if claims::is_headless(service) && selectorless {
        return fill_selectorless(service, own, policy.is_some());
    }
    if policy.as_deref() == Some("RequireDualStack") {
        let path = Path::new("spec").child("ipFamilyPolicy");
        let why = "this cluster is not configured for dual-stack services";
        return Err(FieldError::invalid(&path, "RequireDualStack", why));
    }
    let families = service["spec"]["ipFamilies"].as_array().cloned().unwrap_or_default();
    for (at, family) in families.iter().enumerate() {
        if family != own {
            let path = Path::new("spec").child("ipFamilies").index(at);
            return Err(FieldError::invalid(&path, family.clone(), "not configured on this cluster"));
        }
    }
    if policy.is_none() {
        service["spec"]["ipFamilyPolicy"] = "SingleStack".into();
    }
    if families.is_empty() {
        service["spec"]["ipFamilies"] = json!([own]);
    }
    Ok(())
}

/// A headless Service without selector may list endpoints of any family, so it gets both.
fn fill_selectorless(service: &mut Value, own: &str, has_policy: bool) -> Result<(), FieldError> {
    let other = if own == "IPv4" { "IPv6" } else { "IPv4" };
    let families = service["spec"]["ipFamilies"].as_array().cloned().unwrap_or_default();
    if !has_policy {
        let policy = if families.len() == 1 { "SingleStack" } else { "RequireDualStack" };
        service["spec"]["ipFamilyPolicy"] = policy.into();
    }
    if families.is_empty() {
        let single = service["spec"]["ipFamilyPolicy"] == "SingleStack";
        service["spec"]["ipFamilies"] = if single { json!([own]) } else { json!([own, other]) };
    }
    Ok(())
}
