//! Requests to the API server, below the level of types.

use http::Request;
use kube::Client;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::Error;
use crate::objects::{Kind, ObjectKey, null_default};
use crate::plan::{Delete, Propagation};

/// Who our writes are by, in `managedFields`.
const FIELD_MANAGER: &str = "kubewright-controllers";
const JSON: &str = "application/json";
/// Asks for objects' metadata only.
pub(crate) const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
/// Asks for a list of objects' metadata only.
pub(crate) const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

/// A client for raw requests.
#[derive(Clone)]
pub(crate) struct Api {
    client: Client,
}

/// One page of a list.
#[derive(Deserialize)]
#[serde(bound(deserialize = "K: DeserializeOwned"))]
pub(crate) struct Page<K> {
    #[serde(default)]
    pub(crate) metadata: PageMeta,
    #[serde(default = "Vec::new", deserialize_with = "null_default")]
    pub(crate) items: Vec<K>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct PageMeta {
    pub(crate) resource_version: String,
    #[serde(rename = "continue")]
    pub(crate) next: String,
}

impl Api {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Sends a request that has no body.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str, accept: &str) -> Result<T, Error> {
        let request = Request::get(path).header(http::header::ACCEPT, accept).body(Vec::new());
        decode(&self.client.request_text(request.map_err(malformed)?).await?)
    }

    /// One page of a list, at the newest version.
    pub(crate) async fn page<K: DeserializeOwned>(
        &self,
        path: &str,
        fields: &str,
        next: &str,
        accept: &str,
    ) -> Result<Page<K>, Error> {
        let next = if next.is_empty() { String::new() } else { format!("&continue={}", escape(next)) };
        self.get(&format!("{path}?limit=500{}{next}", field_selector(fields)), accept).await
    }

    /// A watch from that version on, for that many seconds.
    pub(crate) async fn watch<K: DeserializeOwned + Clone>(
        &self,
        path: &str,
        fields: &str,
        from: &str,
        seconds: u32,
        accept: &str,
    ) -> Result<impl futures::Stream<Item = Result<kube::core::WatchEvent<K>, kube::Error>> + use<K>, Error> {
        let fields = field_selector(fields);
        let position = format!("timeoutSeconds={seconds}&resourceVersion={}{fields}", escape(from));
        let query = format!("watch=true&allowWatchBookmarks=true&{position}");
        let request = Request::get(format!("{path}?{query}")).header(http::header::ACCEPT, accept).body(Vec::new());
        Ok(self.client.request_events(request.map_err(malformed)?).await?)
    }

    /// Creates an object and returns it as the server wrote it.
    pub(crate) async fn create(&self, kind: Kind, namespace: &str, object: &Value) -> Result<String, Error> {
        let path = format!("{}?fieldManager={FIELD_MANAGER}", kind.path(namespace));
        self.send(Request::post(path), JSON, object).await
    }

    /// Applies a merge patch and returns the object as the server wrote it.
    pub(crate) async fn patch(
        &self,
        kind: Kind,
        key: &ObjectKey,
        subresource: &str,
        body: &Value,
    ) -> Result<String, Error> {
        self.patch_path(&object_path(&kind.path(&key.namespace), key, subresource), body).await
    }

    /// Applies a merge patch to whatever lives at that path.
    pub(crate) async fn patch_path(&self, path: &str, body: &Value) -> Result<String, Error> {
        let request = Request::patch(format!("{path}?fieldManager={FIELD_MANAGER}"));
        self.send(request, "application/merge-patch+json", body).await
    }

    /// Replaces what lives at that path.
    pub(crate) async fn replace(&self, path: &str, body: &Value) -> Result<String, Error> {
        self.send(Request::put(path), JSON, body).await
    }

    /// Deletes an object; the answer is the object or a `Status`.
    pub(crate) async fn delete(&self, delete: &Delete) -> Result<String, Error> {
        let path = object_path(&delete.kind.path(&delete.key.namespace), &delete.key, "");
        let options = DeleteOptions {
            uid: &delete.uid,
            resource_version: &delete.resource_version,
            propagation: delete.propagation,
            grace_seconds: delete.grace_seconds,
        };
        self.delete_path(&path, &options).await
    }

    /// Deletes what lives at that path.
    pub(crate) async fn delete_path(&self, path: &str, options: &DeleteOptions<'_>) -> Result<String, Error> {
        self.send(Request::delete(path), JSON, &options.to_value()).await
    }

    async fn send(&self, request: http::request::Builder, content: &str, body: &Value) -> Result<String, Error> {
        let bytes = serde_json::to_vec(body).map_err(|source| Error::Undecodable { source })?;
        let request =
            request.header(http::header::CONTENT_TYPE, content).header(http::header::ACCEPT, JSON).body(bytes);
        Ok(self.client.request_text(request.map_err(malformed)?).await?)
    }
}

/// Options of a deletion.
#[derive(Default)]
pub(crate) struct DeleteOptions<'a> {
    pub(crate) uid: &'a str,
    pub(crate) resource_version: &'a str,
    pub(crate) propagation: Option<Propagation>,
    pub(crate) grace_seconds: Option<u32>,
}

impl DeleteOptions<'_> {
    fn to_value(&self) -> Value {
        let mut value = json!({"apiVersion": "v1", "kind": "DeleteOptions"});
        if !self.uid.is_empty() {
            value["preconditions"]["uid"] = json!(self.uid);
        }
        if !self.resource_version.is_empty() {
            value["preconditions"]["resourceVersion"] = json!(self.resource_version);
        }
        if let Some(propagation) = self.propagation {
            value["propagationPolicy"] = json!(propagation.as_str());
        }
        if let Some(seconds) = self.grace_seconds {
            value["gracePeriodSeconds"] = json!(seconds);
        }
        value
    }
}

pub(crate) fn decode<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|source| Error::Undecodable { source })
}

/// The path of one object in a collection.
pub(crate) fn object_path(collection: &str, key: &ObjectKey, subresource: &str) -> String {
    let slash = if subresource.is_empty() { "" } else { "/" };
    format!("{collection}/{}{slash}{subresource}", escape(&key.name))
}

fn malformed(error: http::Error) -> Error {
    Error::Unavailable { message: format!("cannot build a request: {error}"), source: Some(Box::new(error)) }
}

fn field_selector(fields: &str) -> String {
    if fields.is_empty() { String::new() } else { format!("&fieldSelector={}", escape(fields)) }
}

/// Percent-encodes what may not stand in a path segment or query value.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_tokens_are_escaped() {
        assert_eq!(escape("system:node a+b"), "system%3Anode%20a%2Bb");
        assert_eq!(object_path("/api/v1/pods", &ObjectKey::new("", "a"), "status"), "/api/v1/pods/a/status");
    }

    #[test]
    fn deletions_say_what_they_mean() {
        let options = DeleteOptions {
            uid: "u",
            propagation: Some(Propagation::Orphan),
            grace_seconds: Some(0),
            ..Default::default()
        };
        assert_eq!(
            options.to_value(),
            json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": "u"},
                "propagationPolicy": "Orphan", "gracePeriodSeconds": 0})
        );
    }
}
