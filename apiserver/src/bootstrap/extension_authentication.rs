//! What extension API servers read to know whom to believe: the ConfigMap `extension-apiserver-authentication`, kept as this
//! server believes while it runs.

use std::sync::Arc;
use std::time::Duration;

use kubewright_api::status::Status;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::ignore;
#[cfg(feature = "serve")]
use crate::authn::ClientAuthorities;
use crate::objects::{GroupResource, Objects};

const NAME: &str = "extension-apiserver-authentication";
const PLACE: GroupResource<'static> = GroupResource::core("configmaps");
/// How often it is looked whether someone else changed it.
const INTERVAL: Duration = Duration::from_secs(60);

/// Certificates of authorities.
#[derive(Clone, Debug)]
pub(crate) enum Bundle {
    /// They never change.
    Fixed(Arc<str>),
    /// They may be replaced.
    #[cfg(feature = "serve")]
    Followed(ClientAuthorities),
}

impl Bundle {
    fn pem(&self) -> Arc<str> {
        match self {
            Self::Fixed(pem) => Arc::clone(pem),
            #[cfg(feature = "serve")]
            Self::Followed(authorities) => authorities.pem(),
        }
    }
}

/// Whom this server believes, as extension servers are to know it.
#[derive(Clone, Default)]
pub(crate) struct ExtensionAuthentication {
    /// Who signs clients.
    pub(crate) clients: Option<Bundle>,
    /// Who signs front proxies, and the names that these have.
    pub(crate) proxies: Option<(Bundle, Vec<String>)>,
}

impl ExtensionAuthentication {
    fn data(&self) -> Value {
        let mut data = json!({});
        if let Some(clients) = &self.clients {
            data["client-ca-file"] = (*clients.pem()).into();
        }
        if let Some((proxies, names)) = &self.proxies {
            data["requestheader-client-ca-file"] = (*proxies.pem()).into();
            data["requestheader-allowed-names"] = json!(names).to_string().into();
            for (key, header) in [
                ("username-headers", "X-Remote-User"),
                ("uid-headers", "X-Remote-Uid"),
                ("group-headers", "X-Remote-Group"),
                ("extra-headers-prefix", "X-Remote-Extra-"),
            ] {
                data[format!("requestheader-{key}")] = json!([header]).to_string().into();
            }
        }
        data
    }

    /// Makes the ConfigMap, or mends it. It says what this server believes and nothing else: an authority that is no longer
    /// believed must not be by extension servers either. So servers over one store are to be configured alike.
    ///
    /// # Errors
    /// What the store answers.
    pub(crate) async fn ensure(&self, objects: &dyn Objects) -> Result<(), Status> {
        if !objects.serves(PLACE) {
            return Ok(());
        }
        let data = self.data();
        let Some(mut found) = objects.cached(PLACE, "kube-system", NAME) else {
            let metadata = json!({"name": NAME, "namespace": "kube-system"});
            let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data});
            return ignore(objects.create(PLACE, map).await, "AlreadyExists");
        };
        let same = found["data"] == data || (found["data"].is_null() && data == json!({}));
        if same {
            return Ok(());
        }
        found["data"] = data;
        ignore(objects.update(PLACE, found).await, "Conflict")
    }

    /// Keeps the ConfigMap until cancelled.
    pub(crate) async fn run(self, objects: Arc<dyn Objects>, cancel: CancellationToken) {
        #[cfg(feature = "serve")]
        let mut changes =
            [self.clients.as_ref(), self.proxies.as_ref().map(|(proxies, _)| proxies)].map(|bundle| match bundle {
                Some(Bundle::Followed(authorities)) => Some(authorities.changes()),
                _ => None,
            });
        loop {
            #[cfg(feature = "serve")]
            let [clients, proxies] = &mut changes;
            #[cfg(feature = "serve")]
            let changed = async {
                tokio::select! {
                    () = replaced(clients) => {}
                    () = replaced(proxies) => {}
                    () = tokio::time::sleep(INTERVAL) => {}
                }
            };
            #[cfg(not(feature = "serve"))]
            let changed = tokio::time::sleep(INTERVAL);
            if cancel.run_until_cancelled(changed).await.is_none() {
                return;
            }
            if let Err(error) = self.ensure(&*objects).await {
                tracing::warn!(%error, "what extension servers should know of clients was not written");
            }
        }
    }
}

/// Waits until other authorities are believed.
#[cfg(feature = "serve")]
async fn replaced<T>(changes: &mut Option<tokio::sync::watch::Receiver<T>>) {
    if let Some(changes) = changes
        && changes.changed().await.is_ok()
    {
        return;
    }
    // There is none, or its sender is gone with the server.
    std::future::pending().await
}
