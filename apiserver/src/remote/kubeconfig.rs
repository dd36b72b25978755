//! A kubeconfig that describes one server to call: a webhook and the credentials for it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Uri};
use serde::Deserialize;

use super::Target;

/// Whom to call with which credentials, out of a kubeconfig's current context.
#[derive(Clone)]
pub struct Kubeconfig {
    /// The server.
    pub target: Target,
    /// What to send as `Authorization`.
    pub authorization: Option<HeaderValue>,
}

impl fmt::Debug for Kubeconfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Kubeconfig").field(&self.target.url).finish()
    }
}

/// Why a kubeconfig can't be used: which field, which rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
#[non_exhaustive]
pub struct KubeconfigError {
    /// What is wrong with which field.
    pub problem: String,
}

pub(super) fn wrong(problem: impl Into<String>) -> KubeconfigError {
    KubeconfigError { problem: problem.into() }
}

/// A client certificate and its key, as PEM.
pub(super) type Identity = (Arc<str>, Arc<str>);

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(super) struct File {
    pub(super) current_context: String,
    pub(super) contexts: Vec<Named<ContextEntry>>,
    clusters: Vec<Named<ClusterEntry>>,
    pub(super) users: Vec<Named<UserEntry>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Named<T> {
    pub(super) name: String,
    #[serde(alias = "context", alias = "cluster", alias = "user")]
    pub(super) value: T,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct ContextEntry {
    cluster: String,
    pub(super) user: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct ClusterEntry {
    server: String,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
    insecure_skip_tls_verify: bool,
    tls_server_name: Option<String>,
    proxy_url: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(super) struct UserEntry {
    client_certificate: Option<PathBuf>,
    client_certificate_data: Option<String>,
    client_key: Option<PathBuf>,
    client_key_data: Option<String>,
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<PathBuf>,
    username: Option<String>,
    password: Option<String>,
    exec: Option<serde::de::IgnoredAny>,
    auth_provider: Option<serde::de::IgnoredAny>,
}

impl File {
    pub(super) fn parse(text: &str) -> Result<Self, KubeconfigError> {
        serde_yaml_ng::from_str(text).map_err(|error| wrong(error.to_string()))
    }
}

impl Kubeconfig {
    /// Reads a file, and those that it names relative to it.
    ///
    /// # Errors
    /// A file can't be read, or a field can't be used.
    pub fn load(path: &Path) -> Result<Self, KubeconfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| wrong(format!("cannot read kubeconfig {}: {error}", path.display())))?;
        let parsed = Self::parse(&text, path.parent().unwrap_or_else(|| Path::new(".")));
        parsed.map_err(|error| wrong(format!("kubeconfig {}: {}", path.display(), error.problem)))
    }

    /// Reads the text of a kubeconfig; files that it names are looked for in that directory.
    ///
    /// # Errors
    /// A file can't be read, or a field can't be used.
    pub fn parse(text: &str, directory: &Path) -> Result<Self, KubeconfigError> {
        let file = File::parse(text)?;
        if file.current_context.is_empty() {
            return Err(wrong("current-context: must name the context to use"));
        }
        let context = named(&file.contexts, &file.current_context, "contexts")?;
        let cluster = named(&file.clusters, &context.cluster, "clusters")?;
        let nobody = UserEntry::default();
        let user = if context.user.is_empty() { &nobody } else { named(&file.users, &context.user, "users")? };
        Ok(Self { target: target(cluster, user, directory)?, authorization: authorization(user, directory)? })
    }
}

fn named<'a, T>(list: &'a [Named<T>], name: &str, what: &str) -> Result<&'a T, KubeconfigError> {
    let found = list.iter().find(|entry| entry.name == name);
    found.map(|entry| &entry.value).ok_or_else(|| wrong(format!("{what}: there is none of the name {name:?}")))
}

fn target(cluster: &ClusterEntry, user: &UserEntry, directory: &Path) -> Result<Target, KubeconfigError> {
    let url: Uri = cluster.server.parse().map_err(|error| wrong(format!("server {:?}: {error}", cluster.server)))?;
    if url.scheme_str() != Some("https") {
        return Err(wrong(format!("server {:?}: must be a https URL", cluster.server)));
    }
    if cluster.proxy_url.is_some() {
        return Err(wrong("proxy-url: proxies are not supported; name a server that is reached directly"));
    }
    let authorities = material(
        ("certificate-authority", cluster.certificate_authority.as_deref()),
        ("certificate-authority-data", cluster.certificate_authority_data.as_deref()),
        directory,
    )?;
    if cluster.insecure_skip_tls_verify && authorities.is_some() {
        return Err(wrong("insecure-skip-tls-verify: may not be set beside certificate-authority"));
    }
    let mut target = Target::new(url);
    target.authorities = authorities;
    target.insecure = cluster.insecure_skip_tls_verify;
    target.server_name.clone_from(&cluster.tls_server_name);
    target.identity = identity(user, directory)?;
    Ok(target)
}

