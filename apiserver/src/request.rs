//! Who asks for what: the user, and the verb, resource and name that a path stands for.

mod info;

pub use info::RequestInfo;
pub(crate) use info::{is_true, query_pairs};

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

/// The group of those who may do everything.
pub const SYSTEM_MASTERS: &str = "system:masters";

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// Name, such as `system:serviceaccount:default:builder`.
    pub name: String,
    /// What tells users of one name over time apart; often empty.
    pub uid: String,
    /// Groups.
    pub groups: Vec<String>,
    /// What else the authenticator knows, such as the pod that a token is bound to.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// A user of that name and these groups.
    #[must_use]
    pub fn new(name: &str, groups: &[&str]) -> Self {
        let groups = groups.iter().map(|&group| group.to_owned()).collect();
        Self { name: name.to_owned(), groups, ..Self::default() }
    }

    /// A user who may do everything: `kubernetes-admin` in `system:masters`.
    #[must_use]
    pub fn admin() -> Self {
        Self::new("kubernetes-admin", &[SYSTEM_MASTERS, "system:authenticated"])
    }

    /// Who asks without credentials.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::new("system:anonymous", &["system:unauthenticated"])
    }

    /// Whether the user is in that group.
    #[must_use]
    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|own| own == group)
    }
}

/// What is noted about a request on its way: warnings that the answer will carry as `Warning` headers, annotations for
/// the audit log, and what metrics tell of it. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Warnings(Arc<Mutex<Notes>>);

#[derive(Debug, Default)]
struct Notes {
    warnings: Vec<String>,
    /// Of all warnings together, in characters.
    length: usize,
    /// The same, of each no more than is told of one among too many.
    length_cut: usize,
    annotations: BTreeMap<String, String>,
    deprecated: bool,
    waited: Duration,
}

/// So long are all warnings together, in characters, and each of them where that is too little.
const WARNINGS_MAX: usize = 4096;
const WARNING_CUT_MAX: usize = 256;

fn cut(warning: &mut String) {
    if let Some((end, _)) = warning.char_indices().nth(WARNING_CUT_MAX) {
        warning.truncate(end);
    }
}

impl Warnings {
    /// Adds a warning, once. Together they are told to the length of 4096 characters, as upstream does it: when there are
    /// more, of each the first 256, and what is then still too much is left out.
    pub fn add(&self, warning: impl Into<String>) {
        let mut warning = warning.into();
        let mut notes = self.notes();
        if warning.is_empty() || notes.length_cut >= WARNINGS_MAX || notes.warnings.contains(&warning) {
            return;
        }
        let length = warning.chars().count();
        notes.length += length;
        notes.length_cut += length.min(WARNING_CUT_MAX);
        if length > WARNINGS_MAX {
            cut(&mut warning);
        }
        notes.warnings.push(warning);
    }

    /// Takes all warnings.
    #[must_use]
    pub fn take(&self) -> Vec<String> {
        let mut notes = self.notes();
        let mut warnings = std::mem::take(&mut notes.warnings);
        if notes.length > WARNINGS_MAX {
            warnings.iter_mut().for_each(cut);
        }
        (notes.length, notes.length_cut) = (0, 0);
        warnings
    }

    /// Notes something for the audit log; what was noted first under a key stays.
    pub fn annotate(&self, key: impl Into<String>, value: impl Into<String>) {
        self.notes().annotations.entry(key.into()).or_insert_with(|| value.into());
    }

    /// What was noted for the audit log.
    #[must_use]
    pub fn annotations(&self) -> BTreeMap<String, String> {
        self.notes().annotations.clone()
    }

    /// Warns of a deprecated API, and notes that it was used.
    pub(crate) fn deprecated(&self, warning: &str) {
        self.add(warning);
        self.annotate("k8s.io/deprecated", "true");
        self.notes().deprecated = true;
    }

    pub(crate) fn is_deprecated(&self) -> bool {
        self.notes().deprecated
    }

    /// Notes time that the request spent in a queue or at a webhook: it is not for the server to answer for.
    pub(crate) fn waited_for(&self, time: Duration) {
        self.notes().waited += time;
    }

    pub(crate) fn waited(&self) -> Duration {
        self.notes().waited
    }

    fn notes(&self) -> std::sync::MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the layers found out about a request; in its extensions once it reaches the handlers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Context {
    /// Who asks.
    pub user: Arc<User>,
    /// For what.
    pub info: Arc<RequestInfo>,
    /// When the request came.
    pub now: Timestamp,
    /// What the answer will warn of.
    pub warnings: Warnings,
}

impl Context {
    /// A request by that user.
    #[must_use]
    pub fn new(user: impl Into<Arc<User>>, info: impl Into<Arc<RequestInfo>>, now: Timestamp) -> Self {
        Self { user: user.into(), info: info.into(), now, warnings: Warnings::default() }
    }
}

/// A key as a header name can hold it: what it can't hold is percent-encoded.
#[cfg(feature = "serve")]
pub(crate) fn escape_header_key(key: &str) -> String {
    let mut escaped = String::with_capacity(key.len());
    for byte in key.bytes() {
        match byte {
            b'!' | b'#' | b'$' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~' => {
                escaped.push(char::from(byte));
            }
            byte if byte.is_ascii_alphanumeric() => escaped.push(char::from(byte)),
            byte => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// Header names cannot hold every character of a key: they come percent-encoded.
pub(crate) fn unescape_header_key(key: &str) -> String {
    let query = format!("k={}", key.replace('+', "%2B"));
    query_pairs(&query).pop().map(|(_, value)| value).unwrap_or_default()
}
