//! What a custom resource says of itself: unlike an object of a built-in kind it must name its kind and version.

use kubewright_api::field::{FieldError, FieldErrors, Path};
use kubewright_api::status::Status;
use serde_json::Value;

use super::decode::Expected;
use crate::object;

/// Why an object is not of the kind that was expected, in upstream's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Misnamed {
    /// There is no telling what it is.
    Unreadable(String),
    /// It is of another version, or of another group's, or says none.
    Version(String),
    /// It is of another kind of that version.
    Kind(String),
}

/// Checks what an object says. `text` is the document that it was read from.
///
/// # Errors
/// It is of another kind or version, or doesn't say.
pub(crate) fn check(value: &Value, expected: &Expected<'_>, text: impl Fn() -> String) -> Result<(), Misnamed> {
    let said = |field: &str| match &value[field] {
        Value::Null => Ok(""),
        Value::String(text) => Ok(text.as_str()),
        other => {
            let found = super::parse::go_kind(other);
            let why = format!("json: cannot unmarshal {found} into Go struct field .{field} of type string");
            Err(Misnamed::Unreadable(format!("couldn't get version/kind; json parse error: {why}")))
        }
    };
    let (version, kind) = (said("apiVersion")?, said("kind")?);
    if version.matches('/').count() > 1 {
        return Err(Misnamed::Unreadable(format!("unexpected GroupVersion string: {version}")));
    }
    if kind.is_empty() {
        return Err(Misnamed::Unreadable(format!("Object 'Kind' is missing in '{}'", text())));
    }
    if version != expected.api_version {
        return Err(Misnamed::Version(version.to_owned()));
    }
    if kind != expected.kind {
        return Err(Misnamed::Kind(kind.to_owned()));
    }
    Ok(())
}

/// 422 for an object that names another kind or version than the expected one.
pub(crate) fn refused(value: &Value, expected: &Expected<'_>) -> Status {
    let mut faults = FieldErrors::new();
    for (field, wanted) in [("kind", expected.kind), ("apiVersion", expected.api_version)] {
        let said = value[field].as_str().unwrap_or_default();
        if said != wanted {
            faults.push(FieldError::invalid(&Path::new(field), said, format!("must be {wanted}")));
        }
    }
    let said = |field: &str| value[field].as_str().unwrap_or_default();
    let group = said("apiVersion").split_once('/').map_or("", |(group, _)| group);
    Status::invalid(group, said("kind"), object::name(value), &faults)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn custom_resources_say_what_they_are() {
        let mut expected = Expected::new("ex.io/v1", "Lamp");
        expected.must_be_said = true;
        let check = |object: Value, wanted: Result<(), Misnamed>| {
            assert_eq!(check(&object, &expected, || "text".into()), wanted, "{object}");
        };
        check(json!({"apiVersion": "ex.io/v1", "kind": "Lamp"}), Ok(()));
        let missing = "Object 'Kind' is missing in 'text'";
        check(json!({"apiVersion": "ex.io/v1"}), Err(Misnamed::Unreadable(missing.into())));
        check(json!({"kind": "Lamp"}), Err(Misnamed::Version(String::new())));
        check(json!({"apiVersion": "ex.io/v2", "kind": "Lamp"}), Err(Misnamed::Version("ex.io/v2".into())));
        check(json!({"apiVersion": "ex.io/v1", "kind": "Lump"}), Err(Misnamed::Kind("Lump".into())));
        let status = refused(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "l"}}), &expected);
        let message = "Pod \"l\" is invalid: [kind: Invalid value: \"Pod\": must be Lamp, apiVersion: Invalid value: \
                       \"v1\": must be ex.io/v1]";
        assert_eq!((status.code, status.message.as_str()), (422, message));
    }
}