/// The client certificate and its key.
pub(super) fn identity(user: &UserEntry, directory: &Path) -> Result<Option<Identity>, KubeconfigError> {
    let certificate = material(
        ("client-certificate", user.client_certificate.as_deref()),
        ("client-certificate-data", user.client_certificate_data.as_deref()),
        directory,
    )?;
    let key = material(
        ("client-key", user.client_key.as_deref()),
        ("client-key-data", user.client_key_data.as_deref()),
        directory,
    )?;
    match (certificate, key) {
        (Some(certificate), Some(key)) => Ok(Some((certificate, key))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(wrong("client-key: is required beside client-certificate")),
        (None, Some(_)) => Err(wrong("client-certificate: is required beside client-key")),
    }
}

/// PEM, out of the field itself or the file that another names. What is in the field counts.
fn material(
    (file_field, file): (&str, Option<&Path>),
    (data_field, data): (&str, Option<&str>),
    directory: &Path,
) -> Result<Option<Arc<str>>, KubeconfigError> {
    if let Some(data) = data.filter(|data| !data.is_empty()) {
        let decoded = STANDARD.decode(data.trim()).ok().and_then(|pem| String::from_utf8(pem).ok());
        return decoded.map(|pem| Some(pem.into())).ok_or_else(|| wrong(format!("{data_field}: is no PEM in base64")));
    }
    let Some(file) = file.filter(|file| !file.as_os_str().is_empty()) else { return Ok(None) };
    let path = directory.join(file);
    let text = std::fs::read_to_string(&path);
    text.map(|pem| Some(pem.into())).map_err(|error| wrong(format!("{file_field} {}: {error}", path.display())))
}

pub(super) fn authorization(user: &UserEntry, directory: &Path) -> Result<Option<HeaderValue>, KubeconfigError> {
    if user.exec.is_some() || user.auth_provider.is_some() {
        return Err(wrong("user: exec and auth-provider are not supported; use a certificate or a token"));
    }
    let token = match (&user.token, &user.token_file) {
        (Some(token), _) if !token.is_empty() => Some(token.clone()),
        (_, Some(file)) => {
            let path = directory.join(file);
            let text = std::fs::read_to_string(&path);
            Some(text.map_err(|error| wrong(format!("tokenFile {}: {error}", path.display())))?.trim().to_owned())
        }
        _ => None,
    };
    let text = match (token, &user.username) {
        (Some(token), _) => format!("Bearer {token}"),
        (None, Some(name)) => {
            let password = user.password.as_deref().unwrap_or_default();
            format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
        }
        (None, None) => return Ok(None),
    };
    let mut value = HeaderValue::from_str(&text).map_err(|_| wrong("user: the token holds what no header can"))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(cluster: &str, user: &str) -> Result<Kubeconfig, KubeconfigError> {
        let text = format!(
            "{{current-context: c, contexts: [{{name: c, context: {{cluster: k, user: u}}}}], \
             clusters: [{{name: k, cluster: {{{cluster}}}}}], users: [{{name: u, user: {{{user}}}}}]}}"
        );
        Kubeconfig::parse(&text, Path::new("/nowhere"))
    }

    #[test]
    fn the_current_context_counts() {
        let read = parse("server: 'https://hook.test/review', certificate-authority-data: eA==", "token: t").unwrap();
        assert_eq!(read.target.url, "https://hook.test/review");
        assert_eq!(read.target.authorities.as_deref(), Some("x"));
        assert_eq!(read.authorization.unwrap(), "Bearer t");
        let basic = parse("server: 'https://hook.test'", "username: a, password: b").unwrap();
        assert_eq!(basic.authorization.unwrap(), "Basic YTpi");
        assert!(parse("server: 'https://hook.test'", "").unwrap().authorization.is_none());
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (cluster, user, named) in [
            ("server: 'http://hook.test'", "", "must be a https URL"),
            ("server: 'https://h', proxy-url: x", "", "proxy-url"),
            ("server: 'https://h', certificate-authority: gone.pem", "", "certificate-authority /nowhere/gone.pem"),
            ("server: 'https://h', certificate-authority-data: '!'", "", "certificate-authority-data"),
            ("server: 'https://h'", "client-certificate-data: eA==", "client-key: is required"),
            ("server: 'https://h'", "exec: {command: x}", "exec"),
        ] {
            let error = parse(cluster, user).unwrap_err().problem;
            assert!(error.contains(named), "{error}");
        }
        let nobody = "{current-context: c, contexts: []}";
        assert!(Kubeconfig::parse(nobody, Path::new("/")).unwrap_err().problem.contains("contexts: there is none"));
        assert!(Kubeconfig::parse("{}", Path::new("/")).unwrap_err().problem.contains("current-context"));
    }
}
