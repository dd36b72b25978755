//! In what form a client wants its answer.

use http::HeaderMap;
use http::header::ACCEPT;
use kubewright_api::status::Status;

/// What of an object is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum View {
    /// All of it.
    #[default]
    Whole,
    /// A row of a table.
    Table,
    /// Its metadata.
    Partial,
    /// Its metadata, in a list of them.
    PartialList,
}

/// The form of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) yaml: bool,
    pub(super) view: View,
    pub(super) pretty: bool,
}

/// Chooses the form: the first of the accepted ones that the server can make.
pub(super) fn choose(headers: &HeaderMap, list: bool, pretty: bool) -> Result<Form, Status> {
    let accept: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    if accept.iter().all(|value| value.trim().is_empty()) {
        return Ok(Form { pretty, ..Form::default() });
    }
    let mut clauses: Vec<(i32, &str)> =
        accept.iter().flat_map(|value| value.split(',')).map(|clause| (weight(clause), clause)).collect();
    clauses.sort_by_key(|(weight, _)| -weight);
    let form = clauses.into_iter().find_map(|(_, clause)| read(clause, list));
    let form = form.ok_or_else(|| Status::not_acceptable(&["application/json", "application/yaml"]))?;
    Ok(Form { pretty, ..form })
}

/// The `q` of a clause, in thousandths.
fn weight(clause: &str) -> i32 {
    let q = clause.split(';').skip(1).find_map(|parameter| parameter.trim().strip_prefix("q="));
    let q = q.and_then(|q| q.parse::<f32>().ok()).unwrap_or(1.0);
    // Truncation is fine: three decimals are all that HTTP allows.
    #[allow(clippy::cast_possible_truncation, reason = "a weight is between 0 and 1")]
    let thousandths = (q * 1000.0) as i32;
    thousandths
}

fn read(clause: &str, list: bool) -> Option<Form> {
    let mut parts = clause.split(';').map(str::trim);
    let yaml = match parts.next()? {
        "application/json" | "*/*" | "application/*" => false,
        "application/yaml" => true,
        _ => return None,
    };
    let (mut as_kind, mut version, mut group) = ("", "", "");
    for (key, value) in parts.filter_map(|parameter| parameter.split_once('=')) {
        match key {
            "as" => as_kind = value,
            "v" => version = value,
            "g" => group = value,
            "stream" if value != "watch" => return None,
            _ => {}
        }
    }
    let view = match as_kind {
        "" => View::Whole,
        _ if group != "meta.k8s.io" || !matches!(version, "v1" | "v1beta1") => return None,
        "Table" => View::Table,
        "PartialObjectMetadata" if !list => View::Partial,
        "PartialObjectMetadataList" if list => View::PartialList,
        _ => return None,
    };
    Some(Form { yaml, view, pretty: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(accept: &str, list: bool, expected: Option<(bool, View)>) {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        let form = choose(&headers, list, false).ok().map(|form| (form.yaml, form.view));
        assert_eq!(form, expected, "{accept}");
    }

    #[test]
    fn the_first_form_that_can_be_made_is_chosen() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        check(table, true, Some((false, View::Table)));
        check("application/vnd.kubernetes.protobuf, application/json", true, Some((false, View::Whole)));
        check("application/vnd.kubernetes.protobuf", true, None);
        check("application/yaml", false, Some((true, View::Whole)));
        check("application/json;q=0.5, application/yaml", false, Some((true, View::Whole)));
        check(
            "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
            true,
            Some((false, View::PartialList)),
        );
        check("application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", false, None);
        check("*/*", false, Some((false, View::Whole)));
    }
}
