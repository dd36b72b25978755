use jiff::Timestamp;
use kubewright_runtime_shim::{AuthConfig, Image, ImageRef, ImageSpec};
use serde::Deserialize;
use std::collections::BTreeMap;

use super::Worker;
use crate::decide::WaitingReason;
use crate::events::EventTarget;
use crate::objects::Container;
use crate::references::{Fetched, ObjectKind};

/// An image that is on the node, or why it is not, and when to try again.
pub(super) type Ensured = Result<(ImageRef, Option<Image>), (WaitingReason, Option<Timestamp>)>;

/// When an image is pulled that does not say.
fn default_policy(image: &str) -> &'static str {
    let name = image.rsplit('/').next().unwrap_or(image);
    let tagged = name.split('@').next().unwrap_or(name).split_once(':').map(|(_, tag)| tag);
    if image.contains('@') || tagged.is_some_and(|tag| tag != "latest") { "IfNotPresent" } else { "Always" }
}

fn waiting(reason: &str, message: impl Into<String>) -> WaitingReason {
    WaitingReason { reason: reason.to_owned(), message: message.into() }
}

impl Worker {
    /// Has a container's image on the node, as its policy says.
    pub(super) async fn ensure_image(&mut self, container: &Container) -> Ensured {
        let image = &container.image;
        let target = EventTarget::container(&self.pod, &container.name, false);
        let recorder = self.node.recorder.clone();
        if image.is_empty() {
            let message =
                "Failed to apply default image tag \"\": couldn't parse image name \"\": invalid reference format";
            recorder.warning(&target, "InspectFailed", message);
            return Err((waiting("InvalidImageName", message), None));
        }
        let mut spec = ImageSpec::new(image.clone());
        spec.user_specified_image.clone_from(image);
        let present = match self.node.runtime.image_status(&spec).await {
            Ok(present) => present,
            Err(error) => {
                let message = format!("Failed to inspect image {image:?}: {error}");
                recorder.warning(&target, "InspectFailed", message.clone());
                return Err((waiting("ImageInspectError", message), None));
            }
        };
        let policy = match container.image_pull_policy.as_str() {
            "" => default_policy(image),
            policy => policy,
        };
        match (policy, present) {
            ("IfNotPresent" | "Never", Some(found)) => {
                let message =
                    format!("Container image {image:?} already present on machine and can be accessed by the pod");
                recorder.normal(&target, "Pulled", message);
                Ok((found.id.clone(), Some(found)))
            }
            ("Never", None) => {
                let message = format!("Container image {image:?} is not present with pull policy of Never");
                recorder.warning(&target, "ErrImageNeverPull", message.clone());
                Err((waiting("ErrImageNeverPull", message), None))
            }
            _ => self.pull(&spec, &target).await,
        }
    }

    async fn pull(&mut self, spec: &ImageSpec, target: &EventTarget) -> Ensured {
        let (node, image) = (self.node.clone(), &spec.image);
        let now = node.clock.now();
        let failed_before = self.pull_errors.get(image).cloned();
        if failed_before.is_some()
            && let Some(at) = self.pulls.retry_at(image, self.pull_failed_at, now)
        {
            let message = format!("Back-off pulling image {image:?}");
            node.recorder.normal(target, "BackOff", message.clone());
            let message = format!("{message}: {}", failed_before.unwrap_or_default());
            return Err((waiting("ImagePullBackOff", message), Some(at)));
        }
        node.recorder.normal(target, "Pulling", format!("Pulling image {image:?}"));
        let turn = node.pulls.acquire().await;
        let begun = node.clock.now();
        let auth = self.credentials(image);
        let pulled = node.runtime.pull_image(spec, auth.as_ref(), None).await;
        drop(turn);
        let done = node.clock.now();
        match pulled {
            Ok(reference) => {
                self.pull_errors.remove(image);
                self.pulls.reset(image);
                let found = node.runtime.image_status(spec).await.ok().flatten();
                let size = found.as_ref().map_or(0, |image| image.size);
                let (own, all) = (seconds(begun, done), seconds(now, done));
                let message = format!(
                    "Successfully pulled image {image:?} in {own} ({all} including waiting). Image size: {size} bytes."
                );
                node.recorder.normal(target, "Pulled", message);
                Ok((reference, found))
            }
            Err(error) => {
                let why = error.to_string();
                node.recorder.warning(target, "Failed", format!("Failed to pull image {image:?}: {why}"));
                self.pulls.next(image, done, done);
                self.pull_errors.insert(image.clone(), format!("ErrImagePull: {why}"));
                self.pull_failed_at = done;
                let at = self.pulls.retry_at(image, done, done);
                Err((waiting("ErrImagePull", why), at))
            }
        }
    }

    /// Credentials for an image's registry, out of the pod's pull secrets.
    fn credentials(&self, image: &str) -> Option<AuthConfig> {
        let registry = registry_of(image);
        for secret in &self.pod.spec.image_pull_secrets {
            let Fetched::Found(data) = self.node.objects.get(ObjectKind::Secret, self.pod.namespace(), &secret.name)
            else {
                continue;
            };
            let auths: Option<BTreeMap<String, Login>> = match data.kind() {
                "kubernetes.io/dockercfg" => data.file(".dockercfg").and_then(|text| serde_json::from_slice(text).ok()),
                _ => data
                    .file(".dockerconfigjson")
                    .and_then(|text| serde_json::from_slice::<Logins>(text).ok())
                    .map(|logins| logins.auths),
            };
            let found = auths.into_iter().flatten().find(|(server, _)| host_of(server) == registry);
            if let Some((server, login)) = found {
                let mut auth = AuthConfig::default();
                auth.username = login.username;
                auth.password = login.password;
                auth.auth = login.auth;
                auth.identity_token = login.identitytoken;
                auth.server_address = server;
                return Some(auth);
            }
        }
        None
    }
}

#[derive(Deserialize)]
struct Logins {
    #[serde(default)]
    auths: BTreeMap<String, Login>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Login {
    username: String,
    password: String,
    auth: String,
    identitytoken: String,
}

/// The registry of an image's name.
fn registry_of(image: &str) -> &str {
    match image.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        _ => "docker.io",
    }
}

/// The host in a key of a Docker configuration.
fn host_of(server: &str) -> &str {
    let plain = server.trim_start_matches("https://").trim_start_matches("http://");
    match plain.split('/').next().unwrap_or(plain) {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    }
}

/// A time that passed, as Go prints it, to the millisecond.
fn seconds(from: Timestamp, to: Timestamp) -> String {
    let passed = to.duration_since(from).as_millis().max(0);
    if passed < 1000 {
        return format!("{passed}ms");
    }
    let text = format!("{}.{:03}", passed / 1000, passed % 1000);
    format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_that_may_have_moved_are_always_pulled() {
        for (image, expected) in [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("nginx:1.27", "IfNotPresent"),
            ("localhost:5000/nginx", "Always"),
            ("localhost:5000/nginx:1", "IfNotPresent"),
            ("nginx@sha256:0123", "IfNotPresent"),
        ] {
            assert_eq!(default_policy(image), expected, "{image}");
        }
    }

    #[test]
    fn registries_are_found_in_names_and_configurations() {
        assert_eq!(registry_of("nginx"), "docker.io");
        assert_eq!(registry_of("library/nginx"), "docker.io");
        assert_eq!(registry_of("localhost:5000/a/b"), "localhost:5000");
        assert_eq!(host_of("https://index.docker.io/v1/"), "docker.io");
        assert_eq!(host_of("registry.example.com"), "registry.example.com");
    }
}
