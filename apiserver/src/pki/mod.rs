//! Certificates, keys and kubeconfigs of a cluster: made on first start, found again on every later one.
//!
//! Everything lies in one directory under fixed names, which are those that other Kubernetes tools use:
//!
//! | file | what it is |
//! |---|---|
//! | `ca.crt`, `ca.key` | the cluster's authority: signs serving and client certificates |
//! | `front-proxy-ca.crt`, `front-proxy-ca.key` | the authority that aggregated API servers trust |
//! | `front-proxy-client.crt`, `.key` | what the API server shows to aggregated API servers |
//! | `apiserver.crt`, `.key` | the API server's serving certificate |
//! | `apiserver-kubelet-client.crt`, `.key` | what the API server shows to kubelets |
//! | `sa.key`, `sa.pub` | signs and verifies service account tokens (ES256) |
//! | `NAME.kubeconfig` | a kubeconfig with its credentials inside: [`Pki::write_kubeconfig`] |
//!
//! Private files are readable by their owner only. A certificate that is about to expire, or that lacks a name the
//! server now needs, is issued anew under the same authority; authorities and `sa.key` are never replaced.

mod authority;
mod files;
mod kubeconfig;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

pub use authority::{Authority, Certificate, Profile};
pub use kubeconfig::kubeconfig;

/// Why certificates or keys cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PkiError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file holds something else than it should.
    #[error("{path}: {problem}")]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A certificate cannot be made.
    #[error("cannot issue a certificate: {0}")]
    Issue(String),
}

/// What a cluster's certificates must say.
#[derive(Clone, Debug)]
pub struct PkiConfig {
    /// DNS names of the API server, besides `localhost` and the `kubernetes` service's.
    pub names: Vec<String>,
    /// Addresses of the API server, besides the loopback ones: those it binds, and the `kubernetes` service's.
    pub addresses: Vec<IpAddr>,
    /// The cluster's DNS domain, such as `cluster.local`.
    pub cluster_domain: String,
}

impl Default for PkiConfig {
    fn default() -> Self {
        Self { names: Vec::new(), addresses: Vec::new(), cluster_domain: "cluster.local".into() }
    }
}

impl PkiConfig {
    /// Every name and address that the serving certificate holds.
    fn subject_alt_names(&self) -> Vec<String> {
        let domain = &self.cluster_domain;
        let mut names: Vec<String> =
            ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"].map(String::from).to_vec();
        names.push(format!("kubernetes.default.svc.{domain}"));
        names.extend(self.names.iter().cloned());
        names.extend(["127.0.0.1", "::1"].map(String::from));
        names.extend(self.addresses.iter().filter(|ip| !ip.is_unspecified()).map(ToString::to_string));
        let mut seen = std::collections::BTreeSet::new();
        names.retain(|name| seen.insert(name.clone()));
        names
    }
}

/// A cluster's certificates and keys, in a directory.
#[derive(Debug)]
pub struct Pki {
    directory: PathBuf,
    /// The cluster's authority.
    pub authority: Authority,
    /// The front proxy's authority.
    pub front_proxy_authority: Authority,
    /// The API server's serving certificate, with its chain.
    pub serving: Certificate,
    /// What the API server shows to kubelets.
    pub kubelet_client: Certificate,
    /// What the API server shows to aggregated API servers.
    pub front_proxy_client: Certificate,
    /// The private key of service account tokens, as PEM.
    pub service_account_key: String,
}

impl Pki {
    /// Reads what the directory holds and makes what it lacks.
    ///
    /// # Errors
    /// A file that cannot be read or written, or that holds something else.
    pub fn load_or_create(directory: impl Into<PathBuf>, config: &PkiConfig, now: Timestamp) -> Result<Self, PkiError> {
        let directory = directory.into();
        files::create_private_directory(&directory)?;
        let authority = Authority::load_or_create(&directory, "ca", "kubernetes", now)?;
        let front_proxy_authority = Authority::load_or_create(&directory, "front-proxy-ca", "front-proxy-ca", now)?;
        let serving = Profile::server("kube-apiserver", config.subject_alt_names());
        let serving = authority.load_or_issue(&directory, "apiserver", &serving, now)?;
        let kubelet_client = Profile::client("kube-apiserver-kubelet-client", &["system:masters"]);
        let kubelet_client = authority.load_or_issue(&directory, "apiserver-kubelet-client", &kubelet_client, now)?;
        let proxy_client = Profile::client("front-proxy-client", &[]);
        let front_proxy_client =
            front_proxy_authority.load_or_issue(&directory, "front-proxy-client", &proxy_client, now)?;
        let service_account_key = service_account_key(&directory)?;
        Ok(Self {
            directory,
            authority,
            front_proxy_authority,
            serving,
            kubelet_client,
            front_proxy_client,
            service_account_key,
        })
    }

