//! In what form a client wants its answer.

use http::HeaderMap;
use http::header::ACCEPT;
use kubewright_api::status::Status;

use crate::object::protobuf;

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

/// In what an answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Encoding {
    #[default]
    Json,
    Yaml,
    Protobuf,
}

/// The form of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) encoding: Encoding,
    pub(super) view: View,
    pub(super) pretty: bool,
}

/// In what whoever sent these headers would rather have anything.
pub(crate) fn preferred(headers: &HeaderMap) -> Encoding {
    choose(headers, false, false, true).map(|form| form.encoding).unwrap_or_default()
}

/// In what a document is written for whoever sent these headers.
///
/// # Errors
/// 406 if it can't be made as they want it.
pub(crate) fn of_document(headers: &HeaderMap) -> Result<Encoding, Status> {
    let form = choose(headers, false, false, true)?;
    if form.view == View::Whole { Ok(form.encoding) } else { Err(not_acceptable()) }
}

/// Whether an object as it is will do: of what is not stored there are neither tables nor metadata alone.
pub(super) fn accepts_whole(headers: &HeaderMap) -> bool {
    let accept: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let mut clauses = accept.iter().flat_map(|value| value.split(','));
    accept.iter().all(|value| value.trim().is_empty())
        || clauses.any(|clause| read(clause, false, true).is_some_and(|form| form.view == View::Whole))
}

/// 406: what the server can make.
pub(super) fn not_acceptable() -> Status {
    Status::not_acceptable(&["application/json", "application/yaml", protobuf::MEDIA_TYPE])
}

/// Chooses the form: the first of the accepted ones that the server can make. Custom resources have no protobuf
/// encoding, but their metadata has.
pub(super) fn choose(headers: &HeaderMap, list: bool, pretty: bool, built_in: bool) -> Result<Form, Status> {
    let accept: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    if accept.iter().all(|value| value.trim().is_empty()) {
        return Ok(Form { pretty, ..Form::default() });
    }
    let mut clauses: Vec<(i32, &str)> =
        accept.iter().flat_map(|value| value.split(',')).map(|clause| (weight(clause), clause)).collect();
    clauses.sort_by_key(|(weight, _)| -weight);
    let form = clauses.into_iter().find_map(|(_, clause)| read(clause, list, built_in));
    let form = form.ok_or_else(|| if is_known(&accept) { not_acceptable() } else { no_such(list) })?;
    Ok(Form { pretty, ..form })
}

/// Whether some media type of these is one that the server makes, in whatever form.
fn is_known(accept: &[&str]) -> bool {
    let types = accept.iter().flat_map(|value| value.split(',')).filter_map(|clause| clause.split(';').next());
    let known = ["application/json", "application/yaml", protobuf::MEDIA_TYPE, "application/*", "*/*"];
    types.into_iter().any(|media| known.contains(&media.trim()))
}

/// 406: what the path has; a list can be watched too.
fn no_such(list: bool) -> Status {
    let watched = ["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];
    let mut available = vec!["application/json", "application/yaml", protobuf::MEDIA_TYPE];
    available.extend(watched.into_iter().filter(|_| list));
    Status::no_such_representation(&available)
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

fn read(clause: &str, list: bool, built_in: bool) -> Option<Form> {
    let mut parts = clause.split(';').map(str::trim);
    let encoding = match parts.next()? {
        "application/json" | "*/*" | "application/*" => Encoding::Json,
        "application/yaml" => Encoding::Yaml,
        protobuf::MEDIA_TYPE => Encoding::Protobuf,
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
        "" if encoding == Encoding::Protobuf && !built_in => return None,
        "" => View::Whole,
        _ if group != "meta.k8s.io" || !matches!(version, "v1" | "v1beta1") => return None,
        "Table" if encoding != Encoding::Protobuf => View::Table,
        "PartialObjectMetadata" if !list => View::Partial,
        "PartialObjectMetadataList" if list => View::PartialList,
        _ => return None,
    };
    Some(Form { encoding, view, pretty: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CUSTOM: bool = false;

    fn check(accept: &str, list: bool, built_in: bool, expected: Option<(Encoding, View)>) {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        let form = choose(&headers, list, false, built_in).ok().map(|form| (form.encoding, form.view));
        assert_eq!(form, expected, "{accept}");
    }

    #[test]
    fn the_first_form_that_can_be_made_is_chosen() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        check(table, true, true, Some((Encoding::Json, View::Table)));
        check("application/yaml", false, true, Some((Encoding::Yaml, View::Whole)));
        check("application/json;q=0.5, application/yaml", false, true, Some((Encoding::Yaml, View::Whole)));
        let partial = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
        check(partial, true, true, Some((Encoding::Json, View::PartialList)));
        check(partial, false, true, None);
        check("*/*", false, true, Some((Encoding::Json, View::Whole)));
    }

    #[test]
    fn protobuf_is_for_built_in_kinds_and_for_metadata() {
        let both = "application/vnd.kubernetes.protobuf,application/json";
        check(both, true, true, Some((Encoding::Protobuf, View::Whole)));
        check(both, true, CUSTOM, Some((Encoding::Json, View::Whole)));
        let alone = "application/vnd.kubernetes.protobuf;stream=watch";
        check(alone, true, true, Some((Encoding::Protobuf, View::Whole)));
        check(alone, true, CUSTOM, None);
        let partial =
            "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
        check(partial, false, CUSTOM, Some((Encoding::Protobuf, View::Partial)));
        let table = "application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1";
        check(table, true, true, None);
    }
}
