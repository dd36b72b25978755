//! Listing objects: the newest state, one that is not older than some revision, or one revision exactly, in pages.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kubewright_api::status::Status;
use kubewright_store::{Error, KeyRange, RangeOptions, Revision};
use serde::{Deserialize, Serialize};

use super::cache::{Cached, Selection};
use super::storage::Storage;
use super::{Registry, errors};

/// What a list asks for, beside the selection.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListParams {
    pub(crate) limit: usize,
    pub(crate) continue_token: String,
    /// `None` for the newest state.
    pub(crate) resource_version: Option<u64>,
    /// `resourceVersionMatch=Exact`, or what older clients mean by a version and a limit.
    pub(crate) exact: bool,
}

/// A list, or a page of one.
pub(crate) struct Listed {
    pub(crate) objects: Vec<Arc<Cached>>,
    pub(crate) revision: u64,
    pub(crate) continue_token: Option<String>,
    /// How many more there are, if that is known.
    pub(crate) remaining: Option<usize>,
}

/// Where the next page starts. The revision is -1 for pages that need not belong to one revision.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Token {
    v: String,
    rv: i64,
    start: String,
}

impl Token {
    fn encode(revision: u64, last: &str) -> Option<String> {
        let rv = i64::try_from(revision).ok()?;
        let token = Self { v: "meta.k8s.io/v1".into(), rv, start: format!("{last}\0") };
        Some(URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).ok()?))
    }

    fn decode(text: &str) -> Result<Self, Status> {
        let fault =
            |why: String| Status::bad_request(format!("invalid continue token: continue key is not valid: {why}"));
        let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|error| fault(error.to_string()))?;
        let token: Self = serde_json::from_slice(&bytes).map_err(|error| fault(error.to_string()))?;
        match token.v.as_str() {
            "meta.k8s.io/v1" if token.rv == 0 => {
                Err(fault("incorrect encoded start resourceVersion (version meta.k8s.io/v1)".into()))
            }
            "meta.k8s.io/v1" if token.start.is_empty() => {
                Err(fault("encoded start key empty (version meta.k8s.io/v1)".into()))
            }
            "meta.k8s.io/v1" => Ok(token),
            version => Err(fault(format!("server does not recognize this encoded version {version:?}"))),
        }
    }
}

impl Token {
    /// 410, with a token for the rest of the list as it is now.
    fn expired(self) -> Status {
        let mut status = Status::expired(TOKEN_EXPIRED);
        let rest = serde_json::to_vec(&Self { rv: -1, ..self }).unwrap_or_default();
        status.metadata.continue_token = URL_SAFE_NO_PAD.encode(rest);
        status
    }
}

const TOKEN_EXPIRED: &str = "The provided continue parameter is too old to display a consistent list result. You can \
                             start a new list without the continue parameter, or go on with the token of this \
                             answer: what changed since the first page may then be shown or not.";

impl Registry {
    /// Lists.
    pub(crate) async fn list(
        &self,
        storage: &Storage,
        selection: &Selection,
        params: &ListParams,
    ) -> Result<Listed, Status> {
        if !params.continue_token.is_empty() {
            let token = Token::decode(&params.continue_token)?;
            let revision = u64::try_from(token.rv).ok();
            let expired = || token.clone().expired();
            return self.list_at(storage, selection, (revision, Some(&token.start)), params.limit, expired).await;
        }
        match params.resource_version {
            Some(revision) if params.exact => {
                let expired = || Status::expired("The resourceVersion for the provided list is too old.");
                return self.list_at(storage, selection, (Some(revision), None), params.limit, expired).await;
            }
            Some(revision) => self.wait_for(revision).await?,
            None => self.wait_for_latest().await?,
        }
        // As upstream: whoever takes any state gets all of it.
        let limit = if params.resource_version == Some(0) { 0 } else { params.limit };
        if limit == 0 {
            let (objects, revision) = storage.cache.list(selection, self.published())?;
            return Ok(Listed { objects, revision, continue_token: None, remaining: None });
        }
        let page = storage.cache.list_page(selection, limit, self.published())?;
        let last = page.objects.last().filter(|_| page.rest > 0);
        let continue_token = last.and_then(|last| Token::encode(page.revision, &last.path));
        let remaining = (page.rest > 0 && !selection.is_selective()).then_some(page.rest);
        Ok(Listed { objects: page.objects, revision: page.revision, continue_token, remaining })
    }

    /// Lists one revision out of the store from a path on; without one, whatever is newest, or all.
    async fn list_at(
        &self,
        storage: &Storage,
        selection: &Selection,
        (revision, start): (Option<u64>, Option<&str>),
        limit: usize,
        expired: impl Fn() -> Status + Send,
    ) -> Result<Listed, Status> {
        let prefix = format!("{}{}", storage.prefix, selection.path_prefix);
        let whole = KeyRange::prefix(prefix.as_str());
        let mut range = match (start, whole.end()) {
            (Some(start), Some(end)) => KeyRange::between(format!("{}{start}", storage.prefix), end),
            _ => whole,
        };
        let (mut objects, mut at) = (Vec::new(), revision.map(Revision));
        loop {
            let options = RangeOptions::latest().revision(at);
            let options = if limit > 0 { options.limit(limit).with_count() } else { options };
            let page = self.store.range(range.clone(), options).await.map_err(|error| match error {
                Error::Compacted { .. } => expired(),
                error => errors::of_store(error),
            })?;
            at = Some(page.revision);
            for (index, entry) in page.entries.iter().enumerate() {
                let path = String::from_utf8_lossy(&entry.key[storage.prefix.len()..]).into_owned();
                if selection.may_hold(&path) {
                    let object = storage.decode(entry)?;
                    let cached = Cached::new(storage, &object, &entry.value, &path, entry.mod_revision.get())?;
                    if selection.matches(&cached) {
                        objects.push(Arc::new(cached));
                    }
                }
                let more = page.more || index + 1 < page.entries.len();
                if limit > 0 && objects.len() == limit && more {
                    let rest = page.count.map(|count| usize::try_from(count).unwrap_or(usize::MAX) - index - 1);
                    return Ok(Listed {
                        objects,
                        revision: page.revision.get(),
                        continue_token: Token::encode(page.revision.get(), &path),
                        remaining: rest.filter(|_| !selection.is_selective()),
                    });
                }
            }
            match page.entries.last() {
                Some(last) if page.more => range = range.after(&last.key),
                _ => {
                    let revision = page.revision.get();
                    return Ok(Listed { objects, revision, continue_token: None, remaining: None });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_say_where_to_go_on() {
        let token = Token::decode(&Token::encode(7, "default/a").unwrap()).unwrap();
        assert_eq!((token.rv, token.start.as_str()), (7, "default/a\0"));
        let rest = token.expired();
        let rest = Token::decode(&rest.metadata.continue_token).unwrap();
        assert_eq!((rest.rv, rest.start.as_str()), (-1, "default/a\0"));
        for bad in ["%", "e30", "eyJ2IjoieCIsInJ2IjoxLCJzdGFydCI6ImEifQ"] {
            assert_eq!(Token::decode(bad).unwrap_err().code, 400, "{bad}");
        }
    }
}
