//! What to show to whom: a kubeconfig whose users are named after the servers that are called, as upstream's admission
//! webhooks read it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use http::HeaderValue;

use super::kubeconfig::{File, Identity, KubeconfigError, authorization, identity, wrong};

/// The port that a name need not say.
const HTTPS_PORT: u16 = 443;

/// What is shown to one server.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Credential {
    /// A client certificate and its key, as PEM.
    pub(crate) identity: Option<Identity>,
    /// What to send as `Authorization`.
    pub(crate) authorization: Option<HeaderValue>,
}

/// Credentials by the server that they are for. Clones share them; the default has none for anybody.
#[derive(Clone, Default)]
pub struct Credentials {
    by_name: Arc<BTreeMap<String, Credential>>,
    /// For whom no other is meant.
    otherwise: Option<Credential>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_name.keys()).finish()
    }
}

impl Credentials {
    /// Reads a kubeconfig, and the files that it names relative to it. Its users are named after servers:
    /// `name.namespace.svc`, `host:port`, `*.namespace.svc`, `*`. Who matches none of them gets what the current context's
    /// user has.
    ///
    /// # Errors
    /// A file can't be read, or a field can't be used.
    pub fn load(path: &Path) -> Result<Self, KubeconfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| wrong(format!("cannot read kubeconfig {}: {error}", path.display())))?;
        let parsed = Self::parse(&text, path.parent().unwrap_or_else(|| Path::new(".")));
        parsed.map_err(|error| wrong(format!("kubeconfig {}: {}", path.display(), error.problem)))
    }

    fn parse(text: &str, directory: &Path) -> Result<Self, KubeconfigError> {
        let file = File::parse(text)?;
        let mut by_name = BTreeMap::new();
        for entry in &file.users {
            let credential = Credential {
                identity: identity(&entry.value, directory)?,
                authorization: authorization(&entry.value, directory)?,
            };
            by_name.insert(entry.name.clone(), credential);
        }
        let current = file.contexts.iter().find(|context| context.name == file.current_context);
        let otherwise = current.and_then(|context| by_name.get(&context.value.user)).cloned();
        Ok(Self { by_name: Arc::new(by_name), otherwise })
    }

    /// What to show to that server: what is for it by name and port, then for the nearest domain that it is in.
    pub(crate) fn of(&self, host: &str, port: u16) -> Option<&Credential> {
        let named = |name: &str| {
            let domains = name.match_indices('.').map(|(at, _)| format!("*{}", &name[at..]));
            self.by_name.get(name).or_else(|| domains.into_iter().find_map(|domain| self.by_name.get(&domain)))
        };
        named(&format!("{host}:{port}"))
            .or_else(|| named(host).filter(|_| port == HTTPS_PORT))
            .or_else(|| self.by_name.get("*"))
            .or(self.otherwise.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(credentials: &Credentials, host: &str, port: u16) -> Option<String> {
        let value = credentials.of(host, port)?.authorization.as_ref()?;
        Some(value.to_str().unwrap().trim_start_matches("Bearer ").to_owned())
    }

    #[test]
    fn the_nearest_name_counts() {
        let text = r#"
users:
- {name: hook.ns.svc, user: {token: exact}}
- {name: "hook.ns.svc:8443", user: {token: port}}
- {name: "*.ns.svc", user: {token: namespace}}
- {name: "*.svc", user: {token: services}}
- {name: me, user: {token: otherwise}}
current-context: c
contexts: [{name: c, context: {user: me}}]
"#;
        let credentials = Credentials::parse(text, Path::new("/nowhere")).unwrap();
        for (host, port, expected) in [
            ("hook.ns.svc", 443, "exact"),
            ("hook.ns.svc", 8443, "port"),
            ("other.ns.svc", 443, "namespace"),
            ("a.b.svc", 443, "services"),
            // A domain is that of the standard port.
            ("a.b.svc", 9443, "otherwise"),
            ("example.com", 443, "otherwise"),
        ] {
            assert_eq!(shown(&credentials, host, port).as_deref(), Some(expected), "{host}:{port}");
        }
        let anyone = Credentials::parse("users: [{name: '*', user: {token: star}}]", Path::new("/")).unwrap();
        assert_eq!(shown(&anyone, "example.com", 8443).as_deref(), Some("star"));
        assert!(Credentials::default().of("example.com", 443).is_none());
    }

    #[test]
    fn faults_are_told() {
        let text = "users: [{name: a, user: {exec: {command: x}}}]";
        assert!(Credentials::parse(text, Path::new("/")).unwrap_err().problem.contains("exec"));
        assert!(Credentials::load(Path::new("/gone")).unwrap_err().problem.starts_with("cannot read kubeconfig /gone"));
    }
}