    /// Where the files are.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where the kubeconfig of that name is, such as `admin` or `kube-scheduler`.
    #[must_use]
    pub fn kubeconfig_path(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.kubeconfig"))
    }

    /// Writes `NAME.kubeconfig`: a client certificate for `profile`, the authority and the server's URL, all inside.
    ///
    /// # Errors
    /// The certificate cannot be issued, or the file not written.
    pub fn write_kubeconfig(
        &self,
        name: &str,
        profile: &Profile,
        server: &str,
        now: Timestamp,
    ) -> Result<PathBuf, PkiError> {
        let path = self.kubeconfig_path(name);
        let certificate = self.authority.issue(profile, now)?;
        let text = kubeconfig("kubewright", name, server, self.authority.certificate_pem(), &certificate);
        files::write_private(&path, text.as_bytes())?;
        Ok(path)
    }

    /// Writes the kubeconfigs of `admin`, `kube-scheduler`, `kube-controller-manager` and `kube-proxy`.
    ///
    /// # Errors
    /// As [`Pki::write_kubeconfig`].
    pub fn write_component_kubeconfigs(&self, server: &str, now: Timestamp) -> Result<(), PkiError> {
        for (name, profile) in [
            ("admin", Profile::client("kubernetes-admin", &["system:masters"])),
            ("kube-scheduler", Profile::client("system:kube-scheduler", &[])),
            ("kube-controller-manager", Profile::client("system:kube-controller-manager", &[])),
            ("kube-proxy", Profile::client("system:kube-proxy", &[])),
        ] {
            self.write_kubeconfig(name, &profile, server, now)?;
        }
        Ok(())
    }

    /// A kubelet's client certificate profile: user `system:node:NAME` of the group `system:nodes`.
    #[must_use]
    pub fn node_profile(node: &str) -> Profile {
        Profile::client(&format!("system:node:{node}"), &["system:nodes"])
    }
}

fn service_account_key(directory: &Path) -> Result<String, PkiError> {
    let path = directory.join("sa.key");
    if let Some(pem) = files::read(&path)? {
        return Ok(pem);
    }
    let key = rcgen::KeyPair::generate().map_err(|error| PkiError::Issue(error.to_string()))?;
    files::write(&directory.join("sa.pub"), key.public_key_pem().as_bytes())?;
    files::write_private(&path, key.serialize_pem().as_bytes())?;
    Ok(key.serialize_pem())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-06-01T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_second_start_finds_the_same_files() {
        let directory = tempfile::tempdir().unwrap();
        let config = PkiConfig::default();
        let first = Pki::load_or_create(directory.path(), &config, now()).unwrap();
        let again = Pki::load_or_create(directory.path(), &config, now()).unwrap();
        assert_eq!(first.authority.certificate_pem(), again.authority.certificate_pem());
        assert_eq!(first.serving.certificate, again.serving.certificate);
        assert_eq!(first.service_account_key, again.service_account_key);
    }

    #[test]
    fn a_new_name_or_a_near_expiry_renews_the_serving_certificate_under_the_same_authority() {
        let directory = tempfile::tempdir().unwrap();
        let first = Pki::load_or_create(directory.path(), &PkiConfig::default(), now()).unwrap();
        let config = PkiConfig { addresses: vec!["10.1.2.3".parse().unwrap()], ..PkiConfig::default() };
        let named = Pki::load_or_create(directory.path(), &config, now()).unwrap();
        assert_ne!(first.serving.certificate, named.serving.certificate);
        let later = "2027-05-25T00:00:00Z".parse().unwrap();
        let renewed = Pki::load_or_create(directory.path(), &config, later).unwrap();
        assert_ne!(named.serving.certificate, renewed.serving.certificate);
        assert_eq!(first.authority.certificate_pem(), renewed.authority.certificate_pem());
    }

    #[cfg(unix)]
    #[test]
    fn private_files_are_readable_by_their_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let pki = Pki::load_or_create(directory.path(), &PkiConfig::default(), now()).unwrap();
        pki.write_component_kubeconfigs("https://127.0.0.1:6443", now()).unwrap();
        for name in ["ca.key", "sa.key", "apiserver.key", "apiserver-kubelet-client.key", "admin.kubeconfig"] {
            let mode = std::fs::metadata(directory.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{name}");
        }
    }

    #[test]
    fn a_file_that_is_no_key_is_named_in_the_error() {
        let directory = tempfile::tempdir().unwrap();
        Pki::load_or_create(directory.path(), &PkiConfig::default(), now()).unwrap();
        std::fs::write(directory.path().join("ca.key"), "nonsense").unwrap();
        let error = Pki::load_or_create(directory.path(), &PkiConfig::default(), now()).unwrap_err();
        assert!(error.to_string().contains("ca.key"), "{error}");
    }
}
